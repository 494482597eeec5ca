//! Which processes are recorded, kept up to date in the kernel (follow.bpf.c), and what the recorder hears of it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Duration;

use libbpf_rs::{
    Link, MapCore as _, MapFlags, MapHandle, Object, ObjectBuilder, RingBuffer, RingBufferBuilder,
};
use rustix::process::Signal;

use crate::native::{NativeError, messages, tables};
use crate::process::{Process, is_alive};

/// As clang compiled it.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/follow.bpf.o"));
/// Processes that are recorded at the same time.
const PROCESSES: u32 = 65_536;

/// The place of a program in the kernel's eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProgramKey {
    device: u64,
    inode: u64,
}

/// Something that happened to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// `pid` was started by `parent`, which is recorded, and so it is, too.
    Fork { pid: u32, parent: u32 },
    /// `pid` runs another program from now on. Stopped: once it is continued.
    Exec {
        pid: u32,
        stopped: bool,
        program: ProgramKey,
    },
    /// `pid` is no more.
    Exit { pid: u32 },
}

impl News {
    fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let long = |at: usize| Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let (kind, pid) = (word(0)?, word(4)?);
        Some(match kind {
            0 => Self::Fork {
                pid,
                parent: word(8)?,
            },
            1 => Self::Exec {
                pid,
                stopped: word(12)? != 0,
                program: ProgramKey {
                    device: long(16)?,
                    inode: long(24)?,
                },
            },
            2 => Self::Exit { pid },
            _ => return None,
        })
    }
}

/// How far to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Following {
    /// Children are recorded as well.
    pub(crate) children: bool,
    /// A process that is recorded is stopped when it starts a program that was not seen before.
    pub(crate) stop_at_exec: bool,
    /// Programs that others start are told of, too.
    pub(crate) tell_of_others: bool,
}

/// The set of processes, and news of it. Detached when dropped.
pub(crate) struct Follower {
    /// The processes that are recorded.
    pub(super) processes: MapHandle,
    known_programs: MapHandle,
    lost: MapHandle,
    news: RingBuffer<'static>,
    queue: Rc<RefCell<VecDeque<News>>>,
    links: Vec<Link>,
    _object: Object,
}

impl Follower {
    /// Begins to follow. Nobody is recorded yet.
    pub(crate) fn start(following: Following) -> Result<Self, NativeError> {
        let processes = tables::hash("processes", 4, 4, PROCESSES)?;
        messages::explain(|| {
            let mut object = ObjectBuilder::default()
                .name("gil_follow")?
                .open_memory(PROGRAM)?;
            let settings = [following.stop_at_exec, following.tell_of_others];
            let settings = settings.map(|flag| u64::from(flag).to_ne_bytes()).concat();
            for mut map in object.maps_mut() {
                let name = map.name().to_string_lossy().into_owned();
                if name == "processes" {
                    map.reuse_fd(processes.as_fd())?;
                } else if name.ends_with(".rodata")
                    && let Some(value) = map.initial_value_mut()
                    && let Some(value) = value.get_mut(..settings.len())
                {
                    value.copy_from_slice(&settings);
                }
            }
            let object = object.load()?;
            let links = object
                .progs_mut()
                .filter(|_| following.children)
                .map(|program| program.attach_trace())
                .collect::<libbpf_rs::Result<Vec<_>>>()?;
            let queue = Rc::new(RefCell::new(VecDeque::new()));
            let filled = Rc::clone(&queue);
            let ring = tables::of_object(&object, "follow_ring")?;
            let mut builder = RingBufferBuilder::new();
            builder.add(&ring, move |bytes| {
                filled.borrow_mut().extend(News::read(bytes));
                0
            })?;
            Ok(Self {
                known_programs: tables::of_object(&object, "known_programs")?,
                lost: tables::of_object(&object, "news_lost")?,
                news: builder.build()?,
                processes,
                queue,
                links,
                _object: object,
            })
        })
    }

    /// Records `pid`, and whatever it starts, from now on.
    pub(crate) fn add(&self, pid: u32) {
        let yes = 1_u32.to_ne_bytes();
        // More processes than fit are those that nobody hears of; the limit is that of a machine.
        let _ = self
            .processes
            .update(&pid.to_ne_bytes(), &yes, MapFlags::ANY);
    }

    /// Does not record `pid` any more; those that it started stay.
    pub(crate) fn remove(&self, pid: u32) {
        let _ = self.processes.delete(&pid.to_ne_bytes());
    }

    /// Whether nobody is left who lives.
    pub(crate) fn is_empty(&self) -> bool {
        let pids = self.processes.keys().filter_map(|key| key.try_into().ok());
        !pids.map(u32::from_ne_bytes).any(is_alive)
    }

    /// Nobody has to be stopped for this program any more.
    pub(crate) fn know(&self, program: ProgramKey) {
        let key = [program.device, program.inode]
            .map(u64::to_ne_bytes)
            .concat();
        let _ = self.known_programs.update(&key, &[1], MapFlags::ANY);
    }

    /// Waits for news, at most so long.
    pub(crate) fn wait(&self, timeout: Duration) {
        // An interrupted wait is as good as one that is over.
        let _ = self.news.poll(timeout);
    }

    /// What has happened since, in this order.
    pub(crate) fn take(&self) -> VecDeque<News> {
        let _ = self.news.consume_raw();
        std::mem::take(&mut *self.queue.borrow_mut())
    }

    /// News that somebody else will deal with, before all other.
    pub(crate) fn put_back(&self, news: Vec<News>) {
        let mut queue = self.queue.borrow_mut();
        for news in news.into_iter().rev() {
            queue.push_front(news);
        }
    }

    /// How much news there was no room for.
    pub(crate) fn lost(&self) -> u64 {
        let found = self.lost.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY);
        let bytes: Option<[u8; 8]> = found.ok().flatten().and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_ne_bytes)
    }
}

impl Drop for Follower {
    /// Nobody stays stopped.
    fn drop(&mut self) {
        self.links.clear();
        for news in self.take() {
            if let News::Exec {
                pid, stopped: true, ..
            } = news
                && let Some(process) = Process::open(pid)
            {
                process.signal(Signal::CONT);
            }
        }
    }
}
