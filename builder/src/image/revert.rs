//! The way back: the layer that `gilbuild image --onto` put onto an image, taken off again.

use std::io::Read;

use gil_containers::digest::{Digest, NotADigest};
use gil_containers::image::{Image, ImageError};
use gil_containers::layer::{Kind, LayerReader, Limits, ReadError};
use gil_containers::layout::{Layout, LayoutError};
use oci_spec::image::Descriptor;

use super::description;
use super::exchange::{Exchange, FILE, FORMAT};
use super::labels;

/// Why there is no way back.
#[derive(Debug, thiserror::Error)]
pub enum RevertError {
    /// Nothing was put onto it.
    #[error(
        "the image has no layer of `gilbuild image --onto` (no label {}): there is nothing to take back",
        labels::LAYER
    )]
    NoLabel,
    /// The label names no layer of the image.
    #[error(
        "the image has the label {label} = {0} but no such layer: it was flattened; go back to the image that it was made from",
        label = labels::LAYER
    )]
    NoLayer(String),
    /// The layer does not say what it did.
    #[error("the layer {0} has no readable {FILE}: it is not one of `gilbuild image --onto`")]
    NoRecord(Digest),
    /// The label is none.
    #[error(transparent)]
    Digest(#[from] NotADigest),
    /// The layer cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Its archive cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The layout cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A file cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What was taken off an image.
#[derive(Debug)]
pub struct Reverted {
    /// The layer, as the image's manifest has it.
    pub layer: Descriptor,
    /// The same layer, uncompressed, as the image's configuration has it.
    pub diff_id: Digest,
    /// What it did.
    pub record: Exchange,
}

/// Takes the layer off the image, and gives it its labels back.
///
/// # Errors
/// When there is no such layer, or it does not say what it did; the image is then as it was.
pub fn revert(image: &mut Image, layout: &Layout) -> Result<Reverted, RevertError> {
    let labels = image.configuration.labels();
    let label = labels.get(labels::LAYER).ok_or(RevertError::NoLabel)?;
    let diff_id: Digest = label.parse()?;
    let mut without = image.clone();
    let layer = without
        .remove_layer(&diff_id)
        .ok_or_else(|| RevertError::NoLayer(label.clone()))?;
    let record =
        read_record(layout, &layer)?.ok_or_else(|| RevertError::NoRecord(diff_id.clone()))?;
    for name in labels.keys().filter(|name| name.starts_with(labels::OWN)) {
        without.configuration.remove_label(name);
    }
    for (name, value) in &record.labels {
        without.configuration.set_label(name, value);
    }
    *image = without;
    Ok(Reverted {
        layer,
        diff_id,
        record,
    })
}

/// The record is small; a larger file is none.
const LARGEST_RECORD: u64 = 1 << 20;

fn read_record(layout: &Layout, layer: &Descriptor) -> Result<Option<Exchange>, RevertError> {
    let blob = layout.open_blob(layer)?;
    let place = format!("{}/{FILE}", description::FOLDER);
    let mut found = None;
    LayerReader::new(blob, Limits::default())?.for_each(|entry, content| {
        if matches!(entry.kind, Kind::File(_)) && entry.path.as_path().ends_with(&place) {
            let mut text = Vec::new();
            content.take(LARGEST_RECORD).read_to_end(&mut text)?;
            found = serde_json::from_slice(&text).ok();
        }
        Ok::<_, RevertError>(())
    })?;
    Ok(found.filter(|record: &Exchange| record.format == FORMAT))
}
