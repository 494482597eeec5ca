/* A span: something that the program does for somebody, in one context. */
#ifndef GILPROBE_SPAN_H
#define GILPROBE_SPAN_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

/* What the module remembers, for each interpreter. */
typedef struct {
    PyObject *current;          /* the context variable: the innermost span of a context, or None */
    PyTypeObject *span_type;
    PyTypeObject *steps_type;
} State;

typedef struct Span {
    PyObject_HEAD
    State *state;
    PyObject *name;             /* str */
    struct Span *outer;         /* what the context worked for when this one began; NULL = nothing */
    unsigned char trace_id[16];
    uint64_t span_id;
    uint64_t parent_id;         /* 0 = none */
    uint32_t announced;         /* the tracing session that knows it; 0 = none does */
    int identified;             /* it was given identifiers */
    int begun;
    int ended;
} Span;

extern PyType_Spec span_spec;

/* The innermost span of the context that has not ended: a new reference, NULL = none. Sets no exception. */
Span *span_current(State *state);

/* Makes a span, or None (NULL), that of the context. Returns 0, or -1 with an exception. */
int span_make_current(State *state, Span *span);

/* Tells a tracer, which is attached, what this thread works for: the span of the context that it is in. */
void span_follow(State *state);

/* Numbers for identifiers: unique, not secret. Never 0. */
uint64_t random_number(void);

/* Reads an identifier of so many bytes: a number, bytes, or hexadecimal digits. Returns 0, or -1 with a ValueError or TypeError. */
int read_identifier(PyObject *value, const char *what, unsigned char *identifier, Py_ssize_t size);

/* A free-threaded interpreter needs a lock where others have the GIL. */
#ifndef Py_BEGIN_CRITICAL_SECTION
#  define Py_BEGIN_CRITICAL_SECTION(object) {
#  define Py_END_CRITICAL_SECTION() }
#endif

#endif /* GILPROBE_SPAN_H */
