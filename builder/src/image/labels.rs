//! The labels of an image that tell what its interpreter is.

use crate::build::options::Markers;
use crate::build::prefix::BuildRecord;

/// What the labels that are gilbuild's own begin with.
pub(super) const OWN: &str = "gilbuild.";
/// The digest of the image that the interpreter was put onto, and of the layer with it, uncompressed.
pub(super) const ONTO: &str = "gilbuild.onto";
/// The digest of that layer, uncompressed.
pub(super) const LAYER: &str = "gilbuild.layer";

/// What stands for the whole image, where it is one of an interpreter and nothing else.
pub(super) fn of_image(record: &BuildRecord) -> Vec<(&'static str, String)> {
    vec![
        ("org.opencontainers.image.title", "python".to_owned()),
        ("org.opencontainers.image.version", record.python.clone()),
        ("org.opencontainers.image.licenses", "PSF-2.0".to_owned()),
    ]
}

/// What stands for the interpreter alone.
pub(super) fn of_interpreter(record: &BuildRecord) -> Vec<(&'static str, String)> {
    let patches: Vec<String> = record
        .patches
        .iter()
        .map(|patch| format!("{}@sha256:{}", patch.name, patch.sha256))
        .collect();
    let contract = match record.markers {
        Markers::None => String::new(),
        Markers::Nop | Markers::Nop5 => record.contract.to_string(),
    };
    [
        ("gilbuild.python", record.python.clone()),
        ("gilbuild.markers", record.markers.to_string()),
        ("gilbuild.contract", contract),
        ("gilbuild.optimize", record.optimize.to_string()),
        ("gilbuild.patches", patches.join(",")),
        ("gilbuild.inputs", record.inputs.clone()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}
