//! Traces as Arrow streams, by every tracer.

use std::path::PathBuf;
use std::time::Duration;

use gil_record::{Form, Observer, Options, Target, record};
use gil_report::Kind;

use crate::fire::{self, Fire};
use crate::machine::{self, BACKENDS};
use crate::trace::Trace;

/// Copies the trace while it is recorded: what would be left if the recorder were killed.
struct Copies {
    from: PathBuf,
    to: PathBuf,
}

impl Observer for Copies {
    fn progress(&mut self, _elapsed: Duration, _events: u64, _lost: u64) {
        fs_err::copy(&self.from, &self.to).unwrap();
    }
}

#[test]
fn a_stream_is_whole_at_the_end_and_can_be_read_while_it_grows() {
    let test = "a_stream_is_whole_at_the_end_and_can_be_read_while_it_grows";
    let Some(_turn) = machine::tracing(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut fire = Fire::start(&fire::program("gil-fire-c"), &["--rounds", "100000"]);
    fire.go();
    for (number, backend) in BACKENDS.into_iter().enumerate() {
        let output = folder.path().join(format!("{number}.arrow"));
        let mut copies = Copies {
            from: output.clone(),
            to: folder.path().join(format!("{number}.copy")),
        };
        let options = Options {
            backend,
            output: Some(output.clone()),
            duration: Some(Duration::from_millis(2600)),
            ..Options::default()
        };
        record(&Target::Process(fire.ready.pid), &options, &mut copies).unwrap();
        let whole = Trace::read(&output);
        let part = Trace::read(&copies.to);
        assert_eq!(whole.pid, fire.ready.pid);
        assert_eq!(whole.end.as_deref(), Some("duration"));
        assert_eq!(part.end, None);
        let drops = |trace: &Trace| {
            let drops = trace.events.iter();
            drops
                .filter(|event| matches!(event.kind, Kind::Drop { .. }))
                .count()
        };
        assert!(
            drops(&part) > 0 && drops(&part) < drops(&whole),
            "{backend:?}"
        );
        assert_eq!(whole.events[..part.events.len()], part.events);
        let named = whole.by_thread().into_values();
        assert!(
            named
                .filter(|thread| thread.drops > 0)
                .all(|thread| !thread.names.is_empty())
        );
    }
}

#[test]
fn the_name_of_the_file_says_its_form() {
    for (name, form) in [
        ("x.arrow", Form::Arrow),
        ("x.arrows", Form::Arrow),
        ("x.trace", Form::Text),
        ("arrow", Form::Text),
        ("/dev/stdout", Form::Text),
    ] {
        assert_eq!(Form::of(name.as_ref()), form, "{name}");
    }
}
