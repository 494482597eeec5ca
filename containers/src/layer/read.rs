//! The entries of a layer's archive, one after the other, checked and of bounded size.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use tar::EntryType;

use super::compression::decompress;
use super::path::{LayerPath, PathError};
use crate::digest::{Digest, HashingReader};

/// What a layer may ask of the machine that reads it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the archive, uncompressed.
    pub bytes: u64,
    /// Files, folders and links.
    pub entries: u64,
}

impl Default for Limits {
    /// Generous for any real image: 64 GiB and four million entries.
    fn default() -> Self {
        Self {
            bytes: 64 << 30,
            entries: 4_000_000,
        }
    }
}

/// Extension headers (long names, PAX records) larger than this are nobody's honest work.
const LARGEST_EXTENSION: u64 = 1 << 20;

/// Why a layer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The archive is cut off or corrupt, or its file cannot be read.
    #[error("the layer's archive cannot be read: {0}")]
    Corrupt(#[source] io::Error),
    /// It is larger than the limits allow.
    #[error("the layer is larger than {limit} {unit}: refused")]
    TooLarge {
        /// The most that is taken.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// A path that could lead out of the image.
    #[error("the layer's entry `{path}` {error}: refused")]
    Path {
        /// As the archive has it.
        path: String,
        /// What is wrong with it.
        error: PathError,
    },
    /// A hard link whose target could be out of the image.
    #[error("the layer's hard link `{path}` points to `{target}`, which {error}: refused")]
    LinkTarget {
        /// The link.
        path: String,
        /// Where it points.
        target: String,
        /// What is wrong with that.
        error: PathError,
    },
    /// An entry of a type that images do not have.
    #[error("the layer's entry `{path}` is of the unknown type `{kind}`: refused")]
    UnknownType {
        /// The entry.
        path: String,
        /// The archive's letter for it.
        kind: String,
    },
    /// Something else in the archive is not as it should be.
    #[error("the layer's entry `{path}` {problem}: refused")]
    Malformed {
        /// The entry.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: LayerPath,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with set-user-id and the like.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of its last change, in seconds since 1970.
    pub mtime_s: u64,
    /// The extended attribute `security.capability`, where it has one.
    pub capability: Option<Vec<u8>>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file, of this many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// A symbolic link. Where it points is only text: it means something inside the image alone.
    SymbolicLink(PathBuf),
    /// Another name of a file that came earlier.
    HardLink(LayerPath),
    /// A named pipe.
    Fifo,
    /// A device node.
    Device {
        /// Character device, else block device.
        character: bool,
        /// Its driver.
        major: u32,
        /// Its number there.
        minor: u32,
    },
}

/// Reads a layer's archive.
pub struct LayerReader<'source> {
    source: Box<dyn Read + 'source>,
    limits: Limits,
}

impl<'source> LayerReader<'source> {
    /// A reader of an archive, compressed or not.
    ///
    /// # Errors
    /// When its first bytes cannot be read.
    pub fn new(source: impl Read + 'source, limits: Limits) -> Result<Self, ReadError> {
        Ok(Self {
            source: decompress(source).map_err(ReadError::Corrupt)?,
            limits,
        })
    }

    /// Shows every entry, with its content, to `visit`, and returns the digest of the uncompressed archive.
    ///
    /// # Errors
    /// When the archive is corrupt, too large or hostile, or `visit` fails.
    pub fn for_each<E: From<ReadError>>(
        self,
        mut visit: impl FnMut(Entry, &mut dyn Read) -> Result<(), E>,
    ) -> Result<Digest, E> {
        let limit = self.limits.bytes;
        let mut bounded = Bounded {
            source: HashingReader::new(self.source),
            left: limit,
            limit_hit: false,
        };
        let result = walk(&mut bounded, self.limits, &mut visit);
        if bounded.limit_hit {
            return Err(E::from(ReadError::TooLarge {
                limit,
                unit: "bytes",
            }));
        }
        result?;
        Ok(bounded.source.finish().0)
    }
}

fn walk<E: From<ReadError>>(
    source: &mut Bounded<impl Read>,
    limits: Limits,
    visit: &mut impl FnMut(Entry, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = tar::Archive::new(&mut *source);
    let mut extension = Extension::default();
    let mut count = 0;
    for entry in archive.entries().map_err(ReadError::Corrupt)?.raw(true) {
        let mut entry = entry.map_err(ReadError::Corrupt)?;
        count += 1;
        if count > limits.entries {
            return Err(E::from(ReadError::TooLarge {
                limit: limits.entries,
                unit: "entries",
            }));
        }
        if extension.take_in(&mut entry)? {
            continue;
        }
        let parsed = parse(&entry, std::mem::take(&mut extension))?;
        visit(parsed, &mut entry)?;
    }
    // What is behind the archive's end belongs to its digest.
    io::copy(source, &mut io::sink()).map_err(ReadError::Corrupt)?;
    Ok(())
}

/// What the extension headers before an entry say about it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    capability: Option<Vec<u8>>,
    size: Option<Vec<u8>>,
}

impl Extension {
    /// Whether `entry` is an extension header, which then is taken in.
    fn take_in<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<bool, ReadError> {
        let kind = entry.header().entry_type();
        let is_extension = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if !is_extension {
            return Ok(false);
        }
        if entry.size() > LARGEST_EXTENSION {
            return Err(ReadError::TooLarge {
                limit: LARGEST_EXTENSION,
                unit: "bytes in an extension header",
            });
        }
        let mut content = Vec::new();
        entry
            .read_to_end(&mut content)
            .map_err(ReadError::Corrupt)?;
        if kind.is_gnu_longname() {
            self.path = Some(without_end(content));
        } else if kind.is_gnu_longlink() {
            self.link = Some(without_end(content));
        } else if kind.is_pax_local_extensions() {
            for record in tar::PaxExtensions::new(&content) {
                let record = record.map_err(ReadError::Corrupt)?;
                let value = Some(record.value_bytes().to_vec());
                match record.key_bytes() {
                    b"path" => self.path = value,
                    b"linkpath" => self.link = value,
                    b"size" => self.size = value,
                    b"SCHILY.xattr.security.capability" => self.capability = value,
                    // Times with fractions, user names: an image does without.
                    _ => {}
                }
            }
        }
        Ok(true)
    }
}

/// GNU's long names end with a zero byte.
fn without_end(mut name: Vec<u8>) -> Vec<u8> {
    while name.last() == Some(&0) {
        name.pop();
    }
    name
}

fn parse<R: Read>(entry: &tar::Entry<'_, R>, extension: Extension) -> Result<Entry, ReadError> {
    let header = entry.header();
    let raw_path = extension
        .path
        .unwrap_or_else(|| header.path_bytes().into_owned());
    let shown = raw_path.escape_ascii().to_string();
    let malformed = |problem| ReadError::Malformed {
        path: shown.clone(),
        problem,
    };
    let path = LayerPath::parse(&raw_path).map_err(|error| ReadError::Path {
        path: shown.clone(),
        error,
    })?;
    if extension
        .size
        .is_some_and(|size| size != entry.size().to_string().as_bytes())
    {
        return Err(malformed("has two sizes"));
    }
    let link = extension
        .link
        .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
        .unwrap_or_default();
    let kind = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous => Kind::File(entry.size()),
        EntryType::Directory => Kind::Folder,
        EntryType::Symlink if link.is_empty() || link.contains(&0) => {
            return Err(malformed("is a link to nowhere"));
        }
        EntryType::Symlink => Kind::SymbolicLink(PathBuf::from(OsString::from_vec(link))),
        EntryType::Link => {
            let target = LayerPath::parse(&link).map_err(|error| ReadError::LinkTarget {
                path: shown.clone(),
                target: link.escape_ascii().to_string(),
                error,
            })?;
            Kind::HardLink(target)
        }
        EntryType::Fifo => Kind::Fifo,
        kind @ (EntryType::Char | EntryType::Block) => {
            let number = |number: io::Result<Option<u32>>| {
                number
                    .ok()
                    .flatten()
                    .ok_or_else(|| malformed("is a device without a number"))
            };
            Kind::Device {
                character: kind == EntryType::Char,
                major: number(header.device_major())?,
                minor: number(header.device_minor())?,
            }
        }
        other => {
            return Err(ReadError::UnknownType {
                path: shown,
                kind: [other.as_byte()].escape_ascii().to_string(),
            });
        }
    };
    let id = |id: io::Result<u64>| {
        id.ok()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| malformed("has no valid owner"))
    };
    Ok(Entry {
        path,
        kind,
        mode: header.mode().map_err(|_| malformed("has no valid mode"))? & 0o7777,
        uid: id(header.uid())?,
        gid: id(header.gid())?,
        mtime_s: header.mtime().map_err(|_| malformed("has no valid time"))?,
        capability: extension.capability,
    })
}

/// Stops reading behind a number of bytes.
struct Bounded<R> {
    source: R,
    left: u64,
    limit_hit: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        let Some(left) = self.left.checked_sub(read as u64) else {
            self.limit_hit = true;
            return Err(io::Error::other("too large"));
        };
        self.left = left;
        Ok(read)
    }
}
