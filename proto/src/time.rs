//! Times: nanoseconds since 1970 UTC inside, RFC 3339 UTC outside.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

/// How far ahead of intake a producer's time may be before it is replaced, in nanoseconds (SPEC §2.3: 5 minutes).
pub const SKEW_NS_MAX: i64 = 300_000_000_000;

/// A moment in nanoseconds since 1970 UTC. Shown as RFC 3339 with the digits that are needed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Nanos(pub i64);

impl Nanos {
    /// Reads RFC 3339, tolerating what real documents have: a space for the `T`, no zone (read as UTC), a date alone.
    /// `None` when it is not a time or its year is 1970 or before, which counts as absent (SPEC §2.3).
    pub fn parse(text: &str) -> Option<Nanos> {
        let text = text.trim();
        let moment = text
            .parse::<Timestamp>()
            .ok()
            .or_else(|| zoneless(text.parse::<DateTime>().ok()?))
            .or_else(|| zoneless(text.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight())))?;
        Nanos::of(i64::try_from(moment.as_nanosecond()).ok()?)
    }

    /// A producer's time; `None` for 1970 or before, which counts as absent.
    pub fn of(nanoseconds: i64) -> Option<Nanos> {
        const YEAR_1971: i64 = 31_536_000_000_000_000;
        (nanoseconds >= YEAR_1971).then_some(Nanos(nanoseconds))
    }
}

fn zoneless(moment: DateTime) -> Option<Timestamp> {
    Some(moment.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

impl std::fmt::Display for Nanos {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let moment = Timestamp::from_nanosecond(i128::from(self.0)).map_err(|_| std::fmt::Error)?;
        write!(f, "{moment}")
    }
}

impl Serialize for Nanos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Nanos;

    #[test]
    fn times_of_real_documents_are_read() {
        let check = |text: &str, want: Option<&str>| {
            assert_eq!(Nanos::parse(text).map(|t| t.to_string()).as_deref(), want, "{text}");
        };
        check("2023-03-20T14:27:05.315384Z", Some("2023-03-20T14:27:05.315384Z"));
        check("2023-03-20T15:27:05+01:00", Some("2023-03-20T14:27:05Z"));
        check("2023-03-20 14:27:05", Some("2023-03-20T14:27:05Z"));
        check("2023-03-20", Some("2023-03-20T00:00:00Z"));
        check("0001-01-01T00:00:00Z", None);
        check("1970-01-01T00:00:00Z", None);
        check("9999-12-31T23:59:59Z", None);
        check("yesterday", None);
        check("", None);
    }
}
