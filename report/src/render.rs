//! The forms in which a report is written.

mod diff;
#[cfg(feature = "tables")]
mod events;
mod firefox;
mod folded;
mod html;
mod json;
mod perfetto;
mod pprof;
mod speedscope;
#[cfg(feature = "tables")]
mod table;
mod text;

pub use diff::{diff_json, diff_text};
#[cfg(feature = "tables")]
pub use events::events;
pub use firefox::firefox;
pub use folded::folded;
pub use html::html;
pub use json::json;
pub use perfetto::PerfettoSink;
pub use pprof::pprof;
pub use speedscope::speedscope;
#[cfg(feature = "tables")]
pub use table::{TableError, TableFormat, TableSink};
pub use text::{Sort, TextOptions, ThreadChoice, text};
