//! The timeline's numbers in few bytes. For each lane: the number of cells, a byte of hold and a byte of wait for each, the
//! number of kept intervals, and for each of them its start after the one before, its duration, and a code. Numbers are
//! variable-length, seven bits a byte, the lowest first, times relative to the start of tracing.

use std::collections::HashMap;

use crate::timeline::{Kept, Lane, Timeline};

/// All lanes.
pub(super) fn timeline(timeline: &Timeline) -> Vec<u8> {
    let places: HashMap<(u64, u32), u64> = (0..)
        .zip(&timeline.lanes)
        .map(|(place, lane)| ((lane.gil, lane.tid), place))
        .collect();
    let mut bytes = Vec::new();
    for lane in &timeline.lanes {
        cells(&mut bytes, lane, timeline.cell_log2);
        number(&mut bytes, lane.kept.len() as u64);
        let mut before_ns = timeline.start_ns;
        for kept in &lane.kept {
            let start_ns = kept.start_ns.max(before_ns);
            number(&mut bytes, start_ns - before_ns);
            number(&mut bytes, kept.duration_ns);
            let holder = places.get(&(lane.gil, kept.holder_tid));
            number(&mut bytes, code(kept, holder.map_or(0, |place| place + 1)));
            before_ns = start_ns;
        }
    }
    bytes
}

/// Bit 0: a wait; 1: forced; 2: open; the rest: the holder's lane and 1, or 0.
fn code(kept: &Kept, holder: u64) -> u64 {
    u64::from(kept.wait) | u64::from(kept.forced) << 1 | u64::from(kept.open) << 2 | holder << 3
}

fn cells(bytes: &mut Vec<u8>, lane: &Lane, cell_log2: u32) {
    number(bytes, lane.cells.len() as u64);
    for cell in &lane.cells {
        bytes.push(level(cell.0, cell_log2));
        bytes.push(level(cell.1, cell_log2));
    }
}

/// The share of a cell in 255 steps; something is never nothing.
fn level(part_ns: u64, cell_log2: u32) -> u8 {
    let steps = (u128::from(part_ns) * 255).div_ceil(1 << cell_log2);
    u8::try_from(steps).unwrap_or(u8::MAX)
}

fn number(bytes: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// Base64 as browsers decode it (RFC 4648, section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            if at <= chunk.len() {
                let index = (bits >> (18 - 6 * at)) & 0x3f;
                text.push(char::from(ALPHABET[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn numbers_are_seven_bits_a_byte() {
        let mut bytes = Vec::new();
        number(&mut bytes, 0);
        number(&mut bytes, 300);
        assert_eq!(bytes, [0, 0xac, 0x02]);
    }

    #[test]
    fn a_little_is_not_nothing() {
        assert_eq!(level(0, 20), 0);
        assert_eq!(level(1, 20), 1);
        assert_eq!(level(1 << 20, 20), 255);
    }
}
