//! Which thread a tid stands for: threads end, and their numbers are used again.

use rustc_hash::FxHashMap;

use crate::event::ThreadInfo;

/// A thread's place in the registry.
pub(crate) type ThreadIndex = u32;

/// More threads than this are not told apart: a trace with more is broken or hostile.
const THREADS_LIMIT: usize = 1 << 20;

/// One thread, from its first event to the end or to the next thread of the same tid.
#[derive(Debug, Clone)]
pub(crate) struct Thread {
    pub(crate) tid: u32,
    pub(crate) pid: u32,
    pub(crate) native_id: u32,
    pub(crate) ident: u64,
    pub(crate) name: Option<String>,
    /// When it got this name.
    pub(crate) named_at_ns: u64,
}

/// All threads of a session.
pub(crate) struct Registry {
    threads: Vec<Thread>,
    by_tid: FxHashMap<u32, ThreadIndex>,
    session_pid: u32,
}

/// What an introduction changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Introduced {
    /// The tid stands for the same thread as before, or for one that had no event yet.
    Same,
    /// The tid stands for another thread from now on.
    Reused,
}

impl Registry {
    pub(crate) fn new(session_pid: u32) -> Self {
        Self {
            threads: Vec::new(),
            by_tid: FxHashMap::default(),
            session_pid,
        }
    }

    pub(crate) fn get(&self, index: ThreadIndex) -> &Thread {
        &self.threads[index as usize]
    }

    /// The thread that this tid stands for now; `None` when there are too many.
    pub(crate) fn current(&mut self, tid: u32) -> Option<ThreadIndex> {
        if let Some(&index) = self.by_tid.get(&tid) {
            return Some(index);
        }
        self.add(Thread {
            tid,
            pid: self.session_pid,
            native_id: 0,
            ident: 0,
            name: None,
            named_at_ns: 0,
        })
    }

    /// Takes a `thread` line.
    pub(crate) fn introduce(&mut self, time_ns: u64, tid: u32, info: ThreadInfo) -> Introduced {
        let known = self.by_tid.get(&tid).copied();
        if let Some(thread) = known.map(|index| &mut self.threads[index as usize]) {
            let nameless = thread.name.is_none();
            let same_ident = nameless || thread.ident == info.ident;
            if thread.pid == info.pid && same_ident {
                if thread.name.as_deref() != Some(&info.name) {
                    thread.name = Some(info.name);
                    thread.named_at_ns = time_ns;
                }
                thread.native_id = info.native_id;
                thread.ident = info.ident;
                return Introduced::Same;
            }
        }
        self.add(Thread {
            tid,
            pid: info.pid,
            native_id: info.native_id,
            ident: info.ident,
            name: Some(info.name),
            named_at_ns: time_ns,
        });
        known.map_or(Introduced::Same, |_| Introduced::Reused)
    }

    fn add(&mut self, thread: Thread) -> Option<ThreadIndex> {
        if self.threads.len() >= THREADS_LIMIT {
            return None;
        }
        let index = ThreadIndex::try_from(self.threads.len()).ok()?;
        self.by_tid.insert(thread.tid, index);
        self.threads.push(thread);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(pid: u32, ident: u64, name: &str) -> ThreadInfo {
        ThreadInfo {
            pid,
            native_id: 1,
            ident,
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_new_name_is_the_same_thread_a_new_ident_another() {
        let mut registry = Registry::new(10);
        let anonymous = registry.current(11).unwrap();
        assert_eq!(
            registry.introduce(5, 11, info(10, 7, "python3")),
            Introduced::Same
        );
        assert_eq!(
            registry.introduce(6, 11, info(10, 7, "worker")),
            Introduced::Same
        );
        assert_eq!(registry.current(11), Some(anonymous));
        assert_eq!(registry.get(anonymous).name.as_deref(), Some("worker"));
        assert_eq!(
            registry.introduce(7, 11, info(10, 8, "worker")),
            Introduced::Reused
        );
        assert_ne!(registry.current(11), Some(anonymous));
    }

    #[test]
    fn a_tid_in_another_process_is_another_thread() {
        let mut registry = Registry::new(10);
        registry.introduce(5, 11, info(10, 7, "a"));
        assert_eq!(
            registry.introduce(6, 11, info(12, 7, "a")),
            Introduced::Reused
        );
    }
}
