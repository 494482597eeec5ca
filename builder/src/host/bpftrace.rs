//! What the bpftrace scripts need, beside the kernel: bpftrace itself.

use super::facts::{Version, first_version};
use super::{Facts, Need};

/// The oldest one that the scripts were run with: Debian 12's.
const OLDEST: (u32, u32) = (0, 17);

pub(super) fn needs(facts: &Facts) -> Vec<Need> {
    let what = "bpftrace";
    let install = facts.install("bpftrace", "bpftrace");
    vec![match facts.version("bpftrace") {
        Version::Absent => Need::missing(what, "not installed", install),
        Version::Unusable(why) => Need::missing(what, format!("does not run: {why}"), install),
        Version::Says(text) => match first_version(&text) {
            None => Need::missing(what, format!("of an unknown version: {text}"), install),
            Some(version) if version < OLDEST => Need::missing(
                what,
                format!("{text} is too old for the scripts"),
                "install bpftrace 0.17 or newer",
            ),
            Some(_) => Need::met(what, text),
        },
    }]
}
