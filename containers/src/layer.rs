//! Layers: from changes in a folder to a tar archive, and back.

mod compression;
mod path;
mod read;
mod snapshot;
mod unpack;
mod write;

pub(crate) use compression::decompress;
pub use compression::{CompressingWriter, Compression, UnknownCompression};
pub use path::{LayerPath, PathError};
pub use read::{Entry, Kind, LayerReader, Limits, ReadError};
pub use snapshot::{Changes, Snapshot};
pub use unpack::{UnpackError, unpack};
pub use write::{Layer, WriteError, write};
