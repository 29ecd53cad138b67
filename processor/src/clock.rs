//! The clocks of the shell loops; everything else takes time as an argument.

use std::time::{Instant, SystemTime};

#[expect(clippy::disallowed_methods, reason = "the shell loops read the clock here and pass it on")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds since 1970 UTC.
#[expect(clippy::disallowed_methods, reason = "the shell loops read the clock here and pass it on")]
pub(crate) fn now_ns() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
}
