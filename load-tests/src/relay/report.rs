use serde::Serialize;

#[derive(Serialize)]
pub struct Figures {
    pub name: &'static str,
    pub backlog_per_second: f64,
    pub stream_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub memory_mib: f64,
    pub idle_cpu_percent: f64,
}

#[derive(Serialize, Default)]
pub struct Report {
    pub rows: u32,
    pub bytes: u32,
    /// Ours first.
    pub carriers: Vec<Figures>,
    /// Rows a second, read and produced without marks.
    pub limit: Option<f64>,
}

impl Report {
    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    pub fn markdown(&self) -> String {
        let mut text = format!(
            "{} rows of {} bytes, 12 partitions; medians.\n\n\
             | | rows/s, backlog | rows/s, writer of 100 a transaction | p50 ms | p99 ms | max ms | MiB | idle, % of a core |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|\n",
            self.rows, self.bytes
        );
        for f in &self.carriers {
            text += &format!(
                "| {} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {:.0} | {:.1} |\n",
                f.name,
                f.backlog_per_second,
                f.stream_per_second,
                f.p50_ms,
                f.p99_ms,
                f.max_ms,
                f.memory_mib,
                f.idle_cpu_percent
            );
        }
        if let Some(limit) = self.limit {
            text += &format!("| SELECT and produce in turns, no marks | {limit:.0} | | | | | | |\n");
        }
        let Some((ours, peers)) = self.carriers.split_first() else { return text };
        text.push_str(
            "\n| ours against | backlog | with a writer | p99 | memory | idle CPU |\n|---|--:|--:|--:|--:|--:|\n",
        );
        for peer in peers {
            text += &format!(
                "| {} | {:.2} | {:.2} | {:.2} | {:.3} | {:.3} |\n",
                peer.name,
                ours.backlog_per_second / peer.backlog_per_second,
                ours.stream_per_second / peer.stream_per_second,
                ours.p99_ms / peer.p99_ms,
                ours.memory_mib / peer.memory_mib,
                ours.idle_cpu_percent / peer.idle_cpu_percent.max(0.1)
            );
        }
        if let Some(limit) = self.limit {
            text += &format!("| in turns, without marks | {:.2} | | | | |\n", ours.backlog_per_second / limit);
        }
        text
    }
}

/// Of at least one.
pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    percentile(figures, 50.0)
}

/// Of sorted figures; 0 of none.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * percent / 100.0).round() as usize).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_figures() {
        assert!((median(&mut [3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        let hundred: Vec<f64> = (0..=100).map(f64::from).collect();
        assert!((percentile(&hundred, 99.0) - 99.0).abs() < f64::EPSILON);
        assert!((percentile(&[], 99.0)).abs() < f64::EPSILON);
    }
}
