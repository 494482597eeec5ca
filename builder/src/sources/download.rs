//! Fetches one file over HTTP into the cache: bounded, resumed where the server allows it, checked before it is kept.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err::File;
use ureq::http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE, LAST_MODIFIED, RANGE,
};
use ureq::http::{Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::archive_name::ArchiveName;
use super::cache::Cache;
use super::progress::Progress;
use super::sha256::Sha256;

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(20);
const STALLED: Duration = Duration::from_secs(30);

/// CPython's archives have 18 to 36 MB.
const LARGEST: u64 = 512 * 1024 * 1024;

/// How often in a row a transfer may break off without having come further.
const VAIN_ATTEMPTS: u32 = 3;

/// A file that is to be fetched.
pub(crate) struct Download<'a> {
    pub(crate) url: &'a str,
    pub(crate) name: ArchiveName,
    pub(crate) sha256: Sha256,
}

/// A file that was not fetched. What came in stays beside the cache's files, to be resumed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error("cannot reach {url}: {cause}")]
    Unreachable { url: String, cause: String },
    #[error("{url} was not found (404)")]
    NotFound { url: String },
    #[error("{url} answered {status}")]
    Status { url: String, status: StatusCode },
    #[error("{url} broke off after {received} bytes ({cause}); run it again to resume")]
    BrokenOff {
        url: String,
        received: u64,
        cause: io::Error,
    },
    #[error("{url} is larger than {LARGEST} bytes, which no archive of CPython is")]
    TooLarge { url: String },
    #[error("{url} has SHA-256 {found}, expected is {expected}; nothing was kept")]
    WrongSum {
        url: String,
        found: Sha256,
        expected: Sha256,
    },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A client that trusts what the platform trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` included) and keeps `HTTPS_PROXY` and
/// `NO_PROXY`.
pub(crate) fn agent(https_only: bool) -> Agent {
    Agent::config_builder()
        .tls_config(
            TlsConfig::builder()
                .root_certs(RootCerts::PlatformVerifier)
                .build(),
        )
        .https_only(https_only)
        .http_status_as_error(false)
        .user_agent(concat!("gilbuild/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(ANSWER))
        .timeout_per_read(Some(STALLED))
        .build()
        .into()
}

impl Download<'_> {
    /// Returns the file's place in the cache. Two builds that want the same file fetch it once.
    pub(crate) fn run(
        &self,
        agent: &Agent,
        cache: &Cache,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, DownloadError> {
        let name = self.name.upstream();
        let _lock = cache.lock(&name, progress)?;
        if let Some(path) = cache.find(self.name, self.sha256) {
            return Ok(path);
        }
        progress.step(&format!("downloading {name}"));
        let partial = Partial::new(cache.folder(), &name);
        let was_begun = partial.resumable().is_some();
        match self.complete(agent, &partial, progress) {
            // What was begun may be of a file that has changed since, or broken: once from the start, then it counts.
            Err(DownloadError::WrongSum { .. }) if was_begun => {
                self.complete(agent, &partial, progress)?;
            }
            outcome => outcome?,
        }
        let path = cache.keep(&partial.file, self.name, self.sha256)?;
        partial.remove();
        Ok(path)
    }

    fn complete(
        &self,
        agent: &Agent,
        partial: &Partial,
        progress: &mut dyn Progress,
    ) -> Result<(), DownloadError> {
        let mut furthest = 0;
        let mut in_vain = 0;
        while let Err(error) = self.attempt(agent, partial, progress) {
            let DownloadError::BrokenOff { received, .. } = error else {
                return Err(error);
            };
            in_vain = if received > furthest { 0 } else { in_vain + 1 };
            furthest = furthest.max(received);
            if in_vain == VAIN_ATTEMPTS {
                return Err(error);
            }
        }
        let found = Sha256::of_file(&partial.file)?;
        if found != self.sha256 {
            partial.remove();
            return Err(DownloadError::WrongSum {
                url: self.url.to_owned(),
                found,
                expected: self.sha256,
            });
        }
        Ok(())
    }

    fn attempt(
        &self,
        agent: &Agent,
        partial: &Partial,
        progress: &mut dyn Progress,
    ) -> Result<(), DownloadError> {
        let url = || self.url.to_owned();
        let mut request = agent.get(self.url);
        let resumed = partial.resumable();
        if let Some((length, validator)) = &resumed {
            request = request
                .header(RANGE, format!("bytes={length}-"))
                .header(IF_RANGE, validator);
        }
        let response = request.call().map_err(|error| DownloadError::Unreachable {
            url: url(),
            cause: cause(&error),
        })?;
        let start = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => match resumed {
                Some((length, _)) if begins_at(response.headers(), length) => length,
                _ => {
                    partial.remove();
                    return Err(self.broken_off(
                        0,
                        io::Error::other("the server sent another part than asked for"),
                    ));
                }
            },
            StatusCode::RANGE_NOT_SATISFIABLE => {
                partial.remove();
                return Err(
                    self.broken_off(0, io::Error::other("the server has no more than was there"))
                );
            }
            StatusCode::NOT_FOUND => return Err(DownloadError::NotFound { url: url() }),
            status => return Err(DownloadError::Status { url: url(), status }),
        };
        let file = partial.open(start, response.headers())?;
        self.receive(response, start, file, progress)
    }

    fn receive(
        &self,
        response: Response<Body>,
        start: u64,
        mut file: File,
        progress: &mut dyn Progress,
    ) -> Result<(), DownloadError> {
        let length =
            text(response.headers(), &CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let total = length.map(|length| start.saturating_add(length));
        let mut received = start;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            progress.bytes(received, total);
            if received > LARGEST || total > Some(LARGEST) {
                return Err(DownloadError::TooLarge {
                    url: self.url.to_owned(),
                });
            }
            let length = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(source) => return Err(self.broken_off(received, source)),
            };
            file.write_all(&buffer[..length])?;
            received += length as u64;
        }
        if total.is_some_and(|total| received < total) {
            return Err(self.broken_off(received, io::ErrorKind::UnexpectedEof.into()));
        }
        file.sync_all()?;
        Ok(())
    }

    fn broken_off(&self, received: u64, cause: io::Error) -> DownloadError {
        DownloadError::BrokenOff {
            url: self.url.to_owned(),
            received,
            cause,
        }
    }
}

/// What came in so far, and what tells whether the server still has the same file.
struct Partial {
    file: PathBuf,
    validator: PathBuf,
}

impl Partial {
    fn new(folder: &Path, name: &str) -> Self {
        Self {
            file: folder.join(format!(".{name}.partial")),
            validator: folder.join(format!(".{name}.partial.validator")),
        }
    }

    fn resumable(&self) -> Option<(u64, String)> {
        let length = fs_err::metadata(&self.file).ok()?.len();
        let validator = fs_err::read_to_string(&self.validator).ok()?;
        (length > 0 && !validator.is_empty()).then_some((length, validator))
    }

    /// Begins anew at 0, or goes on behind what is there.
    fn open(&self, start: u64, headers: &HeaderMap) -> io::Result<File> {
        if start > 0 {
            return fs_err::OpenOptions::new().append(true).open(&self.file);
        }
        self.remove();
        let file = File::create(&self.file)?;
        if let Some(validator) = validator(headers) {
            fs_err::write(&self.validator, validator)?;
        }
        Ok(file)
    }

    /// Either may be missing.
    fn remove(&self) {
        let _ = fs_err::remove_file(&self.file);
        let _ = fs_err::remove_file(&self.validator);
    }
}

/// The system's own words where they are behind the failure.
fn cause(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// A weak entity tag says nothing about bytes (RFC 9110, section 13.1.5).
fn validator(headers: &HeaderMap) -> Option<&str> {
    text(headers, &ETAG)
        .filter(|tag| !tag.starts_with("W/"))
        .or_else(|| text(headers, &LAST_MODIFIED))
}

fn begins_at(headers: &HeaderMap, start: u64) -> bool {
    text(headers, &CONTENT_RANGE).is_some_and(|range| range.starts_with(&format!("bytes {start}-")))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
