/* GIL markers, contract version 1: USDT markers where a thread claims, gets and drops the GIL, and, in a free-threaded build,
 * where it stops the world and where it has waited for a mutex.
 *
 * The one home of the markers. gilbuild copies this folder into a CPython tree, whose patch only includes this file and calls the
 * functions of the section "What a patch calls"; the gil-probes crate compiles it into its test programs. gil_note.h has how a marker is
 * written down, gil_location.h where in Python code a thread is, gil_names.h what threads are called.
 * patches/README.md explains the contract to the authors of scripts.
 *
 * How it stays cheap and safe:
 * - Nobody attached: a call is a load, a branch and one or two stores to thread-local memory. No clock is read.
 * - All markers share one is-enabled semaphore, so that whoever attaches to one of them switches the clock on for all. Functions and names,
 *   which cost more or concern few, have one each. Several files include this one: what they share is weak and hidden, so that the
 *   linker keeps one of each and exports none.
 * - Each marker sits in a function of its own that the compiler may neither inline nor copy: it exists once, whatever
 *   link-time and profile-guided optimisation do to its callers.
 * - What has to be remembered between two calls lives in thread-local memory or on the stack, never in a structure of CPython's. A pointer to a
 *   thread state is followed only by a thread that gives up the GIL which it has got in that very state: otherwise it may dangle, while
 *   the interpreter shuts down.
 */
#ifndef GIL_MARKERS_H
#define GIL_MARKERS_H

#include "gil_location.h"
#include "gil_note.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- The contract: names and numbers of arguments ---- */

#define GIL_MARKERS_CONTRACT_VERSION 1

#define GIL_MARKERS_CLAIM "gil__claim"
#define GIL_MARKERS_CLAIM_ARGUMENTS 7           /* ident, tid, gil, file, function, line, location */
#define GIL_MARKERS_ACQUIRED "gil__acquired"
#define GIL_MARKERS_ACQUIRED_ARGUMENTS 4        /* ident, tid, gil, wait_ns */
#define GIL_MARKERS_DROP "gil__drop"
#define GIL_MARKERS_DROP_ARGUMENTS 10           /* ident, tid, gil, forced, hold_ns, wait_ns, file, function, line, location */
#define GIL_MARKERS_DROP_REQUEST "gil__drop__request"
#define GIL_MARKERS_DROP_REQUEST_ARGUMENTS 4    /* ident, tid, gil, holder ident */

/* Asked for apart from those: these two have a semaphore of their own, and so has the third. */
#define GIL_MARKERS_FUNCTIONS "gil__functions"
#define GIL_MARKERS_FUNCTIONS_ARGUMENTS 2       /* ident, tid */
#define GIL_MARKERS_LOCATION "gil__location"
#define GIL_MARKERS_LOCATION_ARGUMENTS 6        /* ident, tid, file, function, line, location */
#define GIL_MARKERS_THREAD_NAME "thread__name"
#define GIL_MARKERS_THREAD_NAME_ARGUMENTS 3     /* ident, tid, name */

/* In free-threaded builds only. */
#define GIL_MARKERS_STW_BEGIN "stw__begin"
#define GIL_MARKERS_STW_BEGIN_ARGUMENTS 3       /* ident, tid, global */
#define GIL_MARKERS_STW_STOPPED "stw__stopped"
#define GIL_MARKERS_STW_STOPPED_ARGUMENTS 4     /* ident, tid, global, wait_ns */
#define GIL_MARKERS_STW_END "stw__end"
#define GIL_MARKERS_STW_END_ARGUMENTS 5         /* ident, tid, global, stopped_ns, wait_ns */
#define GIL_MARKERS_MUTEX_WAIT "mutex__wait"
#define GIL_MARKERS_MUTEX_WAIT_ARGUMENTS 5      /* ident, tid, address, wait_ns, threading */

/* ---- What is remembered ---- */

/* How many tracers are attached; the kernel or the tracer counts it up and down. */
extern volatile unsigned short gil_markers_semaphore;
volatile unsigned short gil_markers_semaphore
    __attribute__((GIL_MARKERS_SHARED_, section(".probes"), used)) = 0;

/* Likewise, of those who want functions; counted by attaching to gil__functions or gil__location. */
extern volatile unsigned short gil_markers_functions_semaphore;
volatile unsigned short gil_markers_functions_semaphore
    __attribute__((GIL_MARKERS_SHARED_, section(".probes"), used)) = 0;

/* Likewise, of those who want names; counted by attaching to thread__name. gil_names.h has it, and how many of them have been told. */
extern volatile unsigned short gil_markers_names_semaphore __attribute__((visibility("hidden")));
extern unsigned short gil_markers_names_told __attribute__((visibility("hidden")));
extern void gil_markers_tell_names(int again) __attribute__((visibility("hidden")));
extern void gil_markers_names_forked(void) __attribute__((visibility("hidden")));

/* The cycle that a thread is in. Times are CLOCK_MONOTONIC in nanoseconds, 0 = not known. */
struct gil_markers_cycle {
    uint64_t acquired_ns;       /* when this thread got the GIL that it holds */
    uint64_t wanted_ns;         /* since when it has been waiting: its claim, or the drop it was forced to */
    uint64_t wait_ns;           /* how long it waited for the GIL that it holds */
    uint64_t tid;               /* its gettid(), asked for once */
    int yielding;               /* the next drop is one that another thread asked for */
    struct gil_markers_location location; /* where it dropped the GIL last: until it has it again, no Python code runs in it */
};
extern __thread struct gil_markers_cycle gil_markers_cycle;
__thread struct gil_markers_cycle gil_markers_cycle
    __attribute__((GIL_MARKERS_SHARED_, tls_model("initial-exec")));

/* The stop-the-world pause that a thread is making. Times as above. */
static __thread struct {
    uint64_t asked_ns;          /* when it asked the others to stop */
    uint64_t stopped_ns;        /* when they had */
    uint64_t wait_ns;           /* how long that took */
} gil_markers_pause __attribute__((tls_model("initial-exec"), unused));

/* One wait for a mutex; lies on the stack of the function that waits. */
struct gil_markers_waiting {
    const void *mutex;
    uint64_t since_ns;          /* when it was about to park for the first time; 0 = not known */
    int threading;              /* the mutex is a lock of the module threading */
    int parked;                 /* it has slept */
};

/* Who holds which GIL, by threading.get_ident(), for gil__drop__request: gil->last_holder may point to a thread state
 * that a finished sub-interpreter has freed. A GIL owns the slot that its address picks; where two share a slot, the
 * holder of one of them is not known (0). */
#define GIL_MARKERS_HOLDERS_ 64
static struct {
    const void *gil;
    uint64_t ident;
} gil_markers_holders[GIL_MARKERS_HOLDERS_];

static inline unsigned
gil_markers_holder_slot(const void *gil)
{
    /* GILs lie inside large structures, so that neighbours differ above the lowest bits only. */
    uintptr_t address = (uintptr_t)gil >> 6;
    return (unsigned)((address ^ (address >> 6) ^ (address >> 12)) % GIL_MARKERS_HOLDERS_);
}

static inline int
gil_markers_enabled(void)
{
    return __builtin_expect(gil_markers_semaphore != 0, 0);
}

static inline uint64_t
gil_markers_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* How long ago a moment was; 0 = not known, so at least 1. */
static inline uint64_t
gil_markers_since(uint64_t moment, uint64_t now)
{
    return moment == 0 ? 0 : now > moment ? now - moment : 1;
}

static inline uint64_t
gil_markers_ident(void)
{
    return (uint64_t)(uintptr_t)pthread_self();
}

static inline uint64_t
gil_markers_tid(void)
{
    if (gil_markers_cycle.tid == 0) {
        gil_markers_cycle.tid = (uint64_t)syscall(SYS_gettid);
    }
    return gil_markers_cycle.tid;
}

/* A tracer attaches to one marker after the other, and may miss names that are told while it does: they are told once more so long
 * after the first time. */
#define GIL_MARKERS_AGAIN_NS_ 100000000u
static uint64_t gil_markers_names_again_ns __attribute__((unused));

/* Whether gil__functions has fired since somebody asked for functions. */
static int gil_markers_functions_told __attribute__((unused));

/* ---- The markers, each once ---- */

static GIL_MARKERS_ONCE_ void
gil_markers_fire_functions(void)
{
    GIL_MARKERS_FIRE2_(gil_markers_functions_semaphore, GIL_MARKERS_FUNCTIONS, gil_markers_ident(),
                       gil_markers_tid());
}

/* For tracers that read no more than six arguments of a marker, as bpftrace. */
static GIL_MARKERS_ONCE_ void
gil_markers_fire_location(const struct gil_markers_location *location)
{
    GIL_MARKERS_FIRE6_(gil_markers_functions_semaphore, GIL_MARKERS_LOCATION, gil_markers_ident(),
                       gil_markers_tid(), (uintptr_t)location->file, (uintptr_t)location->function,
                       location->line, location->number);
}

static GIL_MARKERS_ONCE_ void
gil_markers_fire_claim(const void *gil, int taken, const void *thread_state)
{
    static const struct gil_markers_location unknown;
    const struct gil_markers_location *location = &gil_markers_cycle.location;
    if (thread_state == NULL || location->thread_state != thread_state) {
        location = &unknown;
    }
    if (taken && gil_markers_cycle.wanted_ns == 0) {
        gil_markers_cycle.wanted_ns = gil_markers_now();
    }
    GIL_MARKERS_FIRE7_(gil_markers_semaphore, GIL_MARKERS_CLAIM, gil_markers_ident(),
                       gil_markers_tid(), (uintptr_t)gil, (uintptr_t)location->file,
                       (uintptr_t)location->function, location->line, location->number);
}

static GIL_MARKERS_ONCE_ void
gil_markers_fire_acquired(const void *gil)
{
    uint64_t ident = gil_markers_ident();
    uint64_t now = gil_markers_now();
    uint64_t wanted = gil_markers_cycle.wanted_ns;
    uint64_t wait = wanted == 0 ? 0 : now - wanted;
    unsigned slot = gil_markers_holder_slot(gil);
    __atomic_store_n(&gil_markers_holders[slot].gil, gil, __ATOMIC_RELAXED);
    __atomic_store_n(&gil_markers_holders[slot].ident, ident, __ATOMIC_RELAXED);
    gil_markers_cycle.acquired_ns = now;
    gil_markers_cycle.wanted_ns = 0;
    gil_markers_cycle.wait_ns = wait;
    gil_markers_cycle.yielding = 0;
    if (gil_markers_names_again_ns != 0 && now >= gil_markers_names_again_ns) {
        gil_markers_names_again_ns = 0;
        gil_markers_tell_names(1);
    }
    GIL_MARKERS_FIRE4_(gil_markers_semaphore, GIL_MARKERS_ACQUIRED, ident,
                       gil_markers_tid(), (uintptr_t)gil, wait);
}

static GIL_MARKERS_ONCE_ void
gil_markers_fire_drop(const void *gil, const void *thread_state, uint64_t acquired)
{
    uint64_t ident = thread_state != NULL ? gil_markers_ident() : 0;
    uint64_t forced = gil_markers_cycle.yielding != 0;
    struct gil_markers_location location = {.thread_state = NULL};
    if (gil_markers_functions_semaphore == 0) {
        gil_markers_functions_told = 0;
    }
    /* A thread state in which the GIL was not got is none: the thread has found that it must end. */
    else if (thread_state != NULL && acquired != 0) {
        GIL_MARKERS_LOCATE(thread_state, &location);
        if (!gil_markers_functions_told) {
            gil_markers_functions_told = 1;
            gil_markers_fire_functions();
        }
    }
    gil_markers_cycle.location = location;
    uint64_t now = gil_markers_now();
    uint64_t hold = gil_markers_since(acquired, now);
    uint64_t wait = acquired != 0 ? gil_markers_cycle.wait_ns : 0;
    gil_markers_cycle.yielding = 0;
    gil_markers_cycle.wanted_ns = forced ? now : 0;
    if (location.thread_state != NULL) {
        gil_markers_fire_location(&location);
    }
    GIL_MARKERS_FIRE10_(gil_markers_semaphore, GIL_MARKERS_DROP, ident, gil_markers_tid(),
                        (uintptr_t)gil, forced, hold, wait, (uintptr_t)location.file,
                        (uintptr_t)location.function, location.line, location.number);
}

static GIL_MARKERS_ONCE_ void
gil_markers_fire_drop_request(const void *gil)
{
    unsigned slot = gil_markers_holder_slot(gil);
    uint64_t holder = 0;
    if (__atomic_load_n(&gil_markers_holders[slot].gil, __ATOMIC_RELAXED) == gil) {
        holder = __atomic_load_n(&gil_markers_holders[slot].ident, __ATOMIC_RELAXED);
    }
    GIL_MARKERS_FIRE4_(gil_markers_semaphore, GIL_MARKERS_DROP_REQUEST, gil_markers_ident(),
                       gil_markers_tid(), (uintptr_t)gil, holder);
}

static GIL_MARKERS_ONCE_ void
gil_markers_fire_stw_begin(int global)
{
    gil_markers_pause.asked_ns = gil_markers_now();
    GIL_MARKERS_FIRE3_(gil_markers_semaphore, GIL_MARKERS_STW_BEGIN, gil_markers_ident(),
                       gil_markers_tid(), global != 0);
}

static GIL_MARKERS_ONCE_ void
gil_markers_fire_stw_stopped(int global, uint64_t asked)
{
    uint64_t now = gil_markers_now();
    uint64_t wait = gil_markers_since(asked, now);
    gil_markers_pause.stopped_ns = now;
    gil_markers_pause.wait_ns = wait;
    GIL_MARKERS_FIRE4_(gil_markers_semaphore, GIL_MARKERS_STW_STOPPED, gil_markers_ident(),
                       gil_markers_tid(), global != 0, wait);
}

static GIL_MARKERS_ONCE_ void
gil_markers_fire_stw_end(int global, uint64_t stopped)
{
    uint64_t pause = gil_markers_since(stopped, gil_markers_now());
    uint64_t wait = stopped != 0 ? gil_markers_pause.wait_ns : 0;
    GIL_MARKERS_FIRE5_(gil_markers_semaphore, GIL_MARKERS_STW_END, gil_markers_ident(),
                       gil_markers_tid(), global != 0, pause, wait);
}

static GIL_MARKERS_ONCE_ void
gil_markers_fire_mutex_wait(const struct gil_markers_waiting *waiting)
{
    uint64_t wait = gil_markers_since(waiting->since_ns, gil_markers_now());
    GIL_MARKERS_FIRE5_(gil_markers_semaphore, GIL_MARKERS_MUTEX_WAIT, gil_markers_ident(),
                       gil_markers_tid(), (uintptr_t)waiting->mutex, wait,
                       waiting->threading != 0);
}

/* ---- What a patch calls ---- */

/* In take_gil, before gil->mutex is locked. `taken`: somebody seems to hold the GIL. */
static inline void
gil_markers_claim(const void *gil, int taken, const void *thread_state)
{
    if (gil_markers_enabled()) {
        gil_markers_fire_claim(gil, taken, thread_state);
    }
}

/* In take_gil, whenever it is about to block: the GIL looked free at the claim and was gone when the mutex was ours,
 * or tracing began in the middle of the wait. */
static inline void
gil_markers_wait(void)
{
    if (gil_markers_enabled() && gil_markers_cycle.wanted_ns == 0) {
        gil_markers_cycle.wanted_ns = gil_markers_now();
    }
}

/* In take_gil, once it has asked the holder to drop. */
static inline void
gil_markers_drop_request(const void *gil)
{
    if (gil_markers_enabled()) {
        gil_markers_fire_drop_request(gil);
    }
}

/* Whenever a thread begins to run Python code: names are told to whoever has attached since, or nobody is attached any more. */
static inline void
gil_markers_share_names(void)
{
    if (__builtin_expect(gil_markers_names_semaphore != gil_markers_names_told, 0)) {
        gil_markers_names_again_ns = gil_markers_now() + GIL_MARKERS_AGAIN_NS_;
        gil_markers_tell_names(0);
    }
}

/* At the end of take_gil, after gil->mutex is unlocked. Forgets what an earlier tracing session left behind when nobody is
 * attached: a stale moment must never become a hold. */
static inline void
gil_markers_acquired(const void *gil)
{
    gil_markers_share_names();
    if (gil_markers_enabled()) {
        gil_markers_fire_acquired(gil);
        return;
    }
    gil_markers_cycle.acquired_ns = 0;
    gil_markers_cycle.wanted_ns = 0;
    gil_markers_cycle.yielding = 0;
    unsigned slot = gil_markers_holder_slot(gil);
    /* Read first: threads of different GILs would only fight for the cache line. */
    if (__atomic_load_n(&gil_markers_holders[slot].ident, __ATOMIC_RELAXED) != 0) {
        __atomic_store_n(&gil_markers_holders[slot].ident, 0, __ATOMIC_RELAXED);
    }
}

/* In the eval loop, before it drops the GIL because another thread asked for it: the drop that follows is a forced one, and
 * the thread still wants the GIL. (That a request is pending does not say so: a thread about to block may drop just then.) */
static inline void
gil_markers_yield(void)
{
    if (gil_markers_enabled()) {
        gil_markers_cycle.yielding = 1;
    }
}

/* In drop_gil, before gil->mutex is locked. `thread_state`: the one that drop_gil was given, or NULL. */
static inline void
gil_markers_drop(const void *gil, const void *thread_state)
{
    uint64_t acquired = gil_markers_cycle.acquired_ns;
    gil_markers_cycle.acquired_ns = 0;
    if (gil_markers_enabled()) {
        gil_markers_fire_drop(gil, thread_state, acquired);
        return;
    }
    gil_markers_cycle.location.thread_state = NULL;
}

/* In take_gil of a free-threaded build, where it returns without the GIL, which is switched off: what the thread waited for, it
 * needs no longer. A moment that stayed behind would make its next wait, when the GIL is on again, too long. Whether
 * somebody is attached makes no difference: the moment may be from a session that has ended. */
static inline void
gil_markers_abandoned(void)
{
    gil_markers_share_names();
    gil_markers_cycle.wanted_ns = 0;
}

/* In the child of a fork, before it takes its new GIL: it is a thread with another id. */
static inline void
gil_markers_forked(void)
{
    gil_markers_cycle.tid = 0;
    gil_markers_names_forked();
}

/* In stop_the_world, first of all. */
static inline void
gil_markers_stw_begin(int global)
{
    if (gil_markers_enabled()) {
        gil_markers_fire_stw_begin(global);
        return;
    }
    gil_markers_pause.asked_ns = 0;
}

/* In stop_the_world, last of all: every other thread has stopped. */
static inline void
gil_markers_stw_stopped(int global)
{
    uint64_t asked = gil_markers_pause.asked_ns;
    gil_markers_pause.asked_ns = 0;
    if (gil_markers_enabled()) {
        gil_markers_fire_stw_stopped(global, asked);
        return;
    }
    gil_markers_pause.stopped_ns = 0;
}

/* In start_the_world, first of all. */
static inline void
gil_markers_stw_end(int global)
{
    uint64_t stopped = gil_markers_pause.stopped_ns;
    gil_markers_pause.stopped_ns = 0;
    if (gil_markers_enabled()) {
        gil_markers_fire_stw_end(global, stopped);
    }
}

/* Run by the compiler wherever the function that declared `waiting` returns. */
static inline void
gil_markers_waited(struct gil_markers_waiting *waiting)
{
    if (waiting->parked && waiting->since_ns != 0 && gil_markers_enabled()) {
        gil_markers_fire_mutex_wait(waiting);
    }
}

/* In a function that locks a mutex, before its loop: declares `name`, what is known of the wait. However often the function parks, it is
 * one wait, over when the function returns. */
#define GIL_MARKERS_WAITING(name, address, is_threading)                \
    struct gil_markers_waiting name                                     \
        __attribute__((cleanup(gil_markers_waited))) =                  \
        {.mutex = (address), .threading = (is_threading)}

/* Before it parks. */
static inline void
gil_markers_park(struct gil_markers_waiting *waiting)
{
    if (gil_markers_enabled() && waiting->since_ns == 0) {
        waiting->since_ns = gil_markers_now();
    }
}

/* After that. `slept`: it did; the mutex may have been free by then. */
static inline void
gil_markers_parked(struct gil_markers_waiting *waiting, int slept)
{
    if (slept) {
        waiting->parked = 1;
    }
    else if (!waiting->parked) {
        waiting->since_ns = 0;
    }
}

#endif /* GIL_MARKERS_H */
