//! What threads are called: their whole names, where a process tells them, and else what the kernel has.

use std::collections::HashMap;

/// Threads whose names are remembered. With more, all are forgotten and told again as they come.
const MOST: usize = 1 << 16;

/// A thread as its process knows it: the process, and `threading.get_ident()`.
type Whose = (u32, u64);

/// A thread as a trace knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) tid: u32,
    pub(super) native_id: u32,
}

/// The names of threads, as they come to be known. A thread tells its name, or another tells it, before or after the thread is first seen.
#[derive(Debug, Default)]
pub(super) struct Names {
    told: HashMap<Whose, (u64, String)>,
    seen: HashMap<Whose, Seen>,
}

impl Names {
    /// A thread is seen, under the name that the kernel has; what it is called.
    pub(super) fn see(&mut self, whose: Whose, thread: Seen, kernel_name: &str) -> String {
        if self.seen.len() >= MOST {
            self.seen.clear();
        }
        self.seen.insert(whose, thread);
        let told = self.told.get(&whose);
        // An identity is used again when its thread has ended: by one with another native id.
        let told = told.filter(|(native_id, _)| *native_id == u64::from(thread.native_id));
        one_line(told.map_or(kernel_name, |(_, name)| name))
    }

    /// A thread is said to have this name; the thread and its name, if it has been seen and that is news.
    pub(super) fn tell(
        &mut self,
        whose: Whose,
        native_id: u64,
        name: &str,
    ) -> Option<(Seen, String)> {
        if self.told.len() >= MOST {
            self.told.clear();
        }
        let told = (native_id, name.to_owned());
        if self.told.get(&whose) == Some(&told) {
            return None;
        }
        self.told.insert(whose, told);
        let seen = self.seen.get(&whose);
        let seen = seen.filter(|seen| u64::from(seen.native_id) == native_id);
        seen.map(|seen| (*seen, one_line(name)))
    }
}

/// A line of a trace ends at a newline, a name may hold one.
pub(super) fn one_line(name: &str) -> String {
    name.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREAD: Seen = Seen {
        tid: 11,
        native_id: 1,
    };

    #[test]
    fn names_may_come_before_and_after_their_threads() {
        let mut names = Names::default();
        assert_eq!(names.tell((7, 5), 1, "worker\n1"), None);
        assert_eq!(names.see((7, 5), THREAD, "python3"), "worker 1");
        assert_eq!(names.see((7, 6), THREAD, "python3"), "python3");
        assert_eq!(names.tell((7, 6), 1, "b"), Some((THREAD, "b".to_owned())));
        assert_eq!(names.tell((7, 6), 1, "b"), None);
    }

    #[test]
    fn a_name_is_not_that_of_the_next_thread() {
        let mut names = Names::default();
        names.tell((7, 5), 1, "first");
        let next = Seen {
            tid: 12,
            native_id: 2,
        };
        assert_eq!(names.see((7, 5), next, "python3"), "python3");
        assert_eq!(names.tell((7, 5), 1, "renamed"), None);
    }
}
