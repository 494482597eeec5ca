/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * What runs in the kernel at the markers with which a process tells of itself: what its threads are called, and for which spans they
 * work. None of them fires at every cycle. The structures are those of layout.rs. */
#include "kernel.h"
#include "place.h"
#include "stack.h"
#include "text.h"

/* ---- Set before loading ---- */

enum { ARGUMENTS = 6, MARKERS = 5 };
enum { MARKER_NAME, MARKER_FUNCTIONS, MARKER_SPAN_BEGIN, MARKER_SPAN_END, MARKER_SPAN_SWITCH };
enum { IDENT, TID, NAME };
enum { TRACE = 2, SPAN, SPAN_NAME, PARENT, NEXT_SPAN = 2 };

struct settings {
    struct place places[MARKERS][ARGUMENTS];
    /* Whether there are events, or else names alone, for those who look at totals. */
    __u64 events;
    /* Whether only the processes in `processes` count: a file may be mapped into others as well. */
    __u64 only_listed;
};

const volatile struct settings settings;

/* ---- What user space reads ---- */

struct name_key {
    __u64 process;
    __u64 ident;
};

struct name {
    __u64 native_id;
    char text[TEXT_BYTES];
};

/* What threads are called, by process and identity. */
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 1);
    __type(key, struct name_key);
    __type(value, struct name);
} names SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} processes SEC(".maps");

/* Of one processor at a time: a name is too long for the stack. */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct name);
} scratch SEC(".maps");

/* Events there was no room for. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} lost_tellings SEC(".maps");

struct name_event {
    __u64 time_ns;
    __u32 tid;              /* of the thread that tells, which may be another one than the one that is called so */
    __u32 kind;
    __u64 pid;
    __u64 ident;
    __u64 native_id;
    char text[TEXT_BYTES];
};

enum { TRACE_BYTES = 40 };

struct span_begin_event {
    __u64 time_ns;
    __u32 tid;
    __u32 kind;
    __u64 span;
    __u64 parent;
    char trace[TRACE_BYTES];    /* 32 hexadecimal digits and a NUL */
    char text[TEXT_BYTES];
};

struct span_event {
    __u64 time_ns;
    __u32 tid;
    __u32 kind;
    __u64 span;
};

/* ---- Markers ---- */

static __always_inline __u64
argument(void *context, int marker, int number)
{
    return place_value(context, &settings.places[marker][number]);
}

static __always_inline void
count_lost(void)
{
    __u32 first = 0;
    __u64 *lost = bpf_map_lookup_elem(&lost_tellings, &first);
    if (lost) {
        __sync_fetch_and_add(lost, 1);
    }
}

static __always_inline int
is_recorded(__u64 thread)
{
    __u32 process = (__u32)(thread >> 32);
    return !settings.only_listed || bpf_map_lookup_elem(&processes, &process) != 0;
}

SEC("uprobe.multi")
int thread_name(void *context)
{
    __u64 thread = bpf_get_current_pid_tgid();
    __u32 first = 0;
    struct name *name = bpf_map_lookup_elem(&scratch, &first);
    struct name_key key = {.process = thread >> 32, .ident = argument(context, MARKER_NAME, IDENT)};
    struct name_event *event;
    if (!is_recorded(thread) || !name) {
        return 0;
    }
    name->native_id = argument(context, MARKER_NAME, TID);
    read_text(name->text, argument(context, MARKER_NAME, NAME));
    bpf_map_update_elem(&names, &key, name, BPF_ANY);
    if (!settings.events) {
        return 0;
    }
    event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
    if (!event) {
        count_lost();
        return 0;
    }
    event->time_ns = bpf_ktime_get_ns();
    event->tid = (__u32)thread;
    event->kind = EVENT_NAME;
    event->pid = key.process;
    event->ident = key.ident;
    event->native_id = name->native_id;
    read_text(event->text, argument(context, MARKER_NAME, NAME));
    bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
    return 0;
}

/* Whoever is attached here has functions told. */
SEC("uprobe.multi")
int gil_functions(void *context)
{
    (void)context;
    return 0;
}

SEC("uprobe.multi")
int span_begin(void *context)
{
    __u64 thread = bpf_get_current_pid_tgid();
    struct span_begin_event *event;
    if (!is_recorded(thread)) {
        return 0;
    }
    event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
    if (!event) {
        count_lost();
        return 0;
    }
    event->time_ns = bpf_ktime_get_ns();
    event->tid = (__u32)thread;
    event->kind = EVENT_SPAN_BEGIN;
    event->span = argument(context, MARKER_SPAN_BEGIN, SPAN);
    event->parent = argument(context, MARKER_SPAN_BEGIN, PARENT);
    if (bpf_probe_read_user_str(event->trace, TRACE_BYTES, (void *)argument(context, MARKER_SPAN_BEGIN, TRACE)) < 0) {
        event->trace[0] = '\0';
    }
    read_text(event->text, argument(context, MARKER_SPAN_BEGIN, SPAN_NAME));
    bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
    return 0;
}

static __always_inline int
send_span(__u32 kind, __u64 span)
{
    __u64 thread = bpf_get_current_pid_tgid();
    struct span_event *event;
    if (!is_recorded(thread)) {
        return 0;
    }
    event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
    if (!event) {
        count_lost();
        return 0;
    }
    event->time_ns = bpf_ktime_get_ns();
    event->tid = (__u32)thread;
    event->kind = kind;
    event->span = span;
    bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
    return 0;
}

SEC("uprobe.multi")
int span_end(void *context)
{
    return send_span(EVENT_SPAN_END, argument(context, MARKER_SPAN_END, SPAN));
}

SEC("uprobe.multi")
int span_switch(void *context)
{
    return send_span(EVENT_SPAN_SWITCH, argument(context, MARKER_SPAN_SWITCH, NEXT_SPAN));
}

char LICENSE[] SEC("license") = "GPL";
