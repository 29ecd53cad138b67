//! What the command line prints: data on stdout, talk on stderr, exit codes by what happened (SPEC §8).
#![expect(clippy::print_stderr, reason = "the one module that prints")]

use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use pedigraph_proto::shown::{shown, shown_lines};
use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Characters in a column of a text that is cut: some, such as accents, take none of their own.
const CHARS_PER_COLUMN_MAX: usize = 4;

/// How data is printed. Tables may change; JSON is the API's own body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// The API's answer.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// Why a command ends without success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Anything else.
    Error = 1,
    /// The arguments do not fit.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// Credentials or scope are missing.
    NotAllowed = 4,
    /// A check found a fault.
    VerificationFailed = 5,
    /// The views are behind.
    Stale = 6,
    /// The server does not answer.
    Unreachable = 7,
    /// The disk failed and the writer stopped itself: start again, start-up repairs.
    Poisoned = 8,
    /// A witness knows another history of the ledger: do not start again before that is settled.
    Forked = 9,
}

impl Exit {
    /// The code that an error carries, else 1.
    pub(crate) fn of(error: &anyhow::Error) -> Exit {
        error.downcast_ref::<Failure>().map_or(Exit::Error, |failure| failure.exit)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Error => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::NotAllowed => 4,
            Exit::VerificationFailed => 5,
            Exit::Stale => 6,
            Exit::Unreachable => 7,
            Exit::Poisoned => 8,
            Exit::Forked => 9,
        })
    }
}

/// An error with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    /// For `return Err(Failure::error(…))`.
    pub(crate) fn error(exit: Exit, text: impl Into<String>) -> anyhow::Error {
        Failure { exit, text: text.into() }.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// Talk, on stderr.
pub(crate) fn say(text: &str) {
    eprintln!("{}", shown_lines(text));
}

/// Data for people, on stdout: whatever a stranger said of it, a terminal is told nothing.
pub(crate) fn put(text: &str) {
    put_as_it_is(&shown_lines(text));
}

/// Data for programs, on stdout.
fn put_as_it_is(text: &str) {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()));
}

/// Bytes, on stdout, as they are.
pub(crate) fn put_bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()));
}

/// Why something was not written to stdout.
static NOT_WRITTEN: OnceLock<io::Error> = OnceLock::new();

/// A closed pipe ends the printing: its reader has what it wanted. Any other fault is one of the command.
fn written(result: io::Result<()>) {
    if let Err(error) = result
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _first = NOT_WRITTEN.set(error);
    }
}

/// An error where what was printed did not all reach stdout, as on a full disk.
pub(crate) fn all_written() -> anyhow::Result<()> {
    match NOT_WRITTEN.get() {
        None => Ok(()),
        Some(error) => {
            let text = format!("cannot write to stdout: {error}; what was to be printed is lost or cut");
            Err(Failure::error(Exit::Error, text))
        }
    }
}

/// A progress bar where stderr is a terminal; nothing elsewhere.
pub(crate) fn progress_bar(total: u64, unit: &str) -> indicatif::ProgressBar {
    if !io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let bar = indicatif::ProgressBar::new(total);
    let template = format!("{{bar:40}} {{pos}}/{{len}} {unit} {{per_sec}} eta {{eta}}");
    match indicatif::ProgressStyle::with_template(&template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Prints an answer: as it is, one row a line, or as a table of `(header, JSON pointer)` columns over `rows`.
pub(crate) fn answer(format: Format, body: &Value, rows: &[Value], columns: &[(&str, &str)]) {
    match format {
        Format::Json => put_as_it_is(&serde_json::to_string_pretty(body).unwrap_or_default()),
        Format::Jsonl => rows.iter().for_each(|row| put_as_it_is(&row.to_string())),
        Format::Table => put(&table(rows, columns)),
    }
}

fn table(rows: &[Value], columns: &[(&str, &str)]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(header, _)| *header));
    for row in rows {
        table.add_row(columns.iter().map(|(_, pointer)| cell(row.pointer(pointer))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => printable(text),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(" > "),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_))) => printable(&other.to_string()),
    }
}

/// Event text is a stranger's: a terminal gets no control characters from it, and none that turn the writing of a line.
pub(crate) fn printable(text: &str) -> String {
    shown(text).into_owned()
}

/// Columns of the terminal that stdout is; `None`: it is none, or does not say.
pub(crate) fn terminal_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// A text in so many columns: what is cut at its end is an ellipsis.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if fits(text, columns) {
        return text.to_owned();
    }
    let mut kept = fitting(text.chars(), columns);
    kept.push('\u{2026}');
    kept
}

/// A text in so many columns: what is cut in front is an ellipsis.
pub(crate) fn cut_front(text: &str, columns: usize) -> String {
    if fits(text, columns) {
        return text.to_owned();
    }
    let kept = fitting(text.chars().rev(), columns);
    std::iter::once('\u{2026}').chain(kept.chars().rev()).collect()
}

fn fits(text: &str, columns: usize) -> bool {
    text.len() <= columns || (text.width() <= columns && text.chars().nth(columns * CHARS_PER_COLUMN_MAX).is_none())
}

/// The characters that leave room for an ellipsis.
fn fitting(chars: impl Iterator<Item = char>, columns: usize) -> String {
    let mut left = columns.saturating_sub(1);
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    chars.take(columns.saturating_sub(1) * CHARS_PER_COLUMN_MAX).take_while(fits).collect()
}

/// A value of an answer as text; empty where it has none.
pub(crate) fn field(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).map_or_else(String::new, |v| printable(v.as_str().unwrap_or(&v.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_to_its_columns() {
        for (text, end, front) in [
            ("", "", ""),
            ("12345", "12345", "12345"),
            ("123456", "1234…", "…3456"),
            ("版本版本", "版本…", "…版本"),
            ("a版b本c", "a版b…", "…b本c"),
        ] {
            assert_eq!((cut(text, 5).as_str(), cut_front(text, 5).as_str()), (end, front), "{text}");
        }
        assert_eq!(cut(&"x".repeat(64 << 10), 80).width(), 80);
        assert_eq!(cut(&"x\u{301}".repeat(5), 5), "x\u{301}".repeat(5));
        assert!(cut(&"\u{301}".repeat(64 << 10), 80).chars().count() <= 4 * 80);
        assert_eq!((cut("ab", 0).as_str(), cut("ab", 1).as_str()), ("…", "…"));
        assert_eq!(printable("a\u{202e}b\u{2066}\u{7}"), "a[U+202E]b[U+2066][U+0007]");
    }

    #[test]
    fn a_table_has_every_column_and_no_control_characters() {
        let rows = [serde_json::json!({"a": "x\u{1b}[31m", "b": {"c": 1}}), serde_json::json!({"a": "y"})];
        let text = table(&rows, &[("A", "/a"), ("C", "/b/c")]);
        assert!(text.contains("x[U+001B][31m"), "{text}");
        assert!(text.lines().last().is_some_and(|line| line.contains('-')), "{text}");
    }
}
