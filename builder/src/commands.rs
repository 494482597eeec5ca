//! The commands of `gilbuild`, one file each: their arguments and what they do with the library.

pub mod build;
pub mod diff;
pub mod doctor;
pub mod image;
pub mod list;
pub mod matrix;
pub mod merge;
pub mod package;
pub mod patch;
mod processes;
pub mod quickstart;
pub mod record;
pub mod report;
pub mod script;
pub mod selftest;
pub mod sources;
pub mod top;
pub mod verify;
