//! An image out of a registry, into a layout: every byte checked against the digest it was asked for by.

use std::io::{self, Read};

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use ureq::http::Method;

use super::Shown;
use super::client::{Client, RegistryError};
use crate::digest::{Digest, HashingWriter};
use crate::image::Image;
use crate::layout::{LARGEST_DOCUMENT, Layout, LayoutError, descriptor, digest_of, parse};
use crate::platform::Platform;

/// The kinds of documents that we read.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Pulls the client's image into `layout`; of several platforms, the one asked for. Returns it with the digest that the reference
/// names, which is the index's where there is one. Blobs that the layout has are not fetched again.
///
/// # Errors
/// When there is no such image, or something that comes is not what was asked for.
pub fn pull(
    client: &Client,
    layout: &Layout,
    platform: &Platform,
    shown: Shown<'_>,
) -> Result<(Image, Digest), RegistryError> {
    let reference = client.reference();
    let name = reference
        .digest()
        .or(reference.tag())
        .unwrap_or("latest")
        .to_owned();
    let (top, bytes) = manifest(client, layout, &name)?;
    let found = digest_of(&top).map_err(LayoutError::from)?;
    let is_index = *top.media_type() == MediaType::ImageIndex
        || top.media_type().as_ref().contains("manifest.list");
    let (image, bytes) = if is_index {
        let index: ImageIndex = parse("index of the image", &bytes)?;
        let fitting = platform.choose(index.manifests())?;
        manifest(client, layout, fitting.digest().as_ref())?
    } else {
        (top, bytes)
    };
    let manifest: ImageManifest = parse("manifest of the image", &bytes)?;
    for blob in std::iter::once(manifest.config()).chain(manifest.layers()) {
        fetch(client, layout, blob, shown)?;
    }
    Ok((Image::load(layout, &image, platform)?, found))
}

/// Fetches a manifest or an index by tag or digest and keeps it.
fn manifest(
    client: &Client,
    layout: &Layout,
    name: &str,
) -> Result<(Descriptor, Vec<u8>), RegistryError> {
    let url = client.url(&format!("manifests/{name}"));
    let mut response = client.request(Method::GET, &url, &[("accept", ACCEPTED)])?;
    match response.status().as_u16() {
        200 => {}
        404 => return Err(RegistryError::NotFound(client.reference().whole())),
        _ => return Err(client.unexpected("asked for the manifest", &mut response)),
    }
    let media_type = response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .to_owned();
    let mut bytes = Vec::new();
    response
        .body_mut()
        .as_reader()
        .take(LARGEST_DOCUMENT + 1)
        .read_to_end(&mut bytes)?;
    let found = Digest::of(&bytes);
    if bytes.len() as u64 > LARGEST_DOCUMENT {
        return Err(LayoutError::TooLarge(found).into());
    }
    if let Ok(expected) = name.parse::<Digest>()
        && expected != found
    {
        return Err(RegistryError::Digest { expected, found });
    }
    let kept = layout.put(MediaType::from(media_type.as_str()), &bytes)?;
    Ok((kept, bytes))
}

fn fetch(
    client: &Client,
    layout: &Layout,
    blob: &Descriptor,
    shown: Shown<'_>,
) -> Result<(), RegistryError> {
    let expected = digest_of(blob).map_err(LayoutError::from)?;
    if layout.has(&expected) && layout.open_blob(blob).is_ok() {
        return Ok(());
    }
    let url = client.url(&format!("blobs/{expected}"));
    let mut response = client.request(Method::GET, &url, &[])?;
    if !response.status().is_success() {
        return Err(client.unexpected(&format!("asked for the blob {expected}"), &mut response));
    }
    let mut file = layout.new_blob()?;
    let mut sink = HashingWriter::new(file.as_file_mut());
    // No more than promised, and one byte to see that there is more.
    let mut source = response.body_mut().as_reader().take(blob.size() + 1);
    let mut done = 0;
    loop {
        let copied = io::copy(&mut (&mut source).take(1 << 20), &mut sink)?;
        if copied == 0 {
            break;
        }
        done += copied;
        shown(&expected, done, blob.size());
    }
    let (found, size, _) = sink.finish();
    if found != expected || size != blob.size() {
        return Err(RegistryError::Digest { expected, found });
    }
    layout.keep(file, &expected)?;
    Ok(())
}

/// Whether the registry has a manifest of this digest or tag; with it, its descriptor.
pub(super) fn index_of(client: &Client, tag: &str) -> Result<Option<ImageIndex>, RegistryError> {
    let url = client.url(&format!("manifests/{tag}"));
    let mut response = client.request(Method::GET, &url, &[("accept", ACCEPTED)])?;
    match response.status().as_u16() {
        404 => Ok(None),
        200 => {
            let mut bytes = Vec::new();
            let reader = response.body_mut().as_reader();
            reader.take(LARGEST_DOCUMENT).read_to_end(&mut bytes)?;
            Ok(Some(parse("list of referrers", &bytes)?))
        }
        _ => Err(client.unexpected("asked for the list of referrers", &mut response)),
    }
}

/// A descriptor of bytes that are about to be sent.
pub(super) fn describe(media_type: MediaType, bytes: &[u8]) -> Descriptor {
    descriptor(media_type, bytes.len() as u64, &Digest::of(bytes))
}
