//! `format=csv` of the pages that tell what is affected: the same rows as a table for spreadsheets (RFC 4180).
//!
//! Cells hold what senders wrote. One that a spreadsheet would take for a formula begins with an apostrophe, as OWASP's
//! advice on CSV injection has it.

use axum::http::{HeaderValue, header};
use axum::response::Response;
use pedigraph_projector::ImpactQuestion;
use pedigraph_projector::answers::{Impact, ImpactRow, UnknownRow};

use crate::answer::impact::impact_of;
use crate::app::App;
use crate::pages::frame::{PAGING, asked_again, next_page};
use crate::problem::{Code, Problem};
use crate::read::{PAGE_SIZE_MAX, Read};

/// Content type of the table.
const CSV: &str = "text/csv; charset=utf-8; header=present";
const COLUMNS: [&str; 14] = [
    "list",
    "environment",
    "service",
    "artifact",
    "digest",
    "since",
    "components",
    "status",
    "confidence",
    "disputed",
    "firstKnownAt",
    "fixedIn",
    "why",
    "entry",
];

/// Whether a page is asked for as a table.
pub(super) fn is_asked(read: &Read) -> Result<bool, Problem> {
    match read.params.get("format") {
        None | Some("html") => Ok(false),
        Some("csv") => Ok(true),
        Some(_) => Err(Problem::parameter("format", "html or csv")),
    }
}

/// The address of the same question as a table.
pub(super) fn address(path: &str, read: &Read) -> String {
    let without = [&PAGING[..], &["format"]].concat();
    format!("{}format=csv&pageSize={PAGE_SIZE_MAX}", asked_again(path, read, &without))
}

/// Answers with the table. What does not fit its page is told in its last row.
pub(super) async fn answer(app: &App, read: Read, question: ImpactQuestion, path: String) -> Result<Response, Problem> {
    let limit = app.limits().answer_bytes_max;
    let mut response = app
        .bytes(read, CSV, move |scope, read, fresh| {
            let (impact, next) = impact_of(scope, &question)?;
            let next = read.next(fresh, next).map(|token| next_page(&path, &token, read));
            let text = text_of(&impact, next.as_deref());
            let advice = "the table is larger than the limit; ask for a smaller pageSize";
            if text.len() > limit { Err(Problem::new(Code::AnswerTooLarge, advice)) } else { Ok(text.into_bytes()) }
        })
        .await?;
    response
        .headers_mut()
        .insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"impact.csv\""));
    Ok(response)
}

fn text_of(impact: &Impact, next: Option<&str>) -> String {
    let mut lines = vec![line(&COLUMNS.map(str::to_owned))];
    let elsewhere = impact.not_deployed.as_deref().unwrap_or_default();
    for (list, rows) in [("deployed", &impact.deployed[..]), ("notDeployed", elsewhere), ("cleared", &impact.cleared)] {
        lines.extend(rows.iter().map(|row| line(&known(list, row))));
    }
    lines.extend(impact.unknown.iter().map(|row| line(&unknown(row))));
    if let Some(next) = next {
        let mut more = COLUMNS.map(|_| String::new());
        more[0] = "more".to_owned();
        more[12] = format!("the list goes on at {next}");
        lines.push(line(&more));
    }
    lines.concat()
}

fn known(list: &str, row: &ImpactRow) -> [String; 14] {
    let some = |text: &Option<String>| text.clone().unwrap_or_default();
    let verdict = row.verdict.as_ref();
    let more = if row.components_cut > 0 { format!(" and {} more", row.components_cut) } else { String::new() };
    let components: Vec<&str> = row.components.iter().map(|component| component.purl.as_str()).collect();
    [
        list.to_owned(),
        some(&row.environment),
        some(&row.service),
        row.artifact_ref.clone(),
        row.digest.clone(),
        row.since.map(|since| since.to_string()).unwrap_or_default(),
        components.join(" ") + &more,
        verdict.map(|verdict| verdict.status.clone()).unwrap_or_default(),
        verdict.map(|verdict| format!("{:.4}", verdict.confidence)).unwrap_or_default(),
        verdict.map(|verdict| verdict.conflict.to_string()).unwrap_or_default(),
        row.first_known_at.to_string(),
        some(&row.fixed_in),
        String::new(),
        row.proof.index.to_string(),
    ]
}

fn unknown(row: &UnknownRow) -> [String; 14] {
    let mut cells = COLUMNS.map(|_| String::new());
    cells[0] = "unknown".to_owned();
    cells[1].clone_from(&row.environment);
    cells[2].clone_from(&row.service);
    cells[3].clone_from(&row.artifact_ref);
    cells[4] = row.digest.clone().unwrap_or_default();
    cells[12].clone_from(&row.why);
    cells
}

fn line(cells: &[String; 14]) -> String {
    cells.iter().map(|text| cell(text)).collect::<Vec<_>>().join(",") + "\r\n"
}

/// One cell, quoted; what a spreadsheet would compute is text.
fn cell(text: &str) -> String {
    let formula =
        text.trim_start().starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '|', '%', '＝', '＋', '－', '＠']);
    let formula = formula || text.starts_with(char::is_whitespace);
    format!("\"{}{}\"", if formula { "'" } else { "" }, text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_none_ends_early() {
        for (text, want) in [
            ("prod", "\"prod\""),
            ("", "\"\""),
            ("=1+1", "\"'=1+1\""),
            ("  =1+1", "\"'  =1+1\""),
            ("\t=1", "\"'\t=1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("-2+3|cmd", "\"'-2+3|cmd\""),
            ("a\",=1\r\nb", "\"a\"\",=1\r\nb\""),
            ("pkg:npm/@a/b", "\"pkg:npm/@a/b\""),
        ] {
            assert_eq!(cell(text), want);
        }
    }
}
