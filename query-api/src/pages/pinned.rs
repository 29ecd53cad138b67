//! The address of an answer: the same page of the same moment and the same index, whenever it is opened and whatever
//! comes in until then.

use std::fmt::Write as _;

use pedigraph_proto::Nanos;

use crate::fresh::Fresh;
use crate::link::encoded;
use crate::params::{decoded, parse_time};
use crate::read::Read;
use crate::token::PageToken;

/// Pages that go by the clock where no moment is given.
const OF_NOW: &[&str] = &["/on-call"];
/// Pages of how the server is, not of an answer.
const OF_SERVER: &[&str] = &["/freshness"];

/// The address; `None` where nothing is read from the ledger, or it is empty.
pub fn address(read: &Read, fresh: &Fresh) -> Option<String> {
    let path = read.uri.split('?').next().unwrap_or_default();
    let as_of = fresh.as_of.filter(|_| !OF_SERVER.contains(&path))?;
    let mut params = Vec::new();
    for (name, value) in &read.params.0 {
        match name.as_str() {
            "asOf" | "minIndex" | "pageToken" => {}
            // It counts from now on; the rest is as it was asked.
            "at" => params.extend(read.moment.at.map(|at| ("at".to_owned(), at.to_string()))),
            _ => params.push((name.clone(), without_ages(value, read.now))),
        }
    }
    if OF_NOW.contains(&path) && read.moment.at.is_none() {
        params.push(("at".to_owned(), read.now.to_string()));
    }
    params.push(("asOf".to_owned(), as_of.to_string()));
    let path = path_without_ages(path, read.now);
    // A token is of its question: of another one it is made anew.
    if let Some(key) = &read.after {
        let asked = crate::params::Params(params.clone());
        let token = PageToken { as_of: Some(as_of), key: key.clone() };
        params.push(("pageToken".to_owned(), token.encode(&read.question_of(&path, &asked))));
    }
    let mut address = path;
    for (n, (name, value)) in params.iter().enumerate() {
        let between = if n == 0 { '?' } else { '&' };
        let _ = write!(address, "{between}{}={}", encoded(name), encoded(value));
    }
    Some(address)
}

/// A path whose references name moments, not ages.
fn path_without_ages(path: &str, now: Nanos) -> String {
    let segment = |segment: &str| match decoded(segment, b'+').filter(|name| name.contains("@{")) {
        Some(name) => encoded(&without_ages(&name, now)),
        None => segment.to_owned(),
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// `prod@{2h}` as `prod@{2026-08-14T10:47:00Z}`.
fn without_ages(reference: &str, now: Nanos) -> String {
    let mut parts = reference.split("@{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (moment, rest) = part.split_once('}').unwrap_or((part, ""));
        let at = parse_time(moment, now).filter(|_| part.contains('}'));
        match at {
            Some(at) => _ = write!(text, "@{{{at}}}{rest}"),
            None => _ = write!(text, "@{{{part}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_become_moments_and_the_rest_stays() {
        let now = Nanos::parse("2026-08-14T12:47:00Z").expect("a time");
        for (given, want) in [
            ("prod@{2h}/cart", "prod@{2026-08-14T10:47:00Z}/cart"),
            ("prod@{2026-08-14T10:00:00Z}", "prod@{2026-08-14T10:00:00Z}"),
            ("prod@{soon}", "prod@{soon}"),
            ("prod@{2h", "prod@{2h"),
            ("@{", "@{"),
            ("é@{1d}@{1h}é", "é@{2026-08-13T12:47:00Z}@{2026-08-14T11:47:00Z}é"),
            ("app@sha256:ab", "app@sha256:ab"),
        ] {
            assert_eq!(without_ages(given, now), want);
        }
        assert_eq!(path_without_ages("/artifacts/prod%40%7B2h%7D", now), "/artifacts/prod@%7B2026-08-14T10:47:00Z%7D");
        assert_eq!(path_without_ages("/artifacts/a%2Fb", now), "/artifacts/a%2Fb");
    }
}
