//! The tracer of what makes free-threaded processes stall: a program of its own, beside the one for the GIL, with the same ring for events.

mod totals;

use std::os::fd::AsFd as _;
use std::path::Path;

use gil_probes::catalogue;
use gil_probes::elf::Image;
use gil_report::Stall;
use libbpf_rs::{Link, MapHandle, Object, ObjectBuilder, OpenObject, ProgramAttachType};

pub(super) use totals::summary;

use crate::native::object::{self, Marked, Scope, Work};
use crate::native::place::{self, Place};
use crate::native::site::{self, Site};
use crate::native::tables::{self, Tables};
use crate::native::{NativeError, kernel, messages};

/// As clang compiled it.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stall.bpf.o"));
/// The functions of the program and the markers that they are for, in the order of `MARKER_…` there.
const FUNCTIONS: [(&str, &str); 3] = [
    ("stw_begin", "stw__begin"),
    ("stw_end", "stw__end"),
    ("mutex_wait", "mutex__wait"),
];
/// Arguments in the table of each marker.
const ARGUMENTS: usize = 5;
/// The first of the kinds of event that the program sends.
const FIRST_KIND: u32 = 16;

/// The program for the markers of one file, loaded and attached.
pub(super) struct StallProgram {
    links: Vec<Link>,
    stalls: MapHandle,
    lost: MapHandle,
    /// Drops its programs.
    _object: Object,
}

impl StallProgram {
    /// Attaches to the markers of a free-threaded interpreter; `None` for one that is not, or that has none of them.
    pub(super) fn attach(
        image: &Image,
        path: &Path,
        (work, tables, file): (&Work, &Tables, Marked),
        scope: Scope,
    ) -> Result<Option<Self>, NativeError> {
        if !image.free_threaded {
            return Ok(None);
        }
        let mut sites: Vec<Site> = Vec::new();
        for (_, marker) in FUNCTIONS {
            let needed = catalogue::find(marker).map_or(0, |marker| marker.arguments.len());
            match site::find(image, marker, needed, 1) {
                Ok(found) => sites.extend(found),
                // Built before there were such markers.
                Err(NativeError::NoMarker { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let settings = settings(work, file, &sites);
        messages::explain(|| {
            let object = load(tables, &settings)?;
            let mut links = Vec::new();
            for ((function, _), site) in FUNCTIONS.iter().zip(&sites) {
                links.push(object::attach(&object, function, path, site, scope.pid())?);
            }
            Ok(Some(Self {
                links,
                stalls: tables::of_object(&object, "stalls")?,
                lost: tables::of_object(&object, "lost_stalls")?,
                _object: object,
            }))
        })
    }

    /// Removes the markers' breakpoints.
    pub(super) fn detach(&mut self) {
        self.links.clear();
    }

    /// How many events and durations there was no room for.
    pub(super) fn lost(&self) -> u64 {
        totals::lost(&self.lost)
    }
}

/// `struct settings` in stall.bpf.c.
fn settings(work: &Work, file: Marked, sites: &[Site]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for site in sites {
        for number in 0..ARGUMENTS {
            let place = site.places.get(number).map(Place::bytes);
            bytes.extend(place.unwrap_or([0; place::BYTES]));
        }
    }
    for word in [
        u64::from(work.events_from_ns.is_some()),
        u64::from(work.sizes.ring) / 8,
        u64::from(work.only_listed),
        file.number,
    ] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}

fn load(tables: &Tables, settings: &[u8]) -> libbpf_rs::Result<Object> {
    let mut object: OpenObject = ObjectBuilder::default()
        .name("stall")?
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
    if !kernel::has_uprobe_multi() {
        for mut program in object.progs_mut() {
            // SEC("uprobe.multi") set it; the old way of attaching wants none.
            program.set_attach_type(ProgramAttachType::CgroupInetIngress);
        }
    }
    object.load()
}

/// What an event says: its kind and its last three words. `None` for a kind that is none of this program's.
pub(super) fn event(kind: u32, what: u64, first: u64, second: u64) -> Option<Stall> {
    Some(match kind.checked_sub(FIRST_KIND)? {
        0 => Stall::StwBegin { global: what != 0 },
        1 => Stall::StwEnd {
            global: what != 0,
            stopped_ns: first,
            wait_ns: second,
        },
        2 => Stall::Mutex {
            address: what,
            wait_ns: first,
            threading: second != 0,
        },
        _ => return None,
    })
}
