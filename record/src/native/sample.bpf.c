/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * Looks now and then, on every processor, whether the thread that runs was asked to give the GIL up and keeps it: then its stack says what it is in.
 * At the end of the hold that may be too late, because a function that never lets go has returned by then.
 *
 * A thread is asked when others have waited for the switch interval, so one that nobody waits for is never looked at. */
#include "kernel.h"
#include "stack.h"

SEC("perf_event")
int on_tick(void *context)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task_btf();
    __u64 thread = bpf_get_current_pid_tgid();
    /* threading.get_ident(). */
    struct asked_thread key = {.process = thread >> 32, .ident = task->thread.fsbase};
    __u64 *gil = bpf_map_lookup_elem(&keeping, &key);
    /* Once for each time that it is asked. */
    if (gil && take_stack(context, EVENT_STACK, bpf_ktime_get_ns(), thread, *gil, 0)) {
        bpf_map_delete_elem(&keeping, &key);
    }
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
