//! The GIL marker contract: the C header (`include/gil_markers.h`), the catalogue of its markers, and reading markers out
//! of ELF files.
//!
//! ```
//! use gil_probes::{catalogue, elf};
//!
//! // Which markers the contract promises …
//! assert_eq!(catalogue::MARKERS[2].name, "gil__drop");
//! // … and which ones a file has: this test program has none.
//! let program = std::env::current_exe()?;
//! let image = elf::read(&program)?;
//! assert!(image.notes.iter().all(|note| note.provider != catalogue::PROVIDER));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod catalogue;
pub mod check;
pub mod elf;
pub mod operand;
mod red_zone;
