//! The eBPF program in the kernel: opened, set up for one interpreter's markers, loaded, attached.

use std::os::fd::AsFd as _;
use std::path::Path;

use gil_probes::elf::Image;
use libbpf_rs::{
    Link, MapHandle, Object, ObjectBuilder, OpenObject, ProgramAttachType, UprobeMultiOpts,
    UprobeOpts,
};

use crate::native::layout::Settings;
use crate::native::place::Place;
use crate::native::site::{self, Site};
use crate::native::tables::{Sizes, Tables};
use crate::native::{NativeError, kernel, messages};
use crate::options::Told;

/// As clang compiled it.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/gil.bpf.o"));
/// How many places of one marker in a file are attached to. CPython has one; a compiler may copy a function.
const MOST_SITES: usize = 16;
/// The functions of the program, the markers that they are for, in the order of `MARKER_…` there, and the arguments that they need.
const FUNCTIONS: [(&str, &str, usize); 2] = [
    ("gil_drop", "gil__drop", 6),
    ("gil_request", "gil__drop__request", 4),
];

/// What the program is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) sizes: Sizes,
    /// Cycles that last so long become events; `None`: no events.
    pub(super) events_from_ns: Option<u64>,
    pub(super) keep_totals: bool,
    /// The stack is taken at the end of holds that last so long; `None`: of none.
    pub(super) stacks_from_ns: Option<u64>,
    pub(super) told: Told,
    /// Whether `events_from_ns` may change while it runs.
    pub(super) is_adaptive: bool,
    /// Only the processes that are listed count.
    pub(super) only_listed: bool,
}

impl Work {
    /// The tables that it needs.
    pub(super) fn tables(&self, processes: &MapHandle) -> Result<Tables, NativeError> {
        Tables::create(
            self.sizes,
            self.events_from_ns.unwrap_or(u64::MAX),
            processes,
        )
    }
}

/// Whose markers are attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those of every process that has the file mapped, now or later: none of its hits can be missed.
    Everyone,
    /// Those of one process.
    Process(u32),
}

impl Scope {
    /// As the kernel numbers them; -1: all.
    pub(super) fn pid(self) -> i32 {
        match self {
            Self::Everyone => -1,
            Self::Process(pid) => i32::try_from(pid).unwrap_or(-1),
        }
    }
}

/// A file with markers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marked {
    /// Its number among those that are attached to.
    pub(super) number: u64,
    /// Where in a GIL's state its switch interval is, if that is known.
    pub(super) interval_at: Option<u64>,
}

/// The program for the markers of one file, loaded. Attached as long as its links are there.
pub(super) struct Program {
    objects: Vec<Object>,
    links: Vec<Link>,
    sites: Vec<Vec<Site>>,
}

/// The places of the markers that the program attaches to.
pub(super) fn find_sites(image: &Image) -> Result<Vec<Vec<Site>>, NativeError> {
    let sites = FUNCTIONS.iter();
    sites
        .map(|(_, marker, needed)| site::find(image, marker, *needed, MOST_SITES))
        .collect()
}

impl Program {
    /// Loads the program for these places of the markers, in the order of [`find_sites`].
    pub(super) fn load(
        sites: Vec<Vec<Site>>,
        work: &Work,
        tables: &Tables,
        file: Marked,
    ) -> Result<Self, NativeError> {
        // The arguments' places are constants of the program: a second place of a marker needs a second copy of it.
        let copies = sites.iter().map(Vec::len).max().unwrap_or(0);
        let mut objects: Vec<Object> = Vec::with_capacity(copies);
        for copy in 0..copies {
            let object = messages::explain(|| {
                let mut object = open(tables)?;
                let places = (0..FUNCTIONS.len())
                    .map(|marker| Some(&sites.get(marker)?.get(copy)?.places[..]));
                settings(&mut object, work, file, places)?;
                for mut program in object.progs_mut() {
                    let wanted = FUNCTIONS.iter().zip(&sites).any(|((function, ..), sites)| {
                        program.name() == *function && copy < sites.len()
                    });
                    program.set_autoload(wanted);
                    if !kernel::has_uprobe_multi() {
                        // SEC("uprobe.multi") set it; the old way of attaching wants none.
                        program.set_attach_type(ProgramAttachType::CgroupInetIngress);
                    }
                }
                object.load()
            })?;
            objects.push(object);
        }
        Ok(Self {
            objects,
            links: Vec::new(),
            sites,
        })
    }

    /// Attaches to every marker in `file`.
    pub(super) fn attach(&mut self, file: &Path, scope: Scope) -> Result<(), NativeError> {
        let pid = scope.pid();
        for ((function, ..), sites) in FUNCTIONS.iter().zip(&self.sites) {
            for (object, site) in self.objects.iter().zip(sites) {
                let link = messages::explain(|| attach(object, function, file, site, pid))?;
                self.links.push(link);
            }
        }
        Ok(())
    }

    /// Removes the markers' breakpoints; the semaphore goes back to what it was.
    pub(super) fn detach(&mut self) {
        self.links.clear();
    }
}

fn open(tables: &Tables) -> libbpf_rs::Result<OpenObject> {
    let mut object = ObjectBuilder::default().name("gil")?.open_memory(PROGRAM)?;
    for mut map in object.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if let Some(table) = tables.named(&name) {
            map.reuse_fd(table.as_fd())?;
        }
    }
    Ok(object)
}

fn settings<'a>(
    object: &mut OpenObject,
    work: &Work,
    file: Marked,
    places: impl Iterator<Item = Option<&'a [Place]>>,
) -> libbpf_rs::Result<()> {
    let settings = Settings {
        events_from_ns: work.events_from_ns.unwrap_or(u64::MAX),
        wake_at_bytes: u64::from(work.sizes.ring) / 8,
        keep_totals: work.keep_totals,
        stacks_from_ns: work.stacks_from_ns,
        functions: work.told.functions,
        is_adaptive: work.is_adaptive,
        only_listed: work.only_listed,
        interval_at: file.interval_at,
        file: file.number,
    };
    let bytes = settings.bytes(places);
    for mut map in object.maps_mut() {
        if ends_with(map.name(), ".rodata")
            && let Some(value) = map.initial_value_mut()
            && let Some(value) = value.get_mut(..bytes.len())
        {
            value.copy_from_slice(&bytes);
            return Ok(());
        }
    }
    Err(libbpf_rs::Error::from(std::io::Error::other(
        "the program has no settings",
    )))
}

/// Attaches a function of a program to a marker.
pub(super) fn attach(
    object: &Object,
    function: &str,
    file: &Path,
    site: &Site,
    pid: i32,
) -> libbpf_rs::Result<Link> {
    let program = object
        .progs_mut()
        .find(|program| program.name() == function)
        .ok_or_else(|| std::io::Error::other(format!("the program has no function {function}")))?;
    let offset = usize::try_from(site.offset).map_err(std::io::Error::other)?;
    let semaphore = usize::try_from(site.semaphore_offset).map_err(std::io::Error::other)?;
    if kernel::has_uprobe_multi() {
        let options = UprobeMultiOpts {
            offsets: vec![offset],
            ref_ctr_offsets: vec![semaphore],
            ..UprobeMultiOpts::default()
        };
        program.attach_uprobe_multi_with_opts(pid, file, "", options)
    } else {
        let options = UprobeOpts {
            ref_ctr_offset: semaphore,
            ..UprobeOpts::default()
        };
        program.attach_uprobe_with_opts(pid, file, offset, options)
    }
}

fn ends_with(name: &std::ffi::OsStr, end: &str) -> bool {
    name.to_string_lossy().ends_with(end)
}
