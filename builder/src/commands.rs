//! The commands of `gilbuild`, one file each: their arguments and what they do with the library.

pub mod record;
pub mod verify;
