/* What a tracer is told, and when: the only file that fires the markers. Knows nothing of Python's contexts. */
#ifndef GILPROBE_TRACER_H
#define GILPROBE_TRACER_H

#include "span.h"

/* Whether a tracer is attached. Everything below is called only where one is. */
int tracer_attached(void);

/* The span that the tracer believes this thread works for; 0 = none. */
uint64_t tracer_working(void);

/* This thread works for a span from now on, or for nothing (NULL). Fires span__switch where that is news; span__begin if the
 * tracer does not know the span yet, because it came after the span began. */
void tracer_work_for(Span *span);

/* The same for what the thread worked for before, of which only the number is remembered. */
void tracer_work_for_again(uint64_t span_id);

/* Fires span__begin. */
void tracer_begin(Span *span);

/* Fires span__end: this thread works for nothing then. */
void tracer_end(Span *span);

#endif /* GILPROBE_TRACER_H */
