//! Getting bytes: from servers, files and stdin.
//!
//! [`open`] gives a stream that is hashed and verified on the way, [`document`] a small file. Bytes are read by a thread
//! of their own into a bounded number of buffers, so that the network, the hash and whoever takes them work at once.
//!
//! | file | what it owns |
//! |---|---|
//! | [`location`] | where something is |
//! | [`client`] | the one client of HTTP, redirects, authorization |
//! | [`download`] | a download |
//! | [`local`] | files and stdin |
//! | [`stream`] | from the thread that reads to who takes the bytes |
//! | [`fault`] | what went wrong, in words |

use std::path::PathBuf;
use std::time::Duration;

mod client;
mod download;
mod error;
mod fault;
mod local;
mod location;
mod stream;
#[cfg(test)]
mod tests;

pub use client::{Client, Request, Response};
pub use error::Error;
pub use location::Location;

use super::verify::{Check, Verification};
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
    /// How long a server may say nothing.
    pub stall: Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self { mirrors: Vec::new(), partial: None, headers: Vec::new(), stall: STALL }
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
    let check = Check::plain(&name, verification);
    Ok(Box::new(match location {
        Location::Web(url) => {
            let download = download::Download { url, options: options.clone() };
            stream::Stream::start(name, download, check, context)?
        }
        Location::File(path) => stream::Stream::start(name, local::Local::open(&path)?, check, context)?,
        Location::Stdin => stream::Stream::start(name, local::Local::stdin()?, check, context)?,
    }))
}

/// The whole of a small file, such as an index or a list of checksums: at most `limit` bytes.
///
/// # Errors
/// As [`open`].
pub fn document(
    address: &str,
    limit: u64,
    options: &FetchOptions,
    context: &Context,
) -> Result<Vec<u8>, super::Error> {
    context.check()?;
    match Location::parse(address)? {
        Location::Web(url) => {
            let mut request = Request::get(url);
            request.stall = options.stall;
            request.headers.clone_from(&options.headers);
            Ok(Client::shared()?.get(&request)?.successful()?.bytes(limit)?)
        }
        location => {
            use std::io::Read;
            let mut bytes = Vec::new();
            open(address, &Verification::none(), options, context)?
                .take(limit + 1)
                .read_to_end(&mut bytes)
                .map_err(|source| Error::Read { name: location.shown(), source })?;
            if bytes.len() as u64 > limit {
                return Err(Error::TooLarge { url: location.shown(), limit }.into());
            }
            Ok(bytes)
        }
    }
}
