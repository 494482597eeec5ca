//! Debian: the machine's mirrors, a small root of a suite, packages put into a root.

mod bootstrap;
mod mirrors;
mod packages;

pub use bootstrap::{BootstrapError, SUITES, bootstrap, time_of};
pub use mirrors::{MirrorError, Mirrors};
pub use packages::{PackageError, clean, install, is_leftover, needed_by};
