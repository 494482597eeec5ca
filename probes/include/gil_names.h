/* What threads are called: the marker thread__name, and the list of names that it is fired from.
 *
 * A thread gets a name when threading.Thread starts it, long before somebody attaches. So the names are kept in a list of
 * their own, which needs neither the GIL nor Python's memory to be read, and told to a tracer when it has attached: whichever thread
 * gets the GIL next does that (gil_markers_tell_names in gil_markers.h). Names that are given later are told at once.
 *
 * This file belongs into one object file only, the one that names threads; gil_markers.h declares what others call.
 */
#ifndef GIL_NAMES_H
#define GIL_NAMES_H

#include "gil_markers.h"

#include <stdlib.h>
#include <string.h>

struct gil_markers_named {
    struct gil_markers_named *next, *previous;
    uint64_t ident;
    uint64_t tid;
    char name[GIL_MARKERS_TEXT_BYTES + 1];
};

/* All of what follows is guarded by the mutex. */
static pthread_mutex_t gil_markers_names_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct gil_markers_named *gil_markers_named_threads;

/* The calling thread's own. */
static __thread struct gil_markers_named *gil_markers_own_name __attribute__((tls_model("initial-exec")));

/* Has a thread that ends leave the list. */
static pthread_key_t gil_markers_names_key;
static pthread_once_t gil_markers_names_once = PTHREAD_ONCE_INIT;

volatile unsigned short gil_markers_names_semaphore
    __attribute__((visibility("hidden"), section(".probes"), used)) = 0;
unsigned short gil_markers_names_told __attribute__((visibility("hidden"))) = 0;

static GIL_MARKERS_ONCE_ void
gil_markers_fire_thread_name(const struct gil_markers_named *thread)
{
    GIL_MARKERS_FIRE3_(gil_markers_names_semaphore, GIL_MARKERS_THREAD_NAME, thread->ident, thread->tid,
                       (uintptr_t)thread->name);
}

static void
gil_markers_unlist_name(void *named)
{
    struct gil_markers_named *thread = named;
    pthread_mutex_lock(&gil_markers_names_mutex);
    if (thread->next != NULL) {
        thread->next->previous = thread->previous;
    }
    if (thread->previous != NULL) {
        thread->previous->next = thread->next;
    }
    else {
        gil_markers_named_threads = thread->next;
    }
    pthread_mutex_unlock(&gil_markers_names_mutex);
    gil_markers_own_name = NULL;
    free(thread);
}

static void
gil_markers_make_names_key(void)
{
    /* If it fails, setting it fails too, and no thread gets a name. */
    (void)pthread_key_create(&gil_markers_names_key, gil_markers_unlist_name);
}

/* The calling thread's place in the list, made at the first call; NULL if there is no memory for it. */
static struct gil_markers_named *
gil_markers_list_own_name(uint64_t ident)
{
    struct gil_markers_named *thread = gil_markers_own_name;
    if (thread != NULL) {
        return thread;
    }
    pthread_once(&gil_markers_names_once, gil_markers_make_names_key);
    thread = calloc(1, sizeof(*thread));
    if (thread == NULL || pthread_setspecific(gil_markers_names_key, thread) != 0) {
        free(thread);
        return NULL;
    }
    thread->ident = ident;
    thread->tid = gil_markers_tid();
    gil_markers_own_name = thread;
    pthread_mutex_lock(&gil_markers_names_mutex);
    thread->next = gil_markers_named_threads;
    if (thread->next != NULL) {
        thread->next->previous = thread;
    }
    gil_markers_named_threads = thread;
    pthread_mutex_unlock(&gil_markers_names_mutex);
    return thread;
}

/* A thread is called `name` from now on, a text of at most GIL_MARKERS_TEXT_BYTES bytes. Another thread than the calling one must be in the
 * list: it may have ended, and its numbers be those of a thread that knows nothing of the name. */
static void
gil_markers_name_thread(uint64_t ident, uint64_t tid, const char *name)
{
    struct gil_markers_named *thread = NULL;
    if (ident == (uint64_t)(uintptr_t)pthread_self()) {
        thread = gil_markers_list_own_name(ident);
    }
    pthread_mutex_lock(&gil_markers_names_mutex);
    if (thread == NULL) {
        thread = gil_markers_named_threads;
        while (thread != NULL && (thread->ident != ident || thread->tid != tid)) {
            thread = thread->next;
        }
    }
    if (thread != NULL) {
        size_t length = strlen(name);
        length = length < GIL_MARKERS_TEXT_BYTES ? length : GIL_MARKERS_TEXT_BYTES;
        memcpy(thread->name, name, length);
        thread->name[length] = '\0';
        if (gil_markers_names_semaphore != 0) {
            gil_markers_fire_thread_name(thread);
        }
    }
    pthread_mutex_unlock(&gil_markers_names_mutex);
}

/* Tells all names if somebody has attached since they were told last, or if they are to be told `again`. */
__attribute__((visibility("hidden"))) void
gil_markers_tell_names(int again)
{
    pthread_mutex_lock(&gil_markers_names_mutex);
    unsigned short attached = gil_markers_names_semaphore;
    if (attached > gil_markers_names_told || (again && attached != 0)) {
        for (struct gil_markers_named *thread = gil_markers_named_threads; thread != NULL; thread = thread->next) {
            gil_markers_fire_thread_name(thread);
        }
    }
    gil_markers_names_told = attached;
    pthread_mutex_unlock(&gil_markers_names_mutex);
}

/* In the child of a fork: it has one thread, with another id. The others' places in the list are left as they are, since the
 * fork may have come while one of them was changing it. */
__attribute__((visibility("hidden"))) void
gil_markers_names_forked(void)
{
    gil_markers_names_mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    struct gil_markers_named *thread = gil_markers_own_name;
    gil_markers_named_threads = thread;
    if (thread != NULL) {
        thread->next = NULL;
        thread->previous = NULL;
        thread->tid = gil_markers_tid();
        if (gil_markers_names_semaphore != 0) {
            gil_markers_fire_thread_name(thread);
        }
    }
}

#ifdef Py_PYTHON_H

#include "gil_text.h"

/* Linux keeps 15 bytes of a thread's name. */
#define GIL_MARKERS_SYSTEM_NAME_BYTES 15

/* Gives the calling thread's name to the operating system, as threading does since 3.14, but cut between two characters. */
static inline void
gil_markers_name_for_system(const char *name)
{
    char cut[GIL_MARKERS_SYSTEM_NAME_BYTES + 1];
    size_t length = strlen(name);
    if (length == 0) {
        return;
    }
    if (length > GIL_MARKERS_SYSTEM_NAME_BYTES) {
        length = GIL_MARKERS_SYSTEM_NAME_BYTES;
        /* A byte that continues a character is 10xxxxxx. */
        while (length > 0 && ((unsigned char)name[length] & 0xc0) == 0x80) {
            length--;
        }
    }
    memcpy(cut, name, length);
    cut[length] = '\0';
    (void)pthread_setname_np(pthread_self(), cut);
}

PyDoc_STRVAR(gil_markers_tell_name_doc,
"_tell_name($module, ident, native_id, name, initial, /)\n\
--\n\
\n\
Tell tracers what a thread is called. `initial`: unless it has a name already.");

static PyObject *
gil_markers_tell_name(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    unsigned long ident, tid;
    PyObject *text;
    int initial;
    char buffer[GIL_MARKERS_TEXT_BYTES + 1];
    if (!PyArg_ParseTuple(arguments, "kkUp:_tell_name", &ident, &tid, &text, &initial)) {
        return NULL;
    }
    if (initial && gil_markers_own_name != NULL) {
        Py_RETURN_NONE;
    }
    const char *name = gil_markers_text_beginning(text, buffer);
    if (name != NULL) {
#if PY_VERSION_HEX < 0x030E0000
        if (!initial && ident == (unsigned long)(uintptr_t)pthread_self()) {
            gil_markers_name_for_system(name);
        }
#endif
        gil_markers_name_thread(ident, tid, name);
    }
    Py_RETURN_NONE;
}

#define GIL_MARKERS_TELL_NAME_METHOD                                    \
    {"_tell_name", gil_markers_tell_name, METH_VARARGS, gil_markers_tell_name_doc},

#endif /* Py_PYTHON_H */

#endif /* GIL_NAMES_H */
