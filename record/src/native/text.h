/* Texts that markers tell, and what is shared by the programs that pass them on. The structures are those of layout.rs. */
#ifndef GIL_TEXT_H
#define GIL_TEXT_H

enum { EVENT_NAME = 32, EVENT_LOCATION, EVENT_SPAN_BEGIN, EVENT_SPAN_END, EVENT_SPAN_SWITCH };

/* With the NUL at its end: what a marker tells is no longer. */
enum { TEXT_BYTES = 256 };

/* Empty if it cannot be read. */
static __always_inline void
read_text(char *text, __u64 address)
{
    if (bpf_probe_read_user_str(text, TEXT_BYTES, (void *)address) < 0) {
        text[0] = '\0';
    }
}

#endif
