#include "tracer.h"

#include "gil_spans.h"

/* Tracing sessions are counted, so that nothing that one tracer was told is taken for known by the next. A session is over
 * when somebody who looks sees nobody attached. */
static uint32_t session;
static int nobody_was_attached = 1;

static __thread struct {
    uint32_t session;
    uint64_t span_id;
} working;

int
tracer_attached(void)
{
    if (!gil_spans_enabled()) {
        /* Read first: threads would only fight for the cache line. */
        if (!__atomic_load_n(&nobody_was_attached, __ATOMIC_RELAXED)) {
            __atomic_store_n(&nobody_was_attached, 1, __ATOMIC_RELAXED);
        }
        return 0;
    }
    if (__atomic_load_n(&nobody_was_attached, __ATOMIC_RELAXED) &&
        __atomic_exchange_n(&nobody_was_attached, 0, __ATOMIC_RELAXED)) {
        __atomic_add_fetch(&session, 1, __ATOMIC_RELAXED);
    }
    return 1;
}

/* Sets what the thread works for. Returns whether it worked for something else before. */
static int
now_working(uint64_t span_id)
{
    int other = tracer_working() != span_id;
    working.session = __atomic_load_n(&session, __ATOMIC_RELAXED);
    working.span_id = span_id;
    return other;
}

uint64_t
tracer_working(void)
{
    return working.session == __atomic_load_n(&session, __ATOMIC_RELAXED) ? working.span_id : 0;
}

/* Whether the tracer of this session has not been told of the span yet; now it is. */
static int
is_news(Span *span)
{
    uint32_t now = __atomic_load_n(&session, __ATOMIC_RELAXED);
    return __atomic_exchange_n(&span->announced, now, __ATOMIC_RELAXED) != now;
}

static void
write_name(char name[GIL_MARKERS_TEXT_BYTES + 1], PyObject *text)
{
    /* A character has at least one byte: the rest of a long name is not even encoded. */
    PyObject *beginning = PyUnicode_Substring(text, 0, GIL_MARKERS_TEXT_BYTES);
    /* Lone surrogates come out as bytes that are no UTF-8, and are treated as such. */
    PyObject *bytes = beginning == NULL ? NULL : PyUnicode_AsEncodedString(beginning, "utf-8", "surrogatepass");
    if (bytes == NULL) {
        PyErr_Clear();
        name[0] = '\0';
    }
    else {
        gil_spans_name(name, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    }
    Py_XDECREF(bytes);
    Py_XDECREF(beginning);
}

void
tracer_begin(Span *span)
{
    char trace[GIL_SPANS_TRACE_DIGITS + 1], name[GIL_MARKERS_TEXT_BYTES + 1];
    gil_spans_trace(trace, span->trace_id);
    write_name(name, span->name);
    is_news(span);
    now_working(span->span_id);
    gil_spans_fire_begin(trace, span->span_id, name, span->parent_id);
}

void
tracer_end(Span *span)
{
    char trace[GIL_SPANS_TRACE_DIGITS + 1], name[GIL_MARKERS_TEXT_BYTES + 1];
    gil_spans_trace(trace, span->trace_id);
    write_name(name, span->name);
    now_working(0);
    gil_spans_fire_end(trace, span->span_id, name);
}

void
tracer_work_for(Span *span)
{
    if (span != NULL && is_news(span)) {
        tracer_begin(span);
    }
    else {
        tracer_work_for_again(span == NULL ? 0 : span->span_id);
    }
}

void
tracer_work_for_again(uint64_t span_id)
{
    if (now_working(span_id)) {
        gil_spans_fire_switch(span_id);
    }
}
