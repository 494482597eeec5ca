/* A small GIL of its own that fires the real markers: threads with known waits and holds, and the truth about them.
 *
 * take_gil and drop_gil call the marker header where CPython's do. Each thread takes the time just outside of those calls
 * and adds up what it did, so that what a tracer reports can be held against it. As Python code each thread is in one function, at one line.
 */
#define _GNU_SOURCE
#define GIL_MARKERS_LOCATE(thread_state, location) locate(thread_state, location)
struct gil_markers_location;
static void locate(const void *thread_state, struct gil_markers_location *location);
#include "gil_names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The switch interval, as in CPython. */
#define INTERVAL_NS 5000000u
#define MILLISECOND 1000u

struct gil {
    pthread_mutex_t mutex;
    pthread_cond_t released;
    pthread_cond_t switched;
    int locked;
    int drop_request;
    uint64_t switches;
};

/* A GIL lies inside a large structure: two of them are not neighbours. */
static struct { struct gil gil; char rest[8192]; } gils[2] = {
    { .gil = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0 } },
    { .gil = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0 } },
};

struct truth {
    uint64_t claims, acquired, drops, forced, located, requests;
    uint64_t hold_ns, wait_ns, waits;
};

struct actor {
    const char *name;
    const char *full_name;
    const char *function;
    uint64_t line;
    struct gil *gil;
    void (*play)(struct actor *);
    unsigned rounds;
    pthread_t thread;
    uint64_t tid, ident;
    uint64_t acquired_ns, wanted_ns;
    struct truth truth;
};

static void
locate(const void *thread_state, struct gil_markers_location *location)
{
    const struct actor *actor = thread_state;
    location->thread_state = actor;
    location->file = "/srv/app/fire.py";
    location->function = actor->function;
    location->line = actor->line;
    location->number = actor->line;
}

static void
pause_us(uint64_t microseconds)
{
    struct timespec time = {
        .tv_sec = (time_t)(microseconds / 1000000u),
        .tv_nsec = (long)(microseconds % 1000000u) * 1000,
    };
    while (nanosleep(&time, &time) != 0 && errno == EINTR) {
    }
}

/* As long as it takes for the holder to be asked, or until somebody else has had the GIL. */
static int
wait_on(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += INTERVAL_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec += 1;
    }
    return pthread_cond_timedwait(condition, mutex, &until);
}

static void
take_gil(struct actor *actor)
{
    struct gil *gil = actor->gil;
    uint64_t before = gil_markers_now();
    int taken = __atomic_load_n(&gil->locked, __ATOMIC_RELAXED);
    uint64_t wanted = actor->wanted_ns != 0 ? actor->wanted_ns : taken ? before : 0;
    gil_markers_claim(gil, taken, actor);
    actor->truth.claims++;

    pthread_mutex_lock(&gil->mutex);
    while (gil->locked) {
        if (wanted == 0) {
            wanted = gil_markers_now();
        }
        gil_markers_wait();
        uint64_t switches = gil->switches;
        int outcome = wait_on(&gil->released, &gil->mutex);
        if (outcome == ETIMEDOUT && gil->locked && gil->switches == switches) {
            __atomic_store_n(&gil->drop_request, 1, __ATOMIC_RELAXED);
            gil_markers_drop_request(gil);
            actor->truth.requests++;
        }
    }
    gil->locked = 1;
    gil->switches++;
    gil->drop_request = 0;
    pthread_cond_broadcast(&gil->switched);
    pthread_mutex_unlock(&gil->mutex);

    gil_markers_acquired(gil);
    actor->acquired_ns = gil_markers_now();
    actor->truth.acquired++;
    if (wanted != 0) {
        actor->truth.wait_ns += actor->acquired_ns - wanted;
        actor->truth.waits++;
    }
    actor->wanted_ns = 0;
}

static void
drop_gil(struct actor *actor, int forced, int thread_known)
{
    struct gil *gil = actor->gil;
    if (forced) {
        gil_markers_yield();
    }
    uint64_t before = gil_markers_now();
    actor->truth.hold_ns += before - actor->acquired_ns;
    actor->truth.drops++;
    if (forced) {
        actor->truth.forced++;
        actor->wanted_ns = before;
    }
    actor->truth.located += thread_known != 0;
    gil_markers_drop(gil, thread_known ? actor : NULL);

    pthread_mutex_lock(&gil->mutex);
    uint64_t switches = gil->switches;
    gil->locked = 0;
    pthread_cond_signal(&gil->released);
    /* FORCE_SWITCHING: a thread that was asked to drop lets the one that asked go first. */
    while (forced && gil->switches == switches && wait_on(&gil->switched, &gil->mutex) != ETIMEDOUT) {
    }
    pthread_mutex_unlock(&gil->mutex);
}

/* Waits for something 4 ms at a time, then computes for 3 ms. */
static void
play_io(struct actor *actor)
{
    for (unsigned round = 0; round < actor->rounds * 20; round++) {
        pause_us(4 * MILLISECOND);
        take_gil(actor);
        pause_us(3 * MILLISECOND);
        /* At its end CPython drops the GIL once without a thread state. */
        drop_gil(actor, 0, round % 20 != 19);
    }
}

/* Runs bytecode: looks often whether it is asked to drop, and does. */
static void
play_cpu(struct actor *actor)
{
    for (unsigned round = 0; round < actor->rounds; round++) {
        take_gil(actor);
        for (unsigned step = 0; step < 200; step++) {
            pause_us(MILLISECOND / 2);
            if (__atomic_load_n(&actor->gil->drop_request, __ATOMIC_RELAXED)) {
                drop_gil(actor, 1, 1);
                take_gil(actor);
            }
        }
        drop_gil(actor, 0, 1);
        pause_us(20 * MILLISECOND);
    }
}

/* An extension that does not let go for 50 ms, whoever asks. */
static void
play_hog(struct actor *actor)
{
    for (unsigned round = 0; round < actor->rounds * 3; round++) {
        pause_us(30 * MILLISECOND);
        take_gil(actor);
        pause_us(50 * MILLISECOND);
        drop_gil(actor, 0, 1);
    }
}

static void *
run(void *argument)
{
    struct actor *actor = argument;
    actor->ident = gil_markers_ident();
    actor->tid = (uint64_t)syscall(SYS_gettid);
    pthread_setname_np(pthread_self(), actor->name);
    gil_markers_name_thread(actor->ident, actor->tid, actor->full_name);
    actor->play(actor);
    return NULL;
}

/* Starts once somebody is attached (`wait_for_tracer`) or a line comes on stdin. False when nobody attaches. */
static int
wait_for_start(int wait_for_tracer)
{
    if (!wait_for_tracer) {
        return getchar() != EOF;
    }
    for (unsigned tries = 0; !gil_markers_enabled(); tries++) {
        if (tries == 30000) {
            fprintf(stderr, "no tracer attached within 30 s\n");
            return 0;
        }
        pause_us(MILLISECOND);
    }
    /* The markers are attached to one after the other. */
    pause_us(500 * MILLISECOND);
    return 1;
}

int
gil_fire_play(unsigned rounds, int wait_for_tracer)
{
    struct actor actors[] = {
        { "io-1", "io-1 of the pool of readers", "Reader.read", 11, &gils[0].gil, play_io, .rounds = rounds },
        { "io-2", "io-2 of the pool of readers", "Reader.read.<locals>.again", 12, &gils[0].gil, play_io, .rounds = rounds },
        { "cpu", "cpu: r\303\251sum\303\251s", "crunch", 13, &gils[0].gil, play_cpu, .rounds = rounds },
        { "metrics", "metrics of all that there is", "Metrics.collect", 41, &gils[0].gil, play_hog, .rounds = rounds },
        { "sub io", "sub io", "Reader.read", 15, &gils[1].gil, play_io, .rounds = rounds },
        { "sub cpu", "sub cpu", "crunch", 16, &gils[1].gil, play_cpu, .rounds = rounds },
    };
    const size_t count = sizeof(actors) / sizeof(actors[0]);

    printf("{\"pid\": %d, \"semaphore\": %lu}\n", getpid(), (unsigned long)(uintptr_t)&gil_markers_semaphore);
    fflush(stdout);
    if (!wait_for_start(wait_for_tracer)) {
        return 1;
    }

    for (size_t i = 0; i < count; i++) {
        int error = pthread_create(&actors[i].thread, NULL, run, &actors[i]);
        if (error != 0) {
            fprintf(stderr, "cannot start a thread: %s\n", strerror(error));
            return 1;
        }
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(actors[i].thread, NULL);
    }

    printf("{\"threads\": [");
    for (size_t i = 0; i < count; i++) {
        const struct actor *actor = &actors[i];
        const struct truth *truth = &actor->truth;
        printf("%s{\"name\": \"%s\", \"full_name\": \"%s\", \"function\": \"%s\", \"line\": %lu, \"tid\": %lu, \"ident\": %lu, \"gil\": \"%lx\", \"claims\": %lu, \"acquired\": %lu, "
               "\"drops\": %lu, \"forced\": %lu, \"located\": %lu, \"requests\": %lu, \"waits\": %lu, \"hold_ns\": %lu, \"wait_ns\": %lu}",
               i == 0 ? "" : ", ", actor->name, actor->full_name, actor->function, actor->line, actor->tid, actor->ident, (unsigned long)(uintptr_t)actor->gil,
               truth->claims, truth->acquired, truth->drops, truth->forced, truth->located, truth->requests, truth->waits,
               truth->hold_ns, truth->wait_ns);
    }
    printf("]}\n");
    return fflush(stdout) == 0 ? 0 : 1;
}
