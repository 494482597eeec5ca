//! Holds an ELF file against the marker contract.

use std::fmt;

use object::Architecture;

use crate::catalogue::{FREE_THREADING, FUNCTIONS, MARKERS, Marker, NAMES, PROVIDER, SPANS};
use crate::elf::{Image, Note};
use crate::red_zone;

/// What the tracer's breakpoint replaces at a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nop {
    /// One byte: safe everywhere.
    One,
    /// Five bytes: kernels from 6.18 on turn it into a call.
    Five,
}

impl fmt::Display for Nop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::One => "nop",
            Self::Five => "nop5",
        })
    }
}

/// Something that breaks the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file has none of the markers.
    #[error("it has no GIL markers")]
    NoMarkers,
    /// A marker is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A marker is there more than once.
    #[error(
        "{name} stands at {count} places, where one is right: a tracer counts every hit as often as it is copied"
    )]
    Copied {
        /// The marker.
        name: &'static str,
        /// At how many places.
        count: usize,
    },
    /// It has not as many arguments as the contract says.
    #[error("{name} has {found} arguments, the contract says {expected}")]
    ArgumentCount {
        /// The marker.
        name: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// An argument is not where tracers can read it.
    #[error(
        "{name}: argument {argument} ({text}) is not in a plain register, stack slot or constant"
    )]
    Argument {
        /// The marker.
        name: &'static str,
        /// The argument's name.
        argument: &'static str,
        /// What the note says.
        text: String,
    },
    /// The note has no base, so that it is not known whether its addresses moved.
    #[error("{0}: the base address is 0")]
    NoBase(&'static str),
    /// There is no code at the marker's address.
    #[error("{name}: there is no code at its address {address:#x}")]
    NoCode {
        /// The marker.
        name: &'static str,
        /// Its address.
        address: u64,
    },
    /// At the marker's address stands something else than a nop that is known.
    #[error("{name}: at its address {address:#x} stands no nop")]
    NoNop {
        /// The marker.
        name: &'static str,
        /// Its address.
        address: u64,
    },
    /// It has no semaphore, or one that is not in writable memory.
    #[error("{name}: its semaphore {address:#x} is not in writable memory of the file")]
    Semaphore {
        /// The marker.
        name: &'static str,
        /// The semaphore's address.
        address: u64,
    },
    /// Two markers that are asked for together have different semaphores.
    #[error(
        "{name} has another semaphore than {first}: attaching to one would not switch the clock on for all"
    )]
    SemaphoreNotShared {
        /// The marker.
        name: &'static str,
        /// The first marker.
        first: &'static str,
    },
    /// A marker has the semaphore of one that is asked for apart from it.
    #[error(
        "{name} has the semaphore of {other}: attaching to one would make the process pay for both"
    )]
    SemaphoreShared {
        /// The marker.
        name: &'static str,
        /// The other one.
        other: &'static str,
    },
    /// A 5-byte nop in a function whose red zone is in use.
    #[error(
        "{name}: the function {function} keeps data in the red zone ({instruction:#x}), which a 5-byte nop overwrites: compile it with -mno-red-zone"
    )]
    RedZone {
        /// The marker.
        name: &'static str,
        /// The function that holds it.
        function: String,
        /// The address of the first instruction that uses the red zone.
        instruction: u64,
    },
    /// A 5-byte nop in a function that could not be looked at.
    #[error(
        "{0}: whether its function uses the red zone cannot be checked, the symbol table is missing"
    )]
    RedZoneUnknown(&'static str),
}

/// The result of holding a file against the contract.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The contract's markers that were found, in the order of the catalogue.
    pub found: Vec<Found>,
    /// What breaks the contract; empty = it is kept.
    pub faults: Vec<Fault>,
}

/// A marker that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// What the contract says of it.
    pub marker: &'static Marker,
    /// Where it is and what it says itself.
    pub note: Note,
    /// What stands at its address.
    pub nop: Option<Nop>,
}

impl Outcome {
    /// The nop that all markers have; `None` when there are none or they differ.
    #[must_use]
    pub fn nop(&self) -> Option<Nop> {
        let first = self.found.first()?.nop?;
        self.found
            .iter()
            .all(|found| found.nop == Some(first))
            .then_some(first)
    }
}

/// Holds a file's markers against the contract: those that an interpreter of its kind has.
#[must_use]
pub fn check(image: &Image) -> Outcome {
    let besides: &'static [Marker] = if image.free_threaded {
        &FREE_THREADING
    } else {
        &[]
    };
    let gil: Vec<&Marker> = MARKERS.iter().chain(besides).collect();
    let functions: Vec<&Marker> = FUNCTIONS.iter().collect();
    check_markers(image, &[gil, functions, NAMES.iter().collect()])
}

/// Holds the markers of spans of a file that fires them, an extension module, against the contract.
#[must_use]
pub fn check_spans(image: &Image) -> Outcome {
    check_markers(image, &[SPANS.iter().collect()])
}

/// Each group of markers has a semaphore of its own.
fn check_markers(image: &Image, groups: &[Vec<&'static Marker>]) -> Outcome {
    let mut found: Vec<Found> = Vec::new();
    let mut faults = Vec::new();
    for &marker in groups.iter().flatten() {
        let before = found.len();
        found.extend(
            image
                .notes
                .iter()
                .filter(|note| note.provider == PROVIDER && note.name == marker.name)
                .map(|note| Found {
                    marker,
                    note: note.clone(),
                    nop: nop_at(image, note.address),
                }),
        );
        match found.len() - before {
            0 => faults.push(Fault::Missing(marker.name)),
            1 => {}
            count => faults.push(Fault::Copied {
                name: marker.name,
                count,
            }),
        }
    }
    if found.is_empty() {
        faults = vec![Fault::NoMarkers];
    }
    for one in &found {
        check_arguments(one, &mut faults);
        check_place(image, one, &mut faults);
        check_semaphore(image, one, &found, groups, &mut faults);
    }
    Outcome { found, faults }
}

fn check_arguments(found: &Found, faults: &mut Vec<Fault>) {
    let Marker { name, arguments } = *found.marker;
    let texts: Vec<&str> = found.note.arguments.split_ascii_whitespace().collect();
    if texts.len() != arguments.len() {
        faults.push(Fault::ArgumentCount {
            name,
            found: texts.len(),
            expected: arguments.len(),
        });
    }
    for ((operand, text), argument) in found.note.operands().zip(texts).zip(arguments) {
        if !operand.is_some_and(|operand| operand.is_readable()) {
            faults.push(Fault::Argument {
                name,
                argument,
                text: text.to_owned(),
            });
        }
    }
}

fn check_place(image: &Image, found: &Found, faults: &mut Vec<Fault>) {
    let name = found.marker.name;
    let address = found.note.address;
    if found.note.base == 0 {
        faults.push(Fault::NoBase(name));
    }
    if !image
        .segment_at(address)
        .is_some_and(|segment| segment.executable)
    {
        faults.push(Fault::NoCode { name, address });
        return;
    }
    match found.nop {
        None => faults.push(Fault::NoNop { name, address }),
        Some(Nop::One) => {}
        Some(Nop::Five) => match image.function_at(address) {
            None => faults.push(Fault::RedZoneUnknown(name)),
            Some(function) => {
                if let Some(instruction) = red_zone::first_use(image, function) {
                    faults.push(Fault::RedZone {
                        name,
                        function: function.name.clone(),
                        instruction,
                    });
                }
            }
        },
    }
}

fn check_semaphore(
    image: &Image,
    found: &Found,
    all: &[Found],
    groups: &[Vec<&'static Marker>],
    faults: &mut Vec<Fault>,
) {
    let name = found.marker.name;
    let address = found.note.semaphore;
    let is_writable = address != 0
        && image
            .segment_at(address)
            .is_some_and(|segment| segment.writable);
    if !is_writable {
        faults.push(Fault::Semaphore { name, address });
    }
    let group_of = |one: &Found| groups.iter().position(|group| group.contains(&one.marker));
    let group = group_of(found);
    let first = all.iter().find(|first| group_of(first) == group);
    if let Some(first) = first.filter(|first| first.note.semaphore != address) {
        faults.push(Fault::SemaphoreNotShared {
            name,
            first: first.marker.name,
        });
    }
    let is_earlier = |other: &&Found| group_of(other) < group && other.note.semaphore == address;
    faults.extend(
        all.iter()
            .find(is_earlier)
            .map(|other| Fault::SemaphoreShared {
                name,
                other: other.marker.name,
            }),
    );
}

fn nop_at(image: &Image, address: u64) -> Option<Nop> {
    let code = image.code_at(address, 5);
    match image.architecture {
        Architecture::X86_64 if code.first() == Some(&0x90) => Some(Nop::One),
        Architecture::X86_64 if code == [0x0f, 0x1f, 0x44, 0x00, 0x00] => Some(Nop::Five),
        Architecture::Aarch64 if code.get(..4) == Some(&[0x1f, 0x20, 0x03, 0xd5]) => Some(Nop::One),
        _ => None,
    }
}
