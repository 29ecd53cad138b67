//! The parameters of a query string.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::Query;
use axum::http::Uri;
use pedigraph_proto::Nanos;

use crate::problem::{Code, Problem};

/// The query's parameters, in order. Unknown ones are ignored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Params(pub(crate) Vec<(String, String)>);

impl Params {
    /// Of an address.
    pub fn of(uri: &Uri) -> Result<Params, Problem> {
        let params = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::new(Code::BadRequest, "the query cannot be read; percent-encode it"))?;
        Ok(Params(params.0))
    }

    /// The first value of a name; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// A value that must be there.
    pub fn need(&self, name: &str, what: &str) -> Result<&str, Problem> {
        self.get(name).ok_or_else(|| Problem::parameter(name, what))
    }

    /// A number.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let parse = |text: &str| text.parse().map_err(|_| Problem::parameter(name, "a whole number, 0 or more"));
        self.get(name).map(parse).transpose()
    }

    /// `true` or `false`.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Problem> {
        match self.get(name) {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => Err(Problem::parameter(name, "true or false")),
        }
    }

    /// A moment. A `+` of a zone that became a space on its way is understood.
    pub fn time(&self, name: &str) -> Result<Option<Nanos>, Problem> {
        self.get(name).map(|text| parse_time(text).ok_or_else(|| Problem::parameter(name, TIME_ADVICE))).transpose()
    }

    /// Everything but these names, so that different parameters never give the same text.
    pub(crate) fn without(&self, names: &[&str]) -> impl Display {
        let kept = self.0.iter().filter(|(key, _)| !names.contains(&key.as_str()));
        kept.map(|(key, value)| format!("{}:{key}={}:{value}&", key.len(), value.len())).collect::<String>()
    }
}

const TIME_ADVICE: &str = "a time in RFC 3339 later than 1970, such as 2026-08-14T12:47:00Z";

/// A time in RFC 3339.
pub(crate) fn parse_time(text: &str) -> Option<Nanos> {
    let zone_at = text.len().checked_sub(6).filter(|at| text.is_char_boundary(*at));
    match zone_at.map(|at| text.split_at(at)) {
        Some((moment, zone))
            if zone.starts_with(' ') && zone.ends_with(|c: char| c.is_ascii_digit()) && zone.contains(':') =>
        {
            Nanos::parse(&format!("{moment}+{}", zone.trim_start())).or_else(|| Nanos::parse(text))
        }
        _ => Nanos::parse(text),
    }
}
