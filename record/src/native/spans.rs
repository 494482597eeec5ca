//! Files that fire markers of spans: extension modules, which a process may load at any time.

use std::collections::HashMap;

use gil_probes::elf;

use crate::maps;
use crate::native::NativeError;
use crate::native::object::{Scope, Work};
use crate::native::tables::Tables;
use crate::native::tell::{self, TellProgram};

/// Files that are looked at. A process maps some hundreds.
const MOST: usize = 65_536;

/// The files that were looked at, by device and inode, and what was attached to those that have such markers.
#[derive(Default)]
pub(super) struct SpanFiles(HashMap<(String, u64), Option<TellProgram>>);

impl SpanFiles {
    /// Attaches to the files with markers of spans that process `pid` has mapped, as far as it is not attached to them yet.
    pub(super) fn look(
        &mut self,
        pid: u32,
        shared: (&Work, &Tables),
        scope: Scope,
    ) -> Result<(), NativeError> {
        // It may be gone.
        let files = maps::mapped_files(pid).unwrap_or_default();
        for file in files.into_iter().filter(|file| file.executable) {
            if self.0.contains_key(&file.identity) || self.0.len() >= MOST {
                continue;
            }
            // The dynamic linker maps a file before it can be counted in: its semaphore is not yet where it will be.
            let Ok(image) = elf::read(&file.reachable) else {
                self.0.insert(file.identity, None);
                continue;
            };
            let program = if tell::has_spans(&image) {
                TellProgram::attach(&image, &file.reachable, shared, scope)?
            } else {
                None
            };
            self.0.insert(file.identity, program);
        }
        Ok(())
    }

    pub(super) fn detach(&mut self) {
        for program in self.0.values_mut().flatten() {
            program.detach();
        }
    }

    /// How many spans there was no room for.
    pub(super) fn lost(&self) -> u64 {
        self.0.values().flatten().map(TellProgram::lost).sum()
    }
}
