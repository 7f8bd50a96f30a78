//! From what the catalogue says to an image: sources tried in turn, each that cannot be used told in one line.
//!
//! A source that cannot be reached, has not what is asked for, or speaks nonsense before anything of it is believed, is
//! passed over. One whose bytes are not what its own checksum or signature says is not: somebody changed them, and the next
//! source would only hide it.
//!
//! | file | what it owns |
//! |---|---|
//! | [`attempt`] | one source |
//! | `held_to` | what a file of a distro is held to |
//! | [`probe`] | whether a server answers at all, soon |
//! | [`passed`] | which faults pass a source over |

use std::path::PathBuf;

use super::catalogue::{Action, Attempt, Download, Resolved};
use super::lockfile::Pin;
use super::simplestreams::Listed;
use super::verify::Mode;
use super::{Context, Digest, Error as TransferError, Event, Proof};
use crate::archive::Counts;
use crate::image::{Finish, Image, ImageName, Store};

pub mod attempt;
mod held_to;
pub mod passed;
pub mod probe;

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// What was typed for it, to be found by again.
    pub reference: &'a str,
    /// What the catalogue says.
    pub resolved: &'a Resolved,
    /// Where the image is to be.
    pub store: &'a Store,
    /// Under which name.
    pub name: &'a ImageName,
    /// How it is finished.
    pub finish: Finish,
    /// What downloads are held to (`--verify=`); `None`: to a signature where its key is here, else to a checksum.
    pub mode: Option<Mode>,
    /// Keys that are believed instead of the catalogue's (`--key=`).
    pub keys: Vec<PathBuf>,
    /// Where downloads that break off are kept.
    pub partial: Option<PathBuf>,
    /// The digest of what that image was made of, if it is there.
    pub known: Option<Digest>,
    /// Only what can be pinned: no bootstrap.
    pub pinnable: bool,
}

/// What came of it.
#[derive(Debug)]
pub enum Obtained {
    /// An image.
    Made(Box<Made>),
    /// The source has nothing newer than the image that there is.
    UpToDate {
        /// Which source.
        address: String,
        /// How to have exactly that again.
        pin: Option<Pin>,
    },
}

/// An image that was made.
#[derive(Debug)]
pub struct Made {
    /// It.
    pub image: Image,
    /// The kind of its source.
    pub kind: &'static str,
    /// Where it came from: an address, a reference, a tool and its suite.
    pub address: String,
    /// The digest of what came, and what it was compared with; `None` where a tool saw to that.
    pub proof: Option<Proof>,
    /// What vouches for it, for people.
    pub vouched: Option<String>,
    /// What is in it, where that was counted.
    pub counts: Option<Counts>,
    /// How to have exactly that again.
    pub pin: Option<Pin>,
    /// What of it is not as it was, and what its user should know.
    pub notes: Vec<String>,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("cannot get {what}: none of its {} sources can be used", .tried.len())]
    Nothing { what: String, tried: Vec<String> },
}

impl Error {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Nothing { tried, .. } => Some(format!("what was tried:\n    {}", tried.join("\n    "))),
        }
    }
}

/// Makes an image of the first source that can be used.
///
/// # Errors
/// When none can, when one is not what it should be, or when the user has enough of it.
pub fn obtain(request: &Request<'_>, context: &Context) -> Result<Obtained, TransferError> {
    let attempts = &request.resolved.attempts;
    let mut tried = Vec::new();
    for (number, attempt) in attempts.iter().enumerate() {
        context.check()?;
        let error = match attempt::perform(request, attempt, context) {
            Ok(obtained) => return Ok(obtained),
            Err(error) if !passed::is_passed_over(&error) => return Err(error),
            // A single source: its own words are the clearest.
            Err(error) if attempts.len() == 1 => return Err(error),
            Err(error) => error,
        };
        let line = passed::line(&place(attempt), &error);
        if number + 1 < attempts.len() {
            context.tell(Event::Note(line.clone()));
        }
        tried.push(with_hint(line, &error));
    }
    let what = request.resolved.reference();
    Err(Error::Nothing { what, tried }.into())
}

/// Makes an image of exactly what `pin` says (`--frozen`).
///
/// # Errors
/// When that cannot be had, or is something else.
pub fn obtain_pinned(request: &Request<'_>, pin: &Pin, context: &Context) -> Result<Obtained, TransferError> {
    if request.known.is_some() && request.known == pin.digest() {
        return Ok(Obtained::UpToDate { address: super::fetch::shown_address(&pin.url), pin: None });
    }
    attempt::pinned(request, pin, context)
}

/// What the image server `url` has.
///
/// # Errors
/// When it cannot be asked, or says something else.
pub fn listing(url: &str, context: &Context) -> Result<Vec<Listed>, TransferError> {
    attempt::listing(url.trim_end_matches('/'), context)
}

/// What messages call a source: its kind, and the host of its address.
fn place(attempt: &Attempt) -> String {
    match &attempt.action {
        Action::Simplestreams { url: address, .. }
        | Action::Download(Download { url: address, .. })
        | Action::Oci { reference: address } => format!("{} ({})", host(address), attempt.kind),
        Action::Bootstrap { .. } => attempt.kind.to_owned(),
    }
}

/// The host of an address or a reference; of a file, that.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    match rest.split_once('/') {
        Some(("", _)) | None => rest,
        // Without a user and a password.
        Some((host, _)) => host.rsplit_once('@').map_or(host, |(_, host)| host),
    }
}

/// What a tool said last is worth more than its exit status.
fn with_hint(line: String, error: &TransferError) -> String {
    match error {
        TransferError::Bootstrap(error) => match error.hint() {
            Some(hint) => format!("{line}\n    {hint}"),
            None => line,
        },
        _ => line,
    }
}
