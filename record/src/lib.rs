//! Records GIL marker events from running processes.
//!
//! ```no_run
//! use gil_record::{Options, Silent, Target, record};
//!
//! let options = Options { duration: Some(std::time::Duration::from_secs(10)), ..Options::default() };
//! let recording = record(&Target::Process(4711), &options, &mut Silent)?;
//! println!("{:?}: {} events, {} lost", recording.finished, recording.events, recording.lost);
//! # Ok::<(), gil_record::RecordError>(())
//! ```

mod bpftrace;
mod cgroup;
mod clock;
mod container;
mod error;
mod events;
mod facts;
mod interpreter;
mod interval;
mod launch;
mod loader;
mod maps;
mod members;
mod memory;
mod native;
mod observer;
mod options;
mod privilege;
mod process;
mod record;
mod scripted;
pub mod scripts;
mod stop;
pub mod systemtap;
mod trace;
mod tracer;
mod version;
mod window;

pub use error::RecordError;
pub use interpreter::{Found, Interpreter, find};
pub use native::live::{Live, Sample, ThreadSample};
pub use observer::{Observer, Silent};
pub use options::{Backend, Form, Mode, Options, Target, Told};
pub use record::{Cost, Recording, interpreter_of, record};
pub use stop::{StopFlag, StopReason};
pub use tracer::Finished;
