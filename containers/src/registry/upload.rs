//! One blob sent to a registry, in pieces: where it breaks off, it goes on, also in the next run.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::image::Descriptor;
use ureq::http::{Method, Response};
use ureq::{Body, SendBody};

use super::Shown;
use super::client::{Client, RegistryError};
use super::push::PushOptions;
use crate::digest::Digest;
use crate::layout::{Layout, LayoutError, digest_of};

/// Bytes sent in one request: what is lost, at most, when a connection breaks.
const PIECE: u64 = 8 << 20;
/// How often in a row a piece may fail.
const ATTEMPTS: u32 = 5;

/// Sends a blob, unless the registry has it.
pub(super) fn upload(
    client: &Client,
    layout: &Layout,
    blob: &Descriptor,
    options: &PushOptions<'_>,
    shown: Shown<'_>,
) -> Result<(), RegistryError> {
    let digest = digest_of(blob).map_err(LayoutError::from)?;
    if is_there(client, &digest)? {
        shown(&digest, blob.size(), blob.size());
        return Ok(());
    }
    let note = Note::of(client, &digest, options.sessions);
    let (mut location, mut done) = match note.session(client)? {
        Some(session) => session,
        None => match begin(client, &digest, options.mount_from)? {
            Some(location) => (location, 0),
            // Mounted from another repository: nothing to send.
            None => return Ok(()),
        },
    };
    let mut file = layout.open_blob(blob)?;
    let mut failures = 0;
    while done < blob.size() {
        note.keep(&location)?;
        shown(&digest, done, blob.size());
        let length = PIECE.min(blob.size() - done);
        let mut piece = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.seek(SeekFrom::Start(done))?;
        file.read_exact(&mut piece)?;
        match send_piece(client, &location, done, &piece) {
            Ok(next) => {
                location = next;
                done += length;
                failures = 0;
            }
            Err(error) => {
                failures += 1;
                if failures == ATTEMPTS || !is_passing(&error) {
                    return Err(broken_off(client, digest, failures, &error));
                }
                std::thread::sleep(Duration::from_millis(200 << failures));
                // The registry knows how much has come through. Docker's own, before version 3, forgets an upload
                // that broke within a piece: then it begins anew.
                if let Ok(session) = ask(client, &location).and_then(|session| match session {
                    Some(session) => Ok(Some(session)),
                    None => Ok(begin(client, &digest, None)?.map(|location| (location, 0))),
                }) {
                    match session {
                        Some(session) => (location, done) = session,
                        // Meanwhile somebody else has sent it.
                        None => return Ok(()),
                    }
                }
            }
        }
    }
    finish(client, &location, &digest)?;
    note.forget();
    shown(&digest, blob.size(), blob.size());
    Ok(())
}

fn broken_off(client: &Client, digest: Digest, times: u32, error: &RegistryError) -> RegistryError {
    RegistryError::BrokenOff {
        digest,
        registry: client.registry().to_owned(),
        times,
        cause: error.to_string(),
    }
}

/// Whether trying again may help.
fn is_passing(error: &RegistryError) -> bool {
    match error {
        RegistryError::Unreachable { .. } => true,
        // Server errors, and a piece that does not fit what is there.
        RegistryError::Unexpected { what, .. } => {
            what.contains("answered 5") || what.contains("answered 416")
        }
        _ => false,
    }
}

fn is_there(client: &Client, digest: &Digest) -> Result<bool, RegistryError> {
    let url = client.url(&format!("blobs/{digest}"));
    let response = client.request(Method::HEAD, &url, &[])?;
    Ok(response.status().is_success())
}

/// Begins an upload; `None` where the registry has taken the blob over from another of its repositories.
fn begin(
    client: &Client,
    digest: &Digest,
    mount_from: Option<&str>,
) -> Result<Option<String>, RegistryError> {
    let mut url = client.url("blobs/uploads/");
    if let Some(repository) = mount_from {
        url = format!("{url}?mount={digest}&from={repository}");
    }
    let mut response = client.request(Method::POST, &url, &[("content-length", "0")])?;
    match response.status().as_u16() {
        201 => Ok(None),
        202 => Ok(Some(location(client, &response)?)),
        _ => Err(client.unexpected("a blob was to be sent", &mut response)),
    }
}

fn send_piece(
    client: &Client,
    location_now: &str,
    start: u64,
    piece: &[u8],
) -> Result<String, RegistryError> {
    let end = start + piece.len() as u64 - 1;
    let headers = [
        ("content-type", "application/octet-stream"),
        ("content-length", &*piece.len().to_string()),
        ("content-range", &*format!("{start}-{end}")),
    ];
    let mut response = client.send(Method::PATCH, location_now, &headers, || {
        Ok(SendBody::from_owned_reader(std::io::Cursor::new(
            piece.to_vec(),
        )))
    })?;
    match response.status().as_u16() {
        202 | 204 => location(client, &response),
        _ => Err(client.unexpected("a piece of a blob was sent", &mut response)),
    }
}

fn finish(client: &Client, location: &str, digest: &Digest) -> Result<(), RegistryError> {
    let separator = if location.contains('?') { '&' } else { '?' };
    let url = format!("{location}{separator}digest={digest}");
    let mut response = client.request(Method::PUT, &url, &[("content-length", "0")])?;
    match response.status().as_u16() {
        201 => Ok(()),
        _ => Err(client.unexpected("a blob was complete", &mut response)),
    }
}

/// Where an upload goes on, and how many bytes are there; `None` when the registry no longer knows it.
fn ask(client: &Client, location_now: &str) -> Result<Option<(String, u64)>, RegistryError> {
    let response = client.request(Method::GET, location_now, &[])?;
    if response.status().as_u16() != 204 {
        return Ok(None);
    }
    // "0-1023" for 1024 bytes; "0-0" is also what registries say when there are none.
    let last = response
        .headers()
        .get("range")
        .and_then(|value| value.to_str().ok()?.rsplit_once('-')?.1.parse().ok())
        .unwrap_or(0_u64);
    let done = if last == 0 { 0 } else { last + 1 };
    Ok(Some((location(client, &response)?, done)))
}

fn location(client: &Client, response: &Response<Body>) -> Result<String, RegistryError> {
    response
        .headers()
        .get("location")
        .and_then(|value| value.to_str().ok())
        .map(|value| client.absolute(value))
        .ok_or_else(|| RegistryError::Unexpected {
            registry: client.registry().to_owned(),
            what: "did not say where the blob goes".to_owned(),
        })
}

/// The note of an upload that is under way, for a run after this one.
struct Note(Option<PathBuf>);

impl Note {
    fn of(client: &Client, digest: &Digest, folder: Option<&Path>) -> Self {
        let name = Digest::of(client.url(digest.hex()).as_bytes());
        Self(folder.map(|folder| folder.join(name.hex())))
    }

    /// The upload that an earlier run began, where the registry still knows it.
    fn session(&self, client: &Client) -> Result<Option<(String, u64)>, RegistryError> {
        let Some(path) = &self.0 else { return Ok(None) };
        let Ok(location) = fs_err::read_to_string(path) else {
            return Ok(None);
        };
        // A note is only trusted to name this registry's own uploads.
        if !location.starts_with(&client.url("blobs/uploads/")) {
            return Ok(None);
        }
        ask(client, &location)
    }

    fn keep(&self, location: &str) -> std::io::Result<()> {
        let Some(path) = &self.0 else { return Ok(()) };
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        fs_err::write(path, location)
    }

    fn forget(&self) {
        if let Some(path) = &self.0 {
            // A note that stays leads to a question that the registry answers with no.
            let _ = fs_err::remove_file(path);
        }
    }
}
