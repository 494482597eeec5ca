//! What can be chosen about a build.

use std::fmt;
use std::num::NonZeroUsize;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::patching::Patch;

/// The compiler's effort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimize {
    /// Plain -O2: quick to build, for trying things out.
    #[default]
    None,
    /// Profile-guided, with CPython's own training.
    Pgo,
    /// Profile-guided and link-time: what official images ship.
    #[value(name = "pgo+lto")]
    #[serde(rename = "pgo+lto")]
    PgoLto,
}

/// The markers and their nop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Markers {
    /// One-byte nops: safe everywhere.
    #[default]
    Nop,
    /// Five-byte nops: half the cost of a hit on kernels from 6.18 on (x86-64 only).
    Nop5,
    /// No markers: the unpatched interpreter, for comparison.
    None,
}

/// Everything that is chosen about a build, apart from its source.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// The compiler's effort.
    pub optimize: Optimize,
    /// The markers and their nop.
    pub markers: Markers,
    /// The build without a GIL (3.13 and later), which still has one that modules can switch on.
    pub free_threaded: bool,
    /// The user's own patches, applied after ours in this order.
    pub patches: Vec<Patch>,
    /// The arguments of `configure`, apart from the prefix, where they are to be those of another build instead of ours.
    pub configure: Option<Vec<String>>,
    /// The user's own arguments of `configure`, beside those.
    pub additional: Vec<String>,
    /// How many compilers run at once; without it, one a processor.
    pub jobs: Option<NonZeroUsize>,
}

impl BuildOptions {
    /// How many compilers run at once.
    #[must_use]
    pub fn jobs(&self) -> usize {
        self.jobs
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, NonZeroUsize::get)
    }
}

impl fmt::Display for Optimize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::Pgo => "pgo",
            Self::PgoLto => "pgo+lto",
        })
    }
}

impl fmt::Display for Markers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Nop => "nop",
            Self::Nop5 => "nop5",
            Self::None => "none",
        })
    }
}
