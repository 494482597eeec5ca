//! One repository of a registry: requests, answered challenges, errors that say what the registry said.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use oci_spec::distribution::Reference;
use ureq::http::{Method, Request, Response};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, AsSendBody, Body, SendBody};

use super::authentication::{Challenge, answer};
use super::credentials::{Credentials, CredentialsError};
use crate::digest::Digest;
use crate::image::ImageError;
use crate::layout::LayoutError;

/// Why something cannot be had from a registry or given to it.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection.
    #[error("cannot reach the registry {registry}: {cause}")]
    Unreachable {
        /// Its address.
        registry: String,
        /// What went wrong.
        cause: String,
    },
    /// It wants to know who asks, or that one may not.
    #[error(
        "the registry {registry} refuses {}: log in with `podman login {registry}` or `docker login {registry}`",
        if *known { "the kept login" } else { "to answer without a login" }
    )]
    Unauthorized {
        /// Its address.
        registry: String,
        /// Whether a login was sent.
        known: bool,
    },
    /// There is no such image.
    #[error("the registry has no {0}: check its name and tag, and whether it needs a login")]
    NotFound(String),
    /// It answered something that is not expected.
    #[error("the registry {registry} {what}")]
    Unexpected {
        /// Its address.
        registry: String,
        /// What it did.
        what: String,
    },
    /// What came is not what was asked for.
    #[error("the registry gave {found} for {expected}: it is corrupt, nothing of it is used")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The transfer broke off again and again.
    #[error(
        "the transfer of {digest} to {registry} broke off {times} times ({cause}): run it again, what is there is not sent twice"
    )]
    BrokenOff {
        /// The blob.
        digest: Digest,
        /// The registry's address.
        registry: String,
        /// How often it was tried.
        times: u32,
        /// The last cause.
        cause: String,
    },
    /// Kept credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The image in the layout cannot be read or written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The image is not for this machine, or corrupt.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Whether a registry may be spoken to without encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// Encrypted; without encryption only on this machine itself.
    #[default]
    Encrypted,
    /// In the clear, because the user said so.
    Plain,
}

/// Speaks with one repository of a registry.
pub struct Client {
    agent: Agent,
    base: String,
    reference: Reference,
    credentials: Credentials,
    /// The header that the registry was last content with.
    authorization: RefCell<Option<String>>,
}

const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(60);
const STALLED: Duration = Duration::from_secs(30);
/// What a registry says about an error is cut off behind this.
const LONGEST_SAYING: u64 = 2000;

impl Client {
    /// A client for the repository of a reference. Finds out how the registry is spoken to.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    pub fn new(
        reference: &Reference,
        transport: Transport,
        credentials: Credentials,
    ) -> Result<Self, RegistryError> {
        let registry = reference.resolve_registry();
        let loopback = is_loopback(registry);
        let schemes: &[&str] = match transport {
            Transport::Plain => &["http"],
            Transport::Encrypted if loopback => &["https", "http"],
            Transport::Encrypted => &["https"],
        };
        let agent = agent();
        let mut cause = String::new();
        for scheme in schemes {
            let base = format!("{scheme}://{registry}/v2/");
            match agent.get(&base).call() {
                Ok(_) => {
                    return Ok(Self {
                        agent,
                        base,
                        reference: reference.clone(),
                        credentials,
                        authorization: RefCell::default(),
                    });
                }
                Err(error) => cause = error.to_string(),
            }
        }
        Err(RegistryError::Unreachable {
            registry: registry.to_owned(),
            cause,
        })
    }

    /// The image that the client was made for.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The registry's address.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.reference.resolve_registry()
    }

    /// The address of something in the repository: `manifests/TAG`, `blobs/DIGEST`.
    pub(super) fn url(&self, below: &str) -> String {
        format!("{}{}/{below}", self.base, self.reference.repository())
    }

    /// An address that the registry gave in a `Location`, which may lack the host.
    pub(super) fn absolute(&self, location: &str) -> String {
        if location.starts_with('/') {
            let host = self.base.trim_end_matches("/v2/");
            return format!("{host}{location}");
        }
        location.to_owned()
    }

    /// A request without a body.
    pub(super) fn request(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>, RegistryError> {
        self.send(method, url, headers, || Ok(SendBody::none()))
    }

    /// A request whose body can be made again: the registry may want to know first who asks.
    pub(super) fn send<'body>(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Fn() -> io::Result<SendBody<'body>>,
    ) -> Result<Response<Body>, RegistryError> {
        let response = self.send_once(method.clone(), url, headers, body()?)?;
        if response.status().as_u16() != 401 {
            return Ok(response);
        }
        let challenge = response
            .headers()
            .get_all("www-authenticate")
            .iter()
            .find_map(|header| Challenge::parse(header.to_str().ok()?));
        let unauthorized = || RegistryError::Unauthorized {
            registry: self.registry().to_owned(),
            known: self.credentials != Credentials::Anonymous,
        };
        let challenge = challenge.ok_or_else(unauthorized)?;
        let header = answer(&self.agent, &challenge, &self.credentials, self.registry())?;
        *self.authorization.borrow_mut() = Some(header.ok_or_else(unauthorized)?);
        let response = self.send_once(method, url, headers, body()?)?;
        match response.status().as_u16() {
            401 | 403 => Err(unauthorized()),
            _ => Ok(response),
        }
    }

    fn send_once(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl AsSendBody,
    ) -> Result<Response<Body>, RegistryError> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        // Only the registry itself gets to know it: an upload may be sent elsewhere.
        if let Some(authorization) = &*self.authorization.borrow()
            && url.starts_with(self.base.trim_end_matches("v2/"))
        {
            request = request.header("authorization", authorization);
        }
        let unreachable = |cause: String| RegistryError::Unreachable {
            registry: self.registry().to_owned(),
            cause,
        };
        let request = request
            .body(body)
            .map_err(|error| unreachable(error.to_string()))?;
        self.agent
            .run(request)
            .map_err(|error| unreachable(error.to_string()))
    }

    /// The error that an unexpected answer is.
    pub(super) fn unexpected(&self, doing: &str, response: &mut Response<Body>) -> RegistryError {
        let said = response
            .body_mut()
            .with_config()
            .limit(LONGEST_SAYING)
            .lossy_utf8(true)
            .read_to_string()
            .unwrap_or_default();
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        RegistryError::Unexpected {
            registry: self.registry().to_owned(),
            what: format!("answered {} when {doing}: {said}", response.status()),
        }
    }
}

/// Trusts what the platform trusts, `SSL_CERT_FILE` and `SSL_CERT_DIR` included.
fn agent() -> Agent {
    Agent::config_builder()
        .tls_config(
            TlsConfig::builder()
                .root_certs(RootCerts::PlatformVerifier)
                .build(),
        )
        .http_status_as_error(false)
        .user_agent(concat!("gilbuild/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(ANSWER))
        .timeout_per_read(Some(STALLED))
        .timeout_per_write(Some(STALLED))
        .build()
        .into()
}

/// Whether an address, with or without a port, is this machine's own.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => registry.split(':').next().unwrap_or(registry),
    };
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_this_machine_is_loopback() {
        for registry in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "[::1]:5000",
        ] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in [
            "localhost.example",
            "127.0.0.1.example:5000",
            "10.0.0.1",
            "example",
        ] {
            assert!(!is_loopback(registry), "{registry}");
        }
    }
}
