//! Where a marker is in a file: the offsets that the kernel attaches to, and where its arguments are found there.

use gil_probes::catalogue;
use gil_probes::elf::{Image, Note};

use crate::native::NativeError;
use crate::native::place::Place;

/// A marker at one place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    /// Offset of its nop in the file.
    pub(super) offset: u64,
    /// Offset of its semaphore in the file; 0 = it has none.
    pub(super) semaphore_offset: u64,
    /// Its arguments: those that are needed, and of those that the contract has appended since as many as there are.
    pub(super) places: Vec<Place>,
}

/// The places of marker `name`, at least one and at most `most`. The first `needed` arguments must be there: an interpreter may be
/// older than those that were appended.
pub(super) fn find(
    image: &Image,
    name: &'static str,
    needed: usize,
    most: usize,
) -> Result<Vec<Site>, NativeError> {
    let notes: Vec<&Note> = image
        .notes
        .iter()
        .filter(|note| note.provider == catalogue::PROVIDER && note.name == name)
        .collect();
    if notes.is_empty() {
        return Err(NativeError::NoMarker { name });
    }
    if notes.len() > most {
        return Err(NativeError::TooManySites {
            name,
            found: notes.len(),
            most,
        });
    }
    notes
        .into_iter()
        .map(|note| site(image, note, name, needed))
        .collect()
}

fn site(
    image: &Image,
    note: &Note,
    name: &'static str,
    needed: usize,
) -> Result<Site, NativeError> {
    let unreadable = |reason: String| NativeError::UnreadableMarker { name, reason };
    let offset = image
        .file_offset(note.address)
        .ok_or_else(|| unreadable(format!("its address {:#x} is in no segment", note.address)))?;
    let semaphore_offset = match note.semaphore {
        0 => 0,
        address => image
            .file_offset(address)
            .ok_or_else(|| unreadable(format!("its semaphore {address:#x} is in no segment")))?,
    };
    let known = catalogue::find(name).map_or(0, |marker| marker.arguments.len());
    let places: Vec<Place> = note
        .operands()
        .take(known)
        .map(|operand| {
            operand
                .as_ref()
                .and_then(|operand| Place::of(operand, image.architecture))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| unreadable(format!("its arguments are `{}`", note.arguments)))?;
    if places.len() < needed {
        return Err(unreadable(format!(
            "it has {} arguments, at least {needed} are needed",
            places.len()
        )));
    }
    Ok(Site {
        offset,
        semaphore_offset,
        places,
    })
}
