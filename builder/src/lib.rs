//! Builds CPython with GIL markers, records running processes, and answers: is it the GIL?.
