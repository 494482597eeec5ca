//! The forms in which a report is written.

mod json;
mod text;

pub use json::json;
pub use text::{Sort, TextOptions, ThreadChoice, text};
