//! Shows on the terminal how far the fetching of sources is.

use crate::sources::Progress as SourceProgress;
use crate::terminal::{Progress, Unit};

/// What is on the terminal now.
#[derive(Default)]
pub(crate) struct Shown {
    step: Option<Progress>,
}

impl Shown {
    /// Takes what is shown off the terminal.
    pub(crate) fn finish(&mut self) {
        if let Some(step) = self.step.take() {
            step.finish();
        }
    }
}

impl SourceProgress for Shown {
    fn step(&mut self, description: &str) {
        self.finish();
        self.step = Some(Progress::start("Fetching", description));
    }

    fn bytes(&mut self, done: u64, total: Option<u64>) {
        if let (Some(step), Some(total)) = (&self.step, total) {
            step.position(done, total, Unit::Bytes);
        }
    }
}
