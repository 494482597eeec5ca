/* Identifiers of traces and spans: making them up, and reading them. */
#include "span.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* The child of a fork must not go on with its parent's numbers. */
static uint32_t forks = 1;

static void
forked(void)
{
    __atomic_add_fetch(&forks, 1, __ATOMIC_RELAXED);
}

static void __attribute__((constructor))
watch_forks(void)
{
    pthread_atfork(NULL, NULL, forked);
}

/* xoshiro256++, one for each thread. */
static __thread struct {
    uint32_t forks;             /* how many there had been when it was seeded; 0 = it was not */
    uint64_t words[4];
} generator;

static void
seed(void)
{
    if (getrandom(generator.words, sizeof generator.words, 0) != sizeof generator.words) {
        /* No entropy to be had: at least no two threads and moments alike. */
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        generator.words[0] = (uint64_t)(uintptr_t)&generator;
        generator.words[1] = (uint64_t)now.tv_sec << 32 ^ (uint64_t)now.tv_nsec;
        generator.words[2] = (uint64_t)getpid();
        generator.words[3] = 1;
    }
    generator.forks = __atomic_load_n(&forks, __ATOMIC_RELAXED);
}

static inline uint64_t
rotated(uint64_t word, int bits)
{
    return word << bits | word >> (64 - bits);
}

uint64_t
random_number(void)
{
    if (generator.forks != __atomic_load_n(&forks, __ATOMIC_RELAXED)) {
        seed();
    }
    uint64_t *words = generator.words;
    uint64_t number = rotated(words[0] + words[3], 23) + words[0];
    uint64_t shifted = words[1] << 17;
    words[2] ^= words[0];
    words[3] ^= words[1];
    words[1] ^= words[2];
    words[0] ^= words[3];
    words[2] ^= shifted;
    words[3] = rotated(words[3], 45);
    return number != 0 ? number : 1;
}

/* The value of a hexadecimal digit, -1 for any other character. */
static int
digit_value(Py_UCS4 character)
{
    if (character >= '0' && character <= '9') {
        return (int)(character - '0');
    }
    Py_UCS4 lower = character | 0x20;
    return lower >= 'a' && lower <= 'f' ? (int)(lower - 'a') + 10 : -1;
}

static int
read_digits(PyObject *text, unsigned char *identifier, Py_ssize_t size)
{
    if (PyUnicode_GET_LENGTH(text) != 2 * size) {
        return -1;
    }
    for (Py_ssize_t at = 0; at < size; at++) {
        int high = digit_value(PyUnicode_READ_CHAR(text, 2 * at));
        int low = digit_value(PyUnicode_READ_CHAR(text, 2 * at + 1));
        if (high < 0 || low < 0) {
            return -1;
        }
        identifier[at] = (unsigned char)(high << 4 | low);
    }
    return 0;
}

static int
read_bytes(PyObject *bytes, unsigned char *identifier, Py_ssize_t size)
{
    if (PyBytes_GET_SIZE(bytes) != size) {
        return -1;
    }
    memcpy(identifier, PyBytes_AS_STRING(bytes), (size_t)size);
    return 0;
}

int
read_identifier(PyObject *value, const char *what, unsigned char *identifier, Py_ssize_t size)
{
    int outcome;
    if (PyUnicode_Check(value)) {
        outcome = read_digits(value, identifier, size);
    }
    else if (PyBytes_Check(value)) {
        outcome = read_bytes(value, identifier, size);
    }
    else if (PyLong_Check(value)) {
        PyObject *bytes = PyObject_CallMethod(value, "to_bytes", "ns", size, "big");
        if (bytes == NULL && !PyErr_ExceptionMatches(PyExc_OverflowError)) {
            return -1;
        }
        PyErr_Clear();
        outcome = bytes == NULL ? -1 : read_bytes(bytes, identifier, size);
        Py_XDECREF(bytes);
    }
    else {
        PyErr_Format(PyExc_TypeError, "%s must be str, bytes or int, not %.100s", what, Py_TYPE(value)->tp_name);
        return -1;
    }
    int any = 0;
    for (Py_ssize_t at = 0; outcome == 0 && at < size; at++) {
        any |= identifier[at];
    }
    if (!any) {
        PyErr_Format(PyExc_ValueError, "%s must be %zd hexadecimal digits, %zd bytes or a number below 2**%zd, and not zero; it is %.100R",
                     what, 2 * size, size, 8 * size, value);
        return -1;
    }
    return 0;
}
