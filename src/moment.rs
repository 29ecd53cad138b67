//! Moments as people write them: RFC 3339, or how long ago.

use pedigraph_proto::Nanos;
use pedigraph_query_api::app::system_clock as now_ns;

/// A moment in RFC 3339. An age counts back from now, by this machine's clock: asked page after page it stays the same
/// moment.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    before(text, now_ns())
        .ok_or_else(|| "a time in RFC 3339, such as 2026-08-14T12:47:00Z, or how long ago: 2h".to_owned())
}

/// As [`parse`], or a ledger index as it is.
pub(crate) fn parse_or_index(text: &str) -> Result<String, String> {
    if text.parse::<u64>().is_ok() {
        return Ok(text.to_owned());
    }
    parse(text).map_err(|what| format!("{what}; or a ledger index: 42"))
}

fn before(text: &str, now_ns: i64) -> Option<String> {
    Nanos::parse_moment(text, Nanos(now_ns)).map(|moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_counts_back_from_now() {
        let now = Nanos::parse("2026-03-01T12:00:00Z").unwrap().0;
        let of = |text: &str| before(text, now).unwrap_or_else(|| "none".to_owned());
        for (text, moment) in [
            ("90s", "2026-03-01T11:58:30Z"),
            ("30m", "2026-03-01T11:30:00Z"),
            ("5h", "2026-03-01T07:00:00Z"),
            ("1d", "2026-02-28T12:00:00Z"),
            ("2w", "2026-02-15T12:00:00Z"),
            ("2026-02-28T23:59:59+01:00", "2026-02-28T22:59:59Z"),
            ("2026-02-28T23:59Z", "2026-02-28T23:59:00Z"),
            ("h", "none"),
            ("-2h", "none"),
            ("2y", "none"),
            ("yesterday", "none"),
            ("4000000000w", "none"),
            ("99999w", "none"),
        ] {
            assert_eq!(of(text), moment, "{text}");
        }
    }

    #[test]
    fn an_index_is_left_as_it_is() {
        assert_eq!(parse_or_index("42").as_deref(), Ok("42"));
        assert!(parse("42").is_err() && parse_or_index("4x").is_err());
    }
}
