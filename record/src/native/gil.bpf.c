/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * What runs in the kernel at a marker: adds up a thread's holds and waits, hands events to the recorder, or both.
 *
 * gil__drop carries a whole cycle, so it is the only marker that fires at every cycle; gil__drop__request fires at most once
 * in a switch interval. Where the arguments of a marker are is read from its ELF note before the program is loaded and is a
 * constant here: the verifier drops the branches that are never taken.
 *
 * The structures are those of layout.rs. */
#include "kernel.h"
#include "place.h"
#include "stack.h"
#include "text.h"

/* ---- Set before loading ---- */

enum { ARGUMENTS = 10, MARKERS = 2 };
enum { MARKER_DROP, MARKER_REQUEST };
enum { IDENT, TID, GIL, FORCED, HOLD_NS, WAIT_NS, FILE_NAME, FUNCTION, LINE, LOCATION, HOLDER = FORCED };

struct settings {
    struct place places[MARKERS][ARGUMENTS];
    /* Cycles whose hold or wait lasts at least so long become events; all ones: none do. */
    __u64 events_from_ns;
    /* The reader is woken when so many bytes wait for it, a power of two, and again at every multiple. It also looks by itself now and then. */
    __u64 wake_at_bytes;
    /* Whether threads' totals and histograms are kept. */
    __u64 keep_totals;
    /* At the end of a hold that lasts at least so long the thread's stack is taken; all ones: none is. */
    __u64 stacks_from_ns;
    /* Whether events tell where in Python code they are. */
    __u64 functions;
    /* Whether events_from_ns is only where it begins, and `control` says what it is now. */
    __u64 is_adaptive;
    /* Whether only the processes in `processes` count: a file may be mapped into others as well. */
    __u64 only_listed;
    /* Where in a GIL's state its switch interval is; all ones: not known. */
    __u64 interval_at;
    /* The number of the file whose markers these are. Two files may turn out to be one: seen through two overlays. */
    __u64 file;
};

const volatile struct settings settings;

/* ---- What user space reads ---- */

struct lane_key {
    __u64 thread;           /* process << 32 | thread, as the host numbers them */
    __u64 started;          /* when the thread was started: numbers are used again */
    __u64 gil;
};

struct totals {
    __u64 count;
    __u64 sum_ns;
    __u64 max_ns;
};

/* What one thread did with one GIL. Only that thread writes to it. */
struct lane {
    char name[16];
    __u64 file;             /* through which it was seen first; only what is seen through it counts */
    __u64 ident;
    __u64 native_id;
    __u64 number;
    __u64 hits;
    __u64 forced;
    __u64 requests;
    __u64 interval_us;      /* the GIL's switch interval when the thread was first seen; 0: not known */
    struct totals hold;
    struct totals wait;
};


struct event {
    __u64 time_ns;
    __u32 tid;
    __u32 kind;
    __u64 gil;
    __u64 first;            /* drop: hold_ns; request: the holder's ident */
    __u64 second;           /* drop: wait_ns */
};

/* A drop whose place in Python code is known. */
struct located_event {
    struct event event;
    __u64 location;
};

struct location_event {
    __u64 time_ns;
    __u32 tid;
    __u32 kind;
    __u64 pid;
    __u64 number;
    __u64 line;
    char function[TEXT_BYTES];
    char file[TEXT_BYTES];
};

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

enum { LOST_RING_FULL, LOST_LANES_FULL, LOST_BUCKETS_FULL, LOST_STACKS, LOST_CAUSES };

struct counters {
    __u64 lost[LOST_CAUSES];
    /* Hits of threads for which there is no lane. */
    __u64 hits;
    __u64 next_lane;
};

/* The tables are made by the recorder and shared by all copies of the program, one for each file that has markers. Their real sizes
 * are those that it gives them. */

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct counters);
} counters SEC(".maps");

/* What the recorder may change while it records. */
struct control {
    __u64 events_from_ns;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct control);
} control SEC(".maps");

/* Processes that are recorded, as the host numbers them. Which those are, follow.bpf.c keeps up to date. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} processes SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, struct lane_key);
    __type(value, struct lane);
} lanes SEC(".maps");

/* A lane that is found without a search: searching costs more than all the rest that is done at a hit. A place belongs to the first thread
 * and GIL that fall on it; the lanes of others are in the table. */
struct near_lane {
    struct lane_key key;    /* all 0: it belongs to nobody yet */
    struct lane lane;
};

/* A power of two. Threads that are started together have numbers that follow one another, and places of their own. */
enum { NEAR_LANES = 4096 };

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct near_lane);
} near_lanes SEC(".maps");

/* Which of a lane's two histograms. */
enum { HOLDS = 1, WAITS };

/* Lane number << 32 | which of the two << 16 | bucket: how many durations. Sparse, because most buckets stay empty. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, __u64);
    __type(value, __u64);
} buckets SEC(".maps");

/* A bucket that is found without a search, like a near_lane. */
struct near_bucket {
    __u64 key;              /* as in the table; 0: it belongs to nobody yet */
    __u64 count;
};

/* A power of two. */
enum { NEAR_BUCKETS = 65536 };

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct near_bucket);
} near_buckets SEC(".maps");

/* How often a thread was asked to drop the GIL. Its identity is all that is known of it then. */
struct asked_key {
    __u64 process;
    __u64 gil;
    __u64 holder;
};

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 1);
    __type(key, struct asked_key);
    __type(value, __u64);
} asked SEC(".maps");

/* Places in Python code that the recorder has been told of. */
struct location_key {
    __u64 process;
    __u64 number;
};

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 1);
    __type(key, struct location_key);
    __type(value, __u64);
} locations SEC(".maps");

/* Some of them, found without a search, like a near_lane; number 0: it belongs to nobody yet. */
/* A power of two. */
enum { NEAR_LOCATIONS = 16384 };

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct location_key);
} near_locations SEC(".maps");

/* ---- Arguments ---- */

static __always_inline __u64
argument(void *context, int marker, int number)
{
    return place_value(context, &settings.places[marker][number]);
}

/* ---- Events ---- */

static __always_inline struct counters *
the_counters(void)
{
    __u32 first = 0;
    return bpf_map_lookup_elem(&counters, &first);
}

static __always_inline void
count_lost(int cause)
{
    struct counters *counters = the_counters();
    if (counters) {
        __sync_fetch_and_add(&counters->lost[cause], 1);
    }
}

/* Waking costs the thread many times what an event does, so a reader that is behind is not woken for each of them. */
static __always_inline __u64
wake(void)
{
    __u64 waiting = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
    __u64 is_due = waiting >= settings.wake_at_bytes && (waiting & (settings.wake_at_bytes - 1)) < 2 * sizeof(struct event);
    return is_due ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static __always_inline void
send(__u64 time_ns, __u32 tid, __u32 kind, __u64 gil, __u64 first, __u64 second)
{
    struct event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
    if (!event) {
        count_lost(LOST_RING_FULL);
        return;
    }
    event->time_ns = time_ns;
    event->tid = tid;
    event->kind = kind;
    event->gil = gil;
    event->first = first;
    event->second = second;
    bpf_ringbuf_submit(event, wake());
}

static __always_inline void
send_located(__u64 time_ns, __u32 tid, __u32 kind, __u64 gil, __u64 hold_ns, __u64 wait_ns, __u64 location)
{
    struct located_event *located = bpf_ringbuf_reserve(&ring, sizeof(*located), 0);
    if (!located) {
        count_lost(LOST_RING_FULL);
        return;
    }
    located->event.time_ns = time_ns;
    located->event.tid = tid;
    located->event.kind = kind;
    located->event.gil = gil;
    located->event.first = hold_ns;
    located->event.second = wait_ns;
    located->location = location;
    bpf_ringbuf_submit(located, wake());
}

/* What a place is, when it is seen for the first time; once more at the next hit if there is no room. */
static __always_inline void
tell_location(void *context, __u64 time_ns, const struct lane_key *key, __u64 number)
{
    struct location_key known = {.process = key->thread >> 32, .number = number};
    __u32 place = ((__u32)number ^ (__u32)(number >> 32)) & (NEAR_LOCATIONS - 1);
    struct location_key *near = bpf_map_lookup_elem(&near_locations, &place);
    struct location_event *event;
    __u64 one = 1;
    if (near && near->number == number && near->process == known.process) {
        return;
    }
    if (bpf_map_lookup_elem(&locations, &known)) {
        return;
    }
    event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
    if (!event) {
        return;
    }
    event->time_ns = time_ns;
    event->tid = (__u32)key->thread;
    event->kind = EVENT_LOCATION;
    event->pid = known.process;
    event->number = number;
    event->line = argument(context, MARKER_DROP, LINE);
    read_text(event->function, argument(context, MARKER_DROP, FUNCTION));
    read_text(event->file, argument(context, MARKER_DROP, FILE_NAME));
    bpf_ringbuf_submit(event, wake());
    if (near && __sync_val_compare_and_swap(&near->number, 0, number) == 0) {
        near->process = known.process;
    } else {
        bpf_map_update_elem(&locations, &known, &one, BPF_ANY);
    }
}

/* The stack on which the calling thread gives the GIL up, found by its frame pointers. */
static __always_inline void
send_stack(void *context, __u64 time_ns, const struct lane_key *key, __u64 hold_ns)
{
    if (!take_stack(context, EVENT_STACK, time_ns, key->thread, key->gil, hold_ns)) {
        count_lost(LOST_STACKS);
    }
}

/* Threads that were asked to give the GIL up, for those who look at what they are in (sample.bpf.c). */
static __always_inline void
remember_asked(const struct lane_key *key, __u64 holder)
{
    struct asked_thread asked_thread = {.process = key->thread >> 32, .ident = holder};
    bpf_map_update_elem(&keeping, &asked_thread, &key->gil, BPF_ANY);
}

static __always_inline void
forget_asked(const struct lane_key *key, __u64 ident)
{
    struct asked_thread asked_thread = {.process = key->thread >> 32, .ident = ident};
    bpf_map_delete_elem(&keeping, &asked_thread);
}

static __always_inline int
introduce(const struct lane_key *key, const struct lane *lane)
{
    struct thread_event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
    if (!event) {
        return 0;
    }
    event->time_ns = bpf_ktime_get_ns();
    event->tid = (__u32)key->thread;
    event->kind = EVENT_THREAD;
    event->pid = (__u32)(key->thread >> 32);
    event->native_id = (__u32)lane->native_id;
    event->ident = lane->ident;
    event->gil = key->gil;
    event->interval_us = lane->interval_us;
    __builtin_memcpy(event->name, lane->name, sizeof(event->name));
    bpf_ringbuf_submit(event, wake());
    return 1;
}

/* A cycle that lasts so long is an event. */
static __always_inline __u64
events_from_ns(void)
{
    __u32 first = 0;
    volatile struct control *now;
    if (!settings.is_adaptive) {
        return settings.events_from_ns;
    }
    now = bpf_map_lookup_elem(&control, &first);
    return now ? now->events_from_ns : settings.events_from_ns;
}

/* ---- Lanes ---- */

static __always_inline int
is_same_name(const char *one, const char *other)
{
    const __u64 *a = (const __u64 *)one, *b = (const __u64 *)other;
    return a[0] == b[0] && a[1] == b[1];
}

/* Whether the calling thread's process is recorded. Asked only when a thread is seen for the first time. */
static __always_inline int
is_recorded(const struct lane_key *key)
{
    __u32 process = (__u32)(key->thread >> 32);
    return !settings.only_listed || bpf_map_lookup_elem(&processes, &process) != 0;
}

static __always_inline struct near_lane *
find_near(const struct lane_key *key)
{
    __u32 place = ((__u32)key->thread ^ (__u32)(key->gil >> 4)) & (NEAR_LANES - 1);
    return bpf_map_lookup_elem(&near_lanes, &place);
}

/* A new lane; none when there is no room. */
static __always_inline struct lane *
make_lane(const struct lane_key *key, struct near_lane *near)
{
    struct counters *counters = the_counters();
    struct lane fresh = {};
    struct lane *lane;
    if (!counters) {
        return 0;
    }
    fresh.file = settings.file;
    if (settings.interval_at != ~0ULL) {
        /* 0 if it fails. */
        bpf_probe_read_user(&fresh.interval_us, sizeof(fresh.interval_us), (void *)(key->gil + settings.interval_at));
    }
    fresh.number = __sync_fetch_and_add(&counters->next_lane, 1);
    if (near && __sync_val_compare_and_swap(&near->key.thread, 0, key->thread) == 0) {
        near->lane = fresh;
        near->key.started = key->started;
        near->key.gil = key->gil;
        return &near->lane;
    }
    bpf_map_update_elem(&lanes, key, &fresh, BPF_NOEXIST);
    lane = bpf_map_lookup_elem(&lanes, key);
    if (!lane) {
        if (settings.keep_totals) {
            count_lost(LOST_LANES_FULL);
        }
        __sync_fetch_and_add(&counters->hits, 1);
    }
    return lane;
}

/* Keeps up to date who a thread is. */
static __always_inline void
identify_lane(const struct lane_key *key, struct lane *lane, __u64 ident, __u64 native_id)
{
    const char *name = ((struct task_struct *)bpf_get_current_task_btf())->comm;
    if (is_same_name(lane->name, name) && (ident == 0 || lane->ident == ident)) {
        return;
    }
    if (ident != 0) {
        lane->ident = ident;
    }
    lane->native_id = native_id;
    __builtin_memcpy(lane->name, name, sizeof(lane->name));
    if (settings.events_from_ns != ~0ULL && !introduce(key, lane)) {
        /* Once more at the next event. */
        lane->name[0] = '\0';
    }
}

/* ---- Totals ---- */

/* Each power of two is divided into this many buckets (in powers of two); smaller values have one of their own. */
enum { BUCKET_BITS = 7 };

static __always_inline __u32
bucket_of(__u64 value)
{
    __u32 shift = 0;
    __u64 rest = value >> (BUCKET_BITS + 1);
    if (rest >> 32) { shift += 32; rest >>= 32; }
    if (rest >> 16) { shift += 16; rest >>= 16; }
    if (rest >> 8) { shift += 8; rest >>= 8; }
    if (rest >> 4) { shift += 4; rest >>= 4; }
    if (rest >> 2) { shift += 2; rest >>= 2; }
    if (rest >> 1) { shift += 1; rest >>= 1; }
    shift += (__u32)rest;
    return (shift << BUCKET_BITS) + (__u32)(value >> shift);
}

/* Of a lane, so by one thread at a time. */
static __always_inline void
count_in_bucket(__u64 key)
{
    /* A histogram's buckets that are used lie close together; those of different ones should not fall on one another. */
    __u32 place = ((__u32)key + (__u32)(key >> 16) * 911) & (NEAR_BUCKETS - 1);
    struct near_bucket *near = bpf_map_lookup_elem(&near_buckets, &place);
    __u64 *bucket, one = 1;
    if (near && (near->key == key || __sync_val_compare_and_swap(&near->key, 0, key) == 0)) {
        near->count++;
        return;
    }
    bucket = bpf_map_lookup_elem(&buckets, &key);
    if (bucket) {
        ++*bucket;
    } else if (bpf_map_update_elem(&buckets, &key, &one, BPF_NOEXIST) != 0) {
        count_lost(LOST_BUCKETS_FULL);
    }
}

static __always_inline void
add(struct totals *totals, __u64 lane, __u64 which, __u64 value)
{
    __u64 key = lane << 32 | which << 16 | bucket_of(value);
    totals->count++;
    totals->sum_ns += value;
    if (value > totals->max_ns) {
        totals->max_ns = value;
    }
    count_in_bucket(key);
}

/* ---- Markers ---- */

static __always_inline void
identify(struct lane_key *key, __u64 gil)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task_btf();
    key->thread = (__u64)(__u32)task->tgid << 32 | (__u32)task->pid;
    key->started = task->start_time;
    key->gil = gil;
}

/* The lane of a thread with a GIL, made at its first hit; NULL where there is no room for it. Whether the thread's process is recorded here. */
static __always_inline int
find_lane(struct lane_key *key, struct lane **lane)
{
    struct near_lane *near = find_near(key);
    if (near && near->key.thread == key->thread && near->key.started == key->started && near->key.gil == key->gil) {
        *lane = &near->lane;
        return near->lane.file == settings.file;
    }
    *lane = bpf_map_lookup_elem(&lanes, key);
    if (*lane) {
        return (*lane)->file == settings.file;
    }
    if (!is_recorded(key)) {
        return 0;
    }
    *lane = make_lane(key, near);
    return 1;
}

SEC("uprobe.multi")
int gil_drop(void *context)
{
    struct lane_key key;
    struct lane *lane;
    __u64 hold_ns = argument(context, MARKER_DROP, HOLD_NS);
    __u64 wait_ns = argument(context, MARKER_DROP, WAIT_NS);
    __u64 forced = argument(context, MARKER_DROP, FORCED);
    identify(&key, argument(context, MARKER_DROP, GIL));
    if (!find_lane(&key, &lane)) {
        return 0;
    }
    if (lane) {
        identify_lane(&key, lane, argument(context, MARKER_DROP, IDENT), argument(context, MARKER_DROP, TID));
        lane->hits++;
        if (settings.keep_totals && hold_ns != 0) {
            lane->forced += forced != 0;
            add(&lane->hold, lane->number, HOLDS, hold_ns);
            if (wait_ns != 0) {
                add(&lane->wait, lane->number, WAITS, wait_ns);
            }
        }
    }
    if (settings.stacks_from_ns != ~0ULL && forced) {
        forget_asked(&key, argument(context, MARKER_DROP, IDENT));
    }
    if (settings.events_from_ns != ~0ULL) {
        __u64 from_ns = events_from_ns();
        if (hold_ns >= from_ns || wait_ns >= from_ns) {
            __u64 time_ns = bpf_ktime_get_ns();
            __u32 kind = forced ? EVENT_FORCED_DROP : EVENT_DROP;
            __u64 location = settings.functions ? argument(context, MARKER_DROP, LOCATION) : 0;
            if (location != 0) {
                tell_location(context, time_ns, &key, location);
                send_located(time_ns, (__u32)key.thread, kind, key.gil, hold_ns, wait_ns, location);
            } else {
                send(time_ns, (__u32)key.thread, kind, key.gil, hold_ns, wait_ns);
            }
            if (settings.stacks_from_ns != ~0ULL && hold_ns >= settings.stacks_from_ns) {
                send_stack(context, time_ns, &key, hold_ns);
            }
        }
    }
    return 0;
}

static __always_inline void
count_asked(const struct lane_key *key, __u64 holder)
{
    struct asked_key asked_key = {.process = key->thread >> 32, .gil = key->gil, .holder = holder};
    __u64 *count = bpf_map_lookup_elem(&asked, &asked_key);
    if (count) {
        __sync_fetch_and_add(count, 1);
    } else {
        __u64 one = 1;
        bpf_map_update_elem(&asked, &asked_key, &one, BPF_NOEXIST);
    }
}

SEC("uprobe.multi")
int gil_request(void *context)
{
    struct lane_key key;
    struct lane *lane;
    identify(&key, argument(context, MARKER_REQUEST, GIL));
    if (!find_lane(&key, &lane)) {
        return 0;
    }
    if (lane) {
        identify_lane(&key, lane, argument(context, MARKER_REQUEST, IDENT), argument(context, MARKER_REQUEST, TID));
        lane->requests++;
    }
    if (settings.keep_totals) {
        count_asked(&key, argument(context, MARKER_REQUEST, HOLDER));
    }
    if (settings.stacks_from_ns != ~0ULL) {
        remember_asked(&key, argument(context, MARKER_REQUEST, HOLDER));
    }
    if (settings.events_from_ns != ~0ULL) {
        send(bpf_ktime_get_ns(), (__u32)key.thread, EVENT_REQUEST, key.gil, argument(context, MARKER_REQUEST, HOLDER), 0);
    }
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
