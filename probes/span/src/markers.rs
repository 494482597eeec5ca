//! What a tracer is told, and when it is another one: the only file that fires the markers.

use std::ffi::{c_char, c_int};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::identifier::{SpanId, TraceId};

unsafe extern "C" {
    fn gil_span_rusts_enabled() -> c_int;
    fn gil_span_rust_begin(
        trace_id: *const u8,
        span_id: u64,
        name: *const c_char,
        length: usize,
        parent_id: u64,
    );
    fn gil_span_rust_end(trace_id: *const u8, span_id: u64, name: *const c_char, length: usize);
    fn gil_span_rust_switch(span_id: u64);
}

/// Tracing sessions are counted, so that nothing that one tracer was told is taken for known by the next. A session is over
/// when somebody who looks sees nobody attached.
static SESSION: AtomicU32 = AtomicU32::new(0);
static NOBODY_WAS_ATTACHED: AtomicBool = AtomicBool::new(true);

/// The number of the tracing session, counted from 1; `None` where nobody is attached. What fires is called only where somebody is.
pub(super) fn session() -> Option<u32> {
    // SAFETY: reads one variable of its own.
    if unsafe { gil_span_rusts_enabled() } == 0 {
        // Read first: threads would only fight for the cache line.
        if !NOBODY_WAS_ATTACHED.load(Ordering::Relaxed) {
            NOBODY_WAS_ATTACHED.store(true, Ordering::Relaxed);
        }
        return None;
    }
    if NOBODY_WAS_ATTACHED.load(Ordering::Relaxed)
        && NOBODY_WAS_ATTACHED.swap(false, Ordering::Relaxed)
    {
        SESSION.fetch_add(1, Ordering::Relaxed);
    }
    Some(SESSION.load(Ordering::Relaxed))
}

/// Fires `span__begin`: this thread works for the span now.
pub(super) fn begin(trace_id: TraceId, span_id: SpanId, name: &str, parent_id: Option<SpanId>) {
    let trace = trace_id.to_bytes();
    let parent = parent_id.map_or(0, SpanId::get);
    // SAFETY: `trace` has the 16 bytes that are read, and `name` as many as its length says.
    unsafe {
        gil_span_rust_begin(
            trace.as_ptr(),
            span_id.get(),
            name.as_ptr().cast(),
            name.len(),
            parent,
        );
    }
}

/// Fires `span__end`: this thread works for nothing then.
pub(super) fn end(trace_id: TraceId, span_id: SpanId, name: &str) {
    let trace = trace_id.to_bytes();
    // SAFETY: as above.
    unsafe {
        gil_span_rust_end(
            trace.as_ptr(),
            span_id.get(),
            name.as_ptr().cast(),
            name.len(),
        );
    }
}

/// Fires `span__switch`: this thread goes on working for a span that the tracer knows.
pub(super) fn switch(span_id: SpanId) {
    // SAFETY: takes a number.
    unsafe { gil_span_rust_switch(span_id.get()) }
}
