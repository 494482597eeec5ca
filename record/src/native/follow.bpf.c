/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * Which processes are recorded: a child of one that is, is one as well, before it has run its first instruction. The recorder hears of
 * forks, of programs that are started and of processes that end.
 *
 * The structures are those of follow.rs. */
#include "kernel.h"

enum { SIGSTOP = 19 };

struct follow_settings {
    /* Processes that are recorded are stopped when they start a program that is not known yet, until the recorder has seen to it. */
    __u64 stop_at_exec;
    /* Programs that others start are told of, too: they may belong to a container, or to everything. */
    __u64 tell_of_others;
};

const volatile struct follow_settings follow_settings;

enum { NEWS_FORK, NEWS_EXEC, NEWS_EXIT };

struct program_key {
    __u64 device;
    __u64 inode;
};

struct news {
    __u32 kind;
    __u32 pid;
    __u32 parent;           /* fork: of whom */
    __u32 stopped;          /* exec: it waits to be continued */
    struct program_key program;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);                 /* the recorder's own, as in gil.bpf.c */
    __type(key, __u32);
    __type(value, __u32);
} processes SEC(".maps");

/* Programs that nobody has to be stopped for. */
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 4096);
    __type(key, struct program_key);
    __type(value, __u8);
} known_programs SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1048576);
} follow_ring SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} news_lost SEC(".maps");

static __always_inline void
tell(const struct news *news)
{
    if (bpf_ringbuf_output(&follow_ring, (void *)news, sizeof(*news), BPF_RB_FORCE_WAKEUP) != 0) {
        __u32 first = 0;
        __u64 *lost = bpf_map_lookup_elem(&news_lost, &first);
        if (lost) {
            __sync_fetch_and_add(lost, 1);
        }
    }
}

SEC("tp_btf/sched_process_fork")
int on_fork(__u64 *context)
{
    struct task_struct *parent = (struct task_struct *)context[0];
    struct task_struct *child = (struct task_struct *)context[1];
    struct news news = {.kind = NEWS_FORK};
    __u32 yes = 1;
    news.pid = child->tgid;
    news.parent = parent->tgid;
    if (child->pid != child->tgid || !bpf_map_lookup_elem(&processes, &news.parent)) {
        return 0;
    }
    bpf_map_update_elem(&processes, &news.pid, &yes, BPF_ANY);
    tell(&news);
    return 0;
}

SEC("tp_btf/sched_process_exec")
int on_exec(__u64 *context)
{
    struct task_struct *task = (struct task_struct *)context[0];
    struct linux_binprm *binary = (struct linux_binprm *)context[2];
    struct news news = {.kind = NEWS_EXEC};
    struct inode *inode = binary->file->f_inode;
    int recorded;
    news.pid = task->tgid;
    recorded = bpf_map_lookup_elem(&processes, &news.pid) != 0;
    if (!recorded && !follow_settings.tell_of_others) {
        return 0;
    }
    news.program.inode = inode->i_ino;
    news.program.device = inode->i_sb->s_dev;
    if (recorded && follow_settings.stop_at_exec && !bpf_map_lookup_elem(&known_programs, &news.program)) {
        news.stopped = bpf_send_signal(SIGSTOP) == 0;
    }
    tell(&news);
    return 0;
}

SEC("tp_btf/sched_process_exit")
int on_exit(__u64 *context)
{
    struct task_struct *task = (struct task_struct *)context[0];
    struct news news = {.kind = NEWS_EXIT};
    news.pid = task->tgid;
    /* Not before its last thread. */
    if (task->signal->live.counter != 0 || !bpf_map_lookup_elem(&processes, &news.pid)) {
        return 0;
    }
    bpf_map_delete_elem(&processes, &news.pid);
    tell(&news);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
