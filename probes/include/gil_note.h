/* How a USDT marker is written into an ELF file: its note, its nop, its arguments. Knows no marker; gil_markers.h has those of
 * the interpreter, gil_spans.h those of spans.
 */
#ifndef GIL_NOTE_H
#define GIL_NOTE_H

#if !defined(__linux__) || !defined(__GNUC__)
#  error "GIL markers need Linux and GCC or Clang"
#endif

#include <stdint.h>

#define GIL_MARKERS_PROVIDER "python"

/* Bytes of a text that is handed to a tracer, without the NUL at its end. */
#define GIL_MARKERS_TEXT_BYTES 255

/* What a tracer's breakpoint replaces. From 6.18 on, kernels turn a 5-byte nop into a call, which is twice as fast but
 * pushes onto the stack: it would overwrite the red zone of a leaf function, so whoever includes this file with
 * GIL_MARKERS_NOP5 compiles with -mno-red-zone. */
#ifdef GIL_MARKERS_NOP5
#  ifndef __x86_64__
#    error "5-byte nops exist on x86-64 only: build with 1-byte nops"
#  endif
#  define GIL_MARKERS_NOP_ ".nops 5"
#else
#  define GIL_MARKERS_NOP_ "nop"
#endif

/* A note in the stapsdt format, version 3, as sys/sdt.h writes it. Written out here because sys/sdt.h knows neither a
 * semaphore shared by several markers nor a nop of another size for some of them, and CPython's own DTrace probes use it
 * in the same translation unit. The relocation of no bytes is what keeps the section that tells how far the notes' addresses moved: a
 * linker that drops sections to which nobody refers (rustc has it do so) takes no note for a reference. */
#define GIL_MARKERS_NOTE_(name, arguments)                              \
    "771: " GIL_MARKERS_NOP_ "\n"                                       \
    ".pushsection .note.stapsdt, \"?\", \"note\"\n"                     \
    ".balign 4\n"                                                       \
    ".4byte 773f - 772f, 775f - 774f, 3\n"                              \
    "772: .asciz \"stapsdt\"\n"                                         \
    "773: .balign 4\n"                                                  \
    "774: .8byte 771b\n"                                                \
    ".8byte _.stapsdt.base\n"                                           \
    ".8byte %c[semaphore]\n"                                            \
    ".asciz \"" GIL_MARKERS_PROVIDER "\"\n"                             \
    ".asciz \"" name "\"\n"                                             \
    ".asciz \"" arguments "\"\n"                                        \
    "775: .balign 4\n"                                                  \
    ".popsection\n"                                                     \
    ".reloc 771b, BFD_RELOC_NONE, _.stapsdt.base\n"                     \
    ".ifndef _.stapsdt.base\n"                                          \
    ".pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n" \
    ".weak _.stapsdt.base\n"                                            \
    ".hidden _.stapsdt.base\n"                                          \
    "_.stapsdt.base: .space 1\n"                                        \
    ".size _.stapsdt.base, 1\n"                                         \
    ".popsection\n"                                                     \
    ".endif\n"

/* Arguments are registers or constants ("nr"), never memory: left to itself the compiler may name a thread-local
 * variable by its segment (%fs:), which no tracer can read. All are unsigned and 8 bytes wide. "memory": a text that an argument points
 * to has been written. */
#define GIL_MARKERS_FIRE2_(counter, name, a, b)                         \
    __asm__ __volatile__(                                               \
        GIL_MARKERS_NOTE_(name, "8@%[a1] 8@%[a2]")                      \
        : : [semaphore] "i"(&(counter)),                                \
        [a1] "nr"((uint64_t)(a)), [a2] "nr"((uint64_t)(b)) : "memory")
#define GIL_MARKERS_FIRE3_(counter, name, a, b, c)                      \
    __asm__ __volatile__(                                               \
        GIL_MARKERS_NOTE_(name, "8@%[a1] 8@%[a2] 8@%[a3]")              \
        : : [semaphore] "i"(&(counter)),                                \
        [a1] "nr"((uint64_t)(a)), [a2] "nr"((uint64_t)(b)),             \
        [a3] "nr"((uint64_t)(c)) : "memory")
#define GIL_MARKERS_FIRE4_(counter, name, a, b, c, d)                   \
    __asm__ __volatile__(                                               \
        GIL_MARKERS_NOTE_(name, "8@%[a1] 8@%[a2] 8@%[a3] 8@%[a4]")      \
        : : [semaphore] "i"(&(counter)),                                \
        [a1] "nr"((uint64_t)(a)), [a2] "nr"((uint64_t)(b)),             \
        [a3] "nr"((uint64_t)(c)), [a4] "nr"((uint64_t)(d)) : "memory")
#define GIL_MARKERS_FIRE5_(counter, name, a, b, c, d, e)                \
    __asm__ __volatile__(                                               \
        GIL_MARKERS_NOTE_(name, "8@%[a1] 8@%[a2] 8@%[a3] 8@%[a4] 8@%[a5]") \
        : : [semaphore] "i"(&(counter)),                                \
        [a1] "nr"((uint64_t)(a)), [a2] "nr"((uint64_t)(b)),             \
        [a3] "nr"((uint64_t)(c)), [a4] "nr"((uint64_t)(d)),             \
        [a5] "nr"((uint64_t)(e)) : "memory")
#define GIL_MARKERS_FIRE6_(counter, name, a, b, c, d, e, f)             \
    __asm__ __volatile__(                                               \
        GIL_MARKERS_NOTE_(name, "8@%[a1] 8@%[a2] 8@%[a3] 8@%[a4] 8@%[a5] 8@%[a6]") \
        : : [semaphore] "i"(&(counter)),                                \
        [a1] "nr"((uint64_t)(a)), [a2] "nr"((uint64_t)(b)),             \
        [a3] "nr"((uint64_t)(c)), [a4] "nr"((uint64_t)(d)),             \
        [a5] "nr"((uint64_t)(e)), [a6] "nr"((uint64_t)(f)) : "memory")
#define GIL_MARKERS_FIRE7_(counter, name, a, b, c, d, e, f, g)          \
    __asm__ __volatile__(                                               \
        GIL_MARKERS_NOTE_(name, "8@%[a1] 8@%[a2] 8@%[a3] 8@%[a4] 8@%[a5] 8@%[a6] 8@%[a7]") \
        : : [semaphore] "i"(&(counter)),                                \
        [a1] "nr"((uint64_t)(a)), [a2] "nr"((uint64_t)(b)),             \
        [a3] "nr"((uint64_t)(c)), [a4] "nr"((uint64_t)(d)),             \
        [a5] "nr"((uint64_t)(e)), [a6] "nr"((uint64_t)(f)),             \
        [a7] "nr"((uint64_t)(g)) : "memory")
#define GIL_MARKERS_FIRE10_(counter, name, a, b, c, d, e, f, g, h, i, j) \
    __asm__ __volatile__(                                               \
        GIL_MARKERS_NOTE_(name, "8@%[a1] 8@%[a2] 8@%[a3] 8@%[a4] 8@%[a5] 8@%[a6] 8@%[a7] 8@%[a8] 8@%[a9] 8@%[a10]") \
        : : [semaphore] "i"(&(counter)),                                \
        [a1] "nr"((uint64_t)(a)), [a2] "nr"((uint64_t)(b)),             \
        [a3] "nr"((uint64_t)(c)), [a4] "nr"((uint64_t)(d)),             \
        [a5] "nr"((uint64_t)(e)), [a6] "nr"((uint64_t)(f)),             \
        [a7] "nr"((uint64_t)(g)), [a8] "nr"((uint64_t)(h)),             \
        [a9] "nr"((uint64_t)(i)), [a10] "nr"((uint64_t)(j)) : "memory")

/* `noipa` also keeps GCC from specialising a copy for a constant argument, which would double the marker. A file that
 * does not call one of these functions does not have it; except without any optimisation (-O0), which CPython is not built with. */
#if defined(__clang__)
#  define GIL_MARKERS_ONCE_ __attribute__((noinline, cold, unused))
#else
#  define GIL_MARKERS_ONCE_ __attribute__((noipa, cold, unused))
#endif

/* One for all files that include this one. */
#define GIL_MARKERS_SHARED_ weak, visibility("hidden")

#endif /* GIL_NOTE_H */
