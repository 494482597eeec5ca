//! What to do next, only where the figures carry it.

use serde::Serialize;

use crate::figures::{Figures, share};
use crate::format::{count, duration, per_second, percent, plain, thread_label};
use crate::patterns::Pattern;
use crate::summary::Gil;
use crate::verdict::{Verdict, VerdictKind, most_blamed};

/// A step that the figures support.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// What to do, and why.
    pub text: String,
    /// How much less threads would wait at most, summed over threads, where that can be said.
    pub at_most_ns: Option<u64>,
}

/// Somebody who waits this long during one hold has asked for the GIL several times.
const LONG_ENOUGH_NS: u64 = 20_000_000;

/// Finds what there is to say about one GIL.
pub(crate) fn advise(
    gil: &Gil,
    figures: &Figures,
    verdict: &Verdict,
    patterns: &[Pattern],
) -> Vec<Advice> {
    let mut advice = Vec::new();
    if gil.series.overlaps() {
        advice.push(Advice {
            text: "two threads held this GIL at the same time, which cannot be: the same recording is in it more than once. Give \
                   each trace and saved report once"
                .to_owned(),
            at_most_ns: None,
        });
    }
    if verdict.kind >= VerdictKind::Contended {
        advice.extend(look_at_holder(gil, figures, patterns));
        advice.extend(pay_switch_interval(gil, patterns));
        advice.extend(many_short_holds(figures));
    }
    if figures.lower_bounds {
        advice.push(Advice {
            text: "events are missing, so sums and counts are lower bounds: record again, shorter, or with `--mode \
                   summary`, which adds up inside the kernel and loses none"
                .to_owned(),
            at_most_ns: None,
        });
    }
    advice
}

fn look_at_holder(gil: &Gil, figures: &Figures, patterns: &[Pattern]) -> Option<Advice> {
    /// Below this share of all waits nobody stands out.
    const STANDS_OUT: f64 = 0.25;
    let place = most_blamed(gil)?;
    let thread = &gil.threads[place];
    if thread.is_several() {
        return None;
    }
    let made_wait_ns = gil.made_wait()[place];
    if share(made_wait_ns, figures.wait_ns) < STANDS_OUT {
        return None;
    }
    let mut text = format!(
        "{} has {} of the hold time, and others waited {} behind it ({} of all waits)",
        thread_label(thread),
        percent(figures.share_of_hold(thread)),
        duration(made_wait_ns),
        percent(share(made_wait_ns, figures.wait_ns)),
    );
    // A hold is too long if somebody asked for it all the time: the switch interval would have ended any other.
    let deaf_ns = gil
        .longest_holds
        .iter()
        .filter(|hold| hold.thread == place)
        .filter(|hold| {
            hold.others
                .iter()
                .any(|&(_, part_ns)| part_ns >= LONG_ENOUGH_NS)
        })
        .map(|hold| hold.duration_ns)
        .max();
    let period = patterns.iter().find_map(|pattern| match pattern {
        Pattern::Periodic {
            thread, period_ns, ..
        } if *thread == place => Some(*period_ns),
        _ => None,
    });
    if let Some((place, sums)) = gil
        .functions
        .as_ref()
        .and_then(|functions| functions.mostly(place))
        && let Some(of_hold) = share_of(sums.total_ns, thread.holds.total_ns())
    {
        let at = format!("; {of_hold} of its hold time ends at {}", place.text());
        text.push_str(&plain(&at));
    }
    if let Some(longest_ns) = deaf_ns {
        text.extend([format!("; its longest hold is {}", duration(longest_ns))]);
        text.extend(
            period.map(|period_ns| {
                format!(", and such holds come back every {}", duration(period_ns))
            }),
        );
        text += ", and no other thread could run in it: a call that does not release the GIL. Look there first";
    } else {
        text += ": its work keeps others waiting, though it gives the GIL up when asked. Move that work to a process, or \
                 into code that releases the GIL";
    }
    Some(Advice {
        text,
        at_most_ns: Some(made_wait_ns),
    })
}

/// A share that is worth telling.
fn share_of(part_ns: u64, whole_ns: u64) -> Option<String> {
    /// Below this share of a thread's hold time no place stands out.
    const STANDS_OUT: f64 = 0.25;
    let share = share(part_ns, whole_ns);
    (share >= STANDS_OUT).then(|| percent(share))
}

fn pay_switch_interval(gil: &Gil, patterns: &[Pattern]) -> Option<Advice> {
    patterns.iter().find_map(|pattern| {
        let Pattern::SwitchInterval {
            threads,
            waits,
            of_waits,
        } = pattern
        else {
            return None;
        };
        let who = match threads.as_slice() {
            [one] => {
                let thread = &gil.threads[*one];
                let verb = if thread.is_several() { "pay" } else { "pays" };
                format!("{} {verb}", thread_label(thread))
            }
            several => format!("{} threads pay", several.len()),
        };
        Some(Advice {
            text: format!(
                "{who} the switch interval: {} of {} waits last 4 to 8 ms and end when the holder is made to drop. A \
                 shorter `sys.setswitchinterval()` (now 5 ms, unless the program changed it) shortens each of them, at \
                 the price of more switches; it treats the symptom",
                count(*waits),
                count(*of_waits)
            ),
            at_most_ns: None,
        })
    })
}

fn many_short_holds(figures: &Figures) -> Option<Advice> {
    const MANY_PER_SECOND: f64 = 20_000.0;
    const SHORT_NS: u64 = 20_000;
    let mean_ns = figures.hold_ns.checked_div(figures.acquisitions)?;
    (figures.acquisitions_per_second >= MANY_PER_SECOND && mean_ns <= SHORT_NS).then(|| Advice {
        text: format!(
            "the GIL is taken {} for {} each time: many small calls that release it (reads, writes, locks). Fewer, larger \
             ones leave less to hand over",
            per_second(figures.acquisitions_per_second),
            duration(mean_ns)
        ),
        at_most_ns: None,
    })
}
