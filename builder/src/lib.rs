//! Builds CPython with GIL markers and drives everything around it: the library behind the `gilbuild` command.
//!
//! The flow is that of a pipeline, one function a step: a version becomes a source tree, a patched tree, an installed
//! prefix, and a verified prefix (`build`); a process becomes a trace, and a trace an answer (`commands`).

pub mod build;
pub mod cli;
pub mod commands;
pub mod environment;
pub mod error;
pub mod folders;
pub mod host;
pub mod image;
pub mod matrix;
mod otlp;
mod output;
pub mod package;
pub mod selftest;
pub mod sources;
mod sources_progress;
pub mod terminal;
pub mod top;
mod trace_file;
