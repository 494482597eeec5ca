//! Puts summaries together: of several processes and hosts, or of several traces of one.
//!
//! What belongs to the same recording (host, start, process) is added up; everything else stands side by side. The
//! order of merging does not matter.

use crate::gil::LONG_HOLDS;
use crate::settle::{join_blame, join_stacks, order_longest};
use crate::summary::{Blame, Gil, Longest, Losses, Session, Summary, Thread};

/// What says that two sessions are the same recording.
type SessionKey<'s> = (Option<&'s str>, Option<&'s str>, u64, u32);

impl Summary {
    /// Adds everything in another summary.
    pub fn merge(&mut self, other: Self) {
        for session in other.sessions {
            let place = self
                .sessions
                .binary_search_by(|known| known.key().cmp(&session.key()));
            match place {
                Ok(place) => self.sessions[place].merge(session),
                Err(place) => self.sessions.insert(place, session),
            }
        }
    }
}

impl Session {
    pub(crate) fn key(&self) -> SessionKey<'_> {
        (
            self.host.as_deref(),
            self.start.as_deref(),
            self.start_ns,
            self.pid,
        )
    }

    fn merge(&mut self, other: Self) {
        self.python = self.python.take().max(other.python);
        self.target = self.target.take().max(other.target);
        for process in other.processes {
            let place = self
                .processes
                .binary_search_by_key(&process.pid, |known| known.pid);
            match place {
                Ok(place) => {
                    let known = &mut self.processes[place];
                    *known = std::mem::take(known).max(process);
                }
                Err(place) => self.processes.insert(place, process),
            }
        }
        self.command = self.command.take().max(other.command);
        self.ended = match self.end_ns.cmp(&other.end_ns) {
            std::cmp::Ordering::Less => other.ended,
            std::cmp::Ordering::Equal => self.ended.take().max(other.ended),
            std::cmp::Ordering::Greater => self.ended.take(),
        };
        self.end_ns = self.end_ns.max(other.end_ns);
        self.events = self.events.saturating_add(other.events);
        self.losses.merge(&other.losses);
        for stalls in other.stalls {
            let place = self
                .stalls
                .binary_search_by_key(&stalls.pid, |known| known.pid);
            match place {
                Ok(place) => self.stalls[place].merge(stalls),
                Err(place) => self.stalls.insert(place, stalls),
            }
        }
        if let Some(more) = other.requests {
            match &mut self.requests {
                Some(requests) => requests.merge(more),
                none => *none = Some(more),
            }
        }
        for gil in other.gils {
            let place = self
                .gils
                .binary_search_by_key(&(gil.pid, gil.address), |known| (known.pid, known.address));
            match place {
                Ok(place) => self.gils[place].merge(gil),
                Err(place) => self.gils.insert(place, gil),
            }
        }
    }
}

impl Losses {
    fn merge(&mut self, other: &Self) {
        let first_lines = [self.first_skipped_line, other.first_skipped_line];
        self.first_skipped_line = first_lines
            .into_iter()
            .filter(|&line| line > 0)
            .min()
            .unwrap_or(0);
        other.causes.iter().for_each(|cause| self.add_cause(cause));
        for (mine, more) in [
            (&mut self.lost, other.lost),
            (&mut self.late, other.late),
            (&mut self.skipped_lines, other.skipped_lines),
            (&mut self.truncated, other.truncated),
            (&mut self.unpaired_claims, other.unpaired_claims),
            (&mut self.unpaired_holds, other.unpaired_holds),
            (&mut self.unknown_holds, other.unknown_holds),
            (&mut self.clipped, other.clipped),
            (&mut self.beyond_limits, other.beyond_limits),
        ] {
            *mine = mine.saturating_add(more);
        }
    }
}

impl Gil {
    fn merge(&mut self, other: Self) {
        let mut threads: Vec<Thread> = Vec::with_capacity(self.threads.len());
        let mut mine = std::mem::take(&mut self.threads).into_iter().peekable();
        let mut theirs = other.threads.into_iter().peekable();
        let (mut my_places, mut their_places) = (Vec::new(), Vec::new());
        loop {
            let next_key = mine
                .peek()
                .map(Thread::key)
                .into_iter()
                .chain(theirs.peek().map(Thread::key))
                .min();
            let Some(key) = next_key else { break };
            let mut thread: Option<Thread> = None;
            for (side, places) in [
                (&mut mine, &mut my_places),
                (&mut theirs, &mut their_places),
            ] {
                if let Some(part) = side.next_if(|part| part.key() == key) {
                    places.push(threads.len());
                    match &mut thread {
                        Some(thread) => thread.merge(&part),
                        None => thread = Some(part),
                    }
                }
            }
            threads.extend(thread);
        }
        self.threads = threads;
        self.switch_interval_ns = self.switch_interval_ns.max(other.switch_interval_ns);
        self.switches = self.switches.saturating_add(other.switches);
        self.series.merge(&other.series);

        for blame in &mut self.blame {
            blame.move_to(&my_places);
        }
        for mut blame in other.blame {
            blame.move_to(&their_places);
            self.blame.push(blame);
        }
        join_blame(&mut self.blame);

        for (list, more) in [
            (&mut self.longest_holds, other.longest_holds),
            (&mut self.longest_waits, other.longest_waits),
        ] {
            for one in &mut *list {
                one.move_to(&my_places);
            }
            for mut one in more {
                one.move_to(&their_places);
                list.push(one);
            }
            order_longest(list);
        }

        for stack in &mut self.stacks {
            stack.thread = my_places[stack.thread];
        }
        for mut stack in other.stacks {
            stack.thread = their_places[stack.thread];
            self.stacks.push(stack);
        }
        join_stacks(&mut self.stacks);

        if let Some(functions) = &mut self.functions {
            functions.move_threads(&my_places);
        }
        if let Some(mut more) = other.functions {
            more.move_threads(&their_places);
            match &mut self.functions {
                Some(functions) => functions.merge(more),
                none => *none = Some(more),
            }
        }
    }
}

impl Blame {
    fn move_to(&mut self, places: &[usize]) {
        self.waiter = places[self.waiter];
        self.holder = places[self.holder];
    }
}

impl Longest {
    fn move_to(&mut self, places: &[usize]) {
        self.thread = places[self.thread];
        for other in &mut self.others {
            other.0 = places[other.0];
        }
        self.others
            .sort_by_key(|&(place, part_ns)| (std::cmp::Reverse(part_ns), place));
    }
}

impl Thread {
    /// What says that two entries are the same thread.
    pub(crate) fn key(&self) -> (u32, u64) {
        (self.tid, self.ident)
    }

    /// Adds what the same thread did elsewhere in the recording.
    pub(crate) fn merge(&mut self, other: &Self) {
        if (other.named_at_ns, &other.name) > (self.named_at_ns, &self.name) {
            self.name.clone_from(&other.name);
            self.named_at_ns = other.named_at_ns;
        }
        self.native_id = self.native_id.max(other.native_id);
        self.holds.merge(&other.holds);
        self.waits.merge(&other.waits);
        for (mine, more) in [
            (&mut self.forced_drops, other.forced_drops),
            (&mut self.voluntary_drops, other.voluntary_drops),
            (&mut self.requests_made, other.requests_made),
            (&mut self.requests_received, other.requests_received),
            (&mut self.switch_interval_waits, other.switch_interval_waits),
            (&mut self.wait_on_nobody_ns, other.wait_on_nobody_ns),
            (&mut self.wait_unattributed_ns, other.wait_unattributed_ns),
            (&mut self.open_hold_ns, other.open_hold_ns),
            (&mut self.open_wait_ns, other.open_wait_ns),
        ] {
            *mine = mine.saturating_add(more);
        }
        self.long_holds.extend_from_slice(&other.long_holds);
        if self.long_holds.len() > LONG_HOLDS {
            self.long_holds
                .sort_by_key(|&(start_ns, duration_ns)| (std::cmp::Reverse(duration_ns), start_ns));
            self.long_holds.truncate(LONG_HOLDS);
        }
        self.long_holds.sort_unstable();
    }
}
