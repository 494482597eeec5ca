//! The eBPF program in the kernel: opened, set up for one interpreter's markers, loaded, attached.

use std::path::Path;

use gil_probes::elf::Image;
use libbpf_rs::{
    Link, MapCore as _, MapFlags, MapHandle, MapType, Object, ObjectBuilder, OpenObject,
    ProgramAttachType, UprobeMultiOpts, UprobeOpts,
};

use crate::native::layout::{Counters, Settings};
use crate::native::place::Place;
use crate::native::site::{self, Site};
use crate::native::{NativeError, kernel, messages};

/// As clang compiled it.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/gil.bpf.o"));
/// How many places of one marker in a file are attached to. CPython has one; a compiler may copy a function.
const MOST_SITES: usize = 16;
/// The functions of the program and the markers that they are for, in the order of `MARKER_…` there.
const FUNCTIONS: [(&str, &str); 2] = [
    ("gil_drop", "gil__drop"),
    ("gil_request", "gil__drop__request"),
];

/// How large the program's tables are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Threads, times the GILs that they use.
    pub(super) lanes: u32,
    /// Buckets of histograms in use, of all threads together.
    pub(super) buckets: u32,
    /// Bytes for events that were not read yet: a power of two.
    pub(super) ring: u32,
    /// Whether a lane may be forgotten for a new one: true where totals do not depend on it.
    pub(super) forget: bool,
}

/// What the program is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) sizes: Sizes,
    /// Cycles that last so long become events; `None`: no events.
    pub(super) events_from_ns: Option<u64>,
    pub(super) keep_totals: bool,
}

/// The program, loaded. Attached as long as its links are there.
pub(super) struct Program {
    objects: Vec<Object>,
    links: Vec<Link>,
    ring: MapHandle,
    pub(super) lanes: MapHandle,
    pub(super) buckets: MapHandle,
    sites: Vec<Vec<Site>>,
}

/// The places of the markers that the program attaches to.
pub(super) fn find_sites(image: &Image) -> Result<Vec<Vec<Site>>, NativeError> {
    let sites = FUNCTIONS.iter();
    sites
        .map(|(_, marker)| site::find(image, marker, MOST_SITES))
        .collect()
}

impl Program {
    /// Loads the program for these places of the markers, in the order of [`find_sites`].
    pub(super) fn load(sites: Vec<Vec<Site>>, work: &Work) -> Result<Self, NativeError> {
        // The arguments' places are constants of the program: a second place of a marker needs a second program.
        let copies = sites.iter().map(Vec::len).max().unwrap_or(0);
        let mut objects: Vec<Object> = Vec::with_capacity(copies);
        let mut maps: Option<(MapHandle, MapHandle, MapHandle)> = None;
        for copy in 0..copies {
            let object = messages::explain(|| {
                let mut object = open(work, maps.as_ref())?;
                let places = (0..FUNCTIONS.len())
                    .map(|marker| Some(&sites.get(marker)?.get(copy)?.places[..]));
                settings(&mut object, work, places)?;
                for mut program in object.progs_mut() {
                    let wanted = FUNCTIONS.iter().zip(&sites).any(|((function, _), sites)| {
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
            if maps.is_none() {
                maps = Some((
                    handle(&object, "ring")?,
                    handle(&object, "lanes")?,
                    handle(&object, "buckets")?,
                ));
            }
            objects.push(object);
        }
        let (ring, lanes, buckets) = maps.ok_or(NativeError::NoMarker { name: "gil__drop" })?;
        Ok(Self {
            objects,
            links: Vec::new(),
            ring,
            lanes,
            buckets,
            sites,
        })
    }

    /// Attaches to every marker in `file`, for process `pid` alone.
    pub(super) fn attach(&mut self, file: &Path, pid: u32) -> Result<(), NativeError> {
        let pid = i32::try_from(pid).unwrap_or(-1);
        for ((function, _), sites) in FUNCTIONS.iter().zip(&self.sites) {
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

    /// Where events are taken from.
    pub(super) fn ring(&self) -> Result<MapHandle, NativeError> {
        duplicate(&self.ring)
    }

    /// What the program counted besides the lanes.
    pub(super) fn counters(&self) -> Result<CounterMaps, NativeError> {
        let maps = self.objects.iter().map(|object| handle(object, ".bss"));
        maps.collect::<Result<_, _>>().map(CounterMaps)
    }
}

/// What the program counts besides the lanes, once for each copy of it.
pub(super) struct CounterMaps(Vec<MapHandle>);

impl CounterMaps {
    /// The sum over the copies.
    pub(super) fn read(&self) -> Counters {
        let mut sum = Counters::default();
        for map in &self.0 {
            if let Ok(Some(bytes)) = map.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY) {
                sum.add(&Counters::read(&bytes));
            }
        }
        sum
    }
}

fn open(
    work: &Work,
    maps: Option<&(MapHandle, MapHandle, MapHandle)>,
) -> libbpf_rs::Result<OpenObject> {
    use std::os::fd::AsFd as _;
    let mut object = ObjectBuilder::default().name("gil")?.open_memory(PROGRAM)?;
    for mut map in object.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        let (size, shared) = match name.as_str() {
            "ring" => (work.sizes.ring, maps.map(|maps| &maps.0)),
            "lanes" => (work.sizes.lanes, maps.map(|maps| &maps.1)),
            "buckets" => (work.sizes.buckets, maps.map(|maps| &maps.2)),
            _ => continue,
        };
        if name == "lanes" && work.sizes.forget {
            map.set_type(MapType::LruHash)?;
        }
        map.set_max_entries(size)?;
        if let Some(shared) = shared {
            map.reuse_fd(shared.as_fd())?;
        }
    }
    Ok(object)
}

fn settings<'a>(
    object: &mut OpenObject,
    work: &Work,
    places: impl Iterator<Item = Option<&'a [Place]>>,
) -> libbpf_rs::Result<()> {
    let settings = Settings {
        events_from_ns: work.events_from_ns.unwrap_or(u64::MAX),
        wake_at_bytes: u64::from(work.sizes.ring) / 8,
        keep_totals: work.keep_totals,
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

fn attach(
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

fn handle(object: &Object, name: &str) -> Result<MapHandle, NativeError> {
    messages::explain(|| {
        let map = object
            .maps()
            .find(|map| ends_with(map.name(), name))
            .ok_or_else(|| std::io::Error::other(format!("the program has no map {name}")))?;
        MapHandle::try_from(&map)
    })
}

fn duplicate(map: &MapHandle) -> Result<MapHandle, NativeError> {
    messages::explain(|| MapHandle::try_from(map))
}

fn ends_with(name: &std::ffi::OsStr, end: &str) -> bool {
    name.to_string_lossy().ends_with(end)
}
