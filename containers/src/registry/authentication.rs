//! What a registry wants to know before it answers, and the token that it gives for it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::Agent;

use super::client::RegistryError;
use super::credentials::Credentials;

/// A challenge: `Bearer realm="…",service="…",scope="…"`, or `Basic realm="…"`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let value = |wanted: &str| {
            parameters(rest)
                .into_iter()
                .find_map(|(key, value)| key.eq_ignore_ascii_case(wanted).then_some(value))
        };
        Some(Self::Bearer {
            realm: value("realm")?,
            service: value("service"),
            scope: value("scope"),
        })
    }
}

/// `key="value"` pairs with commas between them; a value may have commas in it.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once("=\"") {
        let Some((value, after)) = after.split_once('"') else {
            break;
        };
        let key = key.trim_matches([',', ' ']);
        found.push((key.to_owned(), value.to_owned()));
        rest = after;
    }
    found
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// The header that answers a challenge. `None` where there is nothing to answer with.
pub(super) fn answer(
    agent: &Agent,
    challenge: &Challenge,
    credentials: &Credentials,
    registry: &str,
) -> Result<Option<String>, RegistryError> {
    match challenge {
        Challenge::Basic => Ok(basic(credentials)),
        Challenge::Bearer {
            realm,
            service,
            scope,
        } => {
            // A password sent in the clear is everybody's. Only a registry that itself is spoken to in the clear may ask for it.
            let token = fetch_token(
                agent,
                realm,
                service.as_deref(),
                scope.as_deref(),
                credentials,
                registry,
            )?;
            Ok(Some(format!("Bearer {token}")))
        }
    }
}

fn basic(credentials: &Credentials) -> Option<String> {
    match credentials {
        Credentials::Password(user, password) => Some(format!(
            "Basic {}",
            STANDARD.encode(format!("{user}:{password}"))
        )),
        Credentials::Anonymous | Credentials::IdentityToken(_) => None,
    }
}

fn fetch_token(
    agent: &Agent,
    realm: &str,
    service: Option<&str>,
    scope: Option<&str>,
    credentials: &Credentials,
    registry: &str,
) -> Result<String, RegistryError> {
    let no_token = || RegistryError::Unexpected {
        registry: realm.to_owned(),
        what: "gave no token".to_owned(),
    };
    let unreachable = |error: ureq::Error| RegistryError::Unreachable {
        registry: realm.to_owned(),
        cause: error.to_string(),
    };
    let mut response = if let Credentials::IdentityToken(token) = credentials {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", "gilbuild"),
            ("service", service.unwrap_or_default()),
            ("scope", scope.unwrap_or_default()),
            ("refresh_token", token),
        ];
        agent.post(realm).send_form(form).map_err(unreachable)?
    } else {
        let mut request = agent.get(realm);
        for (key, value) in [("service", service), ("scope", scope)] {
            if let Some(value) = value {
                request = request.query(key, value);
            }
        }
        if let Some(basic) = basic(credentials) {
            request = request.header("Authorization", basic);
        }
        request.call().map_err(unreachable)?
    };
    if !response.status().is_success() {
        return Err(RegistryError::Unauthorized {
            registry: registry.to_owned(),
            known: *credentials != Credentials::Anonymous,
        });
    }
    // ureq itself stops at 10 MB.
    let text = response.body_mut().read_to_string().map_err(unreachable)?;
    let token: Token = serde_json::from_str(&text).map_err(|_| no_token())?;
    token.token.or(token.access_token).ok_or_else(no_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_as_registries_write_them() {
        let header = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#;
        let Some(Challenge::Bearer {
            realm,
            service,
            scope,
        }) = Challenge::parse(header)
        else {
            panic!("not understood");
        };
        assert_eq!(realm, "https://auth.example/token");
        assert_eq!(service.as_deref(), Some("registry.example"));
        assert_eq!(scope.as_deref(), Some("repository:a/b:pull,push"));
        assert_eq!(
            Challenge::parse("Basic realm=\"Registry\""),
            Some(Challenge::Basic)
        );
        assert_eq!(Challenge::parse("Negotiate"), None);
    }
}
