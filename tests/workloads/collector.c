/* The module `collector`: takes 500 ms to collect metrics. `collect` keeps the GIL all the while, as extension modules do that
 * do not think of it; `collect_released` lets go of it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <time.h>

static void
read_all_counters(long long nanoseconds)
{
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        for (volatile int turn = 0; turn < 100000; turn++) {
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - begin.tv_sec) * 1000000000LL + now.tv_nsec - begin.tv_nsec < nanoseconds);
}

static PyObject *
collect(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    read_all_counters(500000000);
    Py_RETURN_NONE;
}

static PyObject *
collect_released(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    Py_BEGIN_ALLOW_THREADS
    read_all_counters(500000000);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"collect", collect, METH_NOARGS, NULL},
    {"collect_released", collect_released, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "collector", .m_size = -1, .m_methods = methods,
};

PyMODINIT_FUNC
PyInit_collector(void)
{
    return PyModule_Create(&module);
}
