//! The one client of HTTP that a process has.
//!
//! Redirects are followed here and not by reqwest: never from https to http, and authorization goes to no other server
//! than the one it was for.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::Url;
use reqwest::blocking;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};

use super::fault;
use super::location::shown;
use super::names::Names;
use super::{Error, FetchOptions};

/// How long connecting may take: longer than two lost SYNs (tcp(7), tcp_syn_retries).
const CONNECT: Duration = Duration::from_secs(10);

/// As curl has it (`--max-redirs` is 50 there, browsers take 20); mirror directors need two or three.
const REDIRECTS: usize = 10;

/// A question to a server.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where.
    pub url: Url,
    /// The value of `Authorization:`; not sent to a server that this one redirects to.
    pub authorization: Option<String>,
    /// Other headers.
    pub headers: Vec<(String, String)>,
    /// Sent as POST with its type, instead of GET.
    pub body: Option<(String, Vec<u8>)>,
    /// HEAD instead of GET.
    pub head_only: bool,
    /// The longest wait for an answer to begin, and for each piece of it.
    pub stall: Duration,
}

impl Request {
    /// GET.
    pub fn get(url: Url) -> Self {
        Self {
            url,
            authorization: None,
            headers: Vec::new(),
            body: None,
            head_only: false,
            stall: super::STALL,
        }
    }

    /// With a header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// An answer, whatever its status. Reading gives its body; a fault of that is an [`io::Error`] of a text.
pub struct Response {
    inner: blocking::Response,
    stall: Duration,
}

/// A client.
pub struct Client {
    /// By how long a server may say nothing: reqwest takes that of a client alone as what it is, that of a request is for
    /// the whole of it.
    inner: Mutex<Vec<(Duration, Inner)>>,
}

#[derive(Clone)]
struct Inner {
    client: blocking::Client,
    authorities: bool,
}

impl Client {
    /// That of this process.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn shared() -> Result<&'static Self, Error> {
        static SHARED: Client = Client { inner: Mutex::new(Vec::new()) };
        Ok(&SHARED)
    }

    fn inner(&self, stall: Duration) -> Result<Inner, Error> {
        let mut all = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, inner)) = all.iter().find(|(of, _)| *of == stall) {
            return Ok(inner.clone());
        }
        let inner = Inner::new(stall).map_err(|why| Error::Setup { why })?;
        all.push((stall, inner.clone()));
        Ok(inner)
    }

    /// Asks, and follows redirects. Any status is an answer.
    ///
    /// # Errors
    /// When nobody answers, or nobody who can be believed.
    pub fn get(&self, request: &Request) -> Result<Response, Error> {
        let (mut url, user) = without_user(&request.url);
        let mut authorization = request.authorization.as_ref().or(user.as_ref());
        for _ in 0..=REDIRECTS {
            let response = self.ask(request, &url, authorization)?;
            let Some(next) = redirect(&url, response.status().as_u16(), response.headers())? else {
                return Ok(Response { inner: response, stall: request.stall });
            };
            if !same_server(&url, &next) {
                authorization = None;
            }
            url = next;
        }
        Err(Error::Redirects { url: shown(&request.url), limit: REDIRECTS })
    }

    fn ask(
        &self,
        request: &Request,
        url: &Url,
        authorization: Option<&String>,
    ) -> Result<blocking::Response, Error> {
        let Inner { client, authorities } = self.inner(request.stall)?;
        if url.scheme() == "https" && !authorities {
            return Err(Error::NoAuthorities { host: fault::host(url) });
        }
        let asked = match &request.body {
            Some((kind, body)) => client.post(url.clone()).header("content-type", kind).body(body.clone()),
            None if request.head_only => client.head(url.clone()),
            None => client.get(url.clone()),
        };
        let mut headers = HeaderMap::new();
        let authorization = authorization.map(|value| ("authorization", value.as_str()));
        let others = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in others.chain(authorization) {
            let pair = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
            let (name, value) = pair.ok_or_else(|| Error::Setup { why: format!("{name:?} is no header") })?;
            headers.append(name, value);
        }
        asked.headers(headers).send().map_err(|error| fault::of(url, &error, request.stall))
    }
}

impl Inner {
    fn new(stall: Duration) -> Result<Self, String> {
        let builder = || {
            blocking::Client::builder()
                .user_agent(concat!("spinney/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT.min(stall))
                .timeout(stall)
                .dns_resolver(Arc::new(Names))
                .referer(false)
        };
        if let Ok(client) = builder().build() {
            return Ok(Self { client, authorities: true });
        }
        // What fails is TLS without any certificates of authorities. Plain http needs none.
        match builder().tls_certs_only([]).build() {
            Ok(client) => Ok(Self { client, authorities: false }),
            Err(error) => Err(fault::reason(&error)),
        }
    }
}

impl Response {
    /// 200, 404, ...
    pub fn status(&self) -> u16 {
        self.inner.status().as_u16()
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// All headers of that name.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.inner.headers().get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    /// All headers that are text, with names in lower case.
    pub fn all_headers(&self) -> Vec<(String, String)> {
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        };
        self.inner.headers().iter().filter_map(text).collect()
    }

    /// How long its body will be, if it says so.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length").and_then(|text| text.trim().parse().ok())
    }

    /// Where it came from, after redirects.
    pub fn url(&self) -> &Url {
        self.inner.url()
    }

    /// Whether the server of `url` itself gave it, and none that this one led to. Only what that server asks for is told
    /// to whomever it names.
    pub fn is_of(&self, url: &Url) -> bool {
        same_server(self.url(), url)
    }

    /// The error of a status that is none of success.
    ///
    /// # Errors
    /// That one.
    pub fn successful(self) -> Result<Self, Error> {
        match fault::of_status(&shown(self.url()), self.status()) {
            None => Ok(self),
            Some(error) => Err(error),
        }
    }

    /// Its whole body, of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is larger, or breaks off.
    pub fn bytes(mut self, limit: u64) -> Result<Vec<u8>, Error> {
        let (url, wait) = (shown(self.url()), self.stall);
        let mut body = Vec::new();
        match (&mut self).take(limit.saturating_add(1)).read_to_end(&mut body) {
            Ok(_) if body.len() as u64 > limit => Err(Error::TooLarge { url, limit }),
            Ok(_) => Ok(body),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Error::Stalled { url, wait }),
            Err(error) => {
                Err(Error::Broken { url, at: body.len() as u64, total: None, why: error.to_string() })
            }
        }
    }
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(fault::of_body)
    }
}

/// Asks, with authorization if there is anybody to give it.
pub(super) fn authorized(
    client: &Client,
    mut request: Request,
    options: &FetchOptions,
) -> Result<Response, crate::transfer::Error> {
    let Some(authority) = &options.authorize else { return Ok(client.get(&request)?) };
    request.authorization = authority.authorize(&request.url, None)?;
    let response = client.get(&request)?;
    let own = response.is_of(&request.url);
    let challenge = response.header("www-authenticate").filter(|_| own).map(str::to_owned);
    match (response.status(), challenge) {
        // Tokens end, in the middle of a long download too.
        (401, Some(challenge)) => {
            request.authorization = authority.authorize(&request.url, Some(&challenge))?;
            Ok(client.get(&request)?)
        }
        _ => Ok(response),
    }
}

/// Where an answer leads, if it is a redirect (RFC 9110, section 15.4).
pub(super) fn redirect(url: &Url, status: u16, headers: &HeaderMap) -> Result<Option<Url>, Error> {
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let nonsense = |what: String| Error::Nonsense { url: shown(url), what };
    let location =
        headers.get(LOCATION).ok_or_else(|| nonsense(format!("{status} without saying where to")))?;
    let text = String::from_utf8_lossy(location.as_bytes());
    let next = url.join(&text).map_err(|_| nonsense(format!("{status} to {text:?}")))?;
    match (url.scheme(), next.scheme()) {
        ("https", "http") => Err(Error::Downgrade { url: shown(url), to: shown(&next) }),
        (_, "http" | "https") => Ok(Some(next)),
        _ => Err(Error::Astray { url: shown(url), to: text.into_owned() }),
    }
}

/// `url` without user and password, and these as an authorization (RFC 7617), so that it is known where they may go.
fn without_user(url: &Url) -> (Url, Option<String>) {
    let mut bare = url.clone();
    if url.username().is_empty() && url.password().is_none() {
        return (bare, None);
    }
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    let mut pair = decoded(url.username());
    pair.push(b':');
    pair.extend(decoded(url.password().unwrap_or_default()));
    // These fail for addresses that cannot have them.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    (bare, Some(format!("Basic {}", BASE64_STANDARD.encode(pair))))
}

pub(super) fn same_server(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status()).finish_non_exhaustive()
    }
}
