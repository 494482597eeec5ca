//! Looks now and then what threads are in that were asked for the GIL and keep it (sample.bpf.c).

use std::io;
use std::os::fd::AsFd as _;

use libbpf_rs::{Link, Object, ObjectBuilder};

use crate::native::tables::Tables;
use crate::native::{NativeError, messages};

/// As clang compiled it.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sample.bpf.o"));
/// How often each processor looks, in a second. No multiple of the switch interval, which others wait for before they ask.
const RATE: u64 = 197;

/// From `linux/perf_event.h`.
const PERF_FLAG_FD_CLOEXEC: u64 = 8;

/// The program, attached to the clock of every processor. Detached when dropped.
pub(super) struct Sampler {
    _links: Vec<Link>,
    _object: Object,
}

impl Sampler {
    /// Begins to look.
    pub(super) fn start(tables: &Tables) -> Result<Self, NativeError> {
        messages::explain(|| {
            let mut object = ObjectBuilder::default()
                .name("gil_sample")?
                .open_memory(PROGRAM)?;
            for mut map in object.maps_mut() {
                let name = map.name().to_string_lossy().into_owned();
                if let Some(table) = tables.named(&name) {
                    map.reuse_fd(table.as_fd())?;
                }
            }
            let object = object.load()?;
            let mut links = Vec::new();
            for program in object.progs_mut() {
                for processor in 0..libbpf_rs::num_possible_cpus()? {
                    // One that is switched off has no clock.
                    if let Some(clock) = clock(processor)? {
                        links.push(program.attach_perf_event(clock)?);
                    }
                }
            }
            Ok(Self {
                _links: links,
                _object: object,
            })
        })
    }
}

/// A clock of a processor, as a file that the link which it is given to closes. `None` for a processor that is not there.
fn clock(processor: usize) -> io::Result<Option<i32>> {
    let mut wanted = libbpf_sys::perf_event_attr {
        type_: libbpf_sys::PERF_TYPE_SOFTWARE,
        size: u32::try_from(size_of::<libbpf_sys::perf_event_attr>()).unwrap_or(0),
        config: u64::from(libbpf_sys::PERF_COUNT_SW_CPU_CLOCK),
        ..libbpf_sys::perf_event_attr::default()
    };
    wanted.__bindgen_anon_1.sample_freq = RATE;
    wanted.set_freq(1);
    // SAFETY: the kernel reads `wanted`, whose size it is told, and returns a file descriptor or -1.
    let file = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const wanted,
            -1_i32,
            i32::try_from(processor).unwrap_or(i32::MAX),
            -1_i32,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    match i32::try_from(file) {
        Ok(file @ 0..) => Ok(Some(file)),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            error => Err(io::Error::other(format!(
                "perf_event_open, for a clock of a processor: {error}"
            ))),
        },
    }
}
