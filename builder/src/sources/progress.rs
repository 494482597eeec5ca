//! What a caller may show while sources are fetched and unpacked.

use super::provider::{ProviderName, Refusal};

/// Told about each step; every method may be left out.
pub trait Progress {
    /// A provider is about to be asked.
    fn asking(&mut self, provider: ProviderName) {
        let _ = provider;
    }

    /// A provider refused; the next one is asked, or none is left.
    fn refused(&mut self, refusal: &Refusal) {
        let _ = refusal;
    }

    /// A step of its own began, such as `downloading Python-3.13.5.tar.xz`.
    fn step(&mut self, description: &str) {
        let _ = description;
    }

    /// Of the present step so many bytes are done, out of so many where that is known.
    fn bytes(&mut self, done: u64, total: Option<u64>) {
        let _ = (done, total);
    }
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
