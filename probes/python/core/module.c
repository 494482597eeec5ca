/* The module _gilprobe: the core of the package, which Python programs use through it. */
#include "span.h"
#include "steps.h"
#include "tracer.h"

static PyObject *
module_current(PyObject *module, PyObject *Py_UNUSED(nothing))
{
    Span *span = span_current(PyModule_GetState(module));
    if (span == NULL) {
        Py_RETURN_NONE;
    }
    return (PyObject *)span;
}

static PyObject *
module_carry(PyObject *module, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
    State *state = PyModule_GetState(module);
    if (count < 2 || (arguments[0] != Py_None && !PyObject_TypeCheck(arguments[0], state->span_type))) {
        PyErr_SetString(PyExc_TypeError, "carry takes a span or None, a function, and what to call it with");
        return NULL;
    }
    Span *before = span_current(state);
    uint64_t worked_for = tracer_attached() ? tracer_working() : 0;
    PyObject *result = NULL;
    if (span_make_current(state, arguments[0] == Py_None ? NULL : (Span *)arguments[0]) == 0) {
        if (tracer_attached()) {
            span_follow(state);
        }
        result = PyObject_Vectorcall(arguments[1], arguments + 2, (size_t)(count - 2), keywords);
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (span_make_current(state, before) < 0) {
        PyErr_Clear();
    }
    PyErr_Restore(type, value, traceback);
    Py_XDECREF(before);
    if (tracer_attached()) {
        tracer_work_for_again(worked_for);
    }
    return result;
}

static PyObject *
module_span_in(PyObject *module, PyObject *context)
{
    State *state = PyModule_GetState(module);
    if (!PyContext_CheckExact(context)) {
        PyErr_Format(PyExc_TypeError, "span_in takes a contextvars.Context, not %.100s", Py_TYPE(context)->tp_name);
        return NULL;
    }
    return PyObject_CallMethod(context, "get", "O", state->current);
}

static PyObject *
module_follow(PyObject *module, PyObject *const *Py_UNUSED(arguments), Py_ssize_t Py_UNUSED(count))
{
    if (tracer_attached()) {
        span_follow(PyModule_GetState(module));
    }
    Py_RETURN_NONE;
}

static PyObject *
module_is_traced(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    return PyBool_FromLong(tracer_attached());
}

static PyMethodDef methods[] = {
    {"current", module_current, METH_NOARGS, "The innermost span of this context that has not ended, or None."},
    {"carry", (PyCFunction)(void (*)(void))module_carry, METH_FASTCALL | METH_KEYWORDS,
     "Calls a function while this context and this thread work for a span, or for nothing (None): carry(span, function, *arguments)."},
    {"span_in", module_span_in, METH_O, "The span of another context, ended or not, or None."},
    {"follow", (PyCFunction)(void (*)(void))module_follow, METH_FASTCALL,
     "Tells a tracer what this thread works for: the span of this context. Takes and ignores any arguments."},
    {"is_traced", module_is_traced, METH_NOARGS, "Whether a tracer is attached to the markers of spans."},
    {0},
};

static PyTypeObject *
add_type(PyObject *module, PyType_Spec *spec)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (type != NULL && PyModule_AddType(module, type) < 0) {
        Py_CLEAR(type);
    }
    return type;
}

static int
module_execute(PyObject *module)
{
    State *state = PyModule_GetState(module);
    state->current = PyContextVar_New("gilprobe", Py_None);
    state->span_type = add_type(module, &span_spec);
    state->steps_type = add_type(module, &steps_spec);
    return state->current == NULL || state->span_type == NULL || state->steps_type == NULL ? -1 : 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->current);
    Py_VISIT(state->span_type);
    Py_VISIT(state->steps_type);
    return 0;
}

static int
module_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->current);
    Py_CLEAR(state->span_type);
    Py_CLEAR(state->steps_type);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_gilprobe",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC
PyInit__gilprobe(void)
{
    return PyModuleDef_Init(&definition);
}
