//! The parameters of a query string.

use std::fmt::Display;
use std::str::FromStr;

use axum::http::Uri;
use pedigraph_proto::Nanos;

use crate::browser::is_page;
use crate::problem::{Code, Problem};

/// The query's parameters, in order. Unknown ones are ignored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Params(pub(crate) Vec<(String, String)>);

impl Params {
    /// Of an address. A `+` is a plus sign, as purls and times have them, but for pages, whose forms browsers send:
    /// there it is a space (SPEC §8).
    pub fn of(uri: &Uri) -> Result<Params, Problem> {
        let plus = if is_page(uri.path()) { b' ' } else { b'+' };
        let unreadable = || Problem::new(Code::BadRequest, "the query is not UTF-8; percent-encode it");
        Params::parse(uri.query().unwrap_or_default(), plus).ok_or_else(unreadable)
    }

    /// Of the body of a form that a browser sent; `None` for what is not UTF-8.
    pub(crate) fn of_form(body: &str) -> Option<Params> {
        Params::parse(body, b' ')
    }

    fn parse(text: &str, plus: u8) -> Option<Params> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name, plus)?, decoded(value, plus)?))
        });
        decoded.collect::<Option<_>>().map(Params)
    }

    /// Whether a name is there, also without a value.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// The only value of a name.
    pub fn once(&self, name: &str) -> Result<Option<&str>, Problem> {
        let is_repeated = self.0.iter().filter(|(key, _)| key == name).count() > 1;
        if is_repeated { Err(Problem::parameter(name, "given once")) } else { Ok(self.get(name)) }
    }

    /// Whether a value holds a text.
    pub(crate) fn any_contains(&self, text: &str) -> bool {
        self.0.iter().any(|(_, value)| value.contains(text))
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

    /// A moment of a question that was asked at `now`.
    pub fn time(&self, name: &str, now: Nanos) -> Result<Option<Nanos>, Problem> {
        let refused = || Problem::parameter(name, TIME_ADVICE);
        self.get(name).map(|text| parse_time(text, now).ok_or_else(refused)).transpose()
    }

    /// Everything but these names, so that different parameters never give the same text.
    pub(crate) fn without(&self, names: &[&str]) -> impl Display {
        let kept = self.0.iter().filter(|(key, _)| !names.contains(&key.as_str()));
        kept.map(|(key, value)| format!("{}:{key}={}:{value}&", key.len(), value.len())).collect::<String>()
    }
}

const TIME_ADVICE: &str = "a time later than 1970, such as 2026-08-14T12:47:00Z, or an age, such as 90m, 2h or 3d";

/// A moment. A `+` of a zone that became a space on its way is understood.
pub(crate) fn parse_time(text: &str, now: Nanos) -> Option<Nanos> {
    let zone_at = text.len().checked_sub(6).filter(|at| text.is_char_boundary(*at));
    let zoned = zone_at.map(|at| text.split_at(at)).filter(|(_, zone)| {
        zone.starts_with(' ') && zone.ends_with(|c: char| c.is_ascii_digit()) && zone.contains(':')
    });
    let mended = zoned.and_then(|(moment, zone)| Nanos::parse(&format!("{moment}+{}", zone.trim_start())));
    mended.or_else(|| Nanos::parse_moment(text, now))
}

/// Percent-decoded; a `%` without two hex digits stands for itself. `None` for what is not UTF-8.
pub(crate) fn decoded(text: &str, plus: u8) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let escaped = after.split_at_checked(2).filter(|_| *first == b'%');
        let byte = escaped.and_then(|(digits, _)| u8::try_from(hex_value(digits)?).ok());
        if let (Some(byte), Some((_, after))) = (byte, escaped) {
            bytes.push(byte);
            rest = after;
        } else {
            bytes.push(if *first == b'+' { plus } else { *first });
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex_value(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_is_a_plus_sign_but_on_pages() {
        let check = |uri: &str, want: Option<&str>| {
            let params = Params::of(&uri.parse().expect("an address"));
            assert_eq!(params.ok().and_then(|params| params.get("q").map(str::to_owned)).as_deref(), want, "{uri}");
        };
        check("/api/v1/resolve?q=g++%20a", Some("g++ a"));
        check("/search?q=g%2b%2B+a", Some("g++ a"));
        check("/ledger/x?a&q=1=2&q=3", Some("1=2"));
        check("/search?q=100%&x", Some("100%"));
        check("/search?q=%zz%4", Some("%zz%4"));
        check("/search?q=caf%C3%A9", Some("café"));
        check("/search?q=%C3", None);
        check("/search?q=", None);
        assert!(Params::of(&"/x?a=1&a=2".parse().expect("an address")).expect("read").once("a").is_err());
    }
}
