//! From a source tree to a verified prefix.

pub mod compile;
pub mod firing;
pub mod install;
pub mod log;
pub mod options;
pub mod patching;
pub mod pipeline;
pub mod prefix;
pub mod refresh;
pub mod verification;
pub mod workshop;
