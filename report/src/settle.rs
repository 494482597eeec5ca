//! The sums of one GIL, once all are there, in the form and order in which they are kept.

use crate::functions::{Functions, Places};
use crate::gil::{Figures, GilState};
use crate::longest::{Entry, LongestList, keep_longest};
use crate::registry::Registry;
use crate::stack::{self, Stacks};
use crate::summary::{Blame, FURTHER_THREADS, Gil, HoldStack, Longest, Thread};
use std::cmp::Reverse;

impl GilState {
    /// Orders threads by tid and ident and joins those that agree in both.
    pub(crate) fn into_summary(
        mut self,
        registry: &Registry,
        stacks: &Stacks,
        known: &Places,
    ) -> Gil {
        let mut order: Vec<_> = self
            .figures
            .iter_mut()
            .enumerate()
            .map(|(number, figures)| {
                let waited_for_ns = std::mem::take(&mut figures.waited_for_ns);
                let thread = into_thread(std::mem::take(figures), registry);
                (number, thread, waited_for_ns)
            })
            .collect();
        order.sort_by_key(|(_, thread, _)| thread.key());

        let mut places = vec![0; order.len()];
        let mut threads: Vec<Thread> = Vec::with_capacity(order.len());
        let mut rows = Vec::with_capacity(order.len());
        for (number, thread, waited_for_ns) in order {
            match threads.last_mut() {
                Some(last) if last.key() == thread.key() => last.merge(&thread),
                _ => threads.push(thread),
            }
            places[number] = threads.len() - 1;
            rows.push((threads.len() - 1, waited_for_ns));
        }
        for thread in &mut threads {
            let asked = (thread.ident != 0).then(|| self.requests.get(&thread.ident));
            thread.requests_received = asked.flatten().copied().unwrap_or(0);
        }
        let mut blame: Vec<_> = rows
            .into_iter()
            .flat_map(|(waiter, row)| {
                row.into_iter()
                    .zip(&places)
                    .filter(|(wait_ns, _)| *wait_ns > 0)
                    .map(move |(wait_ns, &holder)| Blame {
                        waiter,
                        holder,
                        wait_ns,
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        join_blame(&mut blame);
        let held = std::mem::take(&mut self.stacks).into_iter();
        let mut held: Vec<_> = held
            .map(|((number, place, stack), (holds, hold_ns))| HoldStack {
                thread: places[number as usize],
                place: known.get(place).cloned(),
                frames: stacks.get(stack),
                holds,
                hold_ns,
            })
            .filter(|stack| !stack.frames.is_empty())
            .collect();
        join_stacks(&mut held);
        Gil {
            pid: self.pid,
            address: self.address,
            switch_interval_ns: None,
            switches: self.switches,
            threads,
            series: self.series,
            blame,
            longest_holds: settle_longest(self.longest_holds, &places, stacks, known),
            longest_waits: settle_longest(self.longest_waits, &places, stacks, known),
            stacks: held,
            functions: Functions::settle(&self.places, known, &places),
        }
    }
}

fn into_thread(figures: Figures, registry: &Registry) -> Thread {
    let known = figures.thread.map(|thread| registry.get(thread));
    let mut long_holds = figures.long_holds;
    long_holds.sort_unstable();
    Thread {
        tid: known.map_or(0, |known| known.tid),
        native_id: known.map_or(0, |known| known.native_id),
        ident: known.map_or(0, |known| known.ident),
        name: known.map_or_else(
            || Some(FURTHER_THREADS.to_owned()),
            |known| known.name.clone(),
        ),
        named_at_ns: known.map_or(0, |known| known.named_at_ns),
        holds: figures.holds.complete(),
        waits: figures.waits.complete(),
        forced_drops: figures.forced_drops,
        voluntary_drops: figures.voluntary_drops,
        requests_made: figures.requests_made,
        requests_received: 0,
        switch_interval_waits: figures.switch_interval_waits,
        wait_on_nobody_ns: figures.wait_on_nobody_ns,
        wait_unattributed_ns: figures.wait_unattributed_ns,
        open_hold_ns: figures.open_hold_ns,
        open_wait_ns: figures.open_wait_ns,
        long_holds,
    }
}

/// Orders the pairs and joins those that are the same.
pub(crate) fn join_blame(blame: &mut Vec<Blame>) {
    blame.sort_by_key(|blame| (blame.waiter, blame.holder));
    blame.dedup_by(|next, kept| {
        let same = (next.waiter, next.holder) == (kept.waiter, kept.holder);
        if same {
            kept.wait_ns = kept.wait_ns.saturating_add(next.wait_ns);
        }
        same
    });
}

/// Orders the stacks and joins those that are the same.
pub(crate) fn join_stacks(stacks: &mut Vec<HoldStack>) {
    stacks.sort_by(|one, other| {
        let key = |stack: &HoldStack| (stack.thread, stack.place.clone(), stack.frames.clone());
        key(one).cmp(&key(other))
    });
    stacks.dedup_by(|next, kept| {
        let same =
            (next.thread, &next.place, &next.frames) == (kept.thread, &kept.place, &kept.frames);
        if same {
            kept.holds = kept.holds.saturating_add(next.holds);
            kept.hold_ns = kept.hold_ns.saturating_add(next.hold_ns);
        }
        same
    });
}

/// Orders the longest holds or waits and keeps as many as there may be.
pub(crate) fn order_longest(longest: &mut Vec<Longest>) {
    // By everything that they are: the order of merging must not show.
    keep_longest(longest, |one, other| {
        let key = |one: &Longest| (Reverse(one.duration_ns), one.start_ns, one.thread, one.open);
        key(one).cmp(&key(other)).then_with(|| {
            let rest = |one: &Longest| {
                (
                    one.others.clone(),
                    one.place.clone(),
                    one.within.clone(),
                    one.function.clone(),
                )
            };
            rest(one).cmp(&rest(other))
        })
    });
}

fn settle_longest(
    list: LongestList,
    places: &[usize],
    stacks: &Stacks,
    known: &Places,
) -> Vec<Longest> {
    let place = |number: u32| places.get(number as usize).copied().unwrap_or(0);
    let settle = |entry: Entry| {
        let mut others: Vec<_> = entry
            .others
            .into_iter()
            .map(|(number, part_ns)| (place(number), part_ns))
            .collect();
        others.sort_by_key(|&(place, part_ns)| (Reverse(part_ns), place));
        Longest {
            thread: place(entry.thread),
            start_ns: entry.start_ns,
            duration_ns: entry.duration_ns,
            open: entry.open,
            others,
            place: known.get(entry.place).cloned(),
            within: entry
                .sample
                .and_then(|stack| stack::within(&stacks.get(stack))),
            function: entry
                .stack
                .and_then(|stack| stack::telling(&stacks.get(stack))),
        }
    };
    let mut longest: Vec<_> = list.into_entries().into_iter().map(settle).collect();
    order_longest(&mut longest);
    longest
}
