//! The two moments that tie a trace to the world: a clock that only counts, and the time of day.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// `CLOCK_BOOTTIME` in nanoseconds: the same, and it goes on while the machine is suspended.
pub(crate) fn boot_ns() -> u64 {
    nanoseconds(ClockId::Boottime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Both clocks start at zero when the machine does.
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The time of day `ago` before now, in ISO 8601 with offset: `2026-11-20T23:30:00.250+0000`.
pub(crate) fn wall_clock(ago: Duration) -> String {
    let moment = SystemTime::now()
        .checked_sub(ago)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let text = humantime::format_rfc3339_millis(moment).to_string();
    text.replace('Z', "+0000")
}
