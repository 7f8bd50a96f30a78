//! What is wrong with a catalogue file or a reference to an image of the catalogue.

use std::path::PathBuf;

use crate::settings::did_you_mean;
use crate::sys::SysError;

/// What is wrong with a catalogue file or a reference.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("{file}:{line}: {problem}")]
    File { file: String, line: usize, problem: String, hint: Option<String> },
    #[error("cannot read {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: SysError,
    },
    #[error("cannot read {}: {problem}", .path.display())]
    NotText { path: PathBuf, problem: &'static str },
    #[error("{text:?} is no reference to an image: {problem}")]
    Reference { text: String, problem: &'static str },
    #[error("no distro {name:?} in the catalogue{}", did_you_mean(.nearest.as_deref()))]
    NoDistro { name: String, nearest: Option<String> },
    #[error("no release {release:?} of {distro} in the catalogue{}", did_you_mean(.nearest.as_deref()))]
    NoRelease { distro: String, release: String, known: Vec<String>, nearest: Option<String> },
    #[error("no variant {variant:?} of {distro}{}", did_you_mean(.nearest.as_deref()))]
    NoVariant { distro: String, variant: String, known: Vec<String>, nearest: Option<String> },
    #[error("unknown architecture {name:?}{}", did_you_mean(.nearest.as_deref()))]
    UnknownArchitecture { name: String, nearest: Option<String> },
    #[error("{distro} is not made for {architecture}")]
    NoArchitecture { distro: String, architecture: String, known: Vec<String> },
    #[error("no source in the catalogue has {what}")]
    NoSource { what: String },
    #[error("{distro} has no source of the kind {wanted:?}")]
    NoSuchSource { distro: String, wanted: String, known: Vec<String> },
}

impl Error {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File { hint, .. } => return hint.clone(),
            Self::Read { .. } | Self::NotText { .. } => return None,
            Self::Reference { .. } => {
                "write DISTRO[:RELEASE][/VARIANT][@ARCHITECTURE], such as debian:trixie or alpine:edge@arm64"
                    .to_owned()
            }
            Self::NoDistro { .. } => {
                "spinney search lists all; write your own into /etc/spinney/images/".to_owned()
            }
            Self::NoRelease { distro, known, .. } => {
                format!("{distro} has {}; spinney search {distro} tells more", known.join(", "))
            }
            Self::NoVariant { distro, known, .. } => format!("{distro} has {}", known.join(", ")),
            Self::UnknownArchitecture { .. } => {
                "architectures are amd64, arm64, armhf, i386, ppc64el, riscv64, s390x, or as uname -m spells them"
                    .to_owned()
            }
            Self::NoArchitecture { known, .. } => format!("it is made for {}", known.join(", ")),
            Self::NoSource { .. } => "spinney search shows which source has what".to_owned(),
            Self::NoSuchSource { known, .. } => format!("it has {}", known.join(", ")),
        })
    }
}
