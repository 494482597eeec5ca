//! A finished image sent to registries, with the list of what is in it beside it.

use std::path::Path;

use gil_containers::layout::Layout;
use gil_containers::registry::{
    Client, Credentials, PushOptions, Reference, RegistryError, Transport, attach, push as send,
};
use oci_spec::image::Descriptor;

use crate::terminal::{Progress, Unit};

/// The media type of an SPDX document.
const SPDX: &str = "application/spdx+json";

/// How images are pushed.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    /// Whether a registry may be spoken to in the clear.
    pub transport: Transport,
    /// The image that this one is made from: a registry that has it takes its layers over.
    pub base: Option<&'a Reference>,
    /// Where uploads under way are noted, for a later run.
    pub sessions: &'a Path,
}

impl Push<'_> {
    /// Sends the image to where `reference` says.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses. Under the reference's tag there is then what was there before.
    pub fn run(
        &self,
        reference: &Reference,
        layout: &Layout,
        image: &Descriptor,
        sbom: Option<&str>,
    ) -> Result<(), RegistryError> {
        let mut progress = Progress::start("Pushing", &reference.whole());
        let credentials = Credentials::of(reference.registry())?;
        let client = Client::new(reference, self.transport, credentials)?;
        let mount_from = self
            .base
            .filter(|base| base.registry() == reference.registry())
            .map(Reference::repository);
        let options = PushOptions {
            mount_from,
            sessions: Some(self.sessions),
        };
        let mut shown = |digest: &gil_containers::digest::Digest, done, total| {
            progress.part(&digest.to_string(), true);
            progress.position(done, total, Unit::Bytes);
        };
        send(&client, layout, image, &options, &mut shown)?;
        if let Some(sbom) = sbom {
            attach(&client, layout, image, SPDX, sbom.as_bytes(), &mut shown)?;
        }
        progress.finish();
        Ok(())
    }
}
