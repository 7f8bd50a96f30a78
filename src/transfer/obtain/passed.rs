//! Which faults pass a source over, and which end it all.

use crate::sys::in_words;
use crate::transfer::{Error, bootstrap, fetch, oci, simplestreams, verify};

/// Whether the next source is tried after `error`: nothing that was believed turned out to be false.
pub(super) fn is_passed_over(error: &Error) -> bool {
    match error {
        Error::Fetch(error) => match error {
            fetch::Error::Unreachable { .. }
            | fetch::Error::NoName { .. }
            | fetch::Error::NoAuthorities { .. }
            | fetch::Error::Certificate { .. }
            | fetch::Error::Missing { .. }
            | fetch::Error::Forbidden { .. }
            | fetch::Error::Status { .. }
            | fetch::Error::Nonsense { .. }
            | fetch::Error::Broken { .. }
            | fetch::Error::Stalled { .. }
            | fetch::Error::Short { .. }
            | fetch::Error::Redirects { .. }
            | fetch::Error::Downgrade { .. }
            | fetch::Error::Astray { .. }
            | fetch::Error::TooLarge { .. }
            | fetch::Error::Setup { .. } => true,
            // file:// sources of one's own.
            error => error.is_missing(),
        },
        Error::Simplestreams(error) => match error {
            // Also a page of somebody's network that wants a password first.
            simplestreams::Error::Json { .. }
            | simplestreams::Error::Format { .. }
            | simplestreams::Error::NoImages
            | simplestreams::Error::NoProduct { .. }
            | simplestreams::Error::NoTree(_) => true,
            simplestreams::Error::Path(_) => false,
        },
        Error::Oci(
            oci::Error::Platform { .. }
            | oci::Error::Unauthorized { .. }
            | oci::Error::Denied { .. }
            | oci::Error::NoImage { .. },
        ) => true,
        Error::Bootstrap(error) => !matches!(error, bootstrap::Error::Cancelled),
        // What there is nothing to hold to is not taken; what cannot be checked here neither.
        Error::Verify(verify::Error::NoChecksum { .. } | verify::Error::NoGpgv) | Error::Unusable { .. } => {
            true
        }
        _ => false,
    }
}

/// Why the source `place` is passed over, in one line.
pub(super) fn line(place: &str, error: &Error) -> String {
    match error {
        Error::Fetch(fetch::Error::Unreachable { host, why }) => format!("could not reach {host}: {why}"),
        Error::Fetch(fetch::Error::NoName { host, .. }) => {
            format!("could not reach {host}: its name cannot be looked up")
        }
        error => format!("passed over {place}: {}", in_words(error)),
    }
}
