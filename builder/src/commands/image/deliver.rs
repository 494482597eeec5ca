//! Where a finished image goes: what the user says about it, and the way there.

use clap::Args;
use gil_containers::archive::ArchiveError;
use gil_containers::base::Base;
use gil_containers::image::Image;
use gil_containers::layout::Layout;
use gil_containers::output::Output;
use gil_containers::registry::{Reference, Transport};

use crate::error::{CommandError, Exit};
use crate::folders;
use crate::image::push::Push;
use crate::terminal::{self, Progress};

/// Where an image goes.
#[derive(Debug, Args)]
pub(super) struct Delivery {
    /// What to call the image [default: python:VERSION-gil; with --onto, its own name and -gil]
    #[arg(long, value_name = "NAME:TAG")]
    tag: Option<String>,
    /// Where to put it: oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME:TAG] (any number)
    #[arg(long)]
    output: Vec<Output>,
    /// Send it to a registry, with the login of `podman login` or `docker login` (any number)
    #[arg(long, value_name = "REF")]
    push: Vec<Reference>,
    /// Speak to registries without encryption; on this machine itself that needs no saying
    #[arg(long)]
    plain_http: bool,
}

/// A finished image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finished<'a> {
    pub(super) layout: &'a Layout,
    pub(super) image: &'a Image,
    /// What it is called where the user does not say.
    pub(super) name: &'a str,
    /// What it was made from.
    pub(super) base: &'a Base,
    /// The list of what is in it, where there is a new one.
    pub(super) sbom: Option<&'a str>,
}

impl Delivery {
    pub(super) fn transport(&self) -> Transport {
        if self.plain_http {
            Transport::Plain
        } else {
            Transport::Encrypted
        }
    }

    /// Whether it goes anywhere at all.
    pub(super) fn is_nowhere(&self) -> bool {
        self.output.is_empty() && self.push.is_empty()
    }

    /// Demands a place, before anything is built.
    pub(super) fn demand(&self) -> Result<(), CommandError> {
        if self.is_nowhere() {
            return Err(CommandError::new(
                Exit::Usage,
                "there is no place for the image: say --output oci:DIR, oci-archive:FILE or docker-archive:FILE, or --push REF",
            ));
        }
        Ok(())
    }

    /// Writes the image to where it was asked for, files first, and prints each reference.
    pub(super) fn deliver(&self, finished: &Finished<'_>) -> Result<(), CommandError> {
        let Finished { layout, image, .. } = *finished;
        let name = self.tag.as_deref().unwrap_or(finished.name);
        for output in &self.output {
            let progress = Progress::start("Writing", &output.to_string());
            let descriptor = output
                .write(layout, image, Some(name))
                .map_err(|error| output_failure(output, &error))?;
            progress.finish();
            terminal::result(&format!("{output}@{}", descriptor.digest()))?;
        }
        let push = Push {
            transport: self.transport(),
            base: match finished.base {
                Base::Registry(reference) => Some(reference),
                _ => None,
            },
            sessions: &folders::cache()
                .map_err(|error| CommandError::because(Exit::Failed, &error))?
                .join("uploads"),
        };
        for reference in &self.push {
            let descriptor = image
                .store(layout)
                .map_err(|error| CommandError::because(Exit::Failed, &error))?;
            push.run(reference, layout, &descriptor, finished.sbom)
                .map_err(|error| {
                    CommandError::new(
                        Exit::Failed,
                        format!("cannot push {}: {error}", reference.whole()),
                    )
                })?;
            terminal::result(&format!("{}@{}", reference.whole(), descriptor.digest()))?;
        }
        Ok(())
    }
}

fn output_failure(output: &Output, error: &ArchiveError) -> CommandError {
    CommandError::new(Exit::Failed, format!("cannot write {output}: {error}"))
}
