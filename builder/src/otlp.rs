//! What requests had of the GIL, for the system that has their traces already: as spans of OpenTelemetry's protocol.
//!
//! A span that has ended cannot be changed. So each request gets a span of ours below its own, in the same trace, with the figures as
//! attributes and an event for each thread that it waited for.

use std::io::Write as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gil_report::summary::Session;
use gil_report::{Interval, IntervalSink, Request};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

use crate::error::{CommandError, Exit};
use crate::output::Output;

/// Spans that are sent at a time.
const BATCH: usize = 512;
/// Requests of one recording that are told of.
const MOST: usize = 1 << 20;
/// Where a collector takes traces.
const PATH: &str = "/v1/traces";
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where the figures go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A collector, by HTTP.
    Endpoint(String),
    /// A file, in the protocol's JSON, a line each.
    File(PathBuf),
}

impl FromStr for Destination {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((scheme @ ("http" | "https"), rest)) = text.split_once("://") else {
            return Ok(Self::File(text.into()));
        };
        let rest = rest.trim_end_matches('/');
        // As the variable OTEL_EXPORTER_OTLP_ENDPOINT: without a path, it is that of traces.
        let path = if rest.contains('/') { "" } else { PATH };
        Ok(Self::Endpoint(format!("{scheme}://{rest}{path}")))
    }
}

/// Collects requests while traces are read.
#[derive(Debug, Default)]
pub(crate) struct OtlpSink {
    requests: Vec<Request>,
    batches: Vec<ExportTraceServiceRequest>,
    spans: usize,
    left_out: u64,
    failure: Option<String>,
}

impl IntervalSink for OtlpSink {
    fn interval(&mut self, _interval: &Interval<'_>) {}

    fn wants_intervals(&self) -> bool {
        false
    }

    fn request(&mut self, request: &Request) {
        if self.requests.len() < MOST {
            self.requests.push(request.clone());
        } else {
            self.left_out += 1;
        }
    }

    fn session_ended(&mut self, session: &Session) {
        let requests = std::mem::take(&mut self.requests);
        if requests.is_empty() {
            return;
        }
        let Some(started_ns) = session.start.as_deref().and_then(unix_ns) else {
            self.failure = Some("the trace does not say when it began by the clock on the wall, so its requests cannot be given times".to_owned());
            return;
        };
        for batch in requests.chunks(BATCH) {
            self.spans += batch.len();
            self.batches.push(export(batch, session, started_ns));
        }
    }
}

impl OtlpSink {
    /// Writes or sends all of them; how many there are.
    pub(crate) fn deliver(self, destination: &Destination) -> Result<usize, CommandError> {
        let failed = |message: String| CommandError::new(Exit::Failed, message);
        if let Some(failure) = self.failure {
            return Err(failed(failure));
        }
        if self.spans == 0 {
            return Err(failed(
                "there are no requests in it: record with `gilbuild record --spans` a program that marks its requests with the Python package gilprobe"
                    .to_owned(),
            ));
        }
        if self.left_out > 0 {
            return Err(failed(format!(
                "{} requests more than the {MOST} that are sent at a time: record for a shorter time",
                self.left_out
            )));
        }
        match destination {
            Destination::File(path) => {
                let mut output = Output::new(Some(path))?;
                for batch in &self.batches {
                    serde_json::to_writer(&mut output, batch).map_err(std::io::Error::from)?;
                    output.write_all(b"\n")?;
                }
                output.finish()?;
            }
            Destination::Endpoint(url) => {
                for batch in &self.batches {
                    send(url, &batch.encode_to_vec()).map_err(|reason| {
                        failed(format!(
                            "{url} did not take the figures ({reason}); name the collector's address for OTLP over HTTP, as http://localhost:4318, or a file"
                        ))
                    })?;
                }
            }
        }
        Ok(self.spans)
    }
}

fn send(url: &str, body: &[u8]) -> Result<(), String> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("gilbuild/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(TIMEOUT))
        .build()
        .new_agent();
    let response = agent
        .post(url)
        .content_type("application/x-protobuf")
        .send(body)
        .map_err(|error| error.to_string())?;
    if response.status().is_success() {
        Ok(())
    } else {
        Err(format!("it answered {}", response.status()))
    }
}

fn export(requests: &[Request], session: &Session, started_ns: u64) -> ExportTraceServiceRequest {
    let mut resource = vec![attribute("telemetry.sdk.name", text("gilbuild"))];
    resource.extend(
        session
            .host
            .as_deref()
            .map(|host| attribute("host.name", text(host))),
    );
    if session.pid != 0 {
        resource.push(attribute("process.pid", number(session.pid.into())));
    }
    let spans = requests
        .iter()
        .map(|request| span(request, started_ns.saturating_sub(session.start_ns)));
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: resource,
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "gilbuild".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans: spans.collect(),
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

/// `offset_ns`: what has to be added to a time of the trace.
fn span(request: &Request, offset_ns: u64) -> Span {
    /// So that ours has another id, and the same one each time it is sent.
    const OTHER: u64 = 0x9e37_79b9_7f4a_7c15;
    let start_ns = request.start_ns.saturating_add(offset_ns);
    let end_ns = start_ns.saturating_add(request.duration_ns);
    let id = request.span.wrapping_mul(OTHER) | 1;
    Span {
        trace_id: request.trace.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        parent_span_id: request.span.to_be_bytes().to_vec(),
        name: format!("GIL: {}", request.name),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: start_ns,
        end_time_unix_nano: end_ns,
        attributes: vec![
            attribute("gil.hold_ns", number(request.hold_ns)),
            attribute("gil.wait_ns", number(request.wait_ns)),
            attribute("gil.duration_ns", number(request.duration_ns)),
            attribute("process.pid", number(request.pid.into())),
        ],
        events: request
            .waited_for
            .iter()
            .map(|part| Event {
                time_unix_nano: start_ns,
                name: "gil.waited_for".to_owned(),
                attributes: vec![
                    attribute("thread.id", number(part.who.tid.into())),
                    attribute("thread.name", text(part.who.name.as_deref().unwrap_or(""))),
                    attribute("gil.wait_ns", number(part.wait_ns)),
                ],
                dropped_attributes_count: 0,
            })
            .collect(),
        ..Span::default()
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

fn number(number: u64) -> Value {
    Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX))
}

/// A moment as a trace has it, `2026-11-20T23:30:00.250+0000`, in nanoseconds since 1970. Recorders write it in UTC.
fn unix_ns(moment: &str) -> Option<u64> {
    let moment = moment.strip_suffix("+0000")?;
    let time: SystemTime = humantime::parse_rfc3339(&format!("{moment}Z")).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_collector_or_a_file() {
        for (text, url) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("https://otel.example/", "https://otel.example/v1/traces"),
            (
                "http://localhost:4318/v1/traces",
                "http://localhost:4318/v1/traces",
            ),
            ("http://proxy/otel/v1/traces", "http://proxy/otel/v1/traces"),
        ] {
            assert_eq!(text.parse(), Ok(Destination::Endpoint(url.to_owned())));
        }
        assert_eq!(
            "gil.jsonl".parse(),
            Ok(Destination::File("gil.jsonl".into()))
        );
    }

    #[test]
    fn moments_are_those_of_traces() {
        assert_eq!(unix_ns("1970-01-01T00:00:01.250+0000"), Some(1_250_000_000));
        assert_eq!(unix_ns("1970-01-01T00:00:01"), None);
        assert_eq!(unix_ns("yesterday+0000"), None);
    }
}
