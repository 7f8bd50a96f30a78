//! What comes in, by its first bytes.

use super::Wanted;
use crate::transfer::Error;
use crate::transfer::flow::Contents;
use crate::transfer::format::{self, Format};

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Tar,
    Qcow2,
    Raw,
}

/// What `contents` are; nothing of them has been read.
pub(super) fn of(contents: &mut Contents) -> Result<Found, Error> {
    look(contents, false)
}

/// The same, where `is_disk` is what whoever asks says it is.
fn look(contents: &mut Contents, is_disk: bool) -> Result<Found, Error> {
    let name = contents.name().to_owned();
    let start = contents.start().map_err(|error| Error::of_reading(&name, error))?;
    let refuse = |what: String, hint| Err(Error::Format { name: name.clone(), what, hint });
    match format::detect(start) {
        Format::Tar => Ok(Found::Tar),
        Format::Qcow2 => Ok(Found::Qcow2),
        Format::Raw => Ok(Found::Raw),
        Format::Refused(what) => {
            refuse(format!("is {what}"), "take the tar archive or the disk image (raw, qcow2) of it")
        }
        Format::Gzip | Format::Xz | Format::Zstd | Format::Bzip2 => refuse(
            "is compressed twice".to_owned(),
            "decompress it once yourself: zstd -dc FILE | spinney import - NAME",
        ),
        Format::Unknown if start.is_empty() => refuse("is empty".to_owned(), "look at where it comes from"),
        // With a file system that we do not know, or empty: it is to be one, as with systemd-importd. A server's error page is not.
        Format::Unknown if is_disk && !is_text(start) => Ok(Found::Raw),
        Format::Unknown => refuse(
            "is neither a tar archive nor a disk image".to_owned(),
            "file(1) says what it is: an error page of a server, for one",
        ),
    }
}

/// The same, where `wanted` is what it has to be.
pub(super) fn must_be(contents: &mut Contents, wanted: Wanted) -> Result<Found, Error> {
    let name = contents.name().to_owned();
    let found = look(contents, wanted == Wanted::Raw)?;
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

/// Whether there is nothing but text: no disk begins without a single NUL.
fn is_text(start: &[u8]) -> bool {
    !start.contains(&0)
}
