//! What this machine can trace with: which of gilbuild's own eBPF program, bpftrace and SystemTap work here, and what would mend those that do not.

mod bpftrace;
mod facts;
mod kernel;
mod systemtap;

pub use facts::Facts;

use crate::error::{CommandError, Exit};

/// One thing that a way of tracing needs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Need {
    /// What is needed: `kernel headers`.
    pub what: &'static str,
    /// Whether it is there.
    pub state: State,
    /// What was found, or what is missing.
    pub found: String,
    /// The command or the step that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// Whether a need is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is there.
    Met,
    /// It is not, and nothing works without it.
    Missing,
}

/// A way of tracing, and all that it needs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Way {
    /// `native`, `bpftrace`, `SystemTap`.
    pub name: &'static str,
    /// What it needs, in the order in which to mend it.
    pub needs: Vec<Need>,
}

impl Way {
    /// Whether nothing is missing that it cannot do without.
    #[must_use]
    pub fn works(&self) -> bool {
        self.needs.iter().all(|need| need.state != State::Missing)
    }

    /// The first need that is missing.
    #[must_use]
    pub fn obstacle(&self) -> Option<&Need> {
        self.needs.iter().find(|need| need.state == State::Missing)
    }

    /// # Errors
    ///
    /// When something is missing: what, and what mends it.
    pub fn demand(&self) -> Result<(), CommandError> {
        let Some(need) = self.obstacle() else {
            return Ok(());
        };
        let mend = need.mend.as_deref().unwrap_or("see gilbuild doctor");
        Err(CommandError::new(
            Exit::NotThisMachine,
            format!(
                "{} cannot run here: {}: {}; to mend it: {mend}",
                self.name, need.what, need.found
            ),
        ))
    }
}

impl Need {
    fn met(what: &'static str, found: impl Into<String>) -> Self {
        Self {
            what,
            state: State::Met,
            found: found.into(),
            mend: None,
        }
    }

    fn missing(what: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            what,
            state: State::Missing,
            found: found.into(),
            mend: Some(mend.into()),
        }
    }
}

/// What `gilbuild record`'s own eBPF program needs of the kernel.
#[must_use]
pub fn native(facts: &Facts) -> Way {
    Way {
        name: "eBPF",
        needs: kernel::native_needs(facts),
    }
}

/// What the bpftrace scripts need.
#[must_use]
pub fn bpftrace(facts: &Facts) -> Way {
    let mut needs = kernel::bpftrace_needs(facts);
    needs.extend(bpftrace::needs(facts));
    Way {
        name: "bpftrace",
        needs,
    }
}

/// What the SystemTap scripts need.
#[must_use]
pub fn systemtap(facts: &Facts) -> Way {
    Way {
        name: "SystemTap",
        needs: systemtap::needs(facts),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fs_err as fs;
    use tempfile::TempDir;

    use super::*;

    /// A Debian 12 host that can do everything.
    fn machine() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        put(root, "proc/sys/kernel/osrelease", "6.1.0-56-amd64\n");
        put(
            root,
            "proc/self/status",
            "Name:\tx\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n",
        );
        put(root, "proc/modules", "");
        put(
            root,
            "etc/os-release",
            "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n",
        );
        put(root, "sys/kernel/btf/vmlinux", "");
        put(
            root,
            "sys/kernel/security/lockdown",
            "[none] integrity confidentiality\n",
        );
        put(
            root,
            "sys/bus/event_source/devices/uprobe/format/ref_ctr_offset",
            "config:32-63\n",
        );
        put(root, "lib/modules/6.1.0-56-amd64/build/.config", "");
        program(root, "bpftrace", "echo bpftrace v0.17.0");
        program(
            root,
            "stap",
            "echo 'Systemtap translator/driver (version 4.8/0.188)' >&2",
        );
        program(root, "gcc", "echo gcc 12");
        program(root, "make", "echo make 4");
        folder
    }

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn program(root: &Path, name: &str, line: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = format!("usr/bin/{name}");
        put(root, &path, &format!("#!/bin/sh\n{line}\n"));
        let executable = std::fs::Permissions::from_mode(0o755);
        fs::set_permissions(root.join(path), executable).unwrap();
    }

    #[test]
    fn a_complete_machine_can_do_everything() {
        let folder = machine();
        let facts = Facts::of_folder(folder.path());
        for way in [native(&facts), bpftrace(&facts), systemtap(&facts)] {
            assert!(way.works(), "{way:?}");
        }
    }

    #[test]
    fn the_compiler_that_came_with_the_kernel_headers_will_do() {
        let folder = machine();
        fs::remove_file(folder.path().join("usr/bin/gcc")).unwrap();
        program(folder.path(), "gcc-ar-12", "echo no compiler");
        let found = || {
            systemtap(&Facts::of_folder(folder.path()))
                .obstacle()
                .map(|need| need.what)
        };
        assert_eq!(found(), Some("compiler"));
        program(folder.path(), "x86_64-linux-gnu-gcc-16", "echo gcc 16");
        assert_eq!(found(), None);
    }

    /// What is said of a machine with one file changed (or, without a text, removed).
    fn obstacle(way: fn(&Facts) -> Way, path: &str, text: Option<&str>) -> Need {
        let folder = machine();
        match text {
            Some(text) => put(folder.path(), path, text),
            None => fs::remove_file(folder.path().join(path)).unwrap(),
        }
        let way = way(&Facts::of_folder(folder.path()));
        way.obstacle()
            .unwrap_or_else(|| panic!("{path}: {way:?}"))
            .clone()
    }

    #[test]
    fn what_is_missing_is_named_with_what_mends_it() {
        let headers = obstacle(systemtap, "lib/modules/6.1.0-56-amd64/build/.config", None);
        assert_eq!(headers.what, "kernel headers");
        assert_eq!(
            headers.mend.as_deref(),
            Some("apt-get install linux-headers-6.1.0-56-amd64")
        );

        let lockdown = obstacle(
            systemtap,
            "sys/kernel/security/lockdown",
            Some("none [integrity] confidentiality\n"),
        );
        assert!(
            lockdown.found.contains("integrity") && lockdown.found.contains("Secure Boot"),
            "{lockdown:?}"
        );

        assert_eq!(
            obstacle(systemtap, "proc/modules", None).what,
            "loadable modules"
        );
        assert_eq!(obstacle(systemtap, "usr/bin/stap", None).what, "SystemTap");
        assert_eq!(
            obstacle(bpftrace, "usr/bin/bpftrace", None).mend.as_deref(),
            Some("apt-get install bpftrace")
        );
        assert_eq!(
            obstacle(native, "sys/kernel/btf/vmlinux", None).what,
            "type information"
        );
    }

    #[test]
    fn an_ordinary_user_is_told_to_become_root() {
        let status = Some("Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0\n");
        for way in [native, bpftrace, systemtap] {
            let privilege = obstacle(way, "proc/self/status", status);
            assert_eq!(privilege.what, "privilege");
            assert_eq!(privilege.mend.as_deref(), Some("run it with sudo"));
        }
    }

    #[test]
    fn an_old_bpftrace_is_refused() {
        let folder = machine();
        program(folder.path(), "bpftrace", "echo bpftrace v0.9.2");
        let way = bpftrace(&Facts::of_folder(folder.path()));
        assert!(
            way.obstacle()
                .is_some_and(|need| need.found.contains("too old")),
            "{way:?}"
        );
    }
}
