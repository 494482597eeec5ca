//! What a script prints, line by line: into the trace file, or collected as a summary.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock;
use crate::events::EventFile;
use crate::stop::StopReason;
use crate::trace::Header;
use crate::tracer::{Counts, Finished};
use crate::window::Window;

/// Longer than any summary of a process is.
const LONGEST_SUMMARY: usize = 16 * 1024 * 1024;

/// Takes the lines that a script prints.
pub(super) trait Lines: Send {
    /// One line with its newline. True for the one by which the script says that it has begun: it is handed on only when
    /// everything is attached.
    fn line(&mut self, line: &[u8]) -> io::Result<bool>;

    /// Nothing more is waiting: write what was collected.
    fn idle(&mut self) -> io::Result<()>;

    /// The last line has come.
    fn end(self: Box<Self>, reason: StopReason) -> io::Result<Finished>;
}

/// Events, into the trace file.
pub(super) struct EventLines {
    file: EventFile,
    header: Header,
    counts: Arc<Counts>,
    window: Arc<Window>,
    /// The latest time stamp so far.
    latest_ns: u64,
    /// What the script's time stamps are ahead of `CLOCK_MONOTONIC`; not known before the header.
    ahead_ns: Option<u64>,
}

impl EventLines {
    pub(super) fn new(
        file: EventFile,
        header: Header,
        counts: Arc<Counts>,
        window: Arc<Window>,
    ) -> Self {
        Self {
            file,
            header,
            counts,
            window,
            latest_ns: 0,
            ahead_ns: None,
        }
    }

    fn begin(&mut self, line: &[u8]) -> io::Result<()> {
        let begin_ns = start_ns(line).unwrap_or_else(clock::monotonic_ns);
        let ahead_ns = ahead_of_monotonic(begin_ns, clock::monotonic_ns(), clock::boot_ns());
        self.ahead_ns = Some(ahead_ns);
        // Not the time that the script says: it begins before its other probes are attached.
        let start_ns = clock::monotonic_ns();
        self.window.begin(start_ns);
        self.latest_ns = start_ns;
        let header = self
            .header
            .line(&clock::wall_clock(Duration::ZERO), start_ns);
        self.file.begin(&header)
    }

    fn event(&mut self, time_ns: u64, rest: &[u8]) -> io::Result<()> {
        self.latest_ns = self.latest_ns.max(time_ns);
        self.file
            .line(&[time_ns.to_string().as_bytes(), b" ", rest].concat())
    }
}

impl Lines for EventLines {
    fn line(&mut self, line: &[u8]) -> io::Result<bool> {
        let Some(ahead_ns) = self.ahead_ns else {
            let is_header = line.starts_with(b"# gil-trace ");
            if is_header {
                self.begin(line)?;
            }
            return Ok(is_header);
        };
        // A line cut off, by bpftrace's end or a name with a newline in it, is no event.
        let Some(text) = line.strip_suffix(b"\n") else {
            return Ok(false);
        };
        if let Some(lost) = lost(text) {
            self.counts.lost.fetch_add(lost, Ordering::Relaxed);
            let cause = format!("lost {lost} bpftrace's buffer was full\n");
            self.event(self.latest_ns, cause.as_bytes())?;
            return Ok(false);
        }
        let mut fields = line.splitn(2, |&byte| byte == b' ');
        let (Some(time), Some(rest)) = (fields.next(), fields.next()) else {
            return Ok(false);
        };
        let Some(time_ns) = number(time) else {
            return Ok(false);
        };
        let time_ns = time_ns.saturating_sub(ahead_ns);
        let is_covered = self.window.covers(time_ns);
        match rest.split(|&byte| byte == b' ').next().unwrap_or_default() {
            b"claim" | b"acquired" | b"drop" | b"request" | b"stw_begin" | b"stw_stopped"
            | b"stw_end" | b"mutex"
                if is_covered =>
            {
                self.counts.events.fetch_add(1, Ordering::Relaxed);
                self.event(time_ns, rest)?;
            }
            // Who a thread is also holds for its events after the beginning.
            b"thread" => self.event(time_ns.max(self.window.start_ns()), rest)?,
            // SystemTap's script counts its losses itself.
            b"lost" => {
                let lost = rest.split(|&byte| byte == b' ').nth(1).and_then(number);
                self.counts
                    .lost
                    .fetch_add(lost.unwrap_or_default(), Ordering::Relaxed);
                self.event(time_ns.max(self.window.start_ns()), rest)?;
            }
            // Not the script's `end` either: it comes when everything is detached, and does not know the reason.
            _ => {}
        }
        Ok(false)
    }

    fn idle(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn end(self: Box<Self>, reason: StopReason) -> io::Result<Finished> {
        let end_ns = self.window.end_ns().unwrap_or(self.latest_ns);
        self.file.end(end_ns, reason).map(Finished::Trace)
    }
}

/// `nsecs` counts `CLOCK_BOOTTIME` in some versions of bpftrace and `CLOCK_MONOTONIC` in others; they differ once the
/// machine has been suspended. The time stamp of the header tells which it is: it is a moment old.
fn ahead_of_monotonic(stamp_ns: u64, monotonic_ns: u64, boot_ns: u64) -> u64 {
    if stamp_ns.abs_diff(boot_ns) < stamp_ns.abs_diff(monotonic_ns) {
        // Read one after the other, the two clocks seem a little apart even where they are the same.
        let ahead = boot_ns.saturating_sub(monotonic_ns);
        if ahead > 1_000_000 { ahead } else { 0 }
    } else {
        0
    }
}

fn start_ns(header: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(header).ok()?;
    text.split_ascii_whitespace()
        .find_map(|pair| pair.strip_prefix("start_ns="))?
        .parse()
        .ok()
}

/// bpftrace's `Lost 12 events`.
fn lost(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.strip_prefix("Lost ")?
        .strip_suffix(" events")?
        .parse()
        .ok()
}

fn number(text: &[u8]) -> Option<u64> {
    // `parse` would take a sign.
    if !text.first()?.is_ascii_digit() {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A summary, for a person.
#[derive(Debug, Default)]
pub(super) struct SummaryLines {
    text: Vec<u8>,
    begun: bool,
}

impl Lines for SummaryLines {
    fn line(&mut self, line: &[u8]) -> io::Result<bool> {
        if !self.begun {
            self.begun = line.starts_with(b"Watching the GIL");
            return Ok(self.begun);
        }
        if self.text.len() + line.len() <= LONGEST_SUMMARY {
            self.text.extend_from_slice(line);
        }
        Ok(false)
    }

    fn idle(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn end(self: Box<Self>, _reason: StopReason) -> io::Result<Finished> {
        let text = String::from_utf8_lossy(&self.text);
        // bpftrace prints an empty line for each map that the script has cleared.
        Ok(Finished::Summary(format!("{}\n", text.trim())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Form;

    /// What becomes of lines that a script prints. `EARLIER`, `NOW` and `LATER` stand for times before, in and after the time that
    /// the trace covers.
    fn trace_of(lines: &[&str]) -> (String, u64, u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.trace");
        let counts = Arc::new(Counts::default());
        let window = Arc::new(Window::closed());
        let header = Header {
            pid: 7,
            python: Some("3.13.5".to_owned()),
            command: None,
            target: None,
            over: None,
        };
        let mut sink = EventLines::new(
            EventFile::create(&path, false, Form::Text).unwrap(),
            header,
            Arc::clone(&counts),
            Arc::clone(&window),
        );
        for line in lines {
            let now = window.start_ns();
            let line = line
                .replace("EARLIER", &now.wrapping_sub(9).to_string())
                .replace("NOW", &now.wrapping_add(10).to_string())
                .replace("LATER", &now.wrapping_add(99).to_string());
            sink.line(line.as_bytes()).unwrap();
            window.end(window.start_ns().saturating_add(50));
        }
        Box::new(sink).end(StopReason::Exit).unwrap();
        let (events, lost) = counts.read();
        let now = window.start_ns();
        let text = fs_err::read_to_string(path)
            .unwrap()
            .replace(&(now + 10).to_string(), "NOW")
            .replace(&(now + 50).to_string(), "END")
            .replace(&now.to_string(), "START");
        (text, events, lost)
    }

    #[test]
    fn events_pass_and_everything_else_stays_out() {
        let (text, events, lost) = trace_of(&[
            "Attaching 6 probes...\n",
            "# gil-trace 1 clock=monotonic pid=7 python=- start_ns=5\n",
            "EARLIER thread 9 7 9 1234 worker 1\n",
            "EARLIER claim 9 7fff\n",
            "NOW drop 9 7fff 0 50 0\n",
            "Lost 12 events\n",
            "NOW lost 5 transport buffers full or hits skipped\n",
            "\n",
            "a name with a newline\n",
            "LATER claim 9 7fff\n",
            "LATER end signal\n",
            "NOW drop 9 7ff",
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("# gil-trace 1 clock=monotonic pid=7 python=3.13.5 start="),
            "{text}"
        );
        assert_eq!(
            &lines[1..],
            [
                "START thread 9 7 9 1234 worker 1",
                "NOW drop 9 7fff 0 50 0",
                "NOW lost 12 bpftrace's buffer was full",
                "NOW lost 5 transport buffers full or hits skipped",
                "END end exit"
            ]
        );
        assert_eq!((events, lost), (1, 17));
    }

    #[test]
    fn time_stamps_of_the_other_clock_are_recognised() {
        let (monotonic, boot) = (1_000_000_000_000, 5_000_000_000_000);
        assert_eq!(
            ahead_of_monotonic(boot - 3_000_000, monotonic, boot),
            4_000_000_000_000
        );
        assert_eq!(
            ahead_of_monotonic(monotonic - 3_000_000, monotonic, boot),
            0
        );
        assert_eq!(ahead_of_monotonic(monotonic, monotonic, monotonic + 40), 0);
    }
}
