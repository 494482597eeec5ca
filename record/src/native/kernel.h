/* What the program uses of the kernel: types, constants of linux/bpf.h, and the structures it looks into. No kernel
 * headers are needed to build it; where a field lies in the running kernel, libbpf finds out from its BTF when it loads
 * the program. */
#ifndef GIL_KERNEL_H
#define GIL_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef signed short __s16;
typedef signed int __s32;
typedef signed long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_PERCPU_ARRAY = 6, BPF_MAP_TYPE_LRU_HASH = 9, BPF_MAP_TYPE_RINGBUF = 27 };
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_RB_AVAIL_DATA = 0 };
enum { BPF_F_USER_STACK = 256 };

#include <bpf/bpf_helpers.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
    int counter;
} atomic_t;

struct signal_struct {
    atomic_t live;
};

/* x86-64 only. */
struct thread_struct {
    unsigned long fsbase;
};

struct task_struct {
    int pid;
    int tgid;
    __u64 start_time;
    char comm[16];
    struct thread_struct thread;
    struct signal_struct *signal;
};

struct super_block {
    __u32 s_dev;
};

struct inode {
    unsigned long i_ino;
    struct super_block *i_sb;
};

struct file {
    struct inode *f_inode;
};

struct linux_binprm {
    struct file *file;
};

#pragma clang attribute pop

#endif
