//! An image into a registry: blobs first, the manifest last, so that a tag never names an image that is not whole.

use std::path::Path;

use oci_spec::image::{Descriptor, ImageManifest};
use ureq::http::Method;

use super::Shown;
use super::client::{Client, RegistryError};
use super::upload::upload;
use crate::layout::{Layout, parse};

/// How an image is pushed.
#[derive(Debug, Clone, Copy, Default)]
pub struct PushOptions<'a> {
    /// Another repository of the same registry that may have some of the blobs.
    pub mount_from: Option<&'a str>,
    /// Where uploads that are under way are noted, so that a later run goes on with them.
    pub sessions: Option<&'a Path>,
}

/// Pushes an image of a layout under the client's reference.
///
/// # Errors
/// When the registry cannot be reached or refuses. Under the reference there is then what was there before.
pub fn push(
    client: &Client,
    layout: &Layout,
    image: &Descriptor,
    options: &PushOptions<'_>,
    shown: Shown<'_>,
) -> Result<(), RegistryError> {
    let bytes = layout.read(image)?;
    let manifest: ImageManifest = parse("manifest of the image", &bytes)?;
    for blob in manifest.layers().iter().chain([manifest.config()]) {
        upload(client, layout, blob, options, shown)?;
    }
    let reference = client.reference();
    // The reference's tag; where it has only a digest, that of the image.
    let name = reference.tag().unwrap_or(image.digest().as_ref());
    put_manifest(client, name, image, &bytes)?;
    Ok(())
}

/// Puts a manifest under a tag or its digest. Returns whether the registry keeps lists of referrers itself.
pub(super) fn put_manifest(
    client: &Client,
    name: &str,
    manifest: &Descriptor,
    bytes: &[u8],
) -> Result<bool, RegistryError> {
    let url = client.url(&format!("manifests/{name}"));
    let headers = [
        ("content-type", manifest.media_type().as_ref()),
        ("content-length", &*bytes.len().to_string()),
    ];
    let mut response = client.send(Method::PUT, &url, &headers, || {
        Ok(ureq::SendBody::from_owned_reader(std::io::Cursor::new(
            bytes.to_vec(),
        )))
    })?;
    if response.status().as_u16() != 201 {
        return Err(client.unexpected("the manifest was put", &mut response));
    }
    Ok(response.headers().contains_key("oci-subject"))
}
