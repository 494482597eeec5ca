//! Registries: images pulled from them and pushed to them, after the OCI distribution specification 1.1.

mod authentication;
mod client;
mod credentials;
mod pull;
mod push;
mod referrer;
mod upload;

pub use client::{Client, RegistryError, Transport};
pub use credentials::{Credentials, CredentialsError};
pub use oci_spec::distribution::Reference;
pub use pull::pull;
pub use push::{PushOptions, push};
pub use referrer::attach;

/// Shows how far a transfer is: the blob's digest, bytes done, bytes in all.
pub type Shown<'a> = &'a mut dyn FnMut(&crate::digest::Digest, u64, u64);
