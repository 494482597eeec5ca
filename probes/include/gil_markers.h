/* GIL markers, contract version 1: USDT markers where a thread claims, gets and drops the GIL, and, in a free-threaded build,
 * where it stops the world and where it has waited for a mutex.
 *
 * The one home of the markers. gilbuild copies this file into a CPython tree, whose patch only includes it and calls the
 * functions of the section "What a patch calls"; the gil-probes crate compiles it into its test programs.
 * patches/README.md explains the contract to the authors of scripts.
 *
 * How it stays cheap and safe:
 * - Nobody attached: a call is a load, a branch and one or two stores to thread-local memory. No clock is read.
 * - All markers share one is-enabled semaphore, so that whoever attaches to one of them switches the clock on for all. Several
 *   files include this one: what they share is weak and hidden, so that the linker keeps one of each and exports none.
 * - Each marker sits in a function of its own that the compiler may neither inline nor copy: it exists once, whatever
 *   link-time and profile-guided optimisation do to its callers.
 * - What has to be remembered between two calls lives in thread-local memory or on the stack, never in a structure of CPython's, and no
 *   pointer to a thread state is ever followed: it may dangle while the interpreter shuts down.
 */
#ifndef GIL_MARKERS_H
#define GIL_MARKERS_H

#if !defined(__linux__) || !defined(__GNUC__)
#  error "GIL markers need Linux and GCC or Clang"
#endif

#include <pthread.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- The contract: names and numbers of arguments ---- */

#define GIL_MARKERS_CONTRACT_VERSION 1
#define GIL_MARKERS_PROVIDER "python"

#define GIL_MARKERS_CLAIM "gil__claim"
#define GIL_MARKERS_CLAIM_ARGUMENTS 3           /* ident, tid, gil */
#define GIL_MARKERS_ACQUIRED "gil__acquired"
#define GIL_MARKERS_ACQUIRED_ARGUMENTS 4        /* ident, tid, gil, wait_ns */
#define GIL_MARKERS_DROP "gil__drop"
#define GIL_MARKERS_DROP_ARGUMENTS 6            /* ident, tid, gil, forced, hold_ns, wait_ns */
#define GIL_MARKERS_DROP_REQUEST "gil__drop__request"
#define GIL_MARKERS_DROP_REQUEST_ARGUMENTS 4    /* ident, tid, gil, holder ident */

/* In free-threaded builds only. */
#define GIL_MARKERS_STW_BEGIN "stw__begin"
#define GIL_MARKERS_STW_BEGIN_ARGUMENTS 3       /* ident, tid, global */
#define GIL_MARKERS_STW_STOPPED "stw__stopped"
#define GIL_MARKERS_STW_STOPPED_ARGUMENTS 4     /* ident, tid, global, wait_ns */
#define GIL_MARKERS_STW_END "stw__end"
#define GIL_MARKERS_STW_END_ARGUMENTS 5         /* ident, tid, global, stopped_ns, wait_ns */
#define GIL_MARKERS_MUTEX_WAIT "mutex__wait"
#define GIL_MARKERS_MUTEX_WAIT_ARGUMENTS 5      /* ident, tid, address, wait_ns, threading */

/* ---- Emitting a marker ---- */

/* What a tracer's breakpoint replaces. From 6.18 on, kernels turn a 5-byte nop into a call, which is twice as fast but
 * pushes onto the stack: it would overwrite the red zone of a leaf function, so whoever includes this file with
 * GIL_MARKERS_NOP5 compiles with -mno-red-zone. */
#ifdef GIL_MARKERS_NOP5
#  ifndef __x86_64__
#    error "5-byte nops exist on x86-64 only: build with 1-byte nops"
#  endif
#  define GIL_MARKERS_NOP_ ".nops 5"
#else
#  define GIL_MARKERS_NOP_ "nop"
#endif

/* A note in the stapsdt format, version 3, as sys/sdt.h writes it. Written out here because sys/sdt.h knows neither a
 * semaphore shared by several markers nor a nop of another size for some of them, and CPython's own DTrace probes use it
 * in the same translation unit. */
#define GIL_MARKERS_NOTE_(name, arguments)                              \
    "771: " GIL_MARKERS_NOP_ "\n"                                       \
    ".pushsection .note.stapsdt, \"?\", \"note\"\n"                     \
    ".balign 4\n"                                                       \
    ".4byte 773f - 772f, 775f - 774f, 3\n"                              \
    "772: .asciz \"stapsdt\"\n"                                         \
    "773: .balign 4\n"                                                  \
    "774: .8byte 771b\n"                                                \
    ".8byte _.stapsdt.base\n"                                           \
    ".8byte %c[semaphore]\n"                                            \
    ".asciz \"" GIL_MARKERS_PROVIDER "\"\n"                             \
    ".asciz \"" name "\"\n"                                             \
    ".asciz \"" arguments "\"\n"                                        \
    "775: .balign 4\n"                                                  \
    ".popsection\n"                                                     \
    ".ifndef _.stapsdt.base\n"                                          \
    ".pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n" \
    ".weak _.stapsdt.base\n"                                            \
    ".hidden _.stapsdt.base\n"                                          \
    "_.stapsdt.base: .space 1\n"                                        \
    ".size _.stapsdt.base, 1\n"                                         \
    ".popsection\n"                                                     \
    ".endif\n"

/* Arguments are registers or constants ("nr"), never memory: left to itself the compiler may name a thread-local
 * variable by its segment (%fs:), which no tracer can read. All are unsigned and 8 bytes wide. */
#define GIL_MARKERS_FIRE3_(name, a, b, c)                               \
    __asm__ __volatile__(                                               \
        GIL_MARKERS_NOTE_(name, "8@%[a1] 8@%[a2] 8@%[a3]")              \
        : : [semaphore] "i"(&gil_markers_semaphore),                    \
        [a1] "nr"((uint64_t)(a)), [a2] "nr"((uint64_t)(b)),             \
        [a3] "nr"((uint64_t)(c)))
#define GIL_MARKERS_FIRE4_(name, a, b, c, d)                            \
    __asm__ __volatile__(                                               \
        GIL_MARKERS_NOTE_(name, "8@%[a1] 8@%[a2] 8@%[a3] 8@%[a4]")      \
        : : [semaphore] "i"(&gil_markers_semaphore),                    \
        [a1] "nr"((uint64_t)(a)), [a2] "nr"((uint64_t)(b)),             \
        [a3] "nr"((uint64_t)(c)), [a4] "nr"((uint64_t)(d)))
#define GIL_MARKERS_FIRE5_(name, a, b, c, d, e)                         \
    __asm__ __volatile__(                                               \
        GIL_MARKERS_NOTE_(name, "8@%[a1] 8@%[a2] 8@%[a3] 8@%[a4] 8@%[a5]") \
        : : [semaphore] "i"(&gil_markers_semaphore),                    \
        [a1] "nr"((uint64_t)(a)), [a2] "nr"((uint64_t)(b)),             \
        [a3] "nr"((uint64_t)(c)), [a4] "nr"((uint64_t)(d)),             \
        [a5] "nr"((uint64_t)(e)))
#define GIL_MARKERS_FIRE6_(name, a, b, c, d, e, f)                      \
    __asm__ __volatile__(                                               \
        GIL_MARKERS_NOTE_(name, "8@%[a1] 8@%[a2] 8@%[a3] 8@%[a4] 8@%[a5] 8@%[a6]") \
        : : [semaphore] "i"(&gil_markers_semaphore),                    \
        [a1] "nr"((uint64_t)(a)), [a2] "nr"((uint64_t)(b)),             \
        [a3] "nr"((uint64_t)(c)), [a4] "nr"((uint64_t)(d)),             \
        [a5] "nr"((uint64_t)(e)), [a6] "nr"((uint64_t)(f)))

/* `noipa` also keeps GCC from specialising a copy for a constant argument, which would double the marker. A file that
 * does not call one of these functions does not have it; except without any optimisation (-O0), which CPython is not built with. */
#if defined(__clang__)
#  define GIL_MARKERS_ONCE_ __attribute__((noinline, cold, unused))
#else
#  define GIL_MARKERS_ONCE_ __attribute__((noipa, cold, unused))
#endif

/* One for all files that include this one. */
#define GIL_MARKERS_SHARED_ weak, visibility("hidden")

/* ---- What is remembered ---- */

/* How many tracers are attached; the kernel or the tracer counts it up and down. */
extern volatile unsigned short gil_markers_semaphore;
volatile unsigned short gil_markers_semaphore
    __attribute__((GIL_MARKERS_SHARED_, section(".probes"), used)) = 0;

/* The cycle that a thread is in. Times are CLOCK_MONOTONIC in nanoseconds, 0 = not known. */
struct gil_markers_cycle {
    uint64_t acquired_ns;       /* when this thread got the GIL that it holds */
    uint64_t wanted_ns;         /* since when it has been waiting: its claim, or the drop it was forced to */
    uint64_t wait_ns;           /* how long it waited for the GIL that it holds */
    uint64_t tid;               /* its gettid(), asked for once */
    int yielding;               /* the next drop is one that another thread asked for */
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

/* ---- The markers, each once ---- */

static GIL_MARKERS_ONCE_ void
gil_markers_fire_claim(const void *gil, int taken)
{
    if (taken && gil_markers_cycle.wanted_ns == 0) {
        gil_markers_cycle.wanted_ns = gil_markers_now();
    }
    GIL_MARKERS_FIRE3_(GIL_MARKERS_CLAIM, gil_markers_ident(),
                       gil_markers_tid(), (uintptr_t)gil);
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
    GIL_MARKERS_FIRE4_(GIL_MARKERS_ACQUIRED, ident, gil_markers_tid(),
                       (uintptr_t)gil, wait);
}

static GIL_MARKERS_ONCE_ void
gil_markers_fire_drop(const void *gil, int thread_known, uint64_t acquired)
{
    uint64_t ident = thread_known ? gil_markers_ident() : 0;
    uint64_t forced = gil_markers_cycle.yielding != 0;
    uint64_t now = gil_markers_now();
    uint64_t hold = gil_markers_since(acquired, now);
    uint64_t wait = acquired != 0 ? gil_markers_cycle.wait_ns : 0;
    gil_markers_cycle.yielding = 0;
    gil_markers_cycle.wanted_ns = forced ? now : 0;
    GIL_MARKERS_FIRE6_(GIL_MARKERS_DROP, ident, gil_markers_tid(),
                       (uintptr_t)gil, forced, hold, wait);
}

static GIL_MARKERS_ONCE_ void
gil_markers_fire_drop_request(const void *gil)
{
    unsigned slot = gil_markers_holder_slot(gil);
    uint64_t holder = 0;
    if (__atomic_load_n(&gil_markers_holders[slot].gil, __ATOMIC_RELAXED) == gil) {
        holder = __atomic_load_n(&gil_markers_holders[slot].ident, __ATOMIC_RELAXED);
    }
    GIL_MARKERS_FIRE4_(GIL_MARKERS_DROP_REQUEST, gil_markers_ident(),
                       gil_markers_tid(), (uintptr_t)gil, holder);
}

static GIL_MARKERS_ONCE_ void
gil_markers_fire_stw_begin(int global)
{
    gil_markers_pause.asked_ns = gil_markers_now();
    GIL_MARKERS_FIRE3_(GIL_MARKERS_STW_BEGIN, gil_markers_ident(),
                       gil_markers_tid(), global != 0);
}

static GIL_MARKERS_ONCE_ void
gil_markers_fire_stw_stopped(int global, uint64_t asked)
{
    uint64_t now = gil_markers_now();
    uint64_t wait = gil_markers_since(asked, now);
    gil_markers_pause.stopped_ns = now;
    gil_markers_pause.wait_ns = wait;
    GIL_MARKERS_FIRE4_(GIL_MARKERS_STW_STOPPED, gil_markers_ident(),
                       gil_markers_tid(), global != 0, wait);
}

static GIL_MARKERS_ONCE_ void
gil_markers_fire_stw_end(int global, uint64_t stopped)
{
    uint64_t pause = gil_markers_since(stopped, gil_markers_now());
    uint64_t wait = stopped != 0 ? gil_markers_pause.wait_ns : 0;
    GIL_MARKERS_FIRE5_(GIL_MARKERS_STW_END, gil_markers_ident(),
                       gil_markers_tid(), global != 0, pause, wait);
}

static GIL_MARKERS_ONCE_ void
gil_markers_fire_mutex_wait(const struct gil_markers_waiting *waiting)
{
    uint64_t wait = gil_markers_since(waiting->since_ns, gil_markers_now());
    GIL_MARKERS_FIRE5_(GIL_MARKERS_MUTEX_WAIT, gil_markers_ident(),
                       gil_markers_tid(), (uintptr_t)waiting->mutex, wait,
                       waiting->threading != 0);
}

/* ---- What a patch calls ---- */

/* In take_gil, before gil->mutex is locked. `taken`: somebody seems to hold the GIL. */
static inline void
gil_markers_claim(const void *gil, int taken)
{
    if (gil_markers_enabled()) {
        gil_markers_fire_claim(gil, taken);
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

/* At the end of take_gil, after gil->mutex is unlocked. Forgets what an earlier tracing session left behind when nobody is
 * attached: a stale moment must never become a hold. */
static inline void
gil_markers_acquired(const void *gil)
{
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

/* In drop_gil, before gil->mutex is locked. `thread_known`: drop_gil was given a thread state. */
static inline void
gil_markers_drop(const void *gil, int thread_known)
{
    uint64_t acquired = gil_markers_cycle.acquired_ns;
    gil_markers_cycle.acquired_ns = 0;
    if (gil_markers_enabled()) {
        gil_markers_fire_drop(gil, thread_known, acquired);
    }
}

/* In take_gil of a free-threaded build, where it returns without the GIL, which is switched off: what the thread waited for, it
 * needs no longer. A moment that stayed behind would make its next wait, when the GIL is on again, too long. Whether
 * somebody is attached makes no difference: the moment may be from a session that has ended. */
static inline void
gil_markers_abandoned(void)
{
    gil_markers_cycle.wanted_ns = 0;
}

/* In the child of a fork, before it takes its new GIL: it is a thread with another id. */
static inline void
gil_markers_forked(void)
{
    gil_markers_cycle.tid = 0;
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
