//! Which running processes a command is about: what `record` and `top` are told alike.

use std::path::PathBuf;

use clap::Args;
use gil_record::Target;

/// The choice, of which a command takes one: see its group of arguments.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Processes {
    /// A process, with those that it starts from now on
    #[arg(long, value_name = "PID")]
    pub(super) pid: Option<u32>,
    /// The processes of a container of podman, Docker, containerd or CRI-O, by its id or name
    #[arg(long, value_name = "ID|NAME")]
    container: Option<String>,
    /// The processes of a control group: its folder below /sys/fs/cgroup
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// Every process of this machine that runs a Python with markers
    #[arg(long)]
    all: bool,
    /// Every process of this machine that runs the interpreter with this build id: its beginning is enough
    #[arg(long, value_name = "HEX", value_parser = build_id)]
    build_id: Option<String>,
}

/// The beginning of a build id. Fewer digits than this could be anybody's.
fn build_id(typed: &str) -> Result<String, String> {
    const FEWEST: usize = 6;
    if typed.len() >= FEWEST && typed.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(typed.to_ascii_lowercase())
    } else {
        Err(format!(
            "hexadecimal digits are wanted, at least {FEWEST}, as `gilbuild verify` prints them"
        ))
    }
}

impl Processes {
    /// What was chosen, if it is among these.
    pub(super) fn target(&self) -> Option<Target> {
        if let Some(pid) = self.pid {
            Some(Target::Process(pid))
        } else if let Some(container) = &self.container {
            Some(Target::Container(container.clone()))
        } else if let Some(cgroup) = &self.cgroup {
            Some(Target::Cgroup(cgroup.clone()))
        } else if let Some(build_id) = &self.build_id {
            Some(Target::Build(build_id.clone()))
        } else {
            self.all.then_some(Target::All)
        }
    }
}
