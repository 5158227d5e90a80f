//! The only module that writes to standard output and standard error.

use std::{
    fmt::Display,
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
};

use comfy_table::{ContentArrangement, Table, TableComponent, presets};
use serde::Serialize;
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::Error;

/// Documented in `docfleet --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    Problem = 1,
    Usage = 2,
    Away = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What a command has to say, to people and to programs.
pub trait Report: Serialize {
    fn text(&self) -> String;
    fn exit(&self) -> Exit {
        Exit::Ok
    }
}

/// Prints a report; the command's exit code is its verdict.
pub fn show<R: Report>(report: &R, json: bool) -> Result<Exit, Error> {
    if json {
        line(&serde_json::to_string_pretty(report).map_err(|e| Error::Print(e.into()))?)?;
    } else {
        line(report.text().trim_end())?;
    }
    Ok(report.exit())
}

/// One line of JSON, for commands that go on.
pub fn json_line<T: Serialize>(value: &T) -> Result<(), Error> {
    line(&serde_json::to_string(value).map_err(|e| Error::Print(e.into()))?)
}

/// One line of standard output. A reader that has seen enough (`docfleet … | head`) is no error.
pub fn line(text: &str) -> Result<(), Error> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::Print(e)),
        _ => Ok(()),
    }
}

/// Clears the terminal, or sets two readings apart where there is none.
pub fn start_over() -> Result<(), Error> {
    if io::stdout().is_terminal() { line("\x1b[2J\x1b[H") } else { line("") }
}

pub fn complain(error: &Error) {
    note(&format!("docfleet: {error}"));
}

/// A line on standard error.
pub fn note(text: &str) {
    // Nobody is left to tell when standard error is gone.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Overwrites the current line of the terminal on standard error.
pub fn progress(text: &str) {
    let mut stderr = io::stderr().lock();
    drop(write!(stderr, "\r\x1b[2K{text}").and_then(|()| stderr.flush()));
}

pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Asks before something is done to the fleet's data. Without a terminal nobody can answer, so `--yes` must be given.
pub fn confirm(question: &str, yes: bool) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Error::Usage(format!(
            "{question} There is no terminal to ask on: add --yes, or --dry-run to look first."
        )));
    }
    progress(&format!("{question} [y/N] "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(Error::Print)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Error::Usage("not confirmed: nothing was changed".to_owned())),
    }
}

/// A table that fits the terminal.
pub fn table<H: Display>(header: impl IntoIterator<Item = H>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_style(TableComponent::HeaderLines, '─').set_style(TableComponent::MiddleHeaderIntersections, '─');
    table.set_header(header.into_iter().map(|h| h.to_string()));
    table
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        out.push('-');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 row`, `2 rows`.
pub fn counted(number: impl Into<i64>, noun: &str) -> String {
    let number = number.into();
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A line safe for a terminal: a name or text of a stranger may hold control characters that move the cursor.
pub fn plain(text: &str, chars_max: usize) -> String {
    let mut clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out: String = clean.by_ref().take(chars_max).collect();
    if clean.next().is_some() {
        out.pop();
        out.push('…');
    }
    out
}

const INSTANT: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");

/// UTC, to the second.
pub fn instant(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC).format(INSTANT).unwrap_or_else(|_| "?".to_owned())
}

/// `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn age(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    // A float that is too large or no number becomes the nearest integer or 0: this is for the eye only.
    let whole = seconds.round() as u64;
    let (major, minor) = match whole {
        0..60 => return format!("{whole} s"),
        60..3_600 => ((whole / 60, "min"), (whole % 60, "s")),
        3_600..86_400 => ((whole / 3_600, "h"), (whole % 3_600 / 60, "min")),
        _ => ((whole / 86_400, "d"), (whole % 86_400 / 3_600, "h")),
    };
    if minor.0 == 0 {
        format!("{} {}", major.0, major.1)
    } else {
        format!("{} {} {} {}", major.0, major.1, minor.0, minor.1)
    }
}

/// The end of an id: ids made in the same moment begin alike.
pub fn short(id: uuid::Uuid) -> String {
    let text = id.simple().to_string();
    format!("…{}", text.get(24..).unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_two_units_at_most() {
        assert_eq!(
            [-1.0, 0.44, 12.4, 60.0, 200.0, 7_500.0, 273_600.0].map(age),
            ["0.0 s", "0.4 s", "12 s", "1 min", "3 min 20 s", "2 h 5 min", "3 d 4 h"]
        );
    }

    #[test]
    fn instants_are_utc() {
        let at = OffsetDateTime::from_unix_timestamp(1_700_000_000).map(|at| at.to_offset(time::macros::offset!(+2)));
        assert!(at.is_ok_and(|at| instant(at) == "2023-11-14 22:13:20Z"));
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(
            [0, 12, 999, 1000, -1234, 1_234_567].map(grouped),
            ["0", "12", "999", "1,000", "-1,234", "1,234,567"]
        );
    }

    #[test]
    fn foreign_text_can_not_move_the_cursor_and_is_cut_by_characters() {
        assert_eq!(plain("a\x1b[2Jb\n", 10), "a [2Jb ");
        assert_eq!(plain("Überweisung", 5), "Über…");
        assert_eq!(plain("fünf!", 5), "fünf!");
    }
}
