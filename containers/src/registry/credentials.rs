//! Names and passwords for registries, from the files that podman and Docker keep, and their helpers.

use std::env;
use std::path::PathBuf;

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};

/// What a registry is told about who asks.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// Nothing.
    #[default]
    Anonymous,
    /// A user's name and password.
    Password(String, String),
    /// A token that stands for a login elsewhere.
    IdentityToken(String),
}

/// Kept credentials cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the login for {registry} from {}: {reason}", file.display())]
pub struct CredentialsError {
    registry: String,
    file: PathBuf,
    reason: String,
}

/// What Docker calls its own registry in its file.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

impl Credentials {
    /// Looks where podman, skopeo and Docker look, in this order: `$REGISTRY_AUTH_FILE`,
    /// `$XDG_RUNTIME_DIR/containers/auth.json`, `$XDG_CONFIG_HOME/containers/auth.json`, `$DOCKER_CONFIG/config.json`.
    ///
    /// # Errors
    /// When a file is there and cannot be read, or a helper fails.
    pub fn of(registry: &str) -> Result<Self, CredentialsError> {
        for file in files() {
            let Ok(reader) = fs_err::File::open(&file) else {
                continue;
            };
            let failure = |reason: String| CredentialsError {
                registry: registry.to_owned(),
                file: file.clone(),
                reason,
            };
            let key = if registry == "docker.io" && file.ends_with("config.json") {
                DOCKER_HUB
            } else {
                registry
            };
            match get_credential_from_reader(reader, key) {
                Ok(DockerCredential::UsernamePassword(user, password)) => {
                    return Ok(Self::Password(user, password));
                }
                Ok(DockerCredential::IdentityToken(token)) => {
                    return Ok(Self::IdentityToken(token));
                }
                Err(CredentialRetrievalError::NoCredentialConfigured) => {}
                // A helper says so, too, when it simply has no entry.
                Err(CredentialRetrievalError::HelperFailure { stdout, .. })
                    if stdout.contains("credentials not found") => {}
                Err(error) => return Err(failure(error.to_string())),
            }
        }
        Ok(Self::Anonymous)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A password has no place in a log.
        formatter.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Password(..) => "Password",
            Self::IdentityToken(_) => "IdentityToken",
        })
    }
}

fn files() -> Vec<PathBuf> {
    let folder = |variable: &str| env::var_os(variable).map(PathBuf::from);
    let home = |below: &str| Some(folder("HOME")?.join(below));
    [
        folder("REGISTRY_AUTH_FILE"),
        folder("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")),
        folder("XDG_CONFIG_HOME")
            .or_else(|| home(".config"))
            .map(|folder| folder.join("containers/auth.json")),
        folder("DOCKER_CONFIG")
            .or_else(|| home(".docker"))
            .map(|folder| folder.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}
