//! Native stacks of long holds: where in which files their frames lie is found out while the process is there, what the functions are called
//! when the recording is over. The files stay open until then, so that neither the process nor its file system has to be there still.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};
use object::Object as _;

use crate::maps::{self, CodeMapping};
use crate::native::perf_map::PerfMap;
use crate::process;
use crate::trace::escape;

/// Stacks that are told apart.
const MOST_STACKS: usize = 16_384;
/// Files that are kept open.
const MOST_MODULES: usize = 256;
/// Processes whose mappings are remembered.
const MOST_PROCESSES: usize = 4096;
/// An address that is in no known mapping is looked for again, but not more often than this.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A name of more characters than this is cut: those of C++ can be as long as they like.
const LONGEST_NAME: usize = 256;

/// Stacks, and what they are made of.
#[derive(Default)]
pub(super) struct Stacks {
    numbers: HashMap<(u32, Vec<u64>), usize>,
    known: Vec<Stack>,
    modules: Vec<Module>,
    by_file: HashMap<(String, u64), usize>,
    processes: HashMap<u32, Mapped>,
    /// Stacks beyond those that are told apart.
    beyond: u64,
}

/// One stack, innermost frame first.
struct Stack {
    pid: u32,
    frames: Vec<Frame>,
}

/// Where a function was, or goes on. Of a caller it is the byte before: the call is there, and it may be the function's last instruction.
#[derive(Clone, Copy)]
struct Frame {
    /// Its file; `None` for code that is in none.
    module: Option<usize>,
    /// The place in that file, or the address.
    offset: u64,
}

/// A file with code.
struct Module {
    file: Option<File>,
}

/// What a process has mapped, as far as it was looked at.
struct Mapped {
    code: Vec<CodeMapping>,
    looked: Instant,
    /// What it says of code that it makes itself.
    perf_map: Option<PerfMap>,
}

impl Stacks {
    /// The number of a stack, and lines of the trace that say what is new in it. `None` where there are too many.
    pub(super) fn take(
        &mut self,
        time_ns: u64,
        pid: u32,
        addresses: Vec<u64>,
    ) -> Option<(usize, Vec<String>)> {
        let key = (pid, addresses);
        if let Some(&number) = self.numbers.get(&key) {
            return Some((number, Vec::new()));
        }
        if self.known.len() >= MOST_STACKS {
            self.beyond += 1;
            return None;
        }
        let mut lines = Vec::new();
        let mut frames = Vec::with_capacity(key.1.len());
        for (depth, &address) in key.1.iter().enumerate() {
            let address = if depth == 0 {
                address
            } else {
                address.saturating_sub(1)
            };
            frames.push(self.frame(time_ns, pid, address, &mut lines));
        }
        let number = self.known.len();
        self.known.push(Stack { pid, frames });
        self.numbers.insert(key, number);
        lines.push(self.line(time_ns, number, &Names::default()));
        Some((number, lines))
    }

    /// The stacks once more, with the names of their functions, and how many stacks there was no room for.
    pub(super) fn finish(&mut self, time_ns: u64) -> (Vec<String>, u64) {
        let names = self.names();
        let lines = (0..self.known.len())
            .filter(|&number| {
                let frames = self.known[number].frames.iter();
                frames
                    .map(|frame| self.key(number, frame))
                    .any(|key| names.0.contains_key(&key))
            })
            .map(|number| self.line(time_ns, number, &names))
            .collect();
        (lines, self.beyond)
    }

    fn frame(&mut self, time_ns: u64, pid: u32, address: u64, lines: &mut Vec<String>) -> Frame {
        let nowhere = Frame {
            module: None,
            offset: address,
        };
        let Some(mapping) = self.mapping(pid, address) else {
            return nowhere;
        };
        let offset = mapping.offset + (address - mapping.addresses.start);
        let known = self.by_file.get(&mapping.file.identity).copied();
        let module = match known {
            Some(module) => module,
            None if self.modules.len() >= MOST_MODULES => return nowhere,
            None => self.add_module(time_ns, pid, &mapping, lines),
        };
        Frame {
            module: Some(module),
            offset,
        }
    }

    fn add_module(
        &mut self,
        time_ns: u64,
        pid: u32,
        mapping: &CodeMapping,
        lines: &mut Vec<String>,
    ) -> usize {
        let module = self.modules.len();
        let file = File::open(&mapping.file.reachable).ok();
        let build_id = file
            .as_ref()
            .and_then(build_id)
            .unwrap_or_else(|| "-".to_owned());
        let path = escape(&mapping.file.path.to_string_lossy());
        lines.push(format!(
            "{time_ns} module {pid} {module} path={path} build_id={build_id}\n"
        ));
        self.modules.push(Module { file });
        self.by_file.insert(mapping.file.identity.clone(), module);
        module
    }

    /// What is mapped at an address of a process.
    fn mapping(&mut self, pid: u32, address: u64) -> Option<CodeMapping> {
        if !self.processes.contains_key(&pid) && self.processes.len() >= MOST_PROCESSES {
            return None;
        }
        let mapped = self.processes.entry(pid).or_insert_with(|| Mapped {
            code: maps::code_mappings(pid),
            looked: Instant::now(),
            perf_map: None,
        });
        let find = |mapped: &Mapped| {
            let holds_it = |mapping: &&CodeMapping| mapping.addresses.contains(&address);
            mapped.code.iter().find(holds_it).cloned()
        };
        if let Some(mapping) = find(mapped) {
            return Some(mapping);
        }
        if mapped.looked.elapsed() >= LOOK_AGAIN {
            mapped.looked = Instant::now();
            // Of a process that has gone meanwhile, what was known counts.
            let code = maps::code_mappings(pid);
            if !code.is_empty() {
                mapped.code = code;
            }
        }
        let found = find(mapped);
        if found.is_none() && mapped.perf_map.is_none() {
            mapped.perf_map = PerfMap::of(pid, process::inner_pid(pid).unwrap_or(pid));
        }
        found
    }

    /// `frames` as a line of the trace.
    fn line(&self, time_ns: u64, number: usize, names: &Names) -> String {
        let stack = &self.known[number];
        let mut line = format!("{time_ns} frames {} {number}", stack.pid);
        for frame in &stack.frames {
            // Writing to a String cannot fail.
            let _ = match frame.module {
                Some(module) => write!(line, " {module}+{:x}", frame.offset),
                None => write!(line, " -+{:x}", frame.offset),
            };
            if let Some(name) = names.0.get(&self.key(number, frame)) {
                line.push(':');
                line.push_str(&escape(name));
            }
        }
        line.push('\n');
        line
    }

    fn key(&self, number: usize, frame: &Frame) -> NameKey {
        match frame.module {
            Some(module) => (Place::Module(module), frame.offset),
            None => (Place::Process(self.known[number].pid), frame.offset),
        }
    }

    fn names(&self) -> Names {
        let mut wanted: HashMap<Place, Vec<u64>> = HashMap::new();
        for number in 0..self.known.len() {
            for frame in &self.known[number].frames {
                let (place, offset) = self.key(number, frame);
                wanted.entry(place).or_default().push(offset);
            }
        }
        let mut names = Names::default();
        let symbolizer = Symbolizer::builder()
            .enable_code_info(false)
            .enable_inlined_fns(false)
            .build();
        for (place, mut offsets) in wanted {
            offsets.sort_unstable();
            offsets.dedup();
            let found = match place {
                Place::Module(module) => symbols(&symbolizer, &self.modules[module], &offsets),
                Place::Process(pid) => {
                    let perf_map = self
                        .processes
                        .get(&pid)
                        .and_then(|mapped| mapped.perf_map.as_ref());
                    perf_map.map_or_else(Vec::new, |perf_map| perf_map.names(&offsets))
                }
            };
            for (offset, name) in offsets.into_iter().zip(found) {
                if let Some(mut name) = name {
                    if let Some((end, _)) = name.char_indices().nth(LONGEST_NAME) {
                        name.truncate(end);
                    }
                    names.0.insert((place, offset), name);
                }
            }
        }
        names
    }
}

/// What the functions are called in which the frames are.
#[derive(Default)]
struct Names(HashMap<NameKey, String>);

type NameKey = (Place, u64);

/// What an offset counts from: the beginning of a file, or address 0 of a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Module(usize),
    Process(u32),
}

/// The names of functions at places of a file.
fn symbols(symbolizer: &Symbolizer, module: &Module, offsets: &[u64]) -> Vec<Option<String>> {
    let Some(file) = &module.file else {
        return Vec::new();
    };
    let source = Source::Elf(Elf::new(format!("/proc/self/fd/{}", file.as_raw_fd())));
    let found = symbolizer.symbolize(&source, Input::FileOffset(offsets));
    // A file that is no ELF file has none.
    found
        .unwrap_or_default()
        .into_iter()
        .map(|symbolized| match symbolized {
            Symbolized::Sym(symbol) => Some(symbol.name.into_owned()),
            Symbolized::Unknown(_) => None,
        })
        .collect()
}

fn build_id(file: &File) -> Option<String> {
    let cache = object::ReadCache::new(file);
    let object = object::File::parse(&cache).ok()?;
    let bytes = object.build_id().ok()??;
    Some(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
