//! Opening a packed archive: what it is packed with is told by its first bytes, not by its name.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use fs_err::File;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

const XZ_MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// `xz -9` needs 65 MiB to unpack; a file that demands much more is not an archive of CPython.
const XZ_MEMORY: u64 = 256 * 1024 * 1024;

/// An archive that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file cannot be opened.
    #[error(transparent)]
    Open(#[from] io::Error),
    /// Neither xz nor gzip.
    #[error("`{}` is neither a .tar.xz nor a .tar.gz archive; get it again, or name another file", path.display())]
    UnknownPacking {
        /// The file.
        path: PathBuf,
    },
    /// Broken in the middle, or cut off.
    #[error("`{}` is corrupt ({cause}); delete it and get it again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What the unpacker said.
        cause: io::Error,
    },
}

/// Reads what is inside a packed archive.
pub(crate) fn decode(path: &Path) -> Result<Box<dyn Read>, ArchiveError> {
    decode_reader(File::open(path)?, path)
}

/// The same for a file that is open, such as one whose reading is counted.
pub(crate) fn decode_reader(
    reader: impl Read + 'static,
    path: &Path,
) -> Result<Box<dyn Read>, ArchiveError> {
    let mut reader = BufReader::with_capacity(128 * 1024, reader);
    let start = peek(&mut reader)?;
    if start.starts_with(&XZ_MAGIC) {
        let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED).map_err(|cause| {
            ArchiveError::Corrupt {
                path: path.to_owned(),
                cause: cause.into(),
            }
        })?;
        Ok(Box::new(XzDecoder::new_stream(reader, stream)))
    } else if start.starts_with(&GZIP_MAGIC) {
        Ok(Box::new(MultiGzDecoder::new(reader)))
    } else {
        Err(ArchiveError::UnknownPacking {
            path: path.to_owned(),
        })
    }
}

fn peek<R: Read>(reader: &mut BufReader<R>) -> io::Result<Vec<u8>> {
    use std::io::BufRead;
    let start = reader.fill_buf()?;
    Ok(start[..start.len().min(XZ_MAGIC.len())].to_vec())
}
