//! Reads the markers (stapsdt notes) of an ELF file. The file is not trusted: sizes are bounded and every offset checked.

use std::path::{Path, PathBuf};

use fs_err::File;
use object::read::elf::{ElfFile, FileHeader, ProgramHeader, SectionHeader};
use object::{Architecture, Object, ObjectSegment, ObjectSymbol, ReadCache, ReadRef, elf};

use crate::operand::Operand;

/// More notes than this in one file are a forgery or a fault: the largest programs carry a few hundred.
const MAX_NOTES: usize = 65_536;
/// The longest name or argument string that is read.
const MAX_STRING: usize = 4_096;
/// The note section of a real program is well below this.
const MAX_SECTION: u64 = 16 << 20;

/// What a free-threaded CPython exports to extension modules and no other does: the slow way to drop a reference that is another
/// thread's. It survives stripping.
const FREE_THREADED: &str = "_Py_DecRefShared";

const NOTE_TYPE: u32 = 3;
const NOTE_OWNER: &[u8] = b"stapsdt\0";

/// Why the markers of a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be opened or read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is not an ELF file, or a damaged one.
    #[error("{} is not a readable ELF file: {reason}", path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
        /// What the parser objected to.
        reason: String,
    },
    /// It is of a kind that Python with markers is not built for.
    #[error("{} is a {kind} ELF file; markers exist for 64-bit little-endian Linux", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        kind: &'static str,
    },
    /// Its note section is damaged.
    #[error("the marker notes of {} are damaged: {reason}", path.display())]
    Notes {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// What an ELF file says about its markers.
#[derive(Debug, Clone)]
pub struct Image {
    /// The notes in the order of the file, of all providers.
    pub notes: Vec<Note>,
    /// The GNU build id, in lower-case hexadecimal, if there is one.
    pub build_id: Option<String>,
    /// What processor the file is for.
    pub architecture: Architecture,
    /// The program that loads it with its libraries; `None` for a library and for a program that needs none.
    pub loader: Option<String>,
    /// Whether it is a free-threaded CPython.
    pub free_threaded: bool,
    /// The parts of the file that are mapped into memory.
    pub segments: Vec<Segment>,
    /// The functions that the symbol table names: start, size, name. Empty in a stripped file.
    pub functions: Vec<Function>,
}

/// One marker at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The provider, `python`.
    pub provider: String,
    /// The marker, `gil__drop`.
    pub name: String,
    /// The virtual address of the nop, adjusted for a file that was prelinked.
    pub address: u64,
    /// The link-time address of `.stapsdt.base`.
    pub base: u64,
    /// The virtual address of the is-enabled semaphore, 0 = it has none.
    pub semaphore: u64,
    /// The arguments as the assembler wrote them.
    pub arguments: String,
}

/// A part of the file that is mapped into memory.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Its virtual address.
    pub address: u64,
    /// Its size in memory.
    pub size: u64,
    /// Where it is in the file.
    pub offset: u64,
    /// Whether it can be written to.
    pub writable: bool,
    /// Whether it holds code.
    pub executable: bool,
    /// Its bytes, for code only.
    code: Vec<u8>,
}

/// A function of the symbol table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its virtual address.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its name.
    pub name: String,
}

impl Note {
    /// The arguments, decoded; `None` where the text is no operand.
    pub fn operands(&self) -> impl Iterator<Item = Option<Operand>> {
        self.arguments.split_ascii_whitespace().map(Operand::parse)
    }
}

impl Image {
    /// The segment that an address lies in.
    #[must_use]
    pub fn segment_at(&self, address: u64) -> Option<&Segment> {
        self.segments
            .iter()
            .find(|segment| (segment.address..segment.address + segment.size).contains(&address))
    }

    /// The code from an address on, at most `length` bytes; empty where there is none.
    #[must_use]
    pub fn code_at(&self, address: u64, length: usize) -> &[u8] {
        let Some(segment) = self.segment_at(address) else {
            return &[];
        };
        let start = usize::try_from(address - segment.address).unwrap_or(usize::MAX);
        let code = segment.code.get(start..).unwrap_or_default();
        &code[..code.len().min(length)]
    }

    /// The function that an address lies in, if the symbol table is there.
    #[must_use]
    pub fn function_at(&self, address: u64) -> Option<&Function> {
        self.functions.iter().find(|function| {
            (function.address..function.address + function.size).contains(&address)
        })
    }

    /// Where in the file the byte of a virtual address is: what the kernel's uprobes count in.
    #[must_use]
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        let segment = self.segment_at(address)?;
        segment.offset.checked_add(address - segment.address)
    }
}

/// Reads the markers of a file.
///
/// # Errors
/// When the file cannot be read, is no 64-bit little-endian ELF file, or its notes are damaged. A file without notes
/// is no error: its list is empty.
pub fn read(path: &Path) -> Result<Image, ReadError> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(ReadError::NotElf {
            path: path.to_owned(),
            reason: "it is not a regular file".to_owned(),
        });
    }
    let cache = ReadCache::new(file.into_file());
    let kind = object::FileKind::parse(&cache).map_err(|error| ReadError::NotElf {
        path: path.to_owned(),
        reason: error.to_string().to_lowercase(),
    })?;
    if kind != object::FileKind::Elf64 {
        return Err(ReadError::Unsupported {
            path: path.to_owned(),
            kind: if kind == object::FileKind::Elf32 {
                "32-bit"
            } else {
                "non-"
            },
        });
    }
    Reader { path, data: &cache }.image()
}

/// One file being read, so that every error can name it.
struct Reader<'data, R> {
    path: &'data Path,
    data: R,
}

impl<'data, R: ReadRef<'data>> Reader<'data, R> {
    fn image(&self) -> Result<Image, ReadError> {
        let file = ElfFile::<elf::FileHeader64<object::Endianness>, R>::parse(self.data)
            .map_err(|error| self.not_elf(&error))?;
        if !file.is_little_endian() {
            return Err(ReadError::Unsupported {
                path: self.path.to_owned(),
                kind: "big-endian",
            });
        }
        Ok(Image {
            notes: self.notes(&file)?,
            build_id: file
                .build_id()
                .map_err(|error| self.not_elf(&error))?
                .map(hexadecimal),
            architecture: file.architecture(),
            loader: self.loader(&file),
            free_threaded: file
                .dynamic_symbols()
                .any(|symbol| symbol.is_definition() && symbol.name() == Ok(FREE_THREADED)),
            segments: self.segments(&file)?,
            functions: functions(&file),
        })
    }

    fn loader<Elf>(&self, file: &ElfFile<'data, Elf, R>) -> Option<String>
    where
        Elf: FileHeader<Endian = object::Endianness>,
    {
        let name = file
            .elf_program_headers()
            .iter()
            .find_map(|header| header.interpreter(file.endian(), self.data).ok()?)?;
        (name.len() <= MAX_STRING).then(|| String::from_utf8_lossy(name).into_owned())
    }

    fn notes<'file, Elf>(&self, file: &ElfFile<'data, Elf, R>) -> Result<Vec<Note>, ReadError>
    where
        Elf: FileHeader<Endian = object::Endianness>,
        'data: 'file,
    {
        let endian = file.endian();
        let sections = file.elf_section_table();
        let base_now = sections
            .section_by_name(endian, b".stapsdt.base")
            .map(|(_, section)| section.sh_addr(endian).into());
        let mut notes = Vec::new();
        for section in sections.iter() {
            if sections.section_name(endian, section).ok() != Some(b".note.stapsdt".as_slice()) {
                continue;
            }
            if section.sh_size(endian).into() > MAX_SECTION {
                return Err(self.damaged("the section is larger than 16 MiB"));
            }
            let bytes = section
                .data(endian, self.data)
                .map_err(|error| self.damaged(error.to_string().to_lowercase()))?;
            self.section_notes(bytes, base_now, &mut notes)?;
        }
        Ok(notes)
    }

    fn section_notes(
        &self,
        mut bytes: &[u8],
        base_now: Option<u64>,
        notes: &mut Vec<Note>,
    ) -> Result<(), ReadError> {
        while !bytes.is_empty() {
            let cut = || self.damaged("a note is cut off");
            let owner_size = take_u32(&mut bytes).ok_or_else(cut)?;
            let size = take_u32(&mut bytes).ok_or_else(cut)?;
            let kind = take_u32(&mut bytes).ok_or_else(cut)?;
            let owner = take_aligned(&mut bytes, owner_size).ok_or_else(cut)?;
            let content = take_aligned(&mut bytes, size).ok_or_else(cut)?;
            if owner != NOTE_OWNER || kind != NOTE_TYPE {
                continue;
            }
            if notes.len() == MAX_NOTES {
                return Err(self.damaged(format!("more than {MAX_NOTES} notes")));
            }
            let note = parse_note(content, base_now)
                .ok_or_else(|| self.damaged("a note does not hold what its kind promises"))?;
            notes.push(note);
        }
        Ok(())
    }

    fn segments<Elf>(&self, file: &ElfFile<'data, Elf, R>) -> Result<Vec<Segment>, ReadError>
    where
        Elf: FileHeader<Endian = object::Endianness>,
    {
        file.segments()
            .map(|segment| {
                let flags = segment.elf_program_header().p_flags(file.endian());
                let executable = flags.contains(elf::PF_X);
                let code = if executable {
                    segment.data().map_err(|error| self.not_elf(&error))?
                } else {
                    &[]
                };
                let address = segment.address();
                if address.checked_add(segment.size()).is_none() {
                    return Err(ReadError::NotElf {
                        path: self.path.to_owned(),
                        reason: "a segment ends behind the end of memory".to_owned(),
                    });
                }
                Ok(Segment {
                    address,
                    size: segment.size(),
                    offset: segment.file_range().0,
                    writable: flags.contains(elf::PF_W),
                    executable,
                    code: code.to_vec(),
                })
            })
            .collect()
    }

    fn not_elf(&self, error: &object::Error) -> ReadError {
        ReadError::NotElf {
            path: self.path.to_owned(),
            reason: error.to_string().to_lowercase(),
        }
    }

    fn damaged(&self, reason: impl Into<String>) -> ReadError {
        ReadError::Notes {
            path: self.path.to_owned(),
            reason: reason.into(),
        }
    }
}

fn functions<'data, Elf, R>(file: &ElfFile<'data, Elf, R>) -> Vec<Function>
where
    Elf: FileHeader<Endian = object::Endianness>,
    R: ReadRef<'data>,
{
    file.symbols()
        .filter(|symbol| symbol.kind() == object::SymbolKind::Text && symbol.size() > 0)
        .filter(|symbol| symbol.address().checked_add(symbol.size()).is_some())
        .map(|symbol| Function {
            address: symbol.address(),
            size: symbol.size(),
            name: symbol.name().unwrap_or("?").to_owned(),
        })
        .collect()
}

fn parse_note(mut content: &[u8], base_now: Option<u64>) -> Option<Note> {
    let link_address = take_u64(&mut content)?;
    let base = take_u64(&mut content)?;
    let link_semaphore = take_u64(&mut content)?;
    // Prelinking moves code and the base section alike and leaves the notes behind.
    let shift = base_now.map_or(0, |now| now.wrapping_sub(base));
    let semaphore = match link_semaphore {
        0 => 0,
        address => address.wrapping_add(shift),
    };
    Some(Note {
        provider: take_string(&mut content)?,
        name: take_string(&mut content)?,
        address: link_address.wrapping_add(shift),
        base,
        semaphore,
        arguments: take_string(&mut content)?,
    })
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*first))
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*first))
}

/// Takes `size` bytes and skips the padding up to the next multiple of four.
fn take_aligned<'bytes>(bytes: &mut &'bytes [u8], size: u32) -> Option<&'bytes [u8]> {
    let size = usize::try_from(size).ok()?;
    let taken = bytes.get(..size)?;
    let padded = size.checked_next_multiple_of(4)?;
    *bytes = bytes.get(padded..).unwrap_or_default();
    Some(taken)
}

fn take_string(bytes: &mut &[u8]) -> Option<String> {
    let end = bytes.iter().take(MAX_STRING).position(|&byte| byte == 0)?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?.to_owned();
    *bytes = &bytes[end + 1..];
    Some(text)
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}
