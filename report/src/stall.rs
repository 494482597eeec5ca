//! What makes threads wait in a free-threaded process, where no GIL does: a stopped world, and mutexes.

/// One event about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// The thread asks all others to stop.
    StwBegin {
        /// Those of all interpreters, not only of its own.
        global: bool,
    },
    /// All of them have stopped.
    StwStopped {
        /// Those of all interpreters, not only of its own.
        global: bool,
        /// How long that took; 0 = not known.
        wait_ns: u64,
    },
    /// It lets the others go on.
    StwEnd {
        /// Those of all interpreters, not only of its own.
        global: bool,
        /// How long they were stopped; 0 = not known.
        stopped_ns: u64,
        /// How long it took until they were; 0 = not known.
        wait_ns: u64,
    },
    /// The thread has waited for a mutex, and slept meanwhile.
    Mutex {
        /// The mutex.
        address: u64,
        /// How long.
        wait_ns: u64,
        /// It is a lock of the module `threading`: whoever waits for such a one may wait for something to happen.
        threading: bool,
    },
}
