//! Turns GIL traces into an answer: is it the GIL, who holds it, who waits, and for whom.
//!
//! A trace goes one way: events ([`TextReader`]) → holds and waits ([`Interval`]) → sums ([`Summary`]) → verdict and
//! advice ([`Report`]) → text, JSON and more ([`render`]). Nothing but sums is kept on the way: memory depends on the
//! number of threads, not on the number of events.
//!
//! ```
//! # let trace = "# gil-trace 1 clock=monotonic pid=10 start_ns=0\n1000000 drop 11 7f00 0 900000 0\n".as_bytes();
//! let report = gil_report::analyse(trace, &gil_report::Options::default())?;
//! let mut text = Vec::new();
//! gil_report::render::text(&report, &gil_report::render::TextOptions::default(), &mut text)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod advice;
mod analyse;
mod arrow;
mod convert;
mod counts;
mod diff;
mod distribution;
mod event;
mod figures;
pub mod format;
mod functions;
mod gil;
mod header;
mod history;
mod interval;
mod longest;
mod machine;
mod merge;
mod paths;
mod patterns;
mod process;
mod recent;
mod registry;
pub mod render;
mod reorder;
mod report;
mod requests;
mod saved;
mod series;
mod session;
mod settle;
mod stack;
mod stall;
mod stall_report;
mod stalls;
pub mod summary;
mod text;
mod thresholds;
mod timeline;
mod trace;
mod verdict;

pub use advice::Advice;
pub use analyse::{AnalyseError, Options, analyse, summarise};
pub use arrow::{ArrowReader, ArrowTraceError, ArrowWriter};
pub use convert::write_as_arrow;
pub use diff::{Diff, Side, Spread, ThreadDiff, ThreadSide};
pub use distribution::Distribution;
pub use event::{DropInfo, Event, Kind, LaneSpread, LaneTotal, SpanInfo, ThreadInfo};
pub use figures::Figures;
pub use functions::{AtPlace, Functions, Place, PlaceBlame, PlaceFigures, Sums};
pub use header::{Header, HeaderError};
pub use interval::{Interval, IntervalSink, State};
pub use paths::{Path, Step, paths};
pub use patterns::Pattern;
pub use process::Process;
pub use report::{GilReport, Report};
pub use requests::{Request, RequestSummary, Requests, WaitedFor};
pub use saved::SavedError;
pub use series::Series;
pub use stall::Stall;
pub use stall_report::StallReport;
pub use stalls::{MutexWaits, Stalls, Stops, Who};
pub use summary::Summary;
pub use text::{Skipped, TextError, TextReader};
pub use thresholds::Thresholds;
pub use timeline::{Kept, Lane, Timeline, TimelineSink};
pub use verdict::{Verdict, VerdictKind};
