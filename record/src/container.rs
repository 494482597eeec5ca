//! Finding a container, by its id or its name, and the processes in it.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;

use crate::cgroup;
use crate::error::RecordError;
use crate::process;

/// An id may be shortened, but not to less than this.
const SHORTEST_ID: usize = 4;
/// An engine that does not answer gets so long.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(10);
/// How each engine is asked for a container's whole id and the first process in it.
const ENGINES: [(&str, &[&str]); 4] = [
    (
        "podman",
        &[
            "inspect",
            "--type",
            "container",
            "--format",
            "{{.Id}} {{.State.Pid}}",
        ],
    ),
    (
        "docker",
        &[
            "inspect",
            "--type",
            "container",
            "--format",
            "{{.Id}} {{.State.Pid}}",
        ],
    ),
    (
        "nerdctl",
        &[
            "inspect",
            "--type",
            "container",
            "--format",
            "{{.Id}} {{.State.Pid}}",
        ],
    ),
    (
        "crictl",
        &[
            "inspect",
            "--output",
            "go-template",
            "--template",
            "{{.status.id}} {{.info.pid}}",
        ],
    ),
];

/// A running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    /// Its whole id.
    pub(crate) id: String,
    /// Its pid namespace, where it has one of its own: control groups do not always tell containers apart.
    namespace: Option<PathBuf>,
    /// Its control group, where that has the container's name and no id.
    group: Option<String>,
}

impl Container {
    /// Finds a container by its id, which may be shortened, or by its name.
    ///
    /// # Errors
    ///
    /// [`RecordError::NoSuchContainer`], [`RecordError::AmbiguousContainer`], [`RecordError::ContainerNotRunning`].
    pub(crate) fn find(name: &str) -> Result<Self, RecordError> {
        if let Some(found) = by_control_group(name)? {
            return Ok(found);
        }
        let mut answers = Vec::new();
        for (engine, arguments) in ENGINES {
            match ask(engine, arguments, name) {
                Answer::Running { id, pid } => {
                    return Ok(Self {
                        id,
                        namespace: own_namespace(pid),
                        group: None,
                    });
                }
                Answer::NotRunning => {
                    return Err(RecordError::ContainerNotRunning {
                        name: name.to_owned(),
                        engine,
                    });
                }
                Answer::Unknown => answers.push(format!("{engine} knows none")),
                Answer::NoEngine => {}
            }
        }
        if let Some(found) = by_name_of_group(name)? {
            return Ok(found);
        }
        let asked = if answers.is_empty() {
            "and neither podman, docker, nerdctl nor crictl is here to ask for names".to_owned()
        } else {
            answers.join(", ")
        };
        Err(RecordError::NoSuchContainer {
            name: name.to_owned(),
            asked,
        })
    }

    pub(crate) fn contains(&self, pid: u32) -> bool {
        if let Some(group) = &self.group {
            return cgroup::is_below(pid, group);
        }
        if cgroup::container_id(pid).as_deref() == Some(&self.id) {
            return true;
        }
        self.namespace.is_some() && namespace(pid) == self.namespace
    }
}

/// Ids are in the names of control groups, whatever engine made them.
fn by_control_group(id: &str) -> Result<Option<Container>, RecordError> {
    if id.len() < SHORTEST_ID || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let id = id.to_ascii_lowercase();
    let known: BTreeSet<String> = process::all()
        .into_iter()
        .filter_map(cgroup::container_id)
        .filter(|known| known.starts_with(&id))
        .collect();
    if known.len() > 1 {
        return Err(RecordError::AmbiguousContainer {
            name: id,
            candidates: known.into_iter().collect(),
        });
    }
    Ok(known.into_iter().next().map(|id| Container {
        id,
        namespace: None,
        group: None,
    }))
}

/// containerd's own containers (`ctr run`) may have a name only, which is that of their group.
fn by_name_of_group(name: &str) -> Result<Option<Container>, RecordError> {
    let groups = cgroup::named(name, process::all());
    if groups.len() > 1 {
        return Err(RecordError::AmbiguousContainer {
            name: name.to_owned(),
            candidates: groups.into_iter().collect(),
        });
    }
    Ok(groups.into_iter().next().map(|group| Container {
        id: name.to_owned(),
        namespace: None,
        group: Some(group),
    }))
}

/// The pid namespace of a process, unless it is ours.
fn own_namespace(pid: u32) -> Option<PathBuf> {
    namespace(pid).filter(|found| Some(found) != namespace(std::process::id()).as_ref())
}

fn namespace(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

enum Answer {
    Running { id: String, pid: u32 },
    NotRunning,
    Unknown,
    NoEngine,
}

fn ask(engine: &str, arguments: &[&str], name: &str) -> Answer {
    let mut command = Command::new(engine);
    command
        .args(arguments)
        .arg(name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else {
        return Answer::NoEngine;
    };
    let begin = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begin.elapsed() < ENGINE_TIMEOUT => {
                thread::sleep(Duration::from_millis(10));
            }
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Answer::Unknown;
            }
        }
    };
    let mut text = String::new();
    let answer = child
        .stdout
        .take()
        .map(|stdout| stdout.take(4096).read_to_string(&mut text));
    if !status.success() || !matches!(answer, Some(Ok(_))) {
        return Answer::Unknown;
    }
    match parse(&text) {
        Some((_, 0)) => Answer::NotRunning,
        Some((id, pid)) => Answer::Running { id, pid },
        None => Answer::Unknown,
    }
}

fn parse(text: &str) -> Option<(String, u32)> {
    let (id, pid) = text.trim().split_once(' ')?;
    Some((id.to_owned(), pid.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_id_and_a_number() {
        assert_eq!(parse("ab12 4711\n"), Some(("ab12".to_owned(), 4711)));
        assert_eq!(parse("ab12 <no value>"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn names_are_not_taken_for_ids() {
        assert_eq!(by_control_group("web").unwrap(), None);
        assert_eq!(by_control_group("abc").unwrap(), None);
    }
}
