//! What the SystemTap scripts need: SystemTap, a compiler, the kernel's headers, and a kernel that loads modules.

use super::facts::Version;
use super::{Facts, Need};

/// Number of the capability, from linux/capability.h.
const CAP_SYS_MODULE: u32 = 16;

pub(super) fn needs(facts: &Facts) -> Vec<Need> {
    vec![
        privilege(facts),
        modules(facts),
        lockdown(facts),
        stap(facts),
        compiler(facts),
        headers(facts),
        debug_information(facts),
    ]
}

fn privilege(facts: &Facts) -> Need {
    let what = "privilege";
    match facts.effective_user() {
        Some(0) if facts.has_capability(CAP_SYS_MODULE) => Need::met(what, "root"),
        Some(0) => Need::missing(
            what,
            "root without CAP_SYS_MODULE, as in a container",
            "run it on the host",
        ),
        Some(user) => Need::missing(
            what,
            format!(
                "user {user}: only root and members of the group stapdev may load modules of SystemTap"
            ),
            "run it with sudo",
        ),
        None => Need::missing(
            what,
            "unknown: /proc is not mounted",
            "mount -t proc proc /proc",
        ),
    }
}

fn modules(facts: &Facts) -> Need {
    let what = "loadable modules";
    if !facts.exists("/proc/modules") {
        Need::missing(
            what,
            "this kernel has none, and SystemTap compiles scripts to them",
            "use the bpftrace scripts",
        )
    } else if facts.text("/proc/sys/kernel/modules_disabled").as_deref() == Some("1") {
        Need::missing(
            what,
            "loading modules is switched off until the next boot (kernel.modules_disabled)",
            "use the bpftrace scripts, or reboot without that setting",
        )
    } else {
        Need::met(what, "yes")
    }
}

/// Lockdown, which Secure Boot switches on, takes signed modules only. Its file reads `none [integrity] confidentiality`.
fn lockdown(facts: &Facts) -> Need {
    let what = "lockdown";
    let text = facts
        .text("/sys/kernel/security/lockdown")
        .unwrap_or_default();
    let mode = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("none", |(mode, _)| mode);
    let enforced = facts
        .text("/sys/module/module/parameters/sig_enforce")
        .as_deref()
        == Some("Y");
    if mode == "none" && !enforced {
        Need::met(what, "off")
    } else {
        let reason = if enforced && mode == "none" {
            "modules must be signed"
        } else {
            mode
        };
        Need::missing(
            what,
            format!("on ({reason}), as Secure Boot makes it: the kernel refuses unsigned modules"),
            "use the bpftrace scripts, sign the module with a key of this machine (mokutil), or switch Secure Boot off",
        )
    }
}

fn stap(facts: &Facts) -> Need {
    let what = "SystemTap";
    let install = facts.install("systemtap", "systemtap");
    match facts.version("stap") {
        Version::Absent => Need::missing(what, "not installed", install),
        Version::Unusable(why) => Need::missing(what, format!("does not run: {why}"), install),
        Version::Says(text) => Need::met(what, text),
    }
}

fn compiler(facts: &Facts) -> Need {
    let what = "compiler";
    let install = facts.install("gcc make", "gcc make");
    let compiler = facts.compiler().map(|name| facts.version(&name));
    match (compiler, facts.version("make")) {
        (Some(Version::Says(text)), Version::Says(_)) => Need::met(what, text),
        (Some(Version::Says(_)), _) => Need::missing(what, "make is not installed", install),
        _ => Need::missing(what, "gcc is not installed", install),
    }
}

fn headers(facts: &Facts) -> Need {
    let what = "kernel headers";
    let release = facts.kernel_release();
    let folder = format!("/lib/modules/{release}/build");
    if facts.exists(&format!("{folder}/.config")) {
        Need::met(what, folder)
    } else {
        let install = facts.install(
            &format!("linux-headers-{release}"),
            &format!("kernel-devel-{release}"),
        );
        Need::missing(
            what,
            format!("none for the running kernel {release} (no {folder}/.config)"),
            install,
        )
    }
}

/// Markers need none; only kernel functions in backtraces do.
fn debug_information(facts: &Facts) -> Need {
    let what = "debug information";
    let release = facts.kernel_release();
    let places = [
        format!("/usr/lib/debug/boot/vmlinux-{release}"),
        format!("/usr/lib/debug/lib/modules/{release}/vmlinux"),
    ];
    match places.into_iter().find(|place| facts.exists(place)) {
        Some(place) => Need::met(what, place),
        None => Need::met(
            what,
            "none of the kernel, and none is needed for the markers",
        ),
    }
}
