//! What a hit of a marker costs on this machine: our own program, attached for a moment to a nop of our own.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use gil_probes::elf::Image;

use crate::maps;
use crate::native::NativeError;
use crate::native::object::{Marked, Program, Scope, Work};
use crate::native::place::{Place, PlaceKind};
use crate::native::site::Site;
use crate::native::tables::{self, Sizes};

/// Hits that are timed together …
const HITS: u32 = 500;
/// … and how often: the quickest counts, which is the least disturbed.
const BATCHES: u32 = 8;

/// The kinds of nop that a marker can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nop {
    /// One byte: every hit is a breakpoint.
    Short,
    /// Five bytes, which newer kernels turn into a call.
    Long,
}

impl Nop {
    /// The kind of `marker` in a file.
    pub(super) fn of(image: &Image, marker: &str) -> Self {
        let note = image.notes.iter().find(|note| note.name == marker);
        match note.map(|note| image.code_at(note.address, 5)) {
            Some([0x0f, 0x1f, 0x44, 0x00, 0x00]) => Self::Long,
            _ => Self::Short,
        }
    }
}

/// How many nanoseconds one hit takes with a program that does `work`; `None` where that cannot be measured.
pub(super) fn hit_ns(nop: Nop, work: &Work) -> Option<u64> {
    let function = function(nop)?;
    let program = attach(function, work).ok()??;
    let quickest = (0..BATCHES).map(|_| {
        let begin = Instant::now();
        for _ in 0..HITS {
            black_box(function)();
            // What the process itself does only while somebody is attached: it looks at the clock, at the acquisition and at the
            // drop.
            black_box((Instant::now(), Instant::now()));
        }
        begin.elapsed()
    });
    let quickest = quickest.min()?;
    drop(program);
    u64::try_from(quickest.as_nanos() / u128::from(HITS)).ok()
}

fn attach(function: extern "C" fn(), work: &Work) -> Result<Option<Program>, NativeError> {
    let pid = std::process::id();
    let Some(offset) = maps::file_offset(pid, function as usize as u64) else {
        return Ok(None);
    };
    let constant = |value| Place {
        kind: PlaceKind::Constant,
        register: 0,
        size: 8,
        signed: false,
        value,
    };
    let site = Site {
        offset,
        semaphore_offset: 0,
        // ident, tid, gil, forced, hold_ns, wait_ns: a cycle that found the GIL free.
        places: [1, 1, 1, 0, 100, 0].map(constant).to_vec(),
    };
    let sizes = Sizes {
        lanes: 16,
        buckets: work.sizes.buckets.min(4096),
        ring: work.sizes.ring.min(1 << 20),
        forget: work.sizes.forget,
    };
    let processes = tables::hash("processes", 4, 4, 1)?;
    let work = Work {
        sizes,
        only_listed: false,
        ..*work
    };
    let tables = work.tables(&processes)?;
    let file = Marked {
        number: 0,
        interval_at: None,
    };
    let mut program = Program::load(vec![vec![site]], &work, &tables, file)?;
    program.attach(Path::new("/proc/self/exe"), Scope::Process(pid))?;
    Ok(Some(program))
}

#[cfg(target_arch = "x86_64")]
#[expect(
    clippy::unnecessary_wraps,
    reason = "for other processors there is none yet"
)]
fn function(nop: Nop) -> Option<extern "C" fn()> {
    /// A marker as short as it can be. Uses no stack, as a long nop requires.
    #[unsafe(naked)]
    extern "C" fn short() {
        std::arch::naked_asm!("nop", "ret");
    }
    #[unsafe(naked)]
    extern "C" fn long() {
        std::arch::naked_asm!(".byte 0x0f, 0x1f, 0x44, 0x00, 0x00", "ret");
    }
    Some(match nop {
        Nop::Short => short,
        Nop::Long => long,
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn function(_nop: Nop) -> Option<extern "C" fn()> {
    None
}
