//! The forms in which a report is written.

mod diff;
mod html;
mod json;
mod text;

pub use diff::{diff_json, diff_text};
pub use html::html;
pub use json::json;
pub use text::{Sort, TextOptions, ThreadChoice, text};
