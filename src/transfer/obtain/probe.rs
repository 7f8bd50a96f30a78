//! Whether a server answers at all, soon: a machine without a network must come to the last source within seconds.

use std::time::Duration;

use crate::transfer::fetch::{self, Client, FetchOptions, Location, Patience, Request};
use crate::transfer::{Context, Error};

/// How long the first answer of a server may take: a TCP and a TLS handshake, and a redirect to a mirror, over a slow line.
const PATIENCE: Duration = Duration::from_secs(4);

/// Asks for the head of `address`: the file is there, unless the server says that it is not. Not every server knows HEAD.
pub(super) fn answers(address: &str, context: &Context) -> Result<(), Error> {
    context.check()?;
    let Location::Web(url) = Location::parse(address)? else { return Ok(()) };
    let mut request = Request::get(url);
    request.head_only = true;
    request.stall = PATIENCE;
    let response = Client::shared()?.get(&request)?;
    match response.status() {
        404 | 410 | 403 | 500..=599 if response.status() != 501 => Ok(response.successful().map(drop)?),
        _ => Ok(()),
    }
}

/// The small file `address`, the first that is asked of its server.
pub(super) fn document(address: &str, limit: u64, context: &Context) -> Result<Vec<u8>, Error> {
    // Whoever does not answer once has another source behind him.
    let patience = Patience { tries: 1, ..Patience::default() };
    let options = FetchOptions { stall: PATIENCE, patience, ..FetchOptions::default() };
    fetch::document(address, limit, &options, context)
}
