//! How a layer's archive is compressed, and the media type that says so.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::str::FromStr;

use oci_spec::image::MediaType;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// What every registry and engine reads.
    #[default]
    Gzip,
    /// Smaller and faster to read; Docker reads it from version 23.
    Zstd,
}

/// A word that names no compression.
#[derive(Debug, Clone, thiserror::Error)]
#[error("there is no compression `{0}`: say gzip, zstd or none")]
pub struct UnknownCompression(String);

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

impl Compression {
    /// The OCI media type of a layer that is compressed so.
    #[must_use]
    pub fn media_type(self) -> MediaType {
        match self {
            Self::None => MediaType::ImageLayer,
            Self::Gzip => MediaType::ImageLayerGzip,
            Self::Zstd => MediaType::ImageLayerZstd,
        }
    }

    /// How an archive is compressed, by its first bytes.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn of(archive: impl Read) -> io::Result<Self> {
        Ok(Self::by_magic(&first_bytes(archive)?))
    }

    fn by_magic(start: &[u8]) -> Self {
        if start.starts_with(&GZIP_MAGIC) {
            Self::Gzip
        } else if start.starts_with(&ZSTD_MAGIC) {
            Self::Zstd
        } else {
            Self::None
        }
    }

    /// A writer that compresses into `sink`. The same bytes in give the same bytes out.
    ///
    /// # Errors
    /// When the compressor cannot be set up.
    pub fn writer<W: Write>(self, sink: W) -> io::Result<CompressingWriter<W>> {
        Ok(match self {
            Self::None => CompressingWriter::None(sink),
            // The header that flate2 writes holds neither a time nor a name.
            Self::Gzip => CompressingWriter::Gzip(flate2::write::GzEncoder::new(
                sink,
                flate2::Compression::default(),
            )),
            Self::Zstd => CompressingWriter::Zstd(zstd::Encoder::new(sink, 9)?),
        })
    }
}

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(word: &str) -> Result<Self, UnknownCompression> {
        match word {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(UnknownCompression(word.to_owned())),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// What [`Compression::writer`] gives.
pub enum CompressingWriter<W: Write> {
    /// Passes everything on.
    None(W),
    /// Compresses as gzip.
    Gzip(flate2::write::GzEncoder<W>),
    /// Compresses as zstd.
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> CompressingWriter<W> {
    /// Writes what is left and gives the sink back.
    ///
    /// # Errors
    /// When the sink takes no more.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::None(sink) => Ok(sink),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for CompressingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(sink) => sink.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(sink) => sink.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// A reader of what is inside, whichever compression it has: its first bytes say so, media types are often wrong.
///
/// # Errors
/// When the first bytes cannot be read.
pub(crate) fn decompress<'source>(
    source: impl Read + 'source,
) -> io::Result<Box<dyn Read + 'source>> {
    let mut source = BufReader::with_capacity(128 * 1024, source);
    let start = first_bytes(&mut source)?;
    let compression = Compression::by_magic(&start);
    let whole = BufReader::new(io::Cursor::new(start).chain(source));
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        // Registries' zstd layers keep their window at 8 MiB; 128 MiB is the most that zstd itself takes by default.
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(whole)?),
        Compression::None => Box::new(whole),
    })
}

fn first_bytes(source: impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(ZSTD_MAGIC.len());
    source
        .take(ZSTD_MAGIC.len() as u64)
        .read_to_end(&mut start)?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_compression_is_recognised_when_read() -> io::Result<()> {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut writer = compression.writer(Vec::new())?;
            writer.write_all(b"some bytes of a layer")?;
            let packed = writer.finish()?;
            let mut text = String::new();
            decompress(&packed[..])?.read_to_string(&mut text)?;
            assert_eq!(text, "some bytes of a layer", "{compression}");
        }
        Ok(())
    }

    #[test]
    fn nothing_is_read_as_nothing() -> io::Result<()> {
        let mut text = String::new();
        decompress(&b""[..])?.read_to_string(&mut text)?;
        assert!(text.is_empty());
        Ok(())
    }
}
