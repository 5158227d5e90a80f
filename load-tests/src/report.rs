use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// So many messages in so much time.
pub struct Measured {
    pub messages: u32,
    pub took: Duration,
}

#[derive(Serialize)]
pub struct Figure {
    pub name: &'static str,
    pub messages: u32,
    pub seconds: f64,
    pub per_second: f64,
}

#[derive(Serialize)]
pub struct Ratio {
    pub of: &'static str,
    pub to: &'static str,
    pub ratio: f64,
}

#[derive(Serialize, Default)]
pub struct Report {
    pub figures: Vec<Figure>,
    pub ratios: Vec<Ratio>,
}

impl Report {
    pub fn add(&mut self, name: &'static str, Measured { messages, took }: Measured) {
        let seconds = took.as_secs_f64();
        let figure = Figure { name, messages, seconds, per_second: f64::from(messages) / seconds };
        eprintln!("  {name}: {:.0} a second", figure.per_second);
        self.figures.push(figure);
    }

    /// Of two figures that are there.
    pub fn compare(&mut self, of: &'static str, to: &'static str) {
        let rate = |name| self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.per_second);
        if let (Some(mine), Some(other)) = (rate(of), rate(to)) {
            self.ratios.push(Ratio { of, to, ratio: mine / other });
        }
    }

    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    pub fn text(&self) -> String {
        let mut figures = table(&["", "messages", "seconds", "a second"]);
        for f in &self.figures {
            figures.add_row([
                f.name.to_owned(),
                f.messages.to_string(),
                format!("{:.1}", f.seconds),
                format!("{:.0}", f.per_second),
            ]);
        }
        let mut ratios = table(&["ratio", "to", ""]);
        for r in &self.ratios {
            ratios.add_row([r.of.to_owned(), r.to.to_owned(), format!("{:.2}", r.ratio)]);
        }
        format!("{figures}\n\n{ratios}")
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
