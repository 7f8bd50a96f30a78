//! Why bytes could not be had.

use std::path::PathBuf;
use std::time::Duration;

use crate::sys::SysError;

/// Why bytes could not be had. What a server said is quoted, so that it cannot play with a terminal.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("{location:?} is no address: {problem}")]
    Address { location: String, problem: String },
    #[error("cannot reach {host}: {why}")]
    Unreachable { host: String, why: String },
    #[error("cannot find {host}: {why}")]
    NoName { host: String, why: String },
    #[error("there are no certificates of authorities here, so no https server can be believed: {host}")]
    NoAuthorities { host: String },
    #[error("{host} is not believed to be {host}: {why}")]
    Certificate { host: String, why: String },
    #[error("{url} is not there ({status})")]
    Missing { url: String, status: u16 },
    #[error("{url} is not for everyone ({status})")]
    Forbidden { url: String, status: u16 },
    #[error("the server of {url} answers {status}")]
    Status { url: String, status: u16 },
    #[error("{url} cannot be downloaded: the server said {what}")]
    Nonsense { url: String, what: String },
    #[error("the download of {url} broke at byte {at}{}: {why}", of(.total))]
    Broken { url: String, at: u64, total: Option<u64>, why: String },
    #[error("no byte of {url} came for {} s", .wait.as_secs_f32())]
    Stalled { url: String, wait: Duration },
    #[error("{url} changed while it was downloaded")]
    Changed { url: String },
    #[error("{url} is cut off: {promised} bytes were promised, {got} came")]
    Short { url: String, promised: u64, got: u64 },
    #[error("{url} has {got} bytes, but should have {expected}")]
    Size { url: String, expected: u64, got: u64 },
    #[error("{url} leads to more than {limit} redirects")]
    Redirects { url: String, limit: usize },
    #[error("{url} leads to {to:?}, away from https")]
    Downgrade { url: String, to: String },
    #[error("{url} leads to {to:?}, which is no address of http")]
    Astray { url: String, to: String },
    #[error("{url} has more than the {limit} bytes that such a file may have")]
    TooLarge { url: String, limit: u64 },
    #[error("cannot read {}", .path.display())]
    File {
        path: PathBuf,
        #[source]
        source: SysError,
    },
    #[error("cannot read {name}")]
    Read {
        name: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is a directory, not a file", .path.display())]
    Directory { path: PathBuf },
    #[error("cannot keep the download at {}", .path.display())]
    Keep {
        path: PathBuf,
        #[source]
        source: SysError,
    },
    #[error("cannot prepare to download: {why}")]
    Setup { why: String },
}

fn of(total: &Option<u64>) -> String {
    total.map_or_else(String::new, |total| format!(" of {total}"))
}

impl Error {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Address { .. } => "https://, http://, file://, a path, or - for stdin",
            Self::Unreachable { .. } => {
                "look at the network; a proxy is taken from https_proxy, http_proxy, all_proxy and no_proxy"
            }
            Self::NoName { .. } => {
                "look at the address, /etc/resolv.conf and /etc/hosts; a proxy (https_proxy=) can look names up"
            }
            Self::NoAuthorities { .. } => {
                "install the package ca-certificates, or name a file of certificates in SSL_CERT_FILE"
            }
            Self::Certificate { .. } => {
                "look at this host's clock, and whether a proxy is between; SSL_CERT_FILE= names other authorities"
            }
            Self::Missing { .. } => "look at the address; servers remove old versions",
            Self::Forbidden { .. } => "a user and password can be given as https://USER:PASSWORD@HOST/...",
            Self::Status { .. } | Self::Nonsense { .. } | Self::Redirects { .. } => {
                "the fault is the server's: try later, or another server"
            }
            Self::Broken { .. } | Self::Stalled { .. } => {
                "try again; with --keep-partial what came is kept, and the next try goes on from there"
            }
            Self::Changed { .. } => "try again: the server has a new version",
            Self::Short { .. } | Self::Size { .. } => {
                "try again later: the server, or a proxy, has not all of it"
            }
            Self::Downgrade { .. } | Self::Astray { .. } => "give the address itself, if it is to be trusted",
            Self::TooLarge { .. } => "is the address that of another kind of file?",
            Self::Directory { .. } => "name an archive or a disk image; spinney import takes directories",
            Self::File { .. } | Self::Read { .. } | Self::Keep { .. } | Self::Setup { .. } => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether there is no such file, as opposed to none being had.
    pub fn is_missing(&self) -> bool {
        use rustix::io::Errno;
        match self {
            Self::Missing { .. } => true,
            Self::File { source, .. } => source.errno() == Errno::NOENT,
            _ => false,
        }
    }
}
