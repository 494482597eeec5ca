//! Control groups: which one a process is in, which container that is, and how much processor time it gets.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use fs_err as fs;

/// Where control groups are mounted, by everyone.
const MOUNT: &str = "/sys/fs/cgroup";
/// An id of Docker, podman, containerd or CRI-O has so many hexadecimal digits.
const CONTAINER_ID: usize = 64;

/// One line of `/proc/PID/cgroup`: a hierarchy and the group in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Membership {
    /// `cpu,cpuacct`, `name=systemd`; empty for the unified hierarchy (version 2).
    controllers: String,
    /// `/system.slice/docker-….scope`, from the hierarchy's root.
    path: String,
}

impl Membership {
    /// Where the files of the group are.
    fn folder(&self) -> PathBuf {
        let relative = self.path.trim_start_matches('/');
        let mount = Path::new(MOUNT);
        if !self.controllers.is_empty() {
            let name = self.controllers.trim_start_matches("name=");
            return mount.join(name).join(relative);
        }
        // Beside hierarchies of version 1, the unified one has a place of its own.
        let hybrid = mount.join("unified");
        if hybrid.is_dir() {
            hybrid.join(relative)
        } else {
            mount.join(relative)
        }
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|name| name == controller)
    }
}

fn memberships(pid: u32) -> Vec<Membership> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    parse(&text)
}

/// Lines are `NUMBER:CONTROLLERS:PATH`; a path may hold colons.
fn parse(text: &str) -> Vec<Membership> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some(Membership {
                controllers: fields.next()?.to_owned(),
                path: fields.next()?.to_owned(),
            })
        })
        .collect()
}

/// A control group, with all that are below it.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// The group whose folder is `path`, or which is `path` in one of the hierarchies. `None` if there is no such group.
    pub(crate) fn find(path: &Path) -> Option<Self> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let mount = Path::new(MOUNT);
        let hierarchies = fs::read_dir(mount).ok()?;
        let mut candidates = vec![path.to_owned(), mount.join(relative)];
        candidates.extend(
            hierarchies
                .flatten()
                .map(|entry| entry.path().join(relative)),
        );
        let is_group =
            |folder: &PathBuf| folder.is_absolute() && folder.join("cgroup.procs").is_file();
        let folder = candidates.into_iter().find(is_group)?;
        Some(Self {
            folder: fs::canonicalize(folder).ok()?,
        })
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn contains(&self, pid: u32) -> bool {
        memberships(pid)
            .iter()
            .any(|membership| membership.folder().starts_with(&self.folder))
    }
}

/// The id of the container that process `pid` is in, by the name of its control group. `None` for one that is in none, or where
/// groups do not tell.
pub(crate) fn container_id(pid: u32) -> Option<String> {
    memberships(pid)
        .iter()
        .find_map(|membership| container_id_of(&membership.path))
}

/// Of `/kubepods/…/cri-containerd-ID.scope/init` it is ID: the last one, where containers contain containers.
fn container_id_of(path: &str) -> Option<String> {
    path.rsplit('/').find_map(|name| {
        let name = name.strip_suffix(".scope").unwrap_or(name);
        // `libpod-conmon-ID` is the group of podman's own helper.
        if name.starts_with("libpod-conmon-") || name.starts_with("crio-conmon-") {
            return None;
        }
        let id = name.rsplit_once(['-', ':']).map_or(name, |(_, id)| id);
        let is_id = id.len() == CONTAINER_ID && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| id.to_owned())
    })
}

/// The groups of this name that processes are in. containerd calls a group as its container, which need not have an id:
/// `/default/web`. Units of systemd are no containers.
pub(crate) fn named(name: &str, pids: impl IntoIterator<Item = u32>) -> BTreeSet<String> {
    if [".slice", ".scope", ".service"]
        .iter()
        .any(|unit| name.ends_with(unit))
    {
        return BTreeSet::new();
    }
    pids.into_iter()
        .flat_map(memberships)
        .filter_map(|membership| up_to(&membership.path, name))
        .collect()
}

/// Of `/default/web/worker`, up to `web`: `/default/web`.
fn up_to(path: &str, name: &str) -> Option<String> {
    let names: Vec<_> = path.split('/').collect();
    let last = names.iter().rposition(|&each| each == name)?;
    (!name.is_empty()).then(|| names[..=last].join("/"))
}

/// Whether process `pid` is in the group `path`, in whichever hierarchy, or in one below it.
pub(crate) fn is_below(pid: u32, path: &str) -> bool {
    memberships(pid)
        .iter()
        .any(|membership| Path::new(&membership.path).starts_with(path))
}

/// How much processor time a control group gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CpuLimit {
    /// As much as so many processors have.
    Processors(f64),
    /// As much as there is.
    None,
}

impl fmt::Display for CpuLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Processors(count) => {
                // Quotas are in microseconds: three decimals tell them apart.
                let text = format!("{count:.3}");
                formatter.write_str(text.trim_end_matches('0').trim_end_matches('.'))
            }
            Self::None => formatter.write_str("none"),
        }
    }
}

/// The processor time that process `pid` gets: the least that its group, and those that it is in, leave it. `None` where that
/// cannot be read.
pub(crate) fn cpu_limit(pid: u32) -> Option<CpuLimit> {
    let memberships = memberships(pid);
    let version_1 = memberships.iter().find(|group| group.has("cpu"));
    let group = version_1.or_else(|| {
        memberships
            .iter()
            .find(|group| group.controllers.is_empty())
    })?;
    let folder = group.folder();
    if !folder.is_dir() {
        return None;
    }
    let limits = folder
        .ancestors()
        .take_while(|folder| folder.starts_with(MOUNT));
    let least = limits.filter_map(quota).reduce(f64::min);
    Some(least.map_or(CpuLimit::None, CpuLimit::Processors))
}

/// The quota of one group, in processors.
fn quota(folder: &Path) -> Option<f64> {
    if let Ok(text) = fs::read_to_string(folder.join("cpu.max")) {
        let (quota, period) = text.trim().split_once(' ')?;
        return share(quota, period);
    }
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    share(
        read("cpu.cfs_quota_us")?.trim(),
        read("cpu.cfs_period_us")?.trim(),
    )
}

/// `max` and -1 are no quota.
fn share(quota: &str, period: &str) -> Option<f64> {
    let quota: f64 = quota.parse().ok()?;
    let period: f64 = period.parse().ok()?;
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn every_engine_names_its_groups_in_its_own_way() {
        for (path, in_one) in [
            (format!("/system.slice/docker-{ID}.scope"), true),
            (format!("/docker/{ID}"), true),
            (format!("/machine.slice/libpod-{ID}.scope/container"), true),
            (format!("/libpod_parent/libpod-{ID}"), true),
            (
                format!("/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-{ID}.scope"),
                true,
            ),
            (format!("/kubepods/burstable/pod7d2/{ID}"), true),
            (format!("/kubepods.slice/x.slice:cri-containerd:{ID}"), true),
            (format!("/kubepods.slice/crio-{ID}.scope"), true),
            (format!("/machine.slice/libpod-conmon-{ID}.scope"), false),
            (
                "/user.slice/user-1000.slice/session-3.scope".to_owned(),
                false,
            ),
            ("/".to_owned(), false),
        ] {
            assert_eq!(
                container_id_of(&path),
                in_one.then(|| ID.to_owned()),
                "{path}"
            );
        }
    }

    #[test]
    fn a_group_is_found_by_its_name() {
        assert_eq!(
            up_to("/default/web", "web").as_deref(),
            Some("/default/web")
        );
        assert_eq!(
            up_to("/default/web/a", "web").as_deref(),
            Some("/default/web")
        );
        assert_eq!(up_to("/default/webs", "web"), None);
        assert_eq!(up_to("/", ""), None);
        let own = [std::process::id()];
        assert!(named("user.slice", own).is_empty());
    }

    #[test]
    fn lines_of_both_versions_are_read() {
        let groups = parse("4:cpu,cpuacct:/a:b\n1:name=systemd:/\n0::/user.slice\n");
        assert_eq!(groups.len(), 3);
        assert!(groups[0].has("cpu") && !groups[0].has("cpuset"));
        assert_eq!(groups[0].path, "/a:b");
        assert!(groups[2].controllers.is_empty());
    }

    #[test]
    fn quotas_are_counted_in_processors() {
        assert_eq!(share("150000", "100000"), Some(1.5));
        assert_eq!(share("max", "100000"), None);
        assert_eq!(share("-1", "100000"), None);
        assert_eq!(CpuLimit::Processors(2.0).to_string(), "2");
        assert_eq!(CpuLimit::Processors(0.25).to_string(), "0.25");
    }
}
