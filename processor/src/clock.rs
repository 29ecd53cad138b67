//! The clocks of the shell loops; everything else takes time as an argument.

use std::time::{Duration, Instant, SystemTime};

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

/// Computing time that this thread has had.
pub(crate) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
