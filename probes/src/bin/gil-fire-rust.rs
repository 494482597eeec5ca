//! Fires the markers from Rust, through the `probe` crate, with arguments that are known beforehand.
//!
//! The first line on stdout is `{"pid": …}`. Then it waits for a line on stdin. At the end comes one line of JSON with what each
//! thread fired. What a tracer must report is exactly that: nothing is measured here.

use std::io::{self, Write as _};
use std::thread;

use rustix::thread::{gettid, set_name};

/// An address, as good as any other.
const GIL: u64 = 0x7f00_dead_be08;
/// How often each thread goes through its script.
const ROUNDS: u64 = 1000;

/// What a thread fires in one round, the same again and again.
struct Part {
    /// What the operating system calls the thread.
    name: &'static std::ffi::CStr,
    /// What Python would: more than the operating system keeps.
    full_name: &'static std::ffi::CStr,
    hold_ns: u64,
    /// 0: the GIL was free.
    wait_ns: u64,
    forced: bool,
    requests: u64,
}

const PARTS: [Part; 3] = [
    Part {
        name: c"rust-1",
        full_name: c"rust-1, which finds the GIL free",
        hold_ns: 1_234,
        wait_ns: 0,
        forced: false,
        requests: 0,
    },
    Part {
        name: c"rust-2",
        full_name: c"rust-2, which is asked to drop it",
        hold_ns: 5_000_001,
        wait_ns: 70_007,
        forced: true,
        requests: 0,
    },
    // Both durations are longer than 32 bits hold.
    Part {
        name: c"rust-3",
        full_name: c"rust-3, which waits and holds for seconds",
        hold_ns: 5_000_000_000,
        wait_ns: 6_000_000_000,
        forced: false,
        requests: 2,
    },
];

fn main() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{{\"pid\": {}}}", std::process::id())?;
    stdout.flush()?;
    io::stdin().read_line(&mut String::new())?;

    let mut threads = Vec::new();
    for (number, part) in PARTS.iter().enumerate() {
        let ident = 0x7fff_0000_0000 + number as u64;
        let thread = thread::spawn(move || play(part, ident));
        let tid = thread
            .join()
            .map_err(|_| io::Error::other("a thread panicked"))??;
        threads.push(format!(
            "{{\"name\": \"{}\", \"full_name\": \"{}\", \"tid\": {tid}, \"ident\": {ident}, \"gil\": \"{GIL:x}\", \"claims\": {ROUNDS}, \
             \"acquired\": {ROUNDS}, \"drops\": {ROUNDS}, \"forced\": {}, \"requests\": {}, \"waits\": {}, \"hold_ns\": {}, \
             \"wait_ns\": {}}}",
            part.name.to_string_lossy(),
            part.full_name.to_string_lossy(),
            u64::from(part.forced) * ROUNDS,
            part.requests * ROUNDS,
            u64::from(part.wait_ns != 0) * ROUNDS,
            part.hold_ns * ROUNDS,
            part.wait_ns * ROUNDS,
        ));
    }
    writeln!(stdout, "{{\"threads\": [{}]}}", threads.join(", "))?;
    stdout.flush()
}

fn play(part: &Part, ident: u64) -> io::Result<u64> {
    set_name(part.name)?;
    let tid = u64::try_from(gettid().as_raw_nonzero().get()).map_err(io::Error::other)?;
    let holder = 0x7fff_0000_0000_u64;
    probe::probe!(python, thread__name, ident, tid, part.full_name.as_ptr());
    for _ in 0..ROUNDS {
        probe::probe!(python, gil__claim, ident, tid, GIL);
        for _ in 0..part.requests {
            probe::probe!(python, gil__drop__request, ident, tid, GIL, holder);
        }
        probe::probe!(python, gil__acquired, ident, tid, GIL, part.wait_ns);
        probe::probe!(
            python,
            gil__drop,
            ident,
            tid,
            GIL,
            u64::from(part.forced),
            part.hold_ns,
            part.wait_ns
        );
    }
    Ok(tid)
}
