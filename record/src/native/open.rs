//! Holds and waits that are still going on when a trace ends: no marker has told of them yet.
//!
//! The markers' header keeps, in each thread, since when it has held or wanted the GIL. That is read out of the process's memory
//! once, at the end, and costs the process nothing. Where a thread keeps it is found in the interpreter's file, and what is read
//! counts only if the thread's own id stands beside it.

use std::fs::File;
use std::path::Path;

use gil_probes::elf::Image;
use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSymbol as _, ReadCache, RelocationFlags, elf};

use crate::maps;
use crate::memory::Memory;
use crate::native::layout::{Lane, LaneKey};

/// The thread-local of `probes/include/gil_markers.h`.
const CYCLE: &str = "gil_markers_cycle";
/// More thread-locals of a file than this are not tried.
const MOST_CANDIDATES: usize = 64;

/// Something that a thread is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// It has held the GIL since then, and waited for it before.
    Hold { acquired_ns: u64, wait_ns: u64 },
    /// It has waited for the GIL since then.
    Wait { since_ns: u64 },
}

/// An open hold or wait, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenCycle {
    pub(super) tid: u32,
    pub(super) gil: u64,
    pub(super) open: Open,
}

/// Where a file's threads keep their cycle: what its file says of that.
#[derive(Clone, Debug, Default)]
pub(super) enum Slots {
    /// At this distance from their thread pointer.
    Fixed(i64),
    /// At the distances that are noted at these places, counted from the file's first byte in memory: the right one is among them.
    Noted(Vec<u64>),
    /// Nobody knows.
    #[default]
    Unknown,
}

impl Slots {
    /// Reads what `file` says.
    pub(super) fn find(file: &Path, image: &Image) -> Self {
        slots(file, image).unwrap_or_default()
    }

    /// Where the threads of process `pid` keep it, which has mapped that file.
    pub(super) fn in_process(&self, pid: u32, file: &Path) -> Places {
        let noted = |slots: &Vec<u64>| {
            let base = maps::load_address(pid, file)?;
            let memory = Memory::open(pid)?;
            let read = |slot: &u64| memory.word(base.checked_add(*slot)?);
            Some(
                slots
                    .iter()
                    .filter_map(read)
                    .map(u64::cast_signed)
                    .collect(),
            )
        };
        Places(match self {
            Self::Fixed(offset) => vec![*offset],
            Self::Noted(slots) => noted(slots).unwrap_or_default(),
            Self::Unknown => Vec::new(),
        })
    }
}

/// Where the threads of one process keep their cycle, as distances from their thread pointer.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Vec<i64>);

impl Places {
    /// What the threads of `lanes` are in the middle of at `end_ns`, a moment ago.
    pub(super) fn read(&self, pid: u32, lanes: &[(LaneKey, Lane)], end_ns: u64) -> Vec<OpenCycle> {
        let Some(memory) = Memory::open(pid) else {
            return Vec::new();
        };
        let mut cycles = Vec::new();
        for (key, lane) in lanes
            .iter()
            .filter(|(key, lane)| key.pid == pid && lane.ident != 0)
        {
            // Of a thread with several GILs it is not known which one it means.
            if lanes
                .iter()
                .filter(|(other, _)| other.tid == key.tid)
                .count()
                > 1
            {
                continue;
            }
            let words = self.0.iter().find_map(|offset| {
                // acquired_ns, wanted_ns, wait_ns, tid.
                let words = memory.words(lane.ident.wrapping_add_signed(*offset))?;
                (words[3] == lane.native_id).then_some(words)
            });
            let open = words.and_then(|[acquired_ns, wanted_ns, wait_ns, _]| {
                open_at(end_ns, acquired_ns, wanted_ns, wait_ns)
            });
            if let Some(open) = open {
                cycles.push(OpenCycle {
                    tid: key.tid,
                    gil: key.gil,
                    open,
                });
            }
        }
        cycles
    }
}

/// What a thread was in the middle of at `end_ns`, by what it has noted a moment later. 0 = nothing noted.
pub(super) fn open_at(end_ns: u64, acquired_ns: u64, wanted_ns: u64, wait_ns: u64) -> Option<Open> {
    if acquired_ns == 0 {
        return (wanted_ns != 0 && wanted_ns < end_ns).then_some(Open::Wait {
            since_ns: wanted_ns,
        });
    }
    if acquired_ns <= end_ns {
        return Some(Open::Hold {
            acquired_ns,
            wait_ns,
        });
    }
    let since_ns = acquired_ns.saturating_sub(wait_ns);
    (since_ns < end_ns).then_some(Open::Wait { since_ns })
}

fn slots(file: &Path, image: &Image) -> Option<Slots> {
    if image.architecture != object::Architecture::X86_64 {
        // Elsewhere the thread pointer is not threading.get_ident().
        return None;
    }
    let cache = ReadCache::new(File::open(file).ok()?);
    let object = ElfFile64::<Endianness, _>::parse(&cache).ok()?;
    let symbol = object
        .symbols()
        .find(|symbol| symbol.name().is_ok_and(|name| name.starts_with(CYCLE)))
        .map(|symbol| symbol.address());
    // A library's place is settled when it is loaded, and noted where this kind of relocation says.
    let mut slots = Vec::new();
    for (address, relocation) in object.dynamic_relocations().into_iter().flatten() {
        let is_place = relocation.flags()
            == RelocationFlags::Elf {
                r_type: elf::R_X86_64_TPOFF64,
            };
        let is_ours = symbol.is_none_or(|symbol| u64::try_from(relocation.addend()) == Ok(symbol));
        if is_place && is_ours && slots.len() < MOST_CANDIDATES {
            slots.push(address);
        }
    }
    if slots.is_empty() {
        // The program's own thread-locals lie right below the thread pointer.
        let endian = object.endian();
        let header = object
            .elf_program_headers()
            .iter()
            .find(|header| header.p_type(endian) == elf::PT_TLS)?;
        let size = header
            .p_memsz(endian)
            .checked_next_multiple_of(header.p_align(endian).max(1))?;
        let offset = i64::try_from(symbol?).ok()?.checked_sub_unsigned(size)?;
        return Some(Slots::Fixed(offset));
    }
    let first = image
        .segments
        .iter()
        .find(|segment| segment.offset == 0)?
        .address;
    let from_first = slots.iter().map(|slot| slot.checked_sub(first));
    from_first.collect::<Option<_>>().map(Slots::Noted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_open_is_told_from_what_came_after() {
        let hold = Open::Hold {
            acquired_ns: 90,
            wait_ns: 20,
        };
        assert_eq!(open_at(100, 90, 0, 20), Some(hold));
        assert_eq!(open_at(100, 0, 95, 0), Some(Open::Wait { since_ns: 95 }));
        // It got the GIL after the end, and had waited since before it.
        assert_eq!(open_at(100, 105, 0, 20), Some(Open::Wait { since_ns: 85 }));
        assert_eq!(open_at(100, 105, 0, 2), None);
        assert_eq!(open_at(100, 0, 101, 0), None);
        assert_eq!(open_at(100, 0, 0, 7), None);
    }
}
