//! Any bytes as an Arrow stream: read or refused.

#![no_main]

mod check;

use std::sync::LazyLock;

use gil_report::{ArrowWriter, DropInfo, Event, Header, Kind};
use libfuzzer_sys::fuzz_target;

/// A stream's schema, dictionary and one event, without its end.
static BEGINNING: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut writer = ArrowWriter::new(&Header::default(), Vec::new()).unwrap();
    let kind = Kind::Drop(DropInfo { gil: 1, forced: true, hold_ns: 2, wait_ns: 3 });
    writer.event(&Event { time_ns: 9, tid: 4, kind }).unwrap();
    writer.flush().unwrap();
    writer.output().clone()
});

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        // Half of the inputs follow a beginning that is sound.
        Some((first, rest)) if first % 2 == 0 => {
            let mut trace = BEGINNING.clone();
            trace.extend_from_slice(rest);
            check::read_and_render(&trace);
        }
        _ => check::read_and_render(bytes),
    }
});
