/* A coroutine around another: whenever it goes on, the thread works for the span of the context that it is in; when it waits, for
 * what it worked for before. Event loops take it for the coroutine itself, whose other attributes it has. */
#include "steps.h"

#include "tracer.h"

typedef struct {
    PyObject_HEAD
    State *state;
    PyObject *coroutine;
} Steps;

/* Before a step. Returns what the thread worked for, as far as a tracer knows. */
static inline uint64_t
enter(Steps *self)
{
    if (!tracer_attached()) {
        return 0;
    }
    uint64_t before = tracer_working();
    span_follow(self->state);
    return before;
}

/* After it. A tracer that came meanwhile has known nothing of this thread before. */
static inline void
leave(uint64_t before)
{
    if (tracer_attached()) {
        tracer_work_for_again(before);
    }
}

static PyObject *
steps_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *coroutine;
    if (keywords != NULL || !PyArg_ParseTuple(arguments, "O:Steps", &coroutine)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "Steps takes a coroutine and nothing else");
        }
        return NULL;
    }
    Steps *self = (Steps *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->state = PyType_GetModuleState(type);
        Py_INCREF(coroutine);
        self->coroutine = coroutine;
    }
    return (PyObject *)self;
}

static int
steps_traverse(Steps *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->coroutine);
    return 0;
}

static int
steps_clear(Steps *self)
{
    Py_CLEAR(self->coroutine);
    return 0;
}

static void
steps_dealloc(Steps *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    steps_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
steps_call(Steps *self, const char *method, PyObject *arguments)
{
    PyObject *function = PyObject_GetAttrString(self->coroutine, method);
    if (function == NULL) {
        return NULL;
    }
    uint64_t before = enter(self);
    PyObject *result = PyObject_Call(function, arguments, NULL);
    leave(before);
    Py_DECREF(function);
    return result;
}

static PyObject *
steps_send(Steps *self, PyObject *value)
{
    PyObject *arguments = PyTuple_Pack(1, value);
    if (arguments == NULL) {
        return NULL;
    }
    PyObject *result = steps_call(self, "send", arguments);
    Py_DECREF(arguments);
    return result;
}

static PyObject *
steps_next(Steps *self)
{
    return steps_send(self, Py_None);
}

static PyObject *
steps_throw(Steps *self, PyObject *arguments)
{
    return steps_call(self, "throw", arguments);
}

static PyObject *
steps_close(Steps *self, PyObject *Py_UNUSED(nothing))
{
    PyObject *arguments = PyTuple_New(0);
    if (arguments == NULL) {
        return NULL;
    }
    PyObject *result = steps_call(self, "close", arguments);
    Py_DECREF(arguments);
    return result;
}

#if PY_VERSION_HEX >= 0x030a0000
/* What an event loop and `await` call where they can: no exception is made up for a result. */
static PySendResult
steps_am_send(Steps *self, PyObject *value, PyObject **result)
{
    uint64_t before = enter(self);
    PySendResult outcome = PyIter_Send(self->coroutine, value, result);
    leave(before);
    return outcome;
}
#endif

static PyObject *
steps_self(PyObject *self)
{
    Py_INCREF(self);
    return self;
}

static PyObject *
steps_await(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    return steps_self(self);
}

/* cr_frame, cr_await, __qualname__ and whatever else people look at. */
static PyObject *
steps_getattro(Steps *self, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr((PyObject *)self, name);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        value = PyObject_GetAttr(self->coroutine, name);
    }
    return value;
}

static PyMethodDef methods[] = {
    {"send", (PyCFunction)steps_send, METH_O, NULL},
    {"throw", (PyCFunction)steps_throw, METH_VARARGS, NULL},
    {"close", (PyCFunction)steps_close, METH_NOARGS, NULL},
    {"__await__", (PyCFunction)steps_await, METH_NOARGS, NULL},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_new, steps_new},
    {Py_tp_dealloc, steps_dealloc},
    {Py_tp_traverse, steps_traverse},
    {Py_tp_clear, steps_clear},
    {Py_tp_methods, methods},
    {Py_tp_getattro, steps_getattro},
    {Py_tp_iter, steps_self},
    {Py_tp_iternext, steps_next},
    {Py_am_await, steps_self},
#if PY_VERSION_HEX >= 0x030a0000
    {Py_am_send, steps_am_send},
#endif
    {0},
};

PyType_Spec steps_spec = {
    .name = "gilprobe._gilprobe.Steps",
    .basicsize = sizeof(Steps),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};
