//! The GIL marker contract: the C header (`include/gil_markers.h`), the catalogue of its markers, and reading markers out
//! of ELF files (all with the feature `read`, which is on by default); with the feature `span`, spans for extension modules.
//!
//! ```
//! # #[cfg(feature = "read")] {
//! use gil_probes::{catalogue, elf};
//!
//! // Which markers the contract promises …
//! assert_eq!(catalogue::MARKERS[2].name, "gil__drop");
//! // … and which ones a file has: this test program has none.
//! let program = std::env::current_exe()?;
//! let image = elf::read(&program)?;
//! assert!(image.notes.iter().all(|note| note.provider != catalogue::PROVIDER));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "read")]
pub mod catalogue;
#[cfg(feature = "read")]
pub mod check;
#[cfg(feature = "read")]
pub mod elf;
#[cfg(feature = "read")]
pub mod operand;
#[cfg(feature = "read")]
mod red_zone;

#[cfg(feature = "span")]
pub use gil_span as span;
