//! What programs in eBPF need of the kernel and of the user.

use super::{Facts, Need};

/// Numbers of capabilities, from linux/capability.h.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// The oldest kernel for gilbuild's own program: atomic additions that return a value came with it.
const OLDEST: (u32, u32) = (5, 12);

/// From this one on, kernels turn a 5-byte nop into a call instead of a trap.
const FAST_NOPS: (u32, u32) = (6, 18);

/// What gilbuild's own program needs.
pub(super) fn native_needs(facts: &Facts) -> Vec<Need> {
    vec![
        privilege(facts),
        version(facts),
        uprobes(facts),
        type_information(facts),
        nops(facts),
    ]
}

/// What bpftrace needs beside itself.
pub(super) fn bpftrace_needs(facts: &Facts) -> Vec<Need> {
    vec![privilege(facts), uprobes(facts), nops(facts)]
}

fn version(facts: &Facts) -> Need {
    let what = "kernel";
    let release = facts.kernel_release();
    if facts.kernel_version() >= OLDEST {
        Need::met(what, format!("Linux {release}"))
    } else {
        Need::missing(
            what,
            format!("Linux {release} is too old"),
            "use bpftrace or SystemTap, or boot Linux 5.12 or newer",
        )
    }
}

fn privilege(facts: &Facts) -> Need {
    let what = "privilege";
    match facts.effective_user() {
        Some(0) => {
            let missing = [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")]
                .into_iter()
                .find(|&(number, _)| !facts.has_capability(number));
            match missing {
                Some((_, name)) if !facts.has_capability(CAP_SYS_ADMIN) => Need::missing(
                    what,
                    format!("root without {name}, as in an unprivileged container"),
                    "run it on the host, or in a container started with --privileged and --pid=host",
                ),
                _ => Need::met(what, "root"),
            }
        }
        Some(user) => Need::missing(
            what,
            format!("user {user}, and only root may trace"),
            "run it with sudo",
        ),
        None => Need::missing(
            what,
            "unknown: /proc is not mounted",
            "mount -t proc proc /proc",
        ),
    }
}

fn uprobes(facts: &Facts) -> Need {
    let what = "uprobes";
    // A counter for a marker's semaphore is a part of the same device, since Linux 4.20.
    if facts.exists("/sys/bus/event_source/devices/uprobe/format/ref_ctr_offset") {
        Need::met(what, "with counters for semaphores")
    } else if facts.exists("/sys/bus/event_source/devices/uprobe") {
        Need::missing(
            what,
            "this kernel does not count semaphores: markers would stay off",
            "boot Linux 4.20 or newer",
        )
    } else {
        Need::missing(
            what,
            "this kernel has none",
            "boot a kernel with CONFIG_UPROBE_EVENTS=y",
        )
    }
}

fn type_information(facts: &Facts) -> Need {
    let what = "type information";
    if facts.exists("/sys/kernel/btf/vmlinux") {
        Need::met(what, "/sys/kernel/btf/vmlinux")
    } else {
        Need::missing(
            what,
            "no BTF",
            "use bpftrace or SystemTap, or boot a kernel with CONFIG_DEBUG_INFO_BTF=y",
        )
    }
}

fn nops(facts: &Facts) -> Need {
    let what = "5-byte nops";
    let release = facts.kernel_release();
    if facts.kernel_version() >= FAST_NOPS {
        Need::met(
            what,
            format!("Linux {release} makes a hit on one a call: half the cost"),
        )
    } else {
        Need::met(
            what,
            format!("Linux {release} traps on them as on 1-byte nops: no gain"),
        )
    }
}
