//! The trace as an Arrow IPC stream (`FORMAT.md`): what the native recorder writes, and pandas, polars and `DuckDB` open as it is.
//!
//! Reading goes by columns and checks every length itself: a trace may come from anywhere, and a recorder that is killed leaves
//! it cut off.

mod batch;
mod dictionary;
mod message;
mod reader;
mod rows;
mod schema;
mod writer;

pub use reader::{ArrowReader, ArrowTraceError};
#[cfg(feature = "tables")]
pub(crate) use rows::{BATCH, Row, Rows};
pub(crate) use schema::{FILE_MAGIC, STREAM_MAGIC};
#[cfg(feature = "tables")]
pub(crate) use schema::{columns, schema_of};
pub use writer::ArrowWriter;
