//! Times: nanoseconds since 1970 UTC inside, RFC 3339 UTC outside.

use std::borrow::Cow;

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
    /// `None` when it is not a time or before 2000, which counts as absent (SPEC §2.3).
    pub fn parse(text: &str) -> Option<Nanos> {
        Nanos::of(i64::try_from(moment(text)?.as_nanosecond()).ok()?)
    }

    /// Reads a moment of a question: what [`Nanos::parse`] reads, a time in minutes such as `2026-08-14T12:47Z`, or an
    /// age such as `90s`, `30m`, `2h`, `3d`, `1w` before `now`.
    pub fn parse_moment(text: &str, now: Nanos) -> Option<Nanos> {
        let minutes = || Nanos::parse(&format!("{}:00Z", text.trim().strip_suffix('Z')?));
        let age = || Nanos::of(now.0.saturating_sub(age_ns(text.trim())?));
        age().or_else(|| Nanos::parse(text)).or_else(minutes)
    }

    /// A producer's time; `None` before 2000-01-01, which counts as absent: reproducible builds write 1970 or 1980, and
    /// zero values are the years 1 and 1970.
    pub fn of(nanoseconds: i64) -> Option<Nanos> {
        const YEAR_2000: i64 = 946_684_800_000_000_000;
        (nanoseconds >= YEAR_2000).then_some(Nanos(nanoseconds))
    }

    /// Whether a text is a time that counts as absent: a constant or zero value, not a producer's mistake in writing.
    pub fn counts_as_absent(text: &str) -> bool {
        Nanos::parse(text).is_none()
            && moment(text).is_some_and(|moment| moment < Timestamp::UNIX_EPOCH + YEARS_1970_TO_2000)
    }
}

/// From 1970 to 2000: 30 years with seven leap days.
const YEARS_1970_TO_2000: jiff::SignedDuration = jiff::SignedDuration::from_hours((30 * 365 + 7) * 24);

/// The shortest time there is, a day such as `20260814`.
const SHORTEST_BYTES: usize = 8;

fn moment(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    // Most texts that are none are empty, and each refusal of a parser takes some hundred bytes.
    if text.len() < SHORTEST_BYTES {
        return None;
    }
    let text = to_nanoseconds(text);
    let zoned = text.parse::<Timestamp>().ok();
    zoned
        .or_else(|| zoneless(text.parse::<DateTime>().ok()?))
        .or_else(|| zoneless(text.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight())))
}

/// A time without the digits of a second that are less than a nanosecond: RFC 3339 has any number of them.
fn to_nanoseconds(text: &str) -> Cow<'_, str> {
    let Some((start, digits)) = text.split_once('.') else { return Cow::Borrowed(text) };
    match digits.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len()) {
        0..=9 => Cow::Borrowed(text),
        end => format!("{start}.{}{}", &digits[..9], &digits[end..]).into(),
    }
}

/// An age in nanoseconds.
fn age_ns(text: &str) -> Option<i64> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let number: i64 = text.strip_suffix(unit)?.parse().ok()?;
    number.checked_mul(seconds)?.checked_mul(1_000_000_000).filter(|age| *age >= 0)
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
        check("2023-03-20T14:27:05.123456789987Z", Some("2023-03-20T14:27:05.123456789Z"));
        check("2023-03-20T15:27:05.1234567899999+01:00", Some("2023-03-20T14:27:05.123456789Z"));
        check("2023-03-20 14:27:05.1234567890", Some("2023-03-20T14:27:05.123456789Z"));
        check("2023-03-20T14:27:05.1234567899é", None);
        check("2023-03-20T14:27:05.Z", None);
        check("2023-03-20 14:27:05", Some("2023-03-20T14:27:05Z"));
        check("2023-03-20", Some("2023-03-20T00:00:00Z"));
        check("0001-01-01T00:00:00Z", None);
        check("1970-01-01T00:00:00Z", None);
        check("1980-01-01T00:00:01Z", None);
        check("1985-10-26T08:15:00.000Z", None);
        check("1999-12-31T23:59:59.999Z", None);
        check("2000-01-01T00:00:00Z", Some("2000-01-01T00:00:00Z"));
        check("2000-01-01T00:30:00+01:00", None);
        check("9999-12-31T23:59:59Z", None);
        check("yesterday", None);
        check("", None);
        for text in ["0001-01-01T00:00:00Z", "1980-01-01", "1999-12-31T23:59:59Z"] {
            assert!(Nanos::counts_as_absent(text), "{text}");
        }
        for text in ["2000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "yesterday", ""] {
            assert!(!Nanos::counts_as_absent(text), "{text}");
        }
    }

    #[test]
    fn moments_of_questions_are_read() {
        let now = Nanos::parse("2026-05-09T08:30:00Z").expect("a time");
        let check = |text: &str, want: Option<&str>| {
            assert_eq!(Nanos::parse_moment(text, now).map(|t| t.to_string()).as_deref(), want, "{text}");
        };
        check("45m", Some("2026-05-09T07:45:00Z"));
        check(" 2w", Some("2026-04-25T08:30:00Z"));
        check("2026-05-08T23:05Z", Some("2026-05-08T23:05:00Z"));
        check("2026-05-08T23:05:06+02:00", Some("2026-05-08T21:05:06Z"));
        for bad in ["", "h", "-2h", "2y", "2 h", "1.5h", "99999999999999w", "3000w", "soon", "é"] {
            check(bad, None);
        }
    }
}
