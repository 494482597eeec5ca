//! pprof's format: holds and waits by path, as counts and nanoseconds.

use std::collections::HashMap;
use std::io::{self, Write};

use prost::Message;

use crate::paths::{Path, Step, paths};
use crate::report::Report;

/// Writes a profile for pprof, not compressed.
///
/// # Errors
/// When it cannot be written.
pub fn pprof(report: &Report, output: &mut impl Write) -> io::Result<()> {
    let mut profile = Builder::new();
    for path in paths(report) {
        profile.add(&path);
    }
    let sessions = report.summary.sessions.iter();
    let wall_ns = sessions.map(crate::summary::Session::wall_ns).max();
    output.write_all(&profile.finish(wall_ns.unwrap_or(0)).encode_to_vec())
}

/// A profile while it is put together: texts and functions once each.
struct Builder {
    profile: Profile,
    texts: HashMap<String, i64>,
    functions: HashMap<Step, u64>,
}

impl Builder {
    fn new() -> Self {
        let mut builder = Self {
            profile: Profile::default(),
            texts: HashMap::new(),
            functions: HashMap::new(),
        };
        // The first text is the empty one.
        builder.text("");
        for (kind, unit) in [
            ("holds", "count"),
            ("hold", "nanoseconds"),
            ("waits", "count"),
            ("wait", "nanoseconds"),
        ] {
            let value_type = ValueType {
                r#type: builder.text(kind),
                unit: builder.text(unit),
            };
            builder.profile.sample_type.push(value_type);
        }
        builder.profile.default_sample_type = builder.text("hold");
        builder
    }

    fn text(&mut self, text: &str) -> i64 {
        if let Some(&number) = self.texts.get(text) {
            return number;
        }
        let number = signed(self.profile.string_table.len() as u64);
        self.profile.string_table.push(text.to_owned());
        self.texts.insert(text.to_owned(), number);
        number
    }

    /// A location for each line of a function: there are no addresses.
    fn location(&mut self, step: &Step) -> u64 {
        if let Some(&id) = self.functions.get(step) {
            return id;
        }
        let id = self.profile.function.len() as u64 + 1;
        let function = Function {
            id,
            name: self.text(&step.function),
            system_name: self.text(&step.function),
            filename: self.text(&step.file),
            start_line: 0,
        };
        self.profile.function.push(function);
        self.profile.location.push(Location {
            id,
            mapping_id: 0,
            address: 0,
            line: vec![Line {
                function_id: id,
                line: step.line.into(),
            }],
        });
        self.functions.insert(step.clone(), id);
        id
    }

    fn add(&mut self, path: &Path) {
        let steps = path.steps.iter().rev();
        let location_id = steps.map(|step| self.location(step)).collect();
        let mut label = vec![Label {
            key: self.text("thread"),
            str: self.text(&path.thread),
            ..Label::default()
        }];
        if let Some(pid) = path.process {
            label.push(Label {
                key: self.text("process"),
                num: pid.into(),
                ..Label::default()
            });
        }
        let value = [path.holds, path.hold_ns, path.waits, path.wait_ns];
        self.profile.sample.push(Sample {
            location_id,
            value: value.map(signed).to_vec(),
            label,
        });
    }

    fn finish(mut self, wall_ns: u64) -> Profile {
        self.profile.duration_nanos = signed(wall_ns);
        self.profile
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

// profile.proto of pprof: the messages and fields that are used here.

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    r#type: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    str: i64,
    #[prost(int64, tag = "3")]
    num: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(uint64, tag = "3")]
    address: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
    #[prost(int64, tag = "5")]
    start_line: i64,
}
