//! Writes the trace of a simulated program to stdout: for benchmarks, screenshots and trying things out.
//!
//! ```text
//! cargo run --release --package gil-report --example simulate -- service 120 > trace.gil
//! ```

#[path = "../tests/simulation/mod.rs"]
mod simulation;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use simulation::{Behaviour, MS, Markers, SECOND, io_threads, simulate, with_cpu_thread};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let scenario = arguments.next().unwrap_or_default();
    let seconds = arguments.next().and_then(|text| text.parse::<u64>().ok());
    let threads = match scenario.as_str() {
        "io" => io_threads(),
        "cpu" => with_cpu_thread(),
        "service" => service(),
        "busy" => contending(594_000),
        "dense" => contending(400_000),
        _ => return usage(),
    };
    let Some(seconds) = seconds else {
        return usage();
    };
    let mut output = BufWriter::new(io::stdout().lock());
    let written = simulate(&threads, seconds * SECOND, Markers::DropOnly, &mut output)
        .and_then(|_| output.flush());
    if written.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn usage() -> ExitCode {
    let _ = writeln!(
        io::stderr(),
        "usage: simulate io|cpu|service|busy|dense SECONDS"
    );
    ExitCode::from(2)
}

/// The talk's task scheduler: 31 threads, one of which collects metrics and does not let go.
fn service() -> Vec<Behaviour> {
    let mut threads: Vec<_> = (1..=29_u64)
        .map(|n| {
            Behaviour::new(
                &format!("worker-{n:02}"),
                30 * MS + n * MS / 3,
                300_000 + n * 9_000,
            )
        })
        .collect();
    threads.push(Behaviour::new("scheduler", 3 * MS, 900_000));
    threads.push(Behaviour::new("metrics", 9_488 * MS, 512 * MS).stubborn());
    threads
}

/// 31 threads that want the GIL again after some time: 594 µs, and 3 of them stand in line, as in the talk; 400 µs, and 12 do.
fn contending(sleep_ns: u64) -> Vec<Behaviour> {
    (1..=31_u64)
        .map(|n| {
            Behaviour::new(
                &format!("worker-{n:02}"),
                sleep_ns + n * 1_000,
                18_000 + n * 100,
            )
        })
        .collect()
}
