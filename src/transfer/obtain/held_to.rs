//! What a file of a distro is held to: as much as its makers publish and this host can check, unless the user says otherwise.

use super::Request;
use super::attempt::unusable;
use crate::transfer::catalogue::Download;
use crate::transfer::catalogue::model::Key;
use crate::transfer::verify::{Mode, Verification};
use crate::transfer::{Error, bootstrap};

/// What a file of the distro is held to, and what the user should know of that. The addresses are filled in later.
pub(super) fn held_to(
    request: &Request<'_>,
    download: &Download,
) -> Result<(Verification, Option<String>), Error> {
    let secure = !download.url.starts_with("http://");
    let key = download.signature.as_ref().map(|(_, key)| key);
    let keys: Vec<_> = match key {
        Some(_) if !request.keys.is_empty() => request.keys.clone(),
        Some(key) if bootstrap::plan::find(&["gpgv"]).is_some() => {
            key.files.iter().filter(|file| file.exists()).cloned().collect()
        }
        _ => Vec::new(),
    };
    let fingerprints = match key {
        Some(key) if request.keys.is_empty() => key.fingerprints.clone(),
        _ => Vec::new(),
    };
    let with = |mode, keys| Verification {
        mode: Some(mode),
        keys,
        fingerprints: fingerprints.clone(),
        ..Verification::default()
    };
    match request.mode {
        Some(Mode::No) => Ok((with(Mode::No, Vec::new()), None)),
        Some(Mode::Checksum) if download.checksums.is_some() => Ok((with(Mode::Checksum, Vec::new()), None)),
        Some(Mode::Checksum) => Err(unusable("it has no list of checksums")),
        _ if !keys.is_empty() => Ok((with(Mode::Signature, keys), None)),
        Some(Mode::Signature) => Err(unusable(no_key(key))),
        None if download.checksums.is_some() && secure => {
            let note = format!("it was held to the distro's checksums alone: {}", no_key(key));
            Ok((with(Mode::Checksum, Vec::new()), Some(note)))
        }
        None if key.is_some() => Err(unusable(no_key(key))),
        None if secure => {
            Err(unusable("it publishes neither checksums nor signatures; --verify=no takes it as it is"))
        }
        None => Err(unusable("it is not reached by https; --verify=checksum takes it as it is")),
    }
}

fn no_key(key: Option<&Key>) -> String {
    match key {
        None => "the distro does not sign them".to_owned(),
        Some(_) if bootstrap::plan::find(&["gpgv"]).is_none() => {
            "there is no gpgv here to check their signature (the package gpgv has it)".to_owned()
        }
        Some(Key { package: Some(package), .. }) => {
            format!("the key that they are signed with is not here (the package {package} has it)")
        }
        Some(key) => {
            let files: Vec<_> = key.files.iter().map(|file| file.display().to_string()).collect();
            format!("the key that they are signed with is not here ({})", files.join(", "))
        }
    }
}
