//! What comes in, by its first bytes.

use super::Wanted;
use crate::transfer::Error;
use crate::transfer::flow::Contents;

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Tar,
    Qcow2,
    Raw,
}

/// What `contents` are; nothing of them has been read.
pub(super) fn of(contents: &mut Contents) -> Result<Found, Error> {
    let name = contents.name().to_owned();
    let start = contents.start().map_err(|error| Error::of_reading(&name, error))?;
    if start.starts_with(b"QFI\xfb") {
        Ok(Found::Qcow2)
    } else if start.get(257..262) == Some(b"ustar") {
        Ok(Found::Tar)
    } else if start.len() > 512 {
        Ok(Found::Raw)
    } else {
        Err(Error::Format { name, what: "is neither a tar archive nor a disk image".to_owned(), hint: "" })
    }
}

/// The same, where `wanted` is what it has to be.
pub(super) fn must_be(contents: &mut Contents, wanted: Wanted) -> Result<Found, Error> {
    let name = contents.name().to_owned();
    let found = of(contents)?;
    match (wanted, found) {
        (Wanted::Tar, Found::Tar) | (Wanted::Raw, Found::Raw | Found::Qcow2) => Ok(found),
        (Wanted::Tar, _) => Err(Error::Format {
            name,
            what: "is a disk image, not a tar archive".to_owned(),
            hint: "spinney pull and import take both; pull-raw and import-raw disk images alone",
        }),
        (Wanted::Raw, _) => Err(Error::Format {
            name,
            what: "is a tar archive, not a disk image".to_owned(),
            hint: "spinney pull and import take both; pull-tar and import-tar archives alone",
        }),
    }
}
