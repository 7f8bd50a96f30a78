//! Talking to a registry (distribution-spec, "Pulling").

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Url;
use sha2::{Digest as _, Sha256};

use super::Error;
use super::challenge::{self, Challenge};
use super::credentials::Credentials;
use super::document::{DOCUMENT_LIMIT, Descriptor, MANIFEST_TYPES};
use super::reference::RegistryReference;
use crate::transfer::fetch::{self, Authorize, FetchOptions, Request};
use crate::transfer::verify::Verification;
use crate::transfer::{self, Context, Digest, Incoming};

/// Where docker.io answers.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// The least time that a token holds, unless it says otherwise (distribution's "Token Authentication Specification"); we ask anew
/// well before that.
const TOKEN: Duration = Duration::from_secs(45);

/// The longest answer with a token.
const TOKEN_LIMIT: u64 = 64 << 10;

/// A repository of a registry.
#[derive(Debug)]
pub struct Registry {
    base: Url,
    session: Arc<Session>,
}

/// Who we are to it.
#[derive(Debug)]
struct Session {
    reference: RegistryReference,
    credentials: Option<Credentials>,
    state: Mutex<State>,
    context: Context,
}

/// What is sent with each question.
#[derive(Debug, Default)]
struct State {
    challenge: Option<Challenge>,
    value: Option<String>,
    until: Option<Instant>,
}

impl Registry {
    /// That of `reference`. One on this very host speaks http, all others https, as docker has it.
    ///
    /// # Errors
    /// When its name makes no address.
    pub fn new(
        reference: RegistryReference,
        credentials: Option<Credentials>,
        context: &Context,
    ) -> Result<Self, Error> {
        let host = if reference.registry == "docker.io" { DOCKER_HUB } else { reference.registry.as_str() };
        let scheme = if is_loopback(host) { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{host}/v2/{}/", reference.repository)).map_err(|_| {
            Error::Reference { text: reference.to_string(), problem: "has a registry that is no host" }
        })?;
        let (state, context) = (Mutex::default(), context.clone());
        Ok(Self { base, session: Arc::new(Session { reference, credentials, state, context }) })
    }

    /// The manifest or index that the reference names, and its digest.
    ///
    /// # Errors
    /// When it is not there, not for us, or not what its digest says.
    pub fn manifest(&self, options: &FetchOptions) -> Result<(Vec<u8>, Digest), transfer::Error> {
        let reference = &self.session.reference;
        let name = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        };
        self.manifest_called(&name, reference.digest, options)
    }

    /// The manifest of an index.
    ///
    /// # Errors
    /// As [`Registry::manifest`].
    pub fn manifest_of(&self, descriptor: &Descriptor) -> Result<Vec<u8>, transfer::Error> {
        let name = format!("sha256:{}", descriptor.digest);
        self.manifest_called(&name, Some(descriptor.digest), &FetchOptions::default()).map(|(bytes, _)| bytes)
    }

    /// A small blob: a configuration.
    ///
    /// # Errors
    /// As [`Registry::manifest`].
    pub fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, transfer::Error> {
        let path = format!("blobs/sha256:{}", descriptor.digest);
        let bytes = self.ask(&path, &[], &FetchOptions::default())?;
        held(&bytes, Some(descriptor.digest), "configuration").map(|_| bytes).map_err(Into::into)
    }

    /// A large blob: a layer.
    ///
    /// # Errors
    /// When it cannot be had. What goes wrong later is a fault of reading.
    pub fn layer(
        &self,
        descriptor: &Descriptor,
        context: &Context,
    ) -> Result<Box<dyn Incoming>, transfer::Error> {
        let url = self.url(&format!("blobs/sha256:{}", descriptor.digest))?;
        let authorize: Arc<dyn Authorize> = Arc::clone(&self.session) as _;
        let options = FetchOptions { authorize: Some(authorize), ..FetchOptions::default() };
        let verification =
            Verification { size: Some(descriptor.size), ..Verification::digest(descriptor.digest) };
        fetch::open(url.as_str(), &verification, &options, context)
    }

    fn manifest_called(
        &self,
        name: &str,
        digest: Option<Digest>,
        options: &FetchOptions,
    ) -> Result<(Vec<u8>, Digest), transfer::Error> {
        let bytes = self.ask(&format!("manifests/{name}"), &MANIFEST_TYPES, options)?;
        let digest = held(&bytes, digest, "manifest")?;
        Ok((bytes, digest))
    }

    fn url(&self, path: &str) -> Result<Url, Error> {
        self.base.join(path).map_err(|_| Error::Reference {
            text: self.session.reference.to_string(),
            problem: "makes no address",
        })
    }

    /// Asks, and once more with what the registry wants to know. A fault that may pass is tried again; whoever cancels it
    /// waits for no server.
    fn ask(&self, path: &str, accepted: &[&str], options: &FetchOptions) -> Result<Vec<u8>, transfer::Error> {
        let url = self.url(path)?;
        let ask = |authorization: Option<String>| {
            let mut request = Request::get(url.clone());
            request.headers = accepted.iter().map(|kind| ("accept".to_owned(), (*kind).to_owned())).collect();
            request.authorization = authorization;
            request.stall = options.stall;
            fetch::ask(request, DOCUMENT_LIMIT, options, &self.session.context)
        };
        let mut answered = ask(self.session.authorization()?)?;
        if answered.status == 401 && answered.is_of(&url) {
            self.session.challenged(Challenge::parse(answered.headers("www-authenticate")));
            answered = ask(self.session.authorization()?)?;
        }
        let reference = &self.session.reference;
        match answered.status {
            401 => Err(self.session.unauthorized().into()),
            403 => Err(self.session.denied().into()),
            404 => {
                let registry = reference.registry.clone();
                Err(Error::NoImage { registry, reference: reference.to_string() }.into())
            }
            _ => Ok(answered.successful()?),
        }
    }
}

impl Session {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is answered so.
    fn challenged(&self, challenge: Option<Challenge>) {
        *self.state() = State { challenge, ..State::default() };
    }

    /// What to send: nothing before a registry asked, a token that still holds afterwards.
    fn authorization(&self) -> Result<Option<String>, transfer::Error> {
        let mut state = self.state();
        let is_fresh = state.until.is_none_or(|until| Instant::now() < until);
        if is_fresh && state.value.is_some() {
            return Ok(state.value.clone());
        }
        let (value, until) = match &state.challenge {
            None => return Ok(None),
            Some(Challenge::Basic) => match &self.credentials {
                Some(credentials) => (credentials.basic(), None),
                None => return Err(self.unauthorized().into()),
            },
            Some(bearer) => (format!("Bearer {}", self.token(bearer)?), Some(Instant::now() + TOKEN)),
        };
        (state.value, state.until) = (Some(value.clone()), until);
        Ok(Some(value))
    }

    /// Our name and password go to whom the registry names: over https, or where that is this host.
    fn token(&self, challenge: &Challenge) -> Result<String, transfer::Error> {
        let url = challenge.token_url(&self.reference.repository).ok_or_else(|| self.unauthorized())?;
        let is_safe = url.scheme() == "https" || url.host_str().is_some_and(is_loopback);
        let mut request = Request::get(url);
        request.authorization = self.credentials.as_ref().filter(|_| is_safe).map(Credentials::basic);
        let answered = fetch::ask(request, TOKEN_LIMIT, &FetchOptions::default(), &self.context)?;
        if matches!(answered.status, 401 | 403) {
            return Err(self.unauthorized().into());
        }
        let answer = answered.successful()?;
        Ok(challenge::token(&answer).ok_or_else(|| self.unauthorized())?)
    }

    fn unauthorized(&self) -> Error {
        let (registry, repository) = (self.reference.registry.clone(), self.reference.repository.clone());
        match &self.credentials {
            None => Error::Unauthorized { registry, repository },
            Some(Credentials { user, .. }) => Error::Denied { registry, repository, user: user.clone() },
        }
    }

    fn denied(&self) -> Error {
        let user = self.credentials.as_ref().map_or("nobody", |credentials| &credentials.user).to_owned();
        let (registry, repository) = (self.reference.registry.clone(), self.reference.repository.clone());
        Error::Denied { registry, repository, user }
    }
}

impl Authorize for Session {
    fn authorize(&self, _: &Url, challenge: Option<&str>) -> Result<Option<String>, transfer::Error> {
        if let Some(challenge) = challenge {
            self.challenged(Challenge::parse([challenge]));
        }
        self.authorization()
    }
}

/// The digest of `bytes`, if it is `expected`.
pub(super) fn held(bytes: &[u8], expected: Option<Digest>, document: &'static str) -> Result<Digest, Error> {
    let digest = Digest(Sha256::digest(bytes).into());
    match expected {
        Some(expected) if expected != digest => {
            Err(Error::Document { document, what: format!("its digest is {digest}, not {expected}") })
        }
        _ => Ok(digest),
    }
}

/// Whether `host`, with or without a port, is this one.
fn is_loopback(host: &str) -> bool {
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::oci::Reference;

    #[test]
    fn addresses() {
        let rows = [
            ("docker://debian", "https://registry-1.docker.io/v2/library/debian/manifests/x"),
            ("quay.io/a/b", "https://quay.io/v2/a/b/manifests/x"),
            ("quay.io:444/a/b", "https://quay.io:444/v2/a/b/manifests/x"),
            ("localhost:5000/a", "http://localhost:5000/v2/a/manifests/x"),
            ("127.0.0.1:5000/a", "http://127.0.0.1:5000/v2/a/manifests/x"),
            ("127.example.org/a", "https://127.example.org/v2/a/manifests/x"),
        ];
        for (text, expected) in rows {
            let Ok(Reference::Registry(reference)) = Reference::parse(text) else { panic!("{text}") };
            let registry = Registry::new(reference, None, &Context::silent()).expect(text);
            assert_eq!(registry.url("manifests/x").expect(text).as_str(), expected);
        }
    }

    #[test]
    fn digests_hold() {
        let digest = held(b"", None, "manifest").expect("a digest");
        assert_eq!(held(b"", Some(digest), "manifest").expect("itself"), digest);
        let error = held(b"x", Some(digest), "manifest").expect_err("another").to_string();
        assert!(error.starts_with("the manifest is not right: its digest is 2d7116"), "{error}");
    }
}
