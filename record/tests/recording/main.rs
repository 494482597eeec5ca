//! Records real processes with bpftrace, and holds the traces against what the processes themselves say they did.
//!
//! Needs root and bpftrace. A test that cannot run says `NOT RUN: <test>: <reason>` on stderr and passes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adaptive;
mod arrow;
mod container;
mod crowds;
mod fire;
mod ground_truth;
mod lifecycle;
mod machine;
mod python;
mod refusals;
mod several;
mod stacks;
mod trace;
