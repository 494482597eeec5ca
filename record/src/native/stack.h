/* Taking the stack of the thread that runs, and what is shared for it by the programs that do. The structures are those of layout.rs. */
#ifndef GIL_STACK_H
#define GIL_STACK_H

enum { EVENT_DROP, EVENT_FORCED_DROP, EVENT_REQUEST, EVENT_THREAD, EVENT_STACK };

/* As many as the kernel walks by itself. */
enum { STACK_FRAMES = 127 };

/* What a thread was in when it dropped the GIL, or, with a hold of 0, while it went on holding it. */
struct stack_event {
    __u64 time_ns;
    __u32 tid;
    __u32 kind;
    __u64 gil;
    __u64 hold_ns;
    __u32 pid;
    __u32 count;
    __u64 addresses[STACK_FRAMES];  /* innermost first; all but the first are where a function goes on that was called */
};

/* A thread as others know it: by its identity. */
struct asked_thread {
    __u64 process;
    __u64 ident;
};

/* Threads that were asked to give the GIL up and have not done so, and which GIL that is. */
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 1);                 /* the recorder's own */
    __type(key, struct asked_thread);
    __type(value, __u64);
} keeping SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ring SEC(".maps");

/* Sends the stack of the thread that runs, found by its frame pointers. 0 when that is not possible. */
static __always_inline int
take_stack(void *context, __u32 kind, __u64 time_ns, __u64 thread, __u64 gil, __u64 hold_ns)
{
    struct stack_event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
    long length;
    if (!event) {
        return 0;
    }
    length = bpf_get_stack(context, event->addresses, sizeof(event->addresses), BPF_F_USER_STACK);
    if (length <= 0) {
        bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
        return 0;
    }
    event->time_ns = time_ns;
    event->tid = (__u32)thread;
    event->kind = kind;
    event->gil = gil;
    event->hold_ns = hold_ns;
    event->pid = (__u32)(thread >> 32);
    event->count = (__u32)length / sizeof(event->addresses[0]);
    /* At once: what is at these addresses is known as long as the process is there. */
    bpf_ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
    return 1;
}

#endif
