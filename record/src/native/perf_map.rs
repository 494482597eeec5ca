//! What a process says of code that it makes while it runs: `/tmp/perf-PID.map`, as `python -X perf` writes it.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::maps;

/// No more of it is read.
const MOST_BYTES: u64 = 64 << 20;

/// The file, which grows as long as the process runs.
pub(super) struct PerfMap(File);

impl PerfMap {
    /// That of process `pid`, which calls itself `inner_pid`. `None` when it writes none.
    pub(super) fn of(pid: u32, inner_pid: u32) -> Option<Self> {
        let path = format!("/tmp/perf-{inner_pid}.map");
        // Anybody may have put anything there: a pipe that nobody writes to, a link to a file of this machine.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let path = maps::under_root(pid, Path::new(&path));
        let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
        file.metadata().ok()?.is_file().then_some(Self(file))
    }

    /// The names of what is at these addresses.
    pub(super) fn names(&self, addresses: &[u64]) -> Vec<Option<String>> {
        let mut text = Vec::new();
        let mut file = &self.0;
        // What cannot be read has no names.
        let _ = file.rewind();
        let _ = file.take(MOST_BYTES).read_to_end(&mut text);
        names(&text, addresses)
    }
}

/// Each line is `START SIZE NAME`, both numbers in hexadecimal. Of two that cover an address the later one counts.
fn names(text: &[u8], addresses: &[u64]) -> Vec<Option<String>> {
    let mut found = vec![None; addresses.len()];
    for line in text.split(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let mut fields = line.splitn(3, ' ');
        let mut number = || u64::from_str_radix(fields.next()?.trim_start_matches("0x"), 16).ok();
        let (Some(start), Some(size)) = (number(), number()) else {
            continue;
        };
        let Some(name) = fields.next() else { continue };
        for (address, found) in addresses.iter().zip(&mut found) {
            if (start..start.saturating_add(size)).contains(address) {
                *found = Some(name.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_any_address_in_it() {
        let text = b"7f00 10 py::first:/app/a b.py\nnonsense\n7f10 8 py::second:/app/x.py\n7f10 8 py::later:/app/x.py\nffffffffffffffff 5 top\n";
        let names = names(text, &[0x7eff, 0x7f00, 0x7f0f, 0x7f17, 0x7f18]);
        let names: Vec<_> = names.iter().map(Option::as_deref).collect();
        let first = Some("py::first:/app/a b.py");
        assert_eq!(
            names,
            [None, first, first, Some("py::later:/app/x.py"), None]
        );
    }
}
