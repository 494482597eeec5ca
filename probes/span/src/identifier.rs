//! Identifiers of traces and spans: their forms, reading them, making them up.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;
use std::time::Instant;

use rustix::rand::{GetRandomFlags, getrandom};

/// Characters of a wrong identifier that an error shows.
const SHOWN: usize = 100;
/// Bytes of a header `traceparent` that are looked at.
const LONGEST_HEADER: usize = 512;

/// An identifier of the wrong form. It is shown escaped, and cut after 100 characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// No trace id.
    #[error(
        "a trace id must be 32 hexadecimal digits, 16 bytes or a number, and not zero; it is {0:?}"
    )]
    TraceId(String),
    /// No span id.
    #[error(
        "a span id must be 16 hexadecimal digits, 8 bytes or a number, and not zero; it is {0:?}"
    )]
    SpanId(String),
    /// No W3C header `traceparent`.
    #[error(
        "a traceparent must read VERSION-TRACE-PARENT-FLAGS, in lower-case hexadecimal digits; it is {0:?}"
    )]
    Traceparent(String),
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// Digits of either case; the standard library's parsers would take a sign.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let well_formed = text.len() == digits && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    well_formed
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}

/// The number of a trace: 128 bits, never 0. Reads and shows as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// In the order of its digits.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }
}

impl TryFrom<u128> for TraceId {
    type Error = IdentifierError;

    fn try_from(number: u128) -> Result<Self, IdentifierError> {
        let number = NonZeroU128::new(number);
        number
            .map(Self)
            .ok_or_else(|| IdentifierError::TraceId("0".to_owned()))
    }
}

impl TryFrom<[u8; 16]> for TraceId {
    type Error = IdentifierError;

    fn try_from(bytes: [u8; 16]) -> Result<Self, IdentifierError> {
        u128::from_be_bytes(bytes).try_into()
    }
}

impl FromStr for TraceId {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, IdentifierError> {
        hexadecimal(text, 32)
            .and_then(NonZeroU128::new)
            .map(Self)
            .ok_or_else(|| IdentifierError::TraceId(shown(text)))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// The number of a span: 64 bits, never 0. Reads and shows as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

impl SpanId {
    /// As a number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl TryFrom<u64> for SpanId {
    type Error = IdentifierError;

    fn try_from(number: u64) -> Result<Self, IdentifierError> {
        let number = NonZeroU64::new(number);
        number
            .map(Self)
            .ok_or_else(|| IdentifierError::SpanId("0".to_owned()))
    }
}

impl TryFrom<[u8; 8]> for SpanId {
    type Error = IdentifierError;

    fn try_from(bytes: [u8; 8]) -> Result<Self, IdentifierError> {
        u64::from_be_bytes(bytes).try_into()
    }
}

impl FromStr for SpanId {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, IdentifierError> {
        hexadecimal(text, 16)
            .and_then(|number| NonZeroU64::new(u64::try_from(number).ok()?))
            .map(Self)
            .ok_or_else(|| IdentifierError::SpanId(shown(text)))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// What a span is known by elsewhere: its trace, and as far as they are given the span around it and its own number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub(super) trace: TraceId,
    pub(super) parent: Option<SpanId>,
    pub(super) span: Option<SpanId>,
}

impl From<TraceId> for Identity {
    fn from(trace: TraceId) -> Self {
        Self {
            trace,
            parent: None,
            span: None,
        }
    }
}

impl Identity {
    /// A part of that span, which may be one of another thread, of Python code or of another process.
    #[must_use]
    pub fn below(trace_id: TraceId, parent_id: SpanId) -> Self {
        Self {
            parent: Some(parent_id),
            ..trace_id.into()
        }
    }

    /// The span has a number already.
    #[must_use]
    pub fn with_span_id(self, span_id: SpanId) -> Self {
        Self {
            span: Some(span_id),
            ..self
        }
    }

    /// A part of the span that sent a request with this W3C header `traceparent`.
    ///
    /// # Errors
    /// The header is not well-formed.
    pub fn from_traceparent(header: &str) -> Result<Self, IdentifierError> {
        parse_traceparent(header).ok_or_else(|| IdentifierError::Traceparent(shown(header)))
    }
}

/// Version, trace id, parent id, flags; a later version may have more behind them.
fn parse_traceparent(header: &str) -> Option<Identity> {
    if header.len() > LONGEST_HEADER {
        return None;
    }
    let mut fields = header.trim_matches([' ', '\t']).splitn(5, '-');
    let mut field = |digits: usize| {
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let field = fields.next()?;
        (field.len() == digits && field.bytes().all(lower)).then_some(field)
    };
    let (version, trace, parent, _flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    if version == "ff" || (version == "00" && fields.next().is_some()) {
        return None;
    }
    Some(Identity::below(trace.parse().ok()?, parent.parse().ok()?))
}

/// Identifiers that nobody else has: unique, not secret. The kernel's, so that the child of a fork does not go on with its parent's.
pub(super) fn new_identifiers() -> (TraceId, SpanId) {
    let mut bytes = [0_u8; 24];
    if getrandom(&mut bytes, GetRandomFlags::empty()) != Ok(bytes.len()) {
        // No entropy to be had: at least no two processes, threads and moments alike.
        let mut random = RandomState::new().hash_one((std::process::id(), Instant::now()));
        for byte in bytes.chunks_exact_mut(8) {
            byte.copy_from_slice(&random.to_be_bytes());
            random = RandomState::new().hash_one((random, Instant::now()));
        }
    }
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_u128, |number, byte| number << 8 | u128::from(*byte))
    };
    let (trace, span) = bytes.split_at(16);
    let trace = NonZeroU128::new(number(trace)).unwrap_or(NonZeroU128::MIN);
    let span = u64::try_from(number(span)).ok().and_then(NonZeroU64::new);
    (TraceId(trace), SpanId(span.unwrap_or(NonZeroU64::MIN)))
}
