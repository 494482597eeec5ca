//! Reading the memory of another process.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// The memory of a process.
pub(crate) struct Memory(File);

impl Memory {
    pub(crate) fn open(pid: u32) -> Option<Self> {
        File::open(format!("/proc/{pid}/mem")).ok().map(Self)
    }

    pub(crate) fn word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, address).ok()?;
        Some(u64::from_ne_bytes(bytes))
    }

    /// Four words, one after the other.
    pub(crate) fn words(&self, address: u64) -> Option<[u64; 4]> {
        let mut bytes = [0; 4 * 8];
        self.0.read_exact_at(&mut bytes, address).ok()?;
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        Some(words)
    }
}
