//! What this machine can trace with: which of gilbuild's own eBPF program, bpftrace and SystemTap work here, and what would mend those that do not.

mod bpftrace;
mod facts;
mod kernel;
mod systemtap;

pub use facts::Facts;

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
