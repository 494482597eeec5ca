/* Where in Python code a thread is: the file, the function and the line of its frame, as a drop of the GIL tells them.
 *
 * Read by the thread itself while it holds the GIL, in whatever state it gives it up: nothing is allocated, no Python code runs, no
 * reference count changes, and a frame that is only being made is passed over. gil_markers.h calls it, and only while a tracer that
 * wants functions is attached.
 */
#ifndef GIL_LOCATION_H
#define GIL_LOCATION_H

#include "gil_note.h"

#include <stdint.h>

struct gil_markers_location {
    const void *thread_state;   /* whose it is; NULL: nothing is known */
    const char *file;           /* UTF-8; of a long path the end */
    const char *function;       /* UTF-8; of a long name the beginning. The qualified name, before 3.11 the plain one */
    uint64_t line;              /* 0 = none */
    uint64_t number;            /* the same for the same file, function and line */
};

#ifdef Py_BUILD_CORE

#include "gil_text.h"

#if PY_VERSION_HEX >= 0x030E0000
#  include "pycore_interpframe.h"
#elif PY_VERSION_HEX >= 0x030B0000
#  include "pycore_frame.h"
#else
#  include "frameobject.h"
#endif

/* The code that a thread runs, and the line where it is; NULL if it runs none. A frame whose first instruction is still to come, and
 * one that stands for C code, is none. */
static inline PyCodeObject *
gil_markers_code(PyThreadState *thread_state, int *line)
{
#if PY_VERSION_HEX >= 0x030C0000
    _PyInterpreterFrame *frame;
#  if PY_VERSION_HEX < 0x030D0000
    if (thread_state->cframe == NULL) {
        return NULL;
    }
#  endif
    frame = _PyThreadState_GetFrame(thread_state);
    if (frame == NULL) {
        return NULL;
    }
#  if PY_VERSION_HEX >= 0x030E0000
    PyCodeObject *code = _PyFrame_SafeGetCode(frame);
#  elif PY_VERSION_HEX >= 0x030D0000
    PyCodeObject *code = _PyFrame_GetCode(frame);
#  else
    PyCodeObject *code = frame->f_code;
#  endif
    if (code != NULL) {
        *line = PyUnstable_InterpreterFrame_GetLine(frame);
    }
    return code;
#elif PY_VERSION_HEX >= 0x030B0000
    _PyInterpreterFrame *frame = thread_state->cframe == NULL ? NULL : thread_state->cframe->current_frame;
    while (frame != NULL && _PyFrame_IsIncomplete(frame)) {
        frame = frame->previous;
    }
    if (frame == NULL) {
        return NULL;
    }
    *line = PyCode_Addr2Line(frame->f_code, _PyInterpreterFrame_LASTI(frame) * (int)sizeof(_Py_CODEUNIT));
    return frame->f_code;
#else
    PyFrameObject *frame = thread_state->frame;
    if (frame == NULL) {
        return NULL;
    }
    *line = PyFrame_GetLineNumber(frame);
    return frame->f_code;
#endif
}

static inline PyObject *
gil_markers_function_name(PyCodeObject *code)
{
#if PY_VERSION_HEX >= 0x030B0000
    return code->co_qualname;
#else
    return code->co_name;
#endif
}

/* A string's hash; it is kept in the string once it has been asked for. */
static inline uint64_t
gil_markers_hash(PyObject *text)
{
    return text != NULL && PyUnicode_CheckExact(text) ? (uint64_t)PyObject_Hash(text) : 0;
}

static inline uint64_t
gil_markers_location_number(PyObject *file, PyObject *function, uint64_t line)
{
    /* Odd constants with half of their bits set, as hash functions have. */
    uint64_t number = gil_markers_hash(file) * 0x9e3779b97f4a7c15u;
    number = (number ^ gil_markers_hash(function)) * 0xbf58476d1ce4e5b9u;
    number = (number ^ line) * 0x94d049bb133111ebu;
    number ^= number >> 31;
    return number != 0 ? number : 1;
}

/* Where texts lie that are not stored as UTF-8: until the thread drops the GIL again. */
static __thread char gil_markers_texts[2][GIL_MARKERS_TEXT_BYTES + 1] __attribute__((unused));

static inline void
gil_markers_locate(const void *thread_state, struct gil_markers_location *location)
{
    int line = 0;
    PyCodeObject *code = gil_markers_code((PyThreadState *)thread_state, &line);
    if (code == NULL) {
        return;
    }
    PyObject *function = gil_markers_function_name(code);
    location->file = gil_markers_text_end(code->co_filename, gil_markers_texts[0]);
    location->function = gil_markers_text_beginning(function, gil_markers_texts[1]);
    location->line = line > 0 ? (uint64_t)line : 0;
    location->number = gil_markers_location_number(code->co_filename, function, location->line);
    location->thread_state = thread_state;
}

#  define GIL_MARKERS_LOCATE(thread_state, location) gil_markers_locate(thread_state, location)
#endif

/* A test program tells with a macro of its own where its threads are. */
#ifndef GIL_MARKERS_LOCATE
#  define GIL_MARKERS_LOCATE(thread_state, location) ((void)0)
#endif

#endif /* GIL_LOCATION_H */
