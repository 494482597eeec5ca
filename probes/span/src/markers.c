/* The markers of spans for Rust, each once. */
#include "gil_spans.h"

int gil_span_rusts_enabled(void);
void gil_span_rust_begin(const unsigned char *trace_id, uint64_t span_id, const char *name, size_t length, uint64_t parent_id);
void gil_span_rust_end(const unsigned char *trace_id, uint64_t span_id, const char *name, size_t length);
void gil_span_rust_switch(uint64_t span_id);

int
gil_span_rusts_enabled(void)
{
    return gil_spans_enabled();
}

void
gil_span_rust_begin(const unsigned char *trace_id, uint64_t span_id, const char *name, size_t length, uint64_t parent_id)
{
    char trace[GIL_SPANS_TRACE_DIGITS + 1], text[GIL_MARKERS_TEXT_BYTES + 1];
    gil_spans_trace(trace, trace_id);
    gil_spans_name(text, name, length);
    gil_spans_fire_begin(trace, span_id, text, parent_id);
}

void
gil_span_rust_end(const unsigned char *trace_id, uint64_t span_id, const char *name, size_t length)
{
    char trace[GIL_SPANS_TRACE_DIGITS + 1], text[GIL_MARKERS_TEXT_BYTES + 1];
    gil_spans_trace(trace, trace_id);
    gil_spans_name(text, name, length);
    gil_spans_fire_end(trace, span_id, text);
}

void
gil_span_rust_switch(uint64_t span_id)
{
    gil_spans_fire_switch(span_id);
}
