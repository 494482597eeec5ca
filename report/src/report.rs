//! The whole answer: figures, verdict, patterns and advice for each GIL, and the summary they rest on.

use serde::Serialize;

use crate::advice::{Advice, advise};
use crate::figures::Figures;
use crate::patterns::{Pattern, find};
use crate::process::Process;
use crate::saved::FORMAT;
use crate::stall_report::StallReport;
use crate::summary::{Gil, SUMMARY_VERSION, Session, Summary};
use crate::thresholds::Thresholds;
use crate::verdict::{Verdict, VerdictKind, judge, unknown_line};

/// An answer. Written as JSON it is also the saved form of its summary.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    format: &'static str,
    version: u32,
    /// The worst verdict of all GILs and stalls.
    pub verdict: Verdict,
    /// What it was measured by.
    pub thresholds: Thresholds,
    /// One answer for each GIL, in the order of the summary.
    pub gils: Vec<GilReport>,
    /// One answer for each process that has stalled without a GIL, in the order of the summary.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stalls: Vec<StallReport>,
    /// What it rests on.
    #[serde(flatten)]
    pub summary: Summary,
}

/// The answer for one GIL.
#[derive(Debug, Clone, Serialize)]
pub struct GilReport {
    /// Its recording: a place in [`Summary::sessions`].
    pub session: usize,
    /// Which one: a place in [`Session::gils`].
    pub gil: usize,
    /// Its figures as a whole.
    pub figures: Figures,
    /// Its verdict.
    pub verdict: Verdict,
    /// What comes back in it.
    pub patterns: Vec<Pattern>,
    /// What to do about it.
    pub advice: Vec<Advice>,
}

impl Report {
    /// Draws the conclusions from a summary.
    #[must_use]
    pub fn new(summary: Summary, thresholds: &Thresholds) -> Self {
        let gils: Vec<_> = summary
            .sessions
            .iter()
            .enumerate()
            .flat_map(|(at, session)| {
                (0..session.gils.len()).map(move |gil| GilReport::new(at, session, gil, thresholds))
            })
            .collect();
        let stalls: Vec<_> = summary
            .sessions
            .iter()
            .enumerate()
            .flat_map(|(at, session)| {
                (0..session.stalls.len())
                    .map(move |process| StallReport::new(at, session, process, thresholds))
            })
            .collect();
        let of_gils = gils.iter().map(|gil| (&gil.verdict, gil.figures.wait_ns));
        let of_stalls = stalls
            .iter()
            .map(|stall| (&stall.verdict, stall.stopped_ns.max(stall.mutex_wait_ns)));
        let worst = of_gils
            .chain(of_stalls)
            .max_by_key(|(verdict, wait_ns)| (verdict.kind, *wait_ns));
        let verdict = worst.map_or_else(|| nothing(&summary), |(verdict, _)| verdict.clone());
        Self {
            format: FORMAT,
            version: SUMMARY_VERSION,
            verdict,
            thresholds: *thresholds,
            gils,
            stalls,
            summary,
        }
    }

    /// The recording and the GIL that an answer is about.
    #[must_use]
    pub fn subject(&self, gil: &GilReport) -> (&Session, &Gil) {
        let session = &self.summary.sessions[gil.session];
        (session, &session.gils[gil.gil])
    }
}

impl GilReport {
    fn new(at: usize, session: &Session, place: usize, thresholds: &Thresholds) -> Self {
        let gil = &session.gils[place];
        let figures = Figures::new(session, gil);
        let verdict = judge(gil, &figures, thresholds);
        let patterns = find(gil, &figures);
        let advice = advise(gil, &figures, &verdict, &patterns);
        Self {
            session: at,
            gil: place,
            figures,
            verdict,
            patterns,
            advice,
        }
    }
}

/// The verdict on a trace without a GIL in it.
fn nothing(summary: &Summary) -> Verdict {
    let wall_ns = summary.sessions.iter().map(Session::wall_ns).max();
    let mut processes = summary
        .sessions
        .iter()
        .flat_map(|session| &session.processes);
    if processes.any(Process::is_free_threaded) {
        return Verdict {
            kind: VerdictKind::NotTheGil,
            line: "not the GIL: a free-threaded process, in which nobody took a GIL, stopped the world or slept for a mutex"
                .to_owned(),
            rule: "there is no event of a GIL, a stopped world or a mutex in the trace".to_owned(),
        };
    }
    Verdict {
        kind: VerdictKind::Unknown,
        line: unknown_line(wall_ns.unwrap_or(0)),
        rule: "there is no GIL event in the trace".to_owned(),
    }
}
