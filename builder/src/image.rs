//! From a version to an image: an interpreter built in a root of the image's own distribution, and put into the image.

pub mod assemble;
pub mod description;
pub mod engine;
pub mod exchange;
mod gilprobe;
pub mod inspect;
pub mod interpreter;
mod labels;
pub mod misfit;
pub mod privilege;
pub mod push;
pub mod recipe;
pub mod revert;
pub mod survey;
pub(crate) mod sysconfig;
