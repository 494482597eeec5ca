//! Spans while their events come: what each thread works for, and what was held and waited for it.

use rustc_hash::FxHashMap;

use super::{Request, RequestSummary, WaitedFor};
use crate::event::SpanInfo;
use crate::registry::{Registry, ThreadIndex};
use crate::stalls::Who;

/// Spans that are followed at a time.
const SPANS: usize = 1 << 18;

/// Threads whose spans are followed.
const THREADS: usize = 1 << 20;

/// Changes from one span to another within one hold that are kept apart.
const CHANGES: usize = 1024;

/// Threads that one span may have waited for.
const HOLDERS: usize = 32;

/// A span that has not ended, or not been settled.
#[derive(Debug)]
struct Span {
    info: SpanInfo,
    pid: u32,
    start_ns: u64,
    hold_ns: u64,
    wait_ns: u64,
    waited_for: Vec<(ThreadIndex, u64)>,
}

/// What one thread works for.
#[derive(Debug, Default)]
struct Work {
    /// The span at the beginning of the cycle that it is in; 0 = none.
    before: u64,
    /// Since when it works for which other, in that cycle.
    changes: Vec<(u64, u64)>,
    /// Spans that ended in it, and when: what it holds the GIL for now is a part of them.
    ended: Vec<(u64, u64)>,
}

impl Work {
    /// For which span it works now.
    fn now(&self) -> u64 {
        self.changes.last().map_or(self.before, |&(_, span)| span)
    }

    fn at(&self, time_ns: u64) -> u64 {
        let changes = self.changes.iter().rev();
        let mut earlier = changes.skip_while(|&&(since_ns, _)| since_ns > time_ns);
        earlier.next().map_or(self.before, |&(_, span)| span)
    }

    fn change(&mut self, time_ns: u64, span: u64) {
        if self.now() == span {
            return;
        }
        if self.changes.len() < CHANGES {
            self.changes.push((time_ns, span));
        } else if let Some(last) = self.changes.last_mut() {
            last.1 = span;
        }
    }
}

/// The requests of a session while its events come.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    spans: FxHashMap<u64, Span>,
    threads: FxHashMap<u32, Work>,
    summary: RequestSummary,
}

impl Collector {
    /// Whether there has been no span yet.
    pub(crate) fn is_idle(&self) -> bool {
        self.threads.is_empty()
    }

    pub(crate) fn begin(&mut self, time_ns: u64, tid: u32, pid: u32, info: SpanInfo) {
        if self.spans.len() >= SPANS || self.threads.len() >= THREADS {
            self.summary.beyond_limits += 1;
            return;
        }
        self.threads
            .entry(tid)
            .or_default()
            .change(time_ns, info.span);
        let span = Span {
            pid,
            start_ns: time_ns,
            hold_ns: 0,
            wait_ns: 0,
            waited_for: Vec::new(),
            info,
        };
        self.spans.insert(span.info.span, span);
    }

    pub(crate) fn switch(&mut self, time_ns: u64, tid: u32, span: u64) {
        if self.threads.len() < THREADS || self.threads.contains_key(&tid) {
            self.threads.entry(tid).or_default().change(time_ns, span);
        }
    }

    /// The span has ended. What the thread holds the GIL for now is settled when it gives it up.
    pub(crate) fn end(&mut self, time_ns: u64, tid: u32, span: u64) {
        let Some(ended) = self.spans.get(&span) else {
            self.summary.cut += 1;
            return;
        };
        let parent = ended.info.parent;
        let parent = if self.spans.contains_key(&parent) {
            parent
        } else {
            0
        };
        let work = self.threads.entry(tid).or_default();
        if work.now() == span {
            work.change(time_ns, parent);
        }
        work.ended.push((span, time_ns));
    }

    /// A thread waited, for the holders that it is split over. It works for nothing else meanwhile.
    pub(crate) fn wait(
        &mut self,
        tid: u32,
        end_ns: u64,
        wait_ns: u64,
        holders: &[(ThreadIndex, u64)],
    ) {
        let Some(work) = self.threads.get(&tid) else {
            return;
        };
        let Some(span) = self.spans.get_mut(&work.at(end_ns)) else {
            return;
        };
        span.wait_ns = span.wait_ns.saturating_add(wait_ns);
        add_holders(&mut span.waited_for, holders);
    }

    /// A thread gave the GIL up that it had since then, if that is known.
    pub(crate) fn drop(
        &mut self,
        tid: u32,
        start_ns: Option<u64>,
        end_ns: u64,
        registry: &Registry,
        mut tell: impl FnMut(&Request),
    ) {
        let Some(work) = self.threads.get_mut(&tid) else {
            return;
        };
        let changes = std::mem::take(&mut work.changes);
        let ended = std::mem::take(&mut work.ended);
        let mut span = work.before;
        if let Some(start_ns) = start_ns {
            let mut from_ns = start_ns;
            for &(since_ns, next) in changes.iter().chain(&[(end_ns, 0)]) {
                let to_ns = since_ns.clamp(start_ns, end_ns);
                if let Some(span) = self.spans.get_mut(&span) {
                    span.hold_ns = span.hold_ns.saturating_add(to_ns.saturating_sub(from_ns));
                }
                (from_ns, span) = (to_ns.max(from_ns), next);
            }
        }
        if let (Some(work), Some(&(_, last))) = (self.threads.get_mut(&tid), changes.last()) {
            work.before = last;
        }
        for (span, time_ns) in ended {
            self.settle(span, time_ns, registry, &mut tell);
        }
    }

    /// All of a span is known: a part of another is added to that, and what is a part of none is a request.
    fn settle(
        &mut self,
        span: u64,
        end_ns: u64,
        registry: &Registry,
        tell: &mut impl FnMut(&Request),
    ) {
        let Some(span) = self.spans.remove(&span) else {
            return;
        };
        if let Some(parent) = self.spans.get_mut(&span.info.parent) {
            parent.hold_ns = parent.hold_ns.saturating_add(span.hold_ns);
            parent.wait_ns = parent.wait_ns.saturating_add(span.wait_ns);
            add_holders(&mut parent.waited_for, &span.waited_for);
            return;
        }
        let mut waited_for = span.waited_for;
        waited_for.sort_by_key(|&(thread, wait_ns)| (std::cmp::Reverse(wait_ns), thread));
        let request = Request {
            name: span.info.name,
            pid: span.pid,
            trace: span.info.trace,
            span: span.info.span,
            start_ns: span.start_ns,
            duration_ns: end_ns.saturating_sub(span.start_ns),
            hold_ns: span.hold_ns,
            wait_ns: span.wait_ns,
            waited_for: waited_for
                .into_iter()
                .map(|(thread, wait_ns)| {
                    let thread = registry.get(thread);
                    WaitedFor {
                        who: Who {
                            tid: thread.tid,
                            ident: thread.ident,
                            name: thread.name.clone(),
                        },
                        wait_ns,
                    }
                })
                .collect(),
        };
        tell(&request);
        self.summary.add(&request);
    }

    /// What is left open is cut. `None` when there were no spans.
    pub(crate) fn finish(
        mut self,
        registry: &Registry,
        mut tell: impl FnMut(&Request),
    ) -> Option<RequestSummary> {
        let mut ended: Vec<_> = self
            .threads
            .values_mut()
            .flat_map(|work| std::mem::take(&mut work.ended))
            .collect();
        ended.sort_unstable_by_key(|&(span, time_ns)| (time_ns, span));
        for (span, time_ns) in ended {
            self.settle(span, time_ns, registry, &mut tell);
        }
        self.summary.cut += self.spans.len() as u64;
        (!self.summary.is_empty()).then(|| self.summary.complete())
    }
}

fn add_holders(sums: &mut Vec<(ThreadIndex, u64)>, parts: &[(ThreadIndex, u64)]) {
    for &(thread, part_ns) in parts {
        if let Some((_, sum)) = sums.iter_mut().find(|(known, _)| *known == thread) {
            *sum = sum.saturating_add(part_ns);
        } else if sums.len() < HOLDERS {
            sums.push((thread, part_ns));
        }
    }
}
