//! A document that belongs to an image in a registry, such as the list of what is in it: found from the image, apart from it.

use oci_spec::image::{Descriptor, MediaType};
use serde_json::json;

use super::Shown;
use super::client::{Client, RegistryError};
use super::pull::{describe, index_of};
use super::push::{PushOptions, put_manifest};
use super::upload::upload;
use crate::layout::{Layout, LayoutError, digest_of};

/// Puts a document of this type beside an image that has been pushed, and returns its manifest's descriptor.
///
/// # Errors
/// When the registry cannot be reached or refuses.
pub fn attach(
    client: &Client,
    layout: &Layout,
    image: &Descriptor,
    media_type: &str,
    document: &[u8],
    shown: Shown<'_>,
) -> Result<Descriptor, RegistryError> {
    let document = layout.put(MediaType::from(media_type), document)?;
    let empty = layout.put(MediaType::EmptyJSON, b"{}")?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest,
        "artifactType": media_type,
        "config": empty,
        "layers": [document],
        "subject": image,
    });
    let manifest = layout.put_document(MediaType::ImageManifest, &manifest)?;
    for blob in [&document, &empty] {
        upload(client, layout, blob, &PushOptions::default(), shown)?;
    }
    let bytes = layout.read(&manifest)?;
    let listed = put_manifest(client, manifest.digest().as_ref(), &manifest, &bytes)?;
    if !listed {
        list(client, image, &manifest, media_type)?;
    }
    Ok(manifest)
}

/// Registries from before version 1.1 of the specification keep the list under a tag that is made of the image's digest.
fn list(
    client: &Client,
    image: &Descriptor,
    referrer: &Descriptor,
    media_type: &str,
) -> Result<(), RegistryError> {
    let digest = digest_of(image).map_err(LayoutError::from)?;
    let tag = format!("sha256-{}", digest.hex());
    let mut referrer = referrer.clone();
    referrer.set_artifact_type(Some(MediaType::from(media_type)));
    let mut referrers = match index_of(client, &tag)? {
        Some(index) => index.manifests().clone(),
        None => Vec::new(),
    };
    referrers.retain(|other| other.digest() != referrer.digest());
    referrers.push(referrer);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageIndex,
        "manifests": referrers,
    });
    let bytes = serde_json::to_vec(&index).map_err(std::io::Error::from)?;
    let index = describe(MediaType::ImageIndex, &bytes);
    put_manifest(client, &tag, &index, &bytes)?;
    Ok(())
}
