//! From a source tree to a verified prefix.

pub mod verification;
