//! Who we are to a registry: `auth.json` (containers-auth.json(5)) and docker's `config.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Error;
use super::reference::RegistryReference;

/// A name and a password; an empty name means that the password is a token of identity.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Auth {
    /// Base64 of `user:password`.
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// Where they are looked for, in this order: what is told, then podman's places, then docker's.
pub fn places(environment: impl Fn(&str) -> Option<String>, uid: u32) -> Vec<PathBuf> {
    if let Some(told) = environment("REGISTRY_AUTH_FILE") {
        return vec![PathBuf::from(told)];
    }
    let runtime = match environment("XDG_RUNTIME_DIR") {
        Some(directory) => PathBuf::from(directory).join("containers/auth.json"),
        None => PathBuf::from(format!("/run/containers/{uid}/auth.json")),
    };
    let home = environment("HOME").map(PathBuf::from);
    let config =
        environment("XDG_CONFIG_HOME").map(PathBuf::from).or(home.as_ref().map(|home| home.join(".config")));
    let docker = environment("DOCKER_CONFIG").map(PathBuf::from).or(home.map(|home| home.join(".docker")));
    std::iter::once(runtime)
        .chain(config.map(|config| config.join("containers/auth.json")))
        .chain(docker.map(|docker| docker.join("config.json")))
        .collect()
}

/// The longest that is read.
pub const LIMIT: usize = 1 << 20;

/// What the file `path`, of which `bytes` is the text, has for `reference`.
///
/// # Errors
/// [`Error::Credentials`] where it is damaged; what it says is not told.
pub fn find(path: &Path, bytes: &[u8], reference: &RegistryReference) -> Result<Option<Credentials>, Error> {
    let damaged = |what: &str| Error::Credentials { path: path.to_owned(), what: what.to_owned() };
    let file: File = serde_json::from_slice(bytes).map_err(|error| {
        damaged(&format!("line {}, column {}: it is damaged", error.line(), error.column()))
    })?;
    // The most specific wins: a repository, a namespace, the host.
    let whole = format!("{}/{}", reference.registry, reference.repository);
    let keys = whole.match_indices('/').map(|(at, _)| &whole[..at]).chain([whole.as_str()]);
    for key in keys.collect::<Vec<_>>().into_iter().rev() {
        let entry = file.auths.iter().find(|(name, _)| plain(name) == key);
        if let Some((_, auth)) = entry {
            return auth.credentials().map_err(|what| damaged(&format!("of {key}: {what}")));
        }
    }
    if file.cred_helpers.contains_key(&reference.registry) {
        return Err(damaged(&format!(
            "a credential helper keeps those of {}, and none is run",
            reference.registry
        )));
    }
    Ok(None)
}

/// A key without what docker puts around the host: `https://index.docker.io/v1/` is docker.io.
fn plain(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    if matches!(key, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { key }
}

impl Auth {
    fn credentials(&self) -> Result<Option<Credentials>, &'static str> {
        if let Some((user, password)) = self.username.as_ref().zip(self.password.as_ref()) {
            return Ok(Some(Credentials { user: user.clone(), password: password.clone() }));
        }
        let Some(auth) = self.auth.as_deref().filter(|auth| !auth.is_empty()) else { return Ok(None) };
        let text = decode(auth).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or("it is no base64")?;
        // Docker fills it up with zeros.
        let (user, password) = text.trim_end_matches('\0').split_once(':').ok_or("it has no password")?;
        Ok(Some(Credentials { user: user.to_owned(), password: password.to_owned() }))
    }
}

impl Credentials {
    /// The value of `Authorization:` (RFC 7617).
    pub fn basic(&self) -> String {
        format!("Basic {}", encode(format!("{}:{}", self.user, self.password).as_bytes()))
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The alphabet of base64 (RFC 4648, section 4).
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk
            .iter()
            .chain([&0, &0])
            .take(3)
            .fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        for place in 0..4 {
            let letter = ALPHABET[number >> (18 - 6 * place) & 63];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut number, mut bits) = (0_u32, 0);
    for letter in text.trim().trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|known| *known == letter)?;
        number = number << 6 | u32::try_from(value).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(number >> bits & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::oci::Reference;

    fn registry(text: &str) -> RegistryReference {
        match Reference::parse(text) {
            Ok(Reference::Registry(reference)) => reference,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn base64() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("user:p\u{e4}ss", "dXNlcjpww6Rzcw=="),
        ] {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(coded).as_deref(), Some(plain.as_bytes()));
        }
        assert_eq!(decode("a-b"), None);
    }

    #[test]
    fn found() {
        let text = br#"{"auths":{"https://index.docker.io/v1/":{"auth":"aHViOnB3"},"localhost:5000":{"auth":"dXNlcjpwOnc="},
            "quay.io/team":{"auth":"dGVhbTpwdw=="},"quay.io":{"auth":"cXVheTpwdw=="},"empty.org":{},
            "plain.org":{"username":"u","password":"p"}},"credHelpers":{"ecr.aws":"ecr-login"}}"#;
        let rows = [
            ("docker.io/library/debian", Some(("hub", "pw"))),
            ("localhost:5000/a/b:x", Some(("user", "p:w"))),
            ("quay.io/team/thing", Some(("team", "pw"))),
            ("quay.io/teams/thing", Some(("quay", "pw"))),
            ("plain.org/a", Some(("u", "p"))),
            ("empty.org/a", None),
            ("other.org/a", None),
        ];
        for (reference, expected) in rows {
            let found = find(Path::new("auth.json"), text, &registry(reference)).expect(reference);
            let found = found.as_ref().map(|found| (found.user.as_str(), found.password.as_str()));
            assert_eq!(found, expected, "{reference}");
        }
        let helper =
            find(Path::new("auth.json"), text, &registry("ecr.aws/a")).expect_err("a helper").to_string();
        assert!(helper.contains("credential helper"), "{helper}");
        for bad in
            [&b"{"[..], br#"{"auths":{"a.org":{"auth":"%%"}}}"#, br#"{"auths":{"a.org":{"auth":"YWJj"}}}"#]
        {
            let error =
                find(Path::new("auth.json"), bad, &registry("a.org/x")).expect_err("damaged").to_string();
            assert!(!error.contains("YWJj") && error.starts_with("auth.json"), "{error}");
        }
    }

    #[test]
    fn files() {
        let with = |pairs: &'static [(&str, &str)]| {
            let names = places(
                |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
                7,
            );
            names.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(with(&[("REGISTRY_AUTH_FILE", "/a"), ("HOME", "/root")]), ["/a"]);
        assert_eq!(
            with(&[("HOME", "/root")]),
            [
                "/run/containers/7/auth.json",
                "/root/.config/containers/auth.json",
                "/root/.docker/config.json"
            ]
        );
        assert_eq!(
            with(&[("XDG_RUNTIME_DIR", "/r"), ("XDG_CONFIG_HOME", "/c"), ("DOCKER_CONFIG", "/d")]),
            ["/r/containers/auth.json", "/c/containers/auth.json", "/d/config.json"]
        );
    }
}
