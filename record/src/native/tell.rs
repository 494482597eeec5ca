//! The tracer of what processes tell of themselves: thread names, places in Python code, spans. A program of its own beside the one for the GIL,
//! with the same ring for events; attached to each file that has such markers.

use std::os::fd::AsFd as _;
use std::path::Path;

use gil_probes::catalogue;
use gil_probes::elf::Image;
use libbpf_rs::{
    Link, MapCore as _, MapFlags, MapHandle, Object, ObjectBuilder, OpenObject, ProgramAttachType,
};

use crate::native::object::{self, Scope, Work};
use crate::native::place::{self, Place};
use crate::native::site::{self, Site};
use crate::native::tables::{self, Tables};
use crate::native::{NativeError, kernel, messages};

/// As clang compiled it.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tell.bpf.o"));
/// The functions of the program and the markers that they are for, in the order of `MARKER_…` there.
const FUNCTIONS: [(&str, &str); 5] = [
    ("thread_name", "thread__name"),
    ("gil_functions", "gil__functions"),
    ("span_begin", "span__begin"),
    ("span_end", "span__end"),
    ("span_switch", "span__switch"),
];
/// Arguments in the table of each marker.
const ARGUMENTS: usize = 6;

/// The program for the markers of one file, loaded and attached.
pub(super) struct TellProgram {
    links: Vec<Link>,
    lost: MapHandle,
    /// Drops its programs.
    _object: Object,
}

/// Whether a file has markers of spans.
pub(super) fn has_spans(image: &Image) -> bool {
    let mut notes = image.notes.iter();
    notes.any(|note| {
        note.provider == catalogue::PROVIDER
            && catalogue::SPANS
                .iter()
                .any(|marker| marker.name == note.name)
    })
}

/// Whether an interpreter tells where in Python code its threads are.
pub(super) fn has_functions(image: &Image) -> bool {
    let mut notes = image.notes.iter();
    notes.any(|note| note.provider == catalogue::PROVIDER && note.name == "gil__functions")
}

impl TellProgram {
    /// Attaches to those markers of a file that are there and wanted; `None` where there are none.
    pub(super) fn attach(
        image: &Image,
        path: &Path,
        (work, tables): (&Work, &Tables),
        scope: Scope,
    ) -> Result<Option<Self>, NativeError> {
        let sites = FUNCTIONS
            .iter()
            .map(|&(_, marker)| {
                if is_wanted(marker, work) {
                    find(image, marker)
                } else {
                    Ok(None)
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        if sites.iter().all(Option::is_none) {
            return Ok(None);
        }
        messages::explain(|| {
            let object = load(tables, &settings(work, &sites), &sites)?;
            let mut links = Vec::new();
            for ((function, _), site) in FUNCTIONS.iter().zip(&sites) {
                if let Some(site) = site {
                    links.push(object::attach(&object, function, path, site, scope.pid())?);
                }
            }
            Ok(Some(Self {
                links,
                lost: tables::of_object(&object, "lost_tellings")?,
                _object: object,
            }))
        })
    }

    /// Removes the markers' breakpoints.
    pub(super) fn detach(&mut self) {
        self.links.clear();
    }

    /// How many names and spans there was no room for.
    pub(super) fn lost(&self) -> u64 {
        let count = self.lost.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY);
        let bytes = count.ok().flatten().unwrap_or_default();
        bytes.try_into().map_or(0, u64::from_ne_bytes)
    }
}

fn is_wanted(marker: &str, work: &Work) -> bool {
    match marker {
        "thread__name" => true,
        "gil__functions" => work.told.functions,
        _ => work.told.spans,
    }
}

/// A marker that the file may have.
fn find(image: &Image, marker: &'static str) -> Result<Option<Site>, NativeError> {
    let needed = catalogue::find(marker).map_or(0, |marker| marker.arguments.len());
    match site::find(image, marker, needed, 1) {
        Ok(found) => Ok(found.into_iter().next()),
        Err(NativeError::NoMarker { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `struct settings` in tell.bpf.c.
fn settings(work: &Work, sites: &[Option<Site>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for site in sites {
        for number in 0..ARGUMENTS {
            let place = site.as_ref().and_then(|site| site.places.get(number));
            bytes.extend(place.map_or([0; place::BYTES], Place::bytes));
        }
    }
    for word in [
        u64::from(work.events_from_ns.is_some()),
        u64::from(work.only_listed),
    ] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}

fn load(tables: &Tables, settings: &[u8], sites: &[Option<Site>]) -> libbpf_rs::Result<Object> {
    let mut object: OpenObject = ObjectBuilder::default()
        .name("tell")?
        .open_memory(PROGRAM)?;
    for mut map in object.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        if let Some(table) = tables.named(&name) {
            map.reuse_fd(table.as_fd())?;
        } else if name.ends_with(".rodata")
            && let Some(value) = map.initial_value_mut()
            && let Some(value) = value.get_mut(..settings.len())
        {
            value.copy_from_slice(settings);
        }
    }
    for mut program in object.progs_mut() {
        let functions = FUNCTIONS.iter().zip(sites);
        let mut wanted = functions.filter(|(_, site)| site.is_some());
        let is_wanted = wanted.any(|((function, _), _)| program.name() == *function);
        program.set_autoload(is_wanted);
        if !kernel::has_uprobe_multi() {
            // SEC("uprobe.multi") set it; the old way of attaching wants none.
            program.set_attach_type(ProgramAttachType::CgroupInetIngress);
        }
    }
    object.load()
}
