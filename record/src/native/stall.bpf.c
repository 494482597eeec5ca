/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * What runs in the kernel at the markers of a free-threaded interpreter: hands the end of every stopped world and every wait for a
 * mutex to the recorder, or adds them up.
 *
 * A stopped world is asked for by one marker and over with another, so that one that never comes to be, or never ends, is seen too.
 * Both are rare; a mutex fires only when somebody slept for it. The structures are those of stalls.rs. */
#include "kernel.h"
#include "place.h"

/* ---- Set before loading ---- */

enum { ARGUMENTS = 5, MARKERS = 3 };
enum { MARKER_BEGIN, MARKER_END, MARKER_MUTEX };
enum { IDENT, TID, GLOBAL, STOPPED_NS, STOP_WAIT_NS };
enum { ADDRESS = 2, MUTEX_WAIT_NS, THREADING };

struct settings {
    struct place places[MARKERS][ARGUMENTS];
    /* Whether there are events, or else totals. */
    __u64 events;
    __u64 wake_at_bytes;
    /* Whether only the processes in `processes` count: a file may be mapped into others as well. */
    __u64 only_listed;
    /* The number of the file whose markers these are, as in gil.bpf.c. */
    __u64 file;
};

const volatile struct settings settings;

/* ---- What user space reads ---- */

enum { EVENT_THREAD = 3, EVENT_STW_BEGIN = 16, EVENT_STW_END, EVENT_MUTEX };

struct event {
    __u64 time_ns;
    __u32 tid;
    __u32 kind;
    __u64 what;             /* whether it is global; the mutex */
    __u64 first;            /* stopped_ns; wait_ns */
    __u64 second;           /* wait_ns; whether it is a lock of threading */
};

/* As in gil.bpf.c; about no GIL. */
struct thread_event {
    __u64 time_ns;
    __u32 tid;
    __u32 kind;
    __u32 pid;
    __u32 native_id;
    __u64 ident;
    __u64 gil;
    __u64 interval_us;
    char name[16];
};

struct thread_key {
    __u64 thread;           /* process << 32 | thread, as the host numbers them */
    __u64 started;          /* when the thread was started: numbers are used again */
};

struct thread {
    char name[16];
    __u64 ident;
    __u64 file;             /* through which it was seen first */
};

enum { STOPPED, STOPPING, WAITED, WAITED_THREADING };

struct stall_key {
    __u64 thread;
    __u64 started;
    __u64 kind;
    __u64 address;          /* of the mutex */
};

/* Only the thread itself writes to it. */
struct stall {
    char name[16];
    __u64 count;
    __u64 sum_ns;
    __u64 max_ns;
};

/* Events and durations for which there was no room. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} lost_stalls SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} processes SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 65536);
    __type(key, struct thread_key);
    __type(value, struct thread);
} threads SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, 1 /* BPF_F_NO_PREALLOC: most recordings have few */);
    __uint(max_entries, 65536);
    __type(key, struct stall_key);
    __type(value, struct stall);
} stalls SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ring SEC(".maps");

/* ---- Events ---- */

static __always_inline __u64
argument(void *context, int marker, int number)
{
    return place_value(context, &settings.places[marker][number]);
}

static __always_inline void
count_lost(void)
{
    __u32 first = 0;
    __u64 *lost = bpf_map_lookup_elem(&lost_stalls, &first);
    if (lost) {
        __sync_fetch_and_add(lost, 1);
    }
}

static __always_inline __u64
wake(void)
{
    return bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= settings.wake_at_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static __always_inline int
introduce(const struct thread_key *key, const struct thread *thread, __u64 native_id)
{
    struct thread_event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
    if (!event) {
        return 0;
    }
    event->time_ns = bpf_ktime_get_ns();
    event->tid = (__u32)key->thread;
    event->kind = EVENT_THREAD;
    event->pid = (__u32)(key->thread >> 32);
    event->native_id = (__u32)native_id;
    event->ident = thread->ident;
    event->gil = 0;
    event->interval_us = 0;
    __builtin_memcpy(event->name, thread->name, sizeof(event->name));
    bpf_ringbuf_submit(event, wake());
    return 1;
}

static __always_inline int
is_same_name(const char *one, const char *other)
{
    const __u64 *a = (const __u64 *)one, *b = (const __u64 *)other;
    return a[0] == b[0] && a[1] == b[1];
}

/* Who the calling thread is; whether it is recorded here. Tells the recorder when that is new. */
static __always_inline int
identify(struct thread_key *key, struct thread *now, __u64 ident, __u64 native_id)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task_btf();
    struct thread *known;
    __u32 process;
    key->thread = bpf_get_current_pid_tgid();
    key->started = task->start_time;
    known = bpf_map_lookup_elem(&threads, key);
    process = (__u32)(key->thread >> 32);
    if (known ? known->file != settings.file
              : settings.only_listed && !bpf_map_lookup_elem(&processes, &process)) {
        return 0;
    }
    bpf_get_current_comm(now->name, sizeof(now->name));
    now->ident = ident;
    now->file = settings.file;
    if (known && known->ident == ident && is_same_name(known->name, now->name)) {
        return 1;
    }
    /* Once more at the next event if there was no room. */
    if (!settings.events || introduce(key, now, native_id)) {
        bpf_map_update_elem(&threads, key, now, BPF_ANY);
    }
    return 1;
}

static __always_inline void
send(const struct thread_key *key, __u32 kind, __u64 what, __u64 first, __u64 second)
{
    struct event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
    if (!event) {
        count_lost();
        return;
    }
    event->time_ns = bpf_ktime_get_ns();
    event->tid = (__u32)key->thread;
    event->kind = kind;
    event->what = what;
    event->first = first;
    event->second = second;
    bpf_ringbuf_submit(event, wake());
}

/* ---- Totals ---- */

static __always_inline void
add(const struct thread_key *key, const struct thread *thread, __u64 kind, __u64 address, __u64 duration_ns)
{
    struct stall_key stall_key = {.thread = key->thread, .started = key->started, .kind = kind, .address = address};
    struct stall *stall = bpf_map_lookup_elem(&stalls, &stall_key);
    if (!stall) {
        struct stall fresh = {};
        bpf_map_update_elem(&stalls, &stall_key, &fresh, BPF_NOEXIST);
        stall = bpf_map_lookup_elem(&stalls, &stall_key);
        if (!stall) {
            count_lost();
            return;
        }
    }
    __builtin_memcpy(stall->name, thread->name, sizeof(stall->name));
    stall->count++;
    stall->sum_ns += duration_ns;
    if (duration_ns > stall->max_ns) {
        stall->max_ns = duration_ns;
    }
}

/* ---- Markers ---- */

SEC("uprobe.multi")
int stw_begin(void *context)
{
    struct thread_key key;
    struct thread thread __attribute__((aligned(8))) = {};
    if (identify(&key, &thread, argument(context, MARKER_BEGIN, IDENT), argument(context, MARKER_BEGIN, TID)) && settings.events) {
        send(&key, EVENT_STW_BEGIN, argument(context, MARKER_BEGIN, GLOBAL), 0, 0);
    }
    return 0;
}

SEC("uprobe.multi")
int stw_end(void *context)
{
    struct thread_key key;
    struct thread thread __attribute__((aligned(8))) = {};
    __u64 stopped_ns = argument(context, MARKER_END, STOPPED_NS);
    __u64 wait_ns = argument(context, MARKER_END, STOP_WAIT_NS);
    if (!identify(&key, &thread, argument(context, MARKER_END, IDENT), argument(context, MARKER_END, TID))) {
        return 0;
    }
    if (settings.events) {
        send(&key, EVENT_STW_END, argument(context, MARKER_END, GLOBAL), stopped_ns, wait_ns);
    } else if (stopped_ns != 0) {
        add(&key, &thread, STOPPED, 0, stopped_ns);
        add(&key, &thread, STOPPING, 0, wait_ns);
    }
    return 0;
}

SEC("uprobe.multi")
int mutex_wait(void *context)
{
    struct thread_key key;
    struct thread thread __attribute__((aligned(8))) = {};
    __u64 address = argument(context, MARKER_MUTEX, ADDRESS);
    __u64 wait_ns = argument(context, MARKER_MUTEX, MUTEX_WAIT_NS);
    __u64 threading = argument(context, MARKER_MUTEX, THREADING);
    if (!identify(&key, &thread, argument(context, MARKER_MUTEX, IDENT), argument(context, MARKER_MUTEX, TID))) {
        return 0;
    }
    if (settings.events) {
        send(&key, EVENT_MUTEX, address, wait_ns, threading);
    } else {
        add(&key, &thread, threading ? WAITED_THREADING : WAITED, address, wait_ns);
    }
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
