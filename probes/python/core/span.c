#include "span.h"

#include <string.h>

#include "tracer.h"

/* ---- The span of a context ---- */

static int
has_ended(Span *span)
{
    return __atomic_load_n(&span->ended, __ATOMIC_ACQUIRE);
}

/* The nearest one that has not ended: the span itself or one around it. Takes the reference and gives one. */
static Span *
living(Span *span)
{
    while (span != NULL && has_ended(span)) {
        Span *outer;
        Py_BEGIN_CRITICAL_SECTION(span);
        outer = span->outer;
        Py_XINCREF(outer);
        Py_END_CRITICAL_SECTION();
        Py_DECREF(span);
        span = outer;
    }
    return span;
}

Span *
span_current(State *state)
{
    PyObject *value = NULL;
    if (PyContextVar_Get(state->current, NULL, &value) < 0) {
        PyErr_Clear();
        return NULL;
    }
    if (value == NULL || value == Py_None) {
        Py_XDECREF(value);
        return NULL;
    }
    return living((Span *)value);
}

int
span_make_current(State *state, Span *span)
{
    PyObject *token = PyContextVar_Set(state->current, span == NULL ? Py_None : (PyObject *)span);
    Py_XDECREF(token);
    return token == NULL ? -1 : 0;
}

void
span_follow(State *state)
{
    Span *span = span_current(state);
    tracer_work_for(span);
    Py_XDECREF(span);
}

/* ---- Its life ---- */

static void span_dealloc(Span *self);

/* Of the type itself, or of one that inherits from it. */
static State *
state_of(PyTypeObject *type)
{
    while (type->tp_dealloc != (destructor)span_dealloc) {
        type = type->tp_base;
    }
    return PyType_GetModuleState(type);
}

static void
write_number(unsigned char *bytes, uint64_t number)
{
    for (int at = 7; at >= 0; at--) {
        bytes[at] = (unsigned char)number;
        number >>= 8;
    }
}

static uint64_t
read_number(const unsigned char *bytes)
{
    uint64_t number = 0;
    for (int at = 0; at < 8; at++) {
        number = number << 8 | bytes[at];
    }
    return number;
}

static int
given(PyObject *value)
{
    return value != NULL && value != Py_None;
}

/* The identifiers: those that were given, else those that follow from the span of the context, else new ones. */
static int
identify(Span *self, PyObject *trace_id, PyObject *span_id, PyObject *parent_id)
{
    unsigned char number[8];
    self->identified = given(trace_id) || given(span_id) || given(parent_id);
    if (given(trace_id) && read_identifier(trace_id, "trace_id", self->trace_id, 16) < 0) {
        return -1;
    }
    if (given(span_id) && read_identifier(span_id, "span_id", number, 8) < 0) {
        return -1;
    }
    self->span_id = given(span_id) ? read_number(number) : random_number();
    if (given(parent_id)) {
        if (!given(trace_id)) {
            PyErr_SetString(PyExc_ValueError, "parent_id needs trace_id, the trace that the parent belongs to");
            return -1;
        }
        if (read_identifier(parent_id, "parent_id", number, 8) < 0) {
            return -1;
        }
        self->parent_id = read_number(number);
        return 0;
    }
    Span *outer = span_current(self->state);
    if (outer != NULL) {
        if (!given(trace_id)) {
            memcpy(self->trace_id, outer->trace_id, sizeof self->trace_id);
        }
        if (memcmp(self->trace_id, outer->trace_id, sizeof self->trace_id) == 0) {
            self->parent_id = outer->span_id;
        }
        Py_DECREF(outer);
    }
    else if (!given(trace_id)) {
        write_number(self->trace_id, random_number());
        write_number(self->trace_id + 8, random_number());
    }
    return 0;
}

static PyObject *
span_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"name", "trace_id", "span_id", "parent_id", NULL};
    PyObject *name, *trace_id = NULL, *span_id = NULL, *parent_id = NULL;
    if (keywords == NULL && PyTuple_GET_SIZE(arguments) == 1 && PyUnicode_Check(PyTuple_GET_ITEM(arguments, 0))) {
        name = PyTuple_GET_ITEM(arguments, 0);
    }
    else if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "U|$OOO:span", names, &name, &trace_id, &span_id, &parent_id)) {
        return NULL;
    }
    Span *self = (Span *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = state_of(type);
    Py_INCREF(name);
    self->name = name;
    if (identify(self, trace_id, span_id, parent_id) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void
span_dealloc(Span *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Span *outer = self->outer;
    Py_XDECREF(self->name);
    type->tp_free(self);
    Py_DECREF(type);
    /* A hundred thousand of them around each other would be too deep for recursion. */
    while (outer != NULL && Py_REFCNT(outer) == 1) {
        Span *next = outer->outer;
        outer->outer = NULL;
        Py_DECREF(outer);
        outer = next;
    }
    Py_XDECREF(outer);
}

static PyObject *
span_begin(Span *self, PyObject *Py_UNUSED(nothing))
{
    if (__atomic_exchange_n(&self->begun, 1, __ATOMIC_RELAXED)) {
        PyErr_Format(PyExc_RuntimeError, "the span %.100R has begun already: each one begins once", self->name);
        return NULL;
    }
    self->outer = span_current(self->state);
    if (span_make_current(self->state, self) < 0) {
        return NULL;
    }
    if (tracer_attached()) {
        tracer_begin(self);
    }
    Py_INCREF(self);
    return (PyObject *)self;
}

static PyObject *
span_end(Span *self, PyObject *Py_UNUSED(nothing))
{
    if (!__atomic_load_n(&self->begun, __ATOMIC_RELAXED)) {
        PyErr_Format(PyExc_RuntimeError, "the span %.100R has not begun", self->name);
        return NULL;
    }
    if (__atomic_exchange_n(&self->ended, 1, __ATOMIC_ACQ_REL)) {
        Py_RETURN_NONE;
    }
    /* What has ended around it is let go: tasks that start tasks for ever do not pile up spans. */
    Py_XINCREF(self->outer);
    Span *outer = living(self->outer), *before;
    Py_BEGIN_CRITICAL_SECTION(self);
    before = self->outer;
    self->outer = outer;
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(before);

    /* In another context it may not be the current one, and in its own another may have begun meanwhile. */
    PyObject *value = NULL;
    if (PyContextVar_Get(self->state->current, NULL, &value) < 0) {
        return NULL;
    }
    int is_current = value == (PyObject *)self;
    Py_XDECREF(value);
    if (is_current && span_make_current(self->state, outer) < 0) {
        return NULL;
    }
    if (tracer_attached()) {
        tracer_end(self);
        span_follow(self->state);
    }
    Py_RETURN_NONE;
}

static PyObject *
span_exit(Span *self, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    return span_end(self, NULL);
}

/* ---- What it says of itself ---- */

static PyObject *
span_get_trace_id(Span *self, void *Py_UNUSED(closure))
{
    char digits[33];
    for (int at = 0; at < 16; at++) {
        digits[2 * at] = "0123456789abcdef"[self->trace_id[at] >> 4];
        digits[2 * at + 1] = "0123456789abcdef"[self->trace_id[at] & 15];
    }
    return PyUnicode_FromStringAndSize(digits, 32);
}

static PyObject *
span_get_span_id(Span *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(self->span_id);
}

static PyObject *
span_get_parent_id(Span *self, void *Py_UNUSED(closure))
{
    if (self->parent_id == 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLongLong(self->parent_id);
}

static PyObject *
span_get_name(Span *self, void *Py_UNUSED(closure))
{
    Py_INCREF(self->name);
    return self->name;
}

static PyObject *
span_get_identified(Span *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->identified);
}

static PyMethodDef methods[] = {
    {"begin", (PyCFunction)span_begin, METH_NOARGS, "The context works for this span from now on. Returns the span."},
    {"end", (PyCFunction)span_end, METH_NOARGS, "The span is over. Ending it again does nothing."},
    {"__enter__", (PyCFunction)span_begin, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))span_exit, METH_FASTCALL, NULL},
    {0},
};

static PyGetSetDef properties[] = {
    {"name", (getter)span_get_name, NULL, "What it is called, as it was given.", NULL},
    {"trace_id", (getter)span_get_trace_id, NULL, "The trace that it belongs to: 32 lower-case hexadecimal digits.", NULL},
    {"span_id", (getter)span_get_span_id, NULL, "Its own number, 64 bits, never 0.", NULL},
    {"parent_id", (getter)span_get_parent_id, NULL, "The number of the span around it, or None.", NULL},
    {"identified", (getter)span_get_identified, NULL, "Whether it was given any identifier.", NULL},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_new, span_new},
    {Py_tp_dealloc, span_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0},
};

PyType_Spec span_spec = {
    .name = "gilprobe._gilprobe.Span",
    .basicsize = sizeof(Span),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = slots,
};
