//! Why an image of containers cannot be had: one line, a hint.

use std::path::PathBuf;

/// Why an image of containers cannot be had.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("{text:?} {problem}")]
    Reference { text: String, problem: &'static str },
    #[error("the {document} is not right: {what}")]
    Document { document: &'static str, what: String },
    #[error("the image is not there for {architecture}{}", only(.there))]
    Platform { architecture: String, there: Vec<String> },
    #[error("{}: {what}", .path.display())]
    Credentials { path: PathBuf, what: String },
    #[error("{registry} wants to know who asks for {repository:?}")]
    Unauthorized { registry: String, repository: String },
    #[error("{registry} does not let {user:?} have {repository:?}")]
    Denied { registry: String, repository: String, user: String },
    #[error("{registry} has no image {reference:?}")]
    NoImage { registry: String, reference: String },
    #[error("{} has no image{}; it has {}", .path.display(), .tag.as_ref().map(|tag| format!(" {tag:?}")).unwrap_or_default(), list(.there))]
    NotThere { path: PathBuf, tag: Option<String>, there: Vec<String> },
    #[error("{} is {what}", .path.display())]
    NoLayout { path: PathBuf, what: &'static str },
    #[error("layer {number} is not what the image's configuration says it is")]
    Layer { number: usize },
    #[error("layer {number} goes on and on after the end of its archive")]
    Padding { number: usize },
}

impl Error {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Reference { .. } => {
                "a reference such as docker.io/library/debian:trixie, oci:DIRECTORY:TAG or oci-archive:FILE"
            }
            Self::Document { .. } => "is it an image? charts and other artifacts lie in registries too",
            Self::Platform { there, .. } if there.is_empty() => return None,
            Self::Platform { .. } => "--arch= takes one of those; it will not run here without an emulator",
            Self::Credentials { .. } => {
                "podman login or docker login writes it; REGISTRY_AUTH_FILE names another file"
            }
            Self::Unauthorized { registry, .. } => {
                return Some(format!(
                    "is it the right name? If so: podman login {registry}, or docker login {registry}, and again"
                ));
            }
            Self::Denied { .. } => "ask who it belongs to, or log in as somebody else",
            Self::NoImage { .. } => "is the tag right? Without one it is latest",
            Self::NotThere { .. } => "name one of them after a colon",
            Self::NoLayout { .. } => "skopeo copy, podman save and docker save make what can be read",
            Self::Layer { .. } | Self::Padding { .. } => {
                "the image is damaged: pull it again, or tell who made it"
            }
        };
        Some(hint.to_owned())
    }
}

fn only(there: &[String]) -> String {
    if there.is_empty() { String::new() } else { format!(", only for {}", list(there)) }
}

fn list(there: &[String]) -> String {
    /// Foreign, and as many as somebody likes.
    const MOST: usize = 20;
    if there.is_empty() {
        return "none".to_owned();
    }
    let mut shown: Vec<String> =
        there.iter().take(MOST).map(|name| name.escape_debug().to_string()).collect();
    if there.len() > MOST {
        shown.push("...".to_owned());
    }
    shown.join(", ")
}
