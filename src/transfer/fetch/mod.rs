//! Getting bytes: from servers, files and stdin.
//!
//! [`open`] gives a stream that is hashed and verified on the way, [`document`] a small file. Bytes are read by a thread
//! of their own into a bounded number of buffers, so that the network, the hash and whoever takes them work at once.
//!
//! | file | what it owns |
//! |---|---|
//! | [`location`] | where something is |
//! | [`client`] | the one client of HTTP, redirects, authorization |
//! | [`document`](mod@document) | small files, whole, and their cache |
//! | [`download`] | a download: tried again, resumed, taken from mirrors |
//! | [`range`] | which answers are the rest of the same file |
//! | [`backoff`] | when to try again, and when to give up |
//! | [`kept`] | downloads that broke off, kept for the next command |
//! | [`local`] | files and stdin |
//! | [`names`] | the addresses of hosts |
//! | [`stream`] | from the thread that reads to who takes the bytes |
//! | [`fault`] | what went wrong, in words |

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

mod backoff;
mod client;
mod document;
mod download;
mod error;
mod fault;
mod kept;
mod local;
mod location;
mod names;
mod range;
mod stream;
#[cfg(test)]
mod tests;

pub use backoff::Patience;
pub use client::{Client, Request, Response};
pub use document::{Answered, Cache, ask, cached, document, small};
pub use error::Error;
pub use location::{Location, shown_address};

use super::verify::{Verification, prepare};
use super::{Context, Incoming};

/// How long a server may say nothing.
pub const STALL: Duration = Duration::from_secs(30);

/// How a download is done.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// Other addresses of the same file, tried in turn.
    pub mirrors: Vec<String>,
    /// Where downloads that break off are kept for the next command (`--keep-partial`); `None`: nowhere.
    pub partial: Option<PathBuf>,
    /// Sent with each request.
    pub headers: Vec<(String, String)>,
    /// Gives authorization, where a server wants some.
    pub authorize: Option<Arc<dyn Authorize>>,
    /// How long a server may say nothing.
    pub stall: Duration,
    /// How often it is tried.
    pub patience: Patience,
}

/// Gives authorization to a download.
pub trait Authorize: fmt::Debug + Send + Sync {
    /// The value of `Authorization:` for `url`, after the server answered with `challenge` (`WWW-Authenticate:`), if it did.
    ///
    /// # Errors
    /// When it should have some and cannot get it.
    fn authorize(&self, url: &reqwest::Url, challenge: Option<&str>) -> Result<Option<String>, super::Error>;
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            mirrors: Vec::new(),
            partial: None,
            headers: Vec::new(),
            authorize: None,
            stall: STALL,
            patience: Patience::default(),
        }
    }
}

/// Opens what is at `address`: http://, https://, file://, a path, or `-` for stdin.
///
/// # Errors
/// When it is not there, or cannot be had. What goes wrong later is a fault of reading.
pub fn open(
    address: &str,
    verification: &Verification,
    options: &FetchOptions,
    context: &Context,
) -> Result<Box<dyn Incoming>, super::Error> {
    let location = Location::parse(address)?;
    let name = location.shown();
    // A download that goes on elsewhere is known again by what it hashed to.
    let unhashed = verification.unhashed && !matches!(location, Location::Web(_));
    let verification = &Verification { unhashed, ..verification.clone() };
    let check = prepare(&location, verification, options, context)?;
    Ok(Box::new(match location {
        Location::Web(url) => {
            let mut sources = vec![url];
            for mirror in &options.mirrors {
                if let Location::Web(url) = Location::parse(mirror)? {
                    sources.push(url);
                }
            }
            let download = download::Download {
                sources,
                options: options.clone(),
                context: context.clone(),
                digest: check.knows_digest(),
                size: verification.size,
            };
            stream::Stream::start(name, download, check, context)?
        }
        Location::File(path) => {
            let local = local::Local::open(&path)?;
            if check.is_of_length_only() && local.is_regular() {
                return Ok(Box::new(local::Unhashed::new(local, check)));
            }
            stream::Stream::start(name, local, check, context)?
        }
        Location::Stdin => stream::Stream::start(name, local::Local::stdin()?, check, context)?,
    }))
}
