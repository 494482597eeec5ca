//! Spans: what a thread of an extension module works for, told to tracers as the Python package gilprobe does. `gil_probes::span`.
//!
//! ```
//! use gil_span::{Identity, Span};
//!
//! fn checkout(traceparent: &str) -> Result<(), Box<dyn std::error::Error>> {
//!     // A request, in the trace of the service that sent it …
//!     let request = Span::begin_as("checkout", Identity::from_traceparent(traceparent)?);
//!     assert_eq!(request.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
//!     {
//!         // … and a part of it, which ends with its block.
//!         let _prices = Span::begin("prices");
//!     }
//!     Ok(())
//! }
//!
//! checkout("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")?;
//! assert!(checkout("00-none").is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `gilbuild record --spans` records them; docs/requests.md tells how to read them. Nothing of them is noticed until a tracer attaches.
//!
//! A thread works for the innermost of its spans. That of Python code is not known here: take its identifiers
//! ([`Identity::below`]) where a span of a module's function is to be a part of it.

mod identifier;
mod markers;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

pub use identifier::{IdentifierError, Identity, SpanId, TraceId};

/// Something that the program does for somebody, a request, a job, a part of one: from its making until it is dropped.
///
/// It stays in its thread:
///
/// ```compile_fail,E0277
/// let span = gil_span::Span::begin("checkout");
/// std::thread::spawn(move || drop(span));
/// ```
///
/// What another thread does for it is a span of its own, below this one:
///
/// ```
/// use gil_span::{Identity, Span};
///
/// let checkout = Span::begin("checkout");
/// let identity = Identity::below(checkout.trace_id(), checkout.span_id());
/// let prices = std::thread::spawn(move || {
///     let prices = Span::begin_as("prices", identity);
///     prices.trace_id()
/// });
/// assert_eq!(prices.join().unwrap(), checkout.trace_id());
/// ```
#[must_use = "a span ends when it is dropped: give it a name"]
pub struct Span {
    open: Rc<Open>,
}

struct Open {
    name: Box<str>,
    trace_id: TraceId,
    span_id: SpanId,
    parent_id: Option<SpanId>,
    /// The tracing session that knows it; 0 = none does.
    announced: Cell<u32>,
}

thread_local! {
    /// The spans of this thread that have not ended, the innermost last.
    static OPEN: RefCell<Vec<Rc<Open>>> = const { RefCell::new(Vec::new()) };
}

impl Span {
    /// Begins a span: a part of this thread's innermost one, else of a trace of its own.
    ///
    /// The name is any text. Tracers see 255 bytes of it, control characters as U+FFFD.
    pub fn begin(name: &str) -> Self {
        Self::begin_with(name, None)
    }

    /// Begins a span that is known by these identifiers. Without one of a span around it, it is a part of this thread's innermost span if
    /// that is of the same trace.
    pub fn begin_as(name: &str, identity: impl Into<Identity>) -> Self {
        Self::begin_with(name, Some(identity.into()))
    }

    fn begin_with(name: &str, identity: Option<Identity>) -> Self {
        let (new_trace, new_span) = identifier::new_identifiers();
        let outer = innermost();
        let trace_id = match (identity, &outer) {
            (Some(identity), _) => identity.trace,
            (None, Some(outer)) => outer.trace_id,
            (None, None) => new_trace,
        };
        let around = outer.filter(|outer| outer.trace_id == trace_id);
        let open = Rc::new(Open {
            name: name.into(),
            trace_id,
            span_id: identity
                .and_then(|identity| identity.span)
                .unwrap_or(new_span),
            parent_id: identity
                .and_then(|identity| identity.parent)
                .or(around.map(|outer| outer.span_id)),
            announced: Cell::new(0),
        });
        // At the end of a thread the others are gone: this one still has a beginning and an end.
        let _ = OPEN.try_with(|spans| spans.borrow_mut().push(Rc::clone(&open)));
        if let Some(session) = markers::session() {
            open.announce(session);
        }
        Self { open }
    }

    /// As it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.open.name
    }

    /// The trace that it belongs to.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.open.trace_id
    }

    /// Its own number.
    #[must_use]
    pub fn span_id(&self) -> SpanId {
        self.open.span_id
    }

    /// The number of the span around it.
    #[must_use]
    pub fn parent_id(&self) -> Option<SpanId> {
        self.open.parent_id
    }

    /// The W3C header that makes a request to another service a part of this span.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace_id(), self.span_id())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Span")
            .field("name", &self.name())
            .field("trace_id", &self.trace_id())
            .field("span_id", &self.span_id())
            .field("parent_id", &self.parent_id())
            .finish()
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let _ = OPEN.try_with(|spans| {
            spans
                .borrow_mut()
                .retain(|open| !Rc::ptr_eq(open, &self.open));
        });
        let Some(session) = markers::session() else {
            return;
        };
        markers::end(self.trace_id(), self.span_id(), self.name());
        // The thread goes on with the span around it, of which a tracer that came later has not heard.
        if let Some(outer) = innermost() {
            if outer.announced.get() == session {
                markers::switch(outer.span_id);
            } else {
                outer.announce(session);
            }
        }
    }
}

impl Open {
    fn announce(&self, session: u32) {
        self.announced.set(session);
        markers::begin(self.trace_id, self.span_id, &self.name, self.parent_id);
    }
}

fn innermost() -> Option<Rc<Open>> {
    OPEN.try_with(|spans| spans.borrow().last().cloned())
        .ok()
        .flatten()
}

/// Whether a tracer is attached to the markers of spans.
#[must_use]
pub fn is_traced() -> bool {
    markers::session().is_some()
}
