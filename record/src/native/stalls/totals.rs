//! What the program added up, as a text for a person.

use std::fmt::Write as _;

use gil_report::format::{count, duration, percent, plain};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};

use super::StallProgram;

/// More lines than this are not shown.
const MOST_ROWS: usize = 20;

/// What a total is of, in the order of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stopped,
    Stopping,
    Waited,
    WaitedThreading,
}

/// What one thread did.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    pid: u32,
    tid: u32,
    kind: Kind,
    address: u64,
    name: String,
    count: u64,
    sum_ns: u64,
    max_ns: u64,
}

impl Row {
    /// Reads `struct stall_key` and `struct stall`.
    fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let (key, _) = key.as_chunks();
        let thread = u64::from_ne_bytes(*key.first()?);
        let kind = match u64::from_ne_bytes(*key.get(2)?) {
            0 => Kind::Stopped,
            1 => Kind::Stopping,
            2 => Kind::Waited,
            3 => Kind::WaitedThreading,
            _ => return None,
        };
        let (name, words) = value.split_at_checked(16)?;
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        let (words, _) = words.as_chunks();
        let word = |at: usize| words.get(at).copied().map(u64::from_ne_bytes);
        Some(Self {
            pid: u32::try_from(thread >> 32).ok()?,
            tid: u32::try_from(thread & 0xffff_ffff).ok()?,
            kind,
            address: u64::from_ne_bytes(*key.get(3)?),
            name: plain(&String::from_utf8_lossy(name)),
            count: word(0)?,
            sum_ns: word(1)?,
            max_ns: word(2)?,
        })
    }
}

/// How many events and durations there was no room for.
pub(super) fn lost(map: &MapHandle) -> u64 {
    match map.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY) {
        Ok(Some(bytes)) => bytes.try_into().map_or(0, u64::from_ne_bytes),
        _ => 0,
    }
}

/// What the threads of free-threaded processes waited for; empty where there are none.
pub(in crate::native) fn summary(programs: &[&StallProgram], duration_ns: u64) -> String {
    let mut rows: Vec<Row> = Vec::new();
    for program in programs {
        let keys = program.stalls.keys();
        rows.extend(keys.filter_map(|key| {
            let value = program.stalls.lookup(&key, MapFlags::ANY).ok()??;
            Row::read(&key, &value)
        }));
    }
    let mut text = if programs.is_empty() {
        String::new()
    } else {
        render(rows, duration_ns)
    };
    let lost: u64 = programs.iter().map(|program| program.lost()).sum();
    if lost > 0 {
        let _ = writeln!(
            text,
            "LOST: {lost} stopped worlds or waits for mutexes: there was no room."
        );
    }
    text
}

fn render(mut rows: Vec<Row>, duration_ns: u64) -> String {
    rows.sort_by(|one, other| other.sum_ns.cmp(&one.sum_ns).then(one.tid.cmp(&other.tid)));
    let mut text = String::new();
    for (kind, title) in [
        (Kind::Stopped, "Stopped the world"),
        (Kind::Stopping, "Waited for the world to stop"),
        (Kind::Waited, "Waited for mutexes"),
        (Kind::WaitedThreading, "Waited for locks of threading"),
    ] {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.kind == kind).collect();
        let sum_ns: u64 = rows.iter().map(|row| row.sum_ns).sum();
        let number: u64 = rows.iter().map(|row| row.count).sum();
        let _ = writeln!(
            text,
            "{title}: {} times, {} of the time",
            count(number),
            percent(ratio(sum_ns, duration_ns))
        );
        for row in rows.iter().take(MOST_ROWS) {
            let mutex = if row.address == 0 {
                String::new()
            } else {
                format!("  mutex {:x}", row.address)
            };
            let _ = writeln!(
                text,
                "  {:<16} process {} tid {:<8} {:>9} times {:>9} in all {:>9} at most{mutex}",
                row.name,
                row.pid,
                row.tid,
                count(row.count),
                duration(row.sum_ns),
                duration(row.max_ns)
            );
        }
        if rows.len() > MOST_ROWS {
            let _ = writeln!(text, "  and {} further", rows.len() - MOST_ROWS);
        }
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_and_written_out() {
        let mut key = Vec::new();
        for word in [7_u64 << 32 | 9, 1, 2, 0xabc] {
            key.extend(word.to_ne_bytes());
        }
        let mut value = b"worker\0junk12345".to_vec();
        for word in [3_u64, 3_000_000, 2_000_000] {
            value.extend(word.to_ne_bytes());
        }
        let row = Row::read(&key, &value).unwrap();
        assert_eq!((row.pid, row.tid, row.kind), (7, 9, Kind::Waited));
        let text = render(vec![row], 30_000_000);
        assert!(
            text.contains("Waited for mutexes: 3 times, 10.0 % of the time"),
            "{text}"
        );
        assert!(text.contains("worker           process 7 tid 9"), "{text}");
        assert!(text.contains("mutex abc"), "{text}");
        assert!(
            text.contains("Stopped the world: 0 times, 0 % of the time"),
            "{text}"
        );
        assert_eq!(Row::read(&key[..20], &value), None);
    }
}
