//! The Firefox Profiler's processed profile: holds and waits as markers on each thread. What the profiler's page can bear is what a timeline
//! keeps: every interval of a short trace, the longest of a long one.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use fxprof_processed_profile::{
    CategoryColor, CategoryHandle, MarkerFieldFlags, MarkerFieldFormat, MarkerTiming,
    ProcessHandle, Profile, ReferenceTimestamp, SamplingInterval, StaticSchemaMarker,
    StaticSchemaMarkerField, StringHandle, Timestamp,
};

use crate::format::plain;
use crate::timeline::{Kept, Lane, Timeline};

/// A hold or a wait.
struct GilMarker {
    name: StringHandle,
    detail: StringHandle,
    category: CategoryHandle,
}

impl StaticSchemaMarker for GilMarker {
    const UNIQUE_MARKER_TYPE_NAME: &'static str = "GIL";
    const CHART_LABEL: Option<&'static str> = Some("{marker.name} {marker.data.detail}");
    const TABLE_LABEL: Option<&'static str> = Some("{marker.name} {marker.data.detail}");
    const FIELDS: &'static [StaticSchemaMarkerField] = &[StaticSchemaMarkerField {
        key: "detail",
        label: "Detail",
        format: MarkerFieldFormat::String,
        flags: MarkerFieldFlags::SEARCHABLE,
    }];

    fn name(&self, _profile: &mut Profile) -> StringHandle {
        self.name
    }

    fn category(&self, _profile: &mut Profile) -> CategoryHandle {
        self.category
    }

    fn string_field_value(&self, _field: u32) -> StringHandle {
        self.detail
    }

    fn number_field_value(&self, _field: u32) -> f64 {
        0.0
    }
}

/// Writes a profile.
///
/// # Errors
/// When it cannot be written.
pub fn firefox(timelines: &[Timeline], output: &mut impl Write) -> io::Result<()> {
    let kept: usize = timelines.iter().map(Timeline::kept).sum();
    let intervals: u64 = timelines.iter().map(|timeline| timeline.intervals).sum();
    let product = if kept as u64 == intervals {
        "gilbuild".to_owned()
    } else {
        format!("gilbuild ({kept} of {intervals} holds and waits)")
    };
    let reference = ReferenceTimestamp::from_duration_since_unix_epoch(Duration::ZERO);
    let interval = SamplingInterval::from_millis(1);
    let mut profile = Profile::new(&product, reference, interval);
    let hold = profile.add_category("GIL held", CategoryColor::Blue);
    let wait = profile.add_category("GIL wait", CategoryColor::Orange);
    for timeline in timelines {
        let mut processes = HashMap::new();
        for lane in &timeline.lanes {
            let process = *processes.entry(lane.pid).or_insert_with(|| {
                let begin = Timestamp::from_nanos_since_reference(0);
                profile.add_process(&format!("process {}", lane.pid), lane.pid, begin)
            });
            add_lane(&mut profile, timeline, process, lane, (hold, wait));
        }
    }
    serde_json::to_writer(&mut *output, &profile)?;
    output.write_all(b"\n")
}

fn add_lane(
    profile: &mut Profile,
    timeline: &Timeline,
    process: ProcessHandle,
    lane: &Lane,
    (hold, wait): (CategoryHandle, CategoryHandle),
) {
    let begin = Timestamp::from_nanos_since_reference(0);
    let thread = profile.add_thread(process, lane.tid, begin, lane.tid == lane.pid);
    let name = lane
        .name
        .as_deref()
        .map_or_else(|| format!("tid {}", lane.tid), plain);
    profile.set_thread_name(thread, &name);
    let name_of = |tid: u32| {
        timeline
            .lanes
            .iter()
            .find(|other| other.tid == tid && other.gil == lane.gil)
            .and_then(|other| other.name.as_deref())
            .map_or_else(|| format!("tid {tid}"), plain)
    };
    for kept in &lane.kept {
        let (text, detail) = describe(kept, name_of);
        let marker = GilMarker {
            name: profile.intern_string(text),
            detail: profile.intern_string(&detail),
            category: if kept.wait { wait } else { hold },
        };
        let since = |time_ns: u64| {
            Timestamp::from_nanos_since_reference(time_ns.saturating_sub(timeline.start_ns))
        };
        let timing = MarkerTiming::Interval(
            since(kept.start_ns),
            since(kept.start_ns.saturating_add(kept.duration_ns)),
        );
        profile.add_marker(thread, timing, marker);
    }
}

fn describe(kept: &Kept, name_of: impl Fn(u32) -> String) -> (&'static str, String) {
    let open = if kept.open {
        "still open at the end"
    } else {
        ""
    };
    if !kept.wait {
        let forced = if kept.forced { "forced to drop" } else { open };
        return ("GIL held", forced.to_owned());
    }
    let behind = match kept.holder_tid {
        0 => open.to_owned(),
        tid => format!("behind {}", name_of(tid)),
    };
    ("GIL wait", behind)
}
