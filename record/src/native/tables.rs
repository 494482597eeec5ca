//! The tables that the eBPF programs fill: made here, and shared by all copies of the program.

use libbpf_rs::{MapCore as _, MapFlags, MapHandle, MapType, Object};

use crate::native::layout::{self, Counters};
use crate::native::{NativeError, messages};

/// How large the tables are.
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

/// The tables.
pub(super) struct Tables {
    ring: MapHandle,
    pub(super) lanes: MapHandle,
    pub(super) near_lanes: MapHandle,
    pub(super) buckets: MapHandle,
    pub(super) near_buckets: MapHandle,
    pub(super) asked: MapHandle,
    counters: MapHandle,
    control: MapHandle,
    keeping: MapHandle,
    processes: MapHandle,
    locations: MapHandle,
    near_locations: MapHandle,
    pub(super) names: MapHandle,
}

/// Places in Python code of which it is remembered that the trace tells what they are.
const LOCATIONS: u32 = 65_536;
/// Threads whose names are remembered.
const NAMES: u32 = 16_384;

impl Tables {
    /// Makes them, all but the set of processes.
    pub(super) fn create(
        sizes: Sizes,
        events_from_ns: u64,
        processes: &MapHandle,
    ) -> Result<Self, NativeError> {
        let lanes = if sizes.forget {
            MapType::LruHash
        } else {
            MapType::Hash
        };
        let tables = Self {
            ring: create(MapType::RingBuf, "ring", 0, 0, sizes.ring)?,
            lanes: create(
                lanes,
                "lanes",
                layout::LANE_KEY_BYTES,
                layout::LANE_BYTES,
                sizes.lanes,
            )?,
            near_lanes: create(
                MapType::Array,
                "near_lanes",
                4,
                layout::NEAR_LANE_BYTES,
                layout::NEAR_LANES,
            )?,
            asked: create(
                MapType::LruHash,
                "asked",
                layout::ASKED_KEY_BYTES,
                8,
                sizes.lanes,
            )?,
            buckets: hash("buckets", 8, 8, sizes.buckets)?,
            near_buckets: create(
                MapType::Array,
                "near_buckets",
                4,
                layout::NEAR_BUCKET_BYTES,
                layout::NEAR_BUCKETS,
            )?,
            counters: create(MapType::Array, "counters", 4, layout::COUNTERS_BYTES, 1)?,
            keeping: create(
                MapType::LruHash,
                "keeping",
                layout::ASKED_THREAD_BYTES,
                8,
                sizes.lanes,
            )?,
            control: create(MapType::Array, "control", 4, layout::CONTROL_BYTES, 1)?,
            processes: duplicate(processes)?,
            locations: create(
                MapType::LruHash,
                "locations",
                layout::LOCATION_KEY_BYTES,
                8,
                LOCATIONS,
            )?,
            near_locations: create(
                MapType::Array,
                "near_locations",
                4,
                layout::LOCATION_KEY_BYTES,
                layout::NEAR_LOCATIONS,
            )?,
            names: create(
                MapType::LruHash,
                "names",
                layout::NAME_KEY_BYTES,
                layout::NAME_BYTES,
                NAMES,
            )?,
        };
        tables.set_events_from(events_from_ns)?;
        Ok(tables)
    }

    /// The table of this name.
    pub(super) fn named(&self, name: &str) -> Option<&MapHandle> {
        match name {
            "ring" => Some(&self.ring),
            "lanes" => Some(&self.lanes),
            "near_lanes" => Some(&self.near_lanes),
            "buckets" => Some(&self.buckets),
            "near_buckets" => Some(&self.near_buckets),
            "asked" => Some(&self.asked),
            "counters" => Some(&self.counters),
            "control" => Some(&self.control),
            "keeping" => Some(&self.keeping),
            "processes" => Some(&self.processes),
            "locations" => Some(&self.locations),
            "near_locations" => Some(&self.near_locations),
            "names" => Some(&self.names),
            _ => None,
        }
    }

    /// From now on, cycles that last so long become events, if the program is an adaptive one.
    pub(super) fn set_events_from(&self, events_from_ns: u64) -> Result<(), NativeError> {
        let (first, value) = (0_u32.to_ne_bytes(), events_from_ns.to_ne_bytes());
        messages::explain(|| self.control.update(&first, &value, MapFlags::ANY))
    }

    /// Where events are taken from.
    pub(super) fn events(&self) -> Result<MapHandle, NativeError> {
        duplicate(&self.ring)
    }

    /// What the programs count besides the lanes.
    pub(super) fn counters(&self) -> Result<CounterTable, NativeError> {
        duplicate(&self.counters).map(CounterTable)
    }
}

/// What the programs count besides the lanes.
pub(super) struct CounterTable(MapHandle);

impl CounterTable {
    pub(super) fn read(&self) -> Counters {
        match self.0.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY) {
            Ok(Some(bytes)) => Counters::read(&bytes),
            _ => Counters::default(),
        }
    }
}

/// A hash table.
pub(super) fn hash(
    name: &str,
    key: u32,
    value: u32,
    entries: u32,
) -> Result<MapHandle, NativeError> {
    create(MapType::Hash, name, key, value, entries)
}

fn create(
    kind: MapType,
    name: &str,
    key: u32,
    value: u32,
    entries: u32,
) -> Result<MapHandle, NativeError> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: std::mem::size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..libbpf_sys::bpf_map_create_opts::default()
    };
    messages::explain(|| MapHandle::create(kind, Some(name), key, value, entries, &options))
}

/// Another hold on the same table.
fn duplicate(map: &MapHandle) -> Result<MapHandle, NativeError> {
    messages::explain(|| MapHandle::try_from(map))
}

/// A table that a program has of its own.
pub(super) fn of_object(object: &Object, name: &str) -> libbpf_rs::Result<MapHandle> {
    let map = object
        .maps()
        .find(|map| map.name() == name)
        .ok_or_else(|| std::io::Error::other(format!("the program has no map {name}")))?;
    MapHandle::try_from(&map)
}
