//! From an installed prefix to an archive that other tools install: the layout of python-build-standalone's `install_only` archives, and
//! the metadata that uv and pyenv read.

pub mod archive;
pub mod contents;
pub mod metadata;
pub mod strip;
