/* Python strings as a tracer reads them: UTF-8, bounded, with a NUL at the end. Needs Python.h.
 *
 * Nothing is allocated: a string of ASCII characters is read where it lies, any other one is written into the caller's buffer of
 * GIL_MARKERS_TEXT_BYTES + 1 bytes. One that is too long is cut between two characters. A lone surrogate, which stands for a byte
 * that was no UTF-8, becomes U+FFFD. A string that holds a NUL ends there.
 */
#ifndef GIL_TEXT_H
#define GIL_TEXT_H

#include <string.h>

static inline unsigned
gil_markers_utf8_width(Py_UCS4 character)
{
    return character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
}

static inline char *
gil_markers_utf8_put(char *end, Py_UCS4 character)
{
    switch (gil_markers_utf8_width(character)) {
    case 1:
        *end++ = (char)character;
        break;
    case 2:
        *end++ = (char)(0xc0 | (character >> 6));
        *end++ = (char)(0x80 | (character & 0x3f));
        break;
    case 3:
        *end++ = (char)(0xe0 | (character >> 12));
        *end++ = (char)(0x80 | ((character >> 6) & 0x3f));
        *end++ = (char)(0x80 | (character & 0x3f));
        break;
    default:
        *end++ = (char)(0xf0 | (character >> 18));
        *end++ = (char)(0x80 | ((character >> 12) & 0x3f));
        *end++ = (char)(0x80 | ((character >> 6) & 0x3f));
        *end++ = (char)(0x80 | (character & 0x3f));
    }
    return end;
}

static inline int
gil_markers_is_text(PyObject *text)
{
    return text != NULL && PyUnicode_Check(text) && PyUnicode_IS_READY(text);
}

/* The characters from `first` on, as many as there is room for. */
static inline const char *
gil_markers_text_copy(PyObject *text, Py_ssize_t first, char *buffer)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    char *end = buffer;
    for (Py_ssize_t at = first; at < length; at++) {
        Py_UCS4 character = PyUnicode_READ_CHAR(text, at);
        if (Py_UNICODE_IS_SURROGATE(character)) {
            character = 0xfffd;
        }
        if (end + gil_markers_utf8_width(character) > buffer + GIL_MARKERS_TEXT_BYTES) {
            break;
        }
        end = gil_markers_utf8_put(end, character);
    }
    *end = '\0';
    return buffer;
}

/* The whole text, or its beginning if it is too long. NULL if it is no string. */
static inline const char *
gil_markers_text_beginning(PyObject *text, char *buffer)
{
    if (!gil_markers_is_text(text)) {
        return NULL;
    }
    if (PyUnicode_IS_COMPACT_ASCII(text) && PyUnicode_GET_LENGTH(text) <= GIL_MARKERS_TEXT_BYTES) {
        return (const char *)PyUnicode_DATA(text);
    }
    return gil_markers_text_copy(text, 0, buffer);
}

/* The whole text, or its end if it is too long. NULL if it is no string. */
static inline const char *
gil_markers_text_end(PyObject *text, char *buffer)
{
    if (!gil_markers_is_text(text)) {
        return NULL;
    }
    Py_ssize_t first = PyUnicode_GET_LENGTH(text);
    if (PyUnicode_IS_COMPACT_ASCII(text)) {
        const char *data = (const char *)PyUnicode_DATA(text);
        return first <= GIL_MARKERS_TEXT_BYTES ? data : data + first - GIL_MARKERS_TEXT_BYTES;
    }
    for (unsigned room = GIL_MARKERS_TEXT_BYTES; first > 0; first--) {
        /* U+FFFD, which takes a surrogate's place, is as wide. */
        unsigned width = gil_markers_utf8_width(PyUnicode_READ_CHAR(text, first - 1));
        if (width > room) {
            break;
        }
        room -= width;
    }
    return gil_markers_text_copy(text, first, buffer);
}

#endif /* GIL_TEXT_H */
