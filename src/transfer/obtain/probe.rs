//! Whether a server answers at all, soon: a machine without a network must come to the last source within seconds.

use std::time::Duration;

use crate::transfer::fetch::{self, FetchOptions, Location, Patience, Request};
use crate::transfer::{Context, Error};

/// How long the first answer of a server may take: a TCP and a TLS handshake, and a redirect to a mirror, over a slow line.
const PATIENCE: Duration = Duration::from_secs(4);

/// The body of an answer to HEAD, of servers that send one all the same.
const NOTHING: u64 = 64 << 10;

/// How a server is asked for the first time.
pub(super) fn options() -> FetchOptions {
    // Whoever does not answer once has another source behind him; who is busy is asked again, soon.
    let patience = Patience {
        tries: 3,
        unanswered: 1,
        first: Duration::from_millis(300),
        longest: Duration::from_secs(1),
        asked: Duration::from_secs(3),
    };
    FetchOptions { stall: PATIENCE, patience, ..FetchOptions::default() }
}

/// Asks for the head of `address`: the file is there, unless the server says that it is not. Not every server knows HEAD.
pub(super) fn answers(address: &str, context: &Context) -> Result<(), Error> {
    context.check()?;
    let Location::Web(url) = Location::parse(address)? else { return Ok(()) };
    let mut request = Request::get(url);
    request.head_only = true;
    request.stall = PATIENCE;
    let answered = fetch::ask(request, NOTHING, &options(), context)?;
    match answered.status {
        404 | 410 | 403 | 500 | 502..=599 => Ok(answered.successful().map(drop)?),
        _ => Ok(()),
    }
}

/// The small file `address`, the first that is asked of its server.
pub(super) fn document(address: &str, limit: u64, context: &Context) -> Result<Vec<u8>, Error> {
    fetch::document(address, limit, &options(), context)
}
