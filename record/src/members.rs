//! Which processes a recording is about.

use crate::cgroup::Cgroup;
use crate::container::Container;
use crate::error::RecordError;
use crate::interpreter::Interpreter;
use crate::options::Target;
use crate::process;

/// Which processes belong to a recording. The children of one that does, do so as well.
#[derive(Clone, Debug)]
pub(crate) enum Members {
    /// One process and nothing that it starts. Only this way others that run the same interpreter do not notice.
    Alone,
    /// One process and those that it starts from now on; or a command.
    Family,
    /// Those of a container.
    Container(Container),
    /// Those of a control group and the groups below it.
    Cgroup(Cgroup),
    /// All of this machine that run a Python with markers.
    All,
    /// Those of this machine that run an interpreter whose build id begins so.
    Build(String),
}

impl Members {
    /// Those that a target means.
    ///
    /// # Errors
    ///
    /// When there is no such container or control group.
    pub(crate) fn of(target: &Target) -> Result<Self, RecordError> {
        Ok(match target {
            Target::Process(_) | Target::Command(_) => Self::Family,
            Target::Container(name) => Self::Container(Container::find(name)?),
            Target::Cgroup(path) => Self::Cgroup(
                Cgroup::find(path)
                    .ok_or_else(|| RecordError::NoSuchCgroup { path: path.clone() })?,
            ),
            Target::All => Self::All,
            Target::Build(build_id) => Self::Build(build_id.to_ascii_lowercase()),
        })
    }

    /// Whether a process belongs to it that none of its processes has started.
    pub(crate) fn contains(&self, pid: u32) -> bool {
        match self {
            Self::Alone | Self::Family => false,
            Self::Container(container) => container.contains(pid),
            Self::Cgroup(cgroup) => cgroup.contains(pid),
            Self::All | Self::Build(_) => true,
        }
    }

    /// Whether every process that hits a marker which is attached to belongs to it.
    pub(crate) fn are_all(&self) -> bool {
        matches!(self, Self::All | Self::Build(_))
    }

    /// Whether a process that belongs to it is recorded when it runs this interpreter.
    pub(crate) fn may_run(&self, interpreter: &Interpreter) -> bool {
        match self {
            Self::Build(wanted) => interpreter
                .build_id
                .as_deref()
                .is_some_and(|build_id| build_id.starts_with(wanted)),
            _ => true,
        }
    }

    /// Whether there are processes that belong to it and that none of its processes has started.
    pub(crate) fn takes_in_others(&self) -> bool {
        !matches!(self, Self::Alone | Self::Family)
    }

    /// Those that run now, apart from ourselves.
    pub(crate) fn now(&self) -> Vec<u32> {
        let own = std::process::id();
        let all = process::all().into_iter();
        all.filter(|&pid| pid != own && self.contains(pid))
            .collect()
    }

    /// As the trace names it.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Alone | Self::Family => None,
            Self::Container(container) => Some(format!("container:{}", container.id)),
            Self::Cgroup(cgroup) => Some(format!("cgroup:{}", cgroup.path().display())),
            Self::All => Some("all".to_owned()),
            Self::Build(build_id) => Some(format!("build:{build_id}")),
        }
    }
}
