//! `spinney run debian:trixie`: images by what they were pulled by, pulled where they are not here yet.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use super::EXIT_FAILURE;
use super::invocation::RunInvocation;
use super::output::Output;
use crate::image::{Image, Store, origin};
use crate::machine::Error;

/// What `invocation` asks for by reference; `None` where it is a path or a name.
pub(super) fn of(invocation: &RunInvocation) -> Option<&str> {
    let text = invocation.tree.to_str().filter(|_| invocation.operand)?;
    (looks_like_one(text) && rustix::fs::stat(text).is_err()).then_some(text)
}

/// Names of OCI transports (containers-transports(5)).
const TRANSPORTS: [&str; 4] = ["oci:", "oci-archive:", "docker-archive:", "docker://"];

/// A name of the catalogue with a release (`debian:trixie`, `void:current/musl`), an image of a registry
/// (`quay.io/fedora/fedora:43`), or of a local layout (`oci:DIRECTORY:TAG`).
fn looks_like_one(text: &str) -> bool {
    if TRANSPORTS.iter().any(|transport| text.starts_with(transport)) {
        return true;
    }
    if text.contains("://") || text.starts_with(['/', '.', '~', ':']) {
        return false;
    }
    let mut parts = text.split('/');
    let first = parts.next().unwrap_or_default();
    match parts.next_back() {
        None => first.contains(':'),
        Some(last) => {
            let registry = first.contains(['.', ':']) || first == "localhost";
            registry && (first.contains(':') || last.contains([':', '@']))
        }
    }
}

/// The image that was pulled by `reference`, of several the newest.
///
/// # Errors
/// When the images cannot be looked at.
pub(super) fn image(reference: &str) -> Result<Option<Image>, Error> {
    let store = Store::system();
    let images = store.all().map_err(|source| Error::Images { source })?;
    let known = images.into_iter().filter_map(|image| {
        let origin = origin::of(&store, &image)?;
        (origin.reference.as_deref() == Some(reference)).then_some((origin.when, image))
    });
    Ok(known.max_by_key(|(when, _)| *when).map(|(_, image)| image))
}

/// Has `reference` pulled, by a process of its own: what that takes of libraries and memory is nothing a supervisor should
/// have.
///
/// # Errors
/// When it fails, after it has said why.
pub(super) fn pull(reference: &str, quiet: bool, output: Output) -> Result<(), Error> {
    let failed = |exit_status| Error::NotPulled { reference: reference.to_owned(), exit_status };
    output.status(&format!("{reference} is not here yet: pulling it"));
    let mut command = Command::new("/proc/self/exe");
    command.arg0("spinney").arg("pull").args(quiet.then_some("--quiet")).args(["--", reference]);
    // It speaks on stderr, as we do before the machine runs: stdout is the machine's.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.map_err(|_| failed(EXIT_FAILURE))?;
    match status.success() {
        true => Ok(()),
        // As a shell tells it (128 and the signal).
        false => Err(failed(match (status.code(), status.signal()) {
            (Some(code), _) => u8::try_from(code).unwrap_or(EXIT_FAILURE),
            (None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(EXIT_FAILURE),
            (None, None) => EXIT_FAILURE,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        for (text, expected) in [
            ("debian:trixie", true),
            ("void:current/musl", true),
            ("docker.io/library/debian:trixie", true),
            ("quay.io/fedora/fedora@sha256:00", true),
            ("localhost:5000/web", true),
            ("localhost/web:1", true),
            ("oci:layout:tag", true),
            ("oci-archive:image.tar", true),
            ("docker://debian", true),
            ("debian", false),
            ("web.raw", false),
            ("srv/trees/a:b", false),
            ("./debian:trixie", false),
            ("/srv/debian:trixie", false),
            ("https://example.org/debian.tar.xz", false),
            ("my.trees/debian", false),
            (":x", false),
        ] {
            assert_eq!(looks_like_one(text), expected, "{text}");
        }
    }
}
