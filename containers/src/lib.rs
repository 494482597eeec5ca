//! OCI images without a daemon: where an image starts from, the layers put onto it, and where it goes.
//!
//! Knows nothing of CPython beyond "a prefix and its metadata". The flow, left to right:
//!
//! base → [`Image`](image::Image) in a [`Layout`](layout::Layout) → root folder → changes → layer → image → output
//!
//! What comes from outside (layouts, archives, layers) is taken for hostile: paths stay inside the folder that they are
//! unpacked into, sizes are bounded, digests are checked before anything is used.

pub mod archive;
pub mod base;
pub mod configuration;
pub mod debian;
pub mod digest;
pub mod docker_archive;
pub mod engine;
pub mod image;
pub mod layer;
pub mod layout;
pub mod output;
pub mod platform;
pub mod process;
pub mod registry;
pub mod root;
pub mod sbom;
pub mod time;
