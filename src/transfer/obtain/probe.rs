//! Whether a server answers at all, soon: a machine without a network must come to the last source within seconds.

use std::time::Duration;

use crate::transfer::fetch::{self, Client, FetchOptions, Location, Request};
use crate::transfer::{Context, Error};

/// How long the first answer of a server may take: a TCP and a TLS handshake, and a redirect to a mirror, over a slow line.
const PATIENCE: Duration = Duration::from_secs(4);

/// Asks for the head of `address`. Any answer is one, whatever it says: not every server knows HEAD.
pub(super) fn answers(address: &str, context: &Context) -> Result<(), Error> {
    context.check()?;
    let Location::Web(url) = Location::parse(address)? else { return Ok(()) };
    let mut request = Request::get(url);
    request.head_only = true;
    request.stall = PATIENCE;
    Client::shared()?.get(&request)?;
    Ok(())
}

/// The small file `address`, the first that is asked of its server.
pub(super) fn document(address: &str, limit: u64, context: &Context) -> Result<Vec<u8>, Error> {
    let options = FetchOptions { stall: PATIENCE, ..FetchOptions::default() };
    fetch::document(address, limit, &options, context)
}
