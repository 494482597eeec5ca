/* Markers of spans: what a thread works for. Fired by extension modules: the Python package gilprobe, and those in Rust through
 * the gil-probes crate. patches/README.md explains them to the authors of scripts, docs/requests.md to their users.
 *
 * As with the interpreter's markers: nobody attached means a load and a branch, each marker exists once, arguments lie in registers.
 * They have a semaphore of their own, one for each ELF file that fires them: whoever traces the GIL alone does not pay for spans.
 * Nothing is remembered here, not even the thread's id, so that the file may be loaded, unloaded and forked at any time.
 */
#ifndef GIL_SPANS_H
#define GIL_SPANS_H

#include "gil_note.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- The contract ---- */

#define GIL_SPANS_BEGIN "span__begin"
#define GIL_SPANS_BEGIN_ARGUMENTS 6     /* ident, tid, trace_id, span_id, name, parent_id */
#define GIL_SPANS_END "span__end"
#define GIL_SPANS_END_ARGUMENTS 5       /* ident, tid, trace_id, span_id, name */
#define GIL_SPANS_SWITCH "span__switch"
#define GIL_SPANS_SWITCH_ARGUMENTS 3    /* ident, tid, span_id */

/* A trace id is so many hexadecimal digits. */
#define GIL_SPANS_TRACE_DIGITS 32

/* How many tracers are attached. */
extern volatile unsigned short gil_spans_semaphore;
volatile unsigned short gil_spans_semaphore
    __attribute__((GIL_MARKERS_SHARED_, section(".probes"), used)) = 0;

static inline int
gil_spans_enabled(void)
{
    return __builtin_expect(gil_spans_semaphore != 0, 0);
}

/* ---- What the markers carry ---- */

/* The length of the well-formed UTF-8 sequence at `text`, 0 where there is none; `*code` becomes its code point. Surrogates are
 * not well-formed, nor is what is longer than it need be. */
static inline size_t
gil_spans_sequence(const unsigned char *text, size_t rest, uint32_t *code)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = text[0] < 0x80 ? 1 : text[0] < 0xc2 ? 0 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : text[0] < 0xf5 ? 4 : 0;
    if (length == 0 || length > rest) {
        return 0;
    }
    *code = length == 1 ? text[0] : text[0] & (0x7fu >> length);
    for (size_t at = 1; at < length; at++) {
        if ((text[at] & 0xc0) != 0x80) {
            return 0;
        }
        *code = *code << 6 | (text[at] & 0x3fu);
    }
    int surrogate = *code >= 0xd800 && *code < 0xe000;
    return *code < least[length] || surrogate || *code > 0x10ffff ? 0 : length;
}

/* A name as a marker carries it: the beginning of `text`, cut between two characters. Control characters, U+0000 among them, line and
 * paragraph separators, and every byte that is no UTF-8 become U+FFFD, so that a name is one line of text wherever it is printed. */
static inline void
gil_spans_name(char name[GIL_MARKERS_TEXT_BYTES + 1], const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t from = 0, to = 0;
    while (from < length) {
        uint32_t code = 0;
        size_t taken = gil_spans_sequence(bytes + from, length - from, &code);
        int plain = taken != 0 && code >= 0x20 && (code < 0x7f || code > 0x9f) && code != 0x2028 && code != 0x2029;
        const char *source = plain ? text + from : "\xef\xbf\xbd";
        size_t size = plain ? taken : 3;
        if (to + size > GIL_MARKERS_TEXT_BYTES) {
            break;
        }
        memcpy(name + to, source, size);
        to += size;
        from += taken != 0 ? taken : 1;
    }
    name[to] = '\0';
}

/* A trace id as a marker carries it: digits and a NUL. */
static inline void
gil_spans_trace(char digits[GIL_SPANS_TRACE_DIGITS + 1], const unsigned char id[GIL_SPANS_TRACE_DIGITS / 2])
{
    for (size_t at = 0; at < GIL_SPANS_TRACE_DIGITS / 2; at++) {
        digits[2 * at] = "0123456789abcdef"[id[at] >> 4];
        digits[2 * at + 1] = "0123456789abcdef"[id[at] & 15];
    }
    digits[GIL_SPANS_TRACE_DIGITS] = '\0';
}

static inline uint64_t
gil_spans_ident(void)
{
    return (uint64_t)(uintptr_t)pthread_self();
}

static inline uint64_t
gil_spans_tid(void)
{
    return (uint64_t)syscall(SYS_gettid);
}

/* ---- The markers, each once. Whoever calls them has asked gil_spans_enabled(). ---- */

static GIL_MARKERS_ONCE_ void
gil_spans_fire_begin(const char *trace_id, uint64_t span_id, const char *name, uint64_t parent_id)
{
    GIL_MARKERS_FIRE6_(gil_spans_semaphore, GIL_SPANS_BEGIN, gil_spans_ident(), gil_spans_tid(),
                       (uintptr_t)trace_id, span_id, (uintptr_t)name, parent_id);
}

static GIL_MARKERS_ONCE_ void
gil_spans_fire_end(const char *trace_id, uint64_t span_id, const char *name)
{
    GIL_MARKERS_FIRE5_(gil_spans_semaphore, GIL_SPANS_END, gil_spans_ident(), gil_spans_tid(),
                       (uintptr_t)trace_id, span_id, (uintptr_t)name);
}

static GIL_MARKERS_ONCE_ void
gil_spans_fire_switch(uint64_t span_id)
{
    GIL_MARKERS_FIRE3_(gil_spans_semaphore, GIL_SPANS_SWITCH, gil_spans_ident(), gil_spans_tid(), span_id);
}

#endif /* GIL_SPANS_H */
