//! The lanes of the threads that were busy last: finding one must cost next to nothing, it is done for every event.

/// A power of two, and more than threads that are busy at the same time.
const PLACES: usize = 256;

/// A thread, a GIL, and their lane.
#[derive(Clone, Copy)]
struct Place {
    tid: u32,
    /// [`NOBODY`] in a place that is free.
    lane: u32,
    gil: u64,
}

const NOBODY: u32 = u32::MAX;

/// Lanes by thread and GIL; a lane may be pushed out by another at any time.
pub(crate) struct Recent([Place; PLACES]);

impl Default for Recent {
    fn default() -> Self {
        let free = Place {
            tid: 0,
            lane: NOBODY,
            gil: 0,
        };
        Self([free; PLACES])
    }
}

impl Recent {
    #[inline]
    pub(crate) fn get(&self, tid: u32, gil: u64) -> Option<u32> {
        let place = &self.0[number(tid, gil)];
        let is_it = place.tid == tid && place.gil == gil && place.lane != NOBODY;
        is_it.then_some(place.lane)
    }

    pub(crate) fn put(&mut self, tid: u32, gil: u64, lane: u32) {
        self.0[number(tid, gil)] = Place { tid, lane, gil };
    }
}

/// Threads that are started together have numbers that follow one another: they get places of their own.
#[inline]
fn number(tid: u32, gil: u64) -> usize {
    (tid as usize ^ (gil >> 4) as usize) % PLACES
}
