//! From a version to an image: an interpreter built in a root of the image's own distribution, and put into the image.

pub mod assemble;
pub mod inspect;
pub mod interpreter;
pub mod privilege;
pub mod push;
mod recipe;
