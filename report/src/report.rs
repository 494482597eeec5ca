//! The whole answer: figures, verdict, patterns and advice for each GIL, and the summary they rest on.

use serde::Serialize;

use crate::advice::{Advice, advise};
use crate::figures::Figures;
use crate::patterns::{Pattern, find};
use crate::saved::FORMAT;
use crate::summary::{Gil, SUMMARY_VERSION, Session, Summary};
use crate::thresholds::Thresholds;
use crate::verdict::{Verdict, VerdictKind, judge, unknown_line};

/// An answer. Written as JSON it is also the saved form of its summary.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    format: &'static str,
    version: u32,
    /// The worst verdict of all GILs.
    pub verdict: Verdict,
    /// What it was measured by.
    pub thresholds: Thresholds,
    /// One answer for each GIL, in the order of the summary.
    pub gils: Vec<GilReport>,
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
        let worst = gils
            .iter()
            .max_by_key(|gil| (gil.verdict.kind, gil.figures.wait_ns));
        let verdict = worst.map_or_else(|| nothing(&summary), |worst| worst.verdict.clone());
        Self {
            format: FORMAT,
            version: SUMMARY_VERSION,
            verdict,
            thresholds: *thresholds,
            gils,
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
    Verdict {
        kind: VerdictKind::Unknown,
        line: unknown_line(wall_ns.unwrap_or(0)),
        rule: "there is no GIL event in the trace".to_owned(),
    }
}
