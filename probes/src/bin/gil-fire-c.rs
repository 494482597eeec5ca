//! Fires the markers of the C header on several threads in a scripted sequence, and prints the truth about it.
//!
//! The first line on stdout is `{"pid": …, "semaphore": …}`, the address of the markers' semaphore. Then it waits: for a line
//! on stdin, or with `--attached` for a tracer. At the end comes one line of JSON with what each thread did, by its own clock.
//!
//! A binary of its own: in one with other markers of these names a tracer would mix up their semaphores.
//!
//!     gil-fire-c [--rounds N] [--attached]

use std::ffi::{c_int, c_uint};
use std::process::ExitCode;

unsafe extern "C" {
    fn gil_fire_play(rounds: c_uint, wait_for_tracer: c_int) -> c_int;
}

fn main() -> ExitCode {
    let mut rounds = 2;
    let mut attached = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--attached" => attached = true,
            "--rounds" => match arguments.next().and_then(|number| number.parse().ok()) {
                Some(number) => rounds = number,
                None => return ExitCode::from(2),
            },
            _ => return ExitCode::from(2),
        }
    }
    // SAFETY: takes two numbers, and uses only memory of its own.
    match unsafe { gil_fire_play(rounds, attached.into()) } {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
