//! What comes in, as an image: unpacked or written under a hidden name while it comes, shown when it is whole, verified and
//! on disk. Whatever goes wrong before that, the hidden image goes.
//!
//! | file | what it owns |
//! |---|---|
//! | [`raw`] | disk images, holes instead of zeros |
//! | `lift` | a directory of an archive as the root |
//! | `kind` | what it is, by its first bytes |

use std::os::fd::BorrowedFd;

use self::kind::Found;
use super::flow::{Contents, flow};
use super::{Context, Error, Event, Incoming, Proof, fault};
use crate::archive::{self, Counts, Notes};
use crate::image::origin::Origin;
use crate::image::{Finish, Image, ImageName, NewImage, Store};

mod kind;
mod lift;
pub mod raw;

/// What an image is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// An archive: a directory.
    Tar,
    /// A disk: `NAME.raw`.
    Raw,
}

/// How an image is made.
#[derive(Debug, Clone, Default)]
pub struct InstallOptions {
    /// How it is finished.
    pub finish: Finish,
    /// What is written down of where it came from; digest and proof are filled in.
    pub origin: Option<Origin>,
    /// The directory in an archive that is the root, where that is not the archive's own.
    pub strip: Option<String>,
}

/// An image that was made.
#[derive(Debug)]
pub struct Installed {
    /// It.
    pub image: Image,
    /// What vouches for it.
    pub proof: Proof,
    /// What is in it; of a disk image, how many bytes are.
    pub counts: Counts,
    /// What of it is not as it was.
    pub notes: Notes,
}

/// Makes the directory `new` of the archive that `incoming` is.
///
/// # Errors
/// The first cause. There is no image then.
pub fn tar(
    incoming: Box<dyn Incoming>,
    new: NewImage,
    options: &InstallOptions,
    context: &Context,
) -> Result<Installed, Error> {
    let (made, proof) = flow(incoming, context, |contents| {
        kind::must_be(contents, Wanted::Tar)?;
        let (counts, notes) = unpack(contents, new.content(), context)?;
        Ok(Made { new, counts, notes })
    })?;
    finish(made, proof, options, context)
}

/// Makes the disk image `new` of the disk that `incoming` is: raw or qcow2.
///
/// # Errors
/// The first cause. There is no image then.
pub fn raw(
    incoming: Box<dyn Incoming>,
    new: NewImage,
    options: &InstallOptions,
    context: &Context,
) -> Result<Installed, Error> {
    let (made, proof) = flow(incoming, context, |contents| {
        let found = kind::must_be(contents, Wanted::Raw)?;
        let counts = raw::write(contents, &new, found, context)?;
        Ok(Made { new, counts, notes: Notes::default() })
    })?;
    finish(made, proof, options, context)
}

/// Makes the image `name` of whatever `incoming` is, or of `wanted` alone.
///
/// # Errors
/// The first cause. There is no image then.
pub fn image(
    incoming: Box<dyn Incoming>,
    store: &Store,
    name: &ImageName,
    wanted: Option<Wanted>,
    options: &InstallOptions,
    context: &Context,
) -> Result<Installed, Error> {
    let (made, proof) = flow(incoming, context, |contents| {
        let found = match wanted {
            Some(wanted) => kind::must_be(contents, wanted)?,
            None => kind::of(contents)?,
        };
        if found == Found::Tar {
            let new = NewImage::directory(store, name)?;
            fault::point("begun");
            let (counts, notes) = unpack(contents, new.content(), context)?;
            return Ok(Made { new, counts, notes });
        }
        let new = NewImage::raw(store, name)?;
        fault::point("begun");
        let counts = raw::write(contents, &new, found, context)?;
        Ok(Made { new, counts, notes: Notes::default() })
    })?;
    finish(made, proof, options, context)
}

/// An image that is whole but for its verification.
struct Made {
    new: NewImage,
    counts: Counts,
    notes: Notes,
}

fn finish(made: Made, proof: Proof, options: &InstallOptions, context: &Context) -> Result<Installed, Error> {
    let Made { mut new, counts, notes } = made;
    fault::point("verified");
    context.check()?;
    if let Some(name) = options.strip.as_deref().filter(|_| counts.files + counts.directories > 0) {
        let failed = |source| Error::Write { name: new.name().to_string(), source };
        lift::lift(new.content(), name).map_err(failed)?;
    }
    context.tell(Event::Stage { what: format!("writing {} to disk", new.name()), total: None });
    if let Some(origin) = &options.origin {
        new.set_origin(Origin {
            digest: proof.sha256.map(|sha256| format!("sha256:{sha256}")),
            proof: proof.checked.clone(),
            ..origin.clone()
        });
    }
    let image = new.finish(options.finish)?;
    fault::point("finished");
    Ok(Installed { image, proof, counts, notes })
}

/// Unpacks the archive `contents` into the empty directory `target`.
///
/// # Errors
/// What ends it.
pub fn unpack(
    contents: &mut Contents,
    target: BorrowedFd<'_>,
    context: &Context,
) -> Result<(Counts, Notes), Error> {
    let name = contents.name().to_owned();
    let failed = |source| match source {
        archive::Error::Input(error) => Error::of_reading(&name, error),
        source => Error::Unpack { name: name.clone(), source },
    };
    fault::point("unpacking");
    let options = archive::ExtractOptions {
        devices: rustix::process::geteuid().is_root(),
        strip_top: true,
        ..Default::default()
    };
    let extracted = archive::extract_lent(contents, target, &options).map_err(failed)?;
    context.check()?;
    fault::point("unpacked");
    if extracted.notes.has_faults() {
        return Err(Error::Incomplete { name, lines: extracted.notes.lines() });
    }
    Ok((extracted.counts, extracted.notes))
}

/// Copies a directory as an image.
///
/// # Errors
/// What could not be copied. There is no image then.
pub fn directory(
    source: BorrowedFd<'_>,
    mut new: NewImage,
    options: &InstallOptions,
    context: &Context,
) -> Result<(Image, Counts, Notes), Error> {
    let failed = |source| match source {
        archive::Error::Interrupted => Error::Cancelled,
        source => Error::Copy { name: new.name().to_string(), source },
    };
    let mut progress = |count| {
        context.tell(Event::Moved(count));
        context.check().map_err(|_| archive::Error::Interrupted)
    };
    let copying = archive::CopyTreeOptions { one_file_system: true, ..Default::default() };
    fault::point("begun");
    let copied = archive::copy_tree(source, new.content(), copying, &mut progress);
    let (counts, notes) = copied.map_err(failed)?;
    fault::point("unpacked");
    context.check()?;
    context.tell(Event::Stage { what: format!("writing {} to disk", new.name()), total: None });
    if let Some(origin) = &options.origin {
        new.set_origin(origin.clone());
    }
    let image = new.finish(options.finish)?;
    fault::point("finished");
    Ok((image, counts, notes))
}
