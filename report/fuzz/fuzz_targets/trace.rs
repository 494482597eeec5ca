//! Any bytes as a text trace: read or refused; and written as Arrow, it says the same.

#![no_main]

mod check;

use gil_report::write_as_arrow;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Half of the inputs get a header, so that the fuzzer need not find it.
    let (first, rest) = match bytes.split_first() {
        Some((first, rest)) if first % 2 == 0 => (&b"# gil-trace 1 clock=monotonic pid=1 start_ns=5\n"[..], rest),
        _ => (&b""[..], bytes),
    };
    let trace = [first, rest].concat();
    check::read_and_render(&trace);
    if let Ok(arrow) = write_as_arrow(trace.as_slice(), Vec::new()) {
        check::read_and_render(&arrow);
    }
});
