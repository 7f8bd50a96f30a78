//! An image to a stream: a tree as a tar archive, the same bytes each time; a disk as it is. Compressed on the way.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, SeekFrom};

use super::compress::Compressor;
use super::compression::Compression;
use super::{Context, Error, Event};
use crate::archive::sparse::Map;
use crate::archive::{self, ExportOptions, Notes};
use crate::image::opened::{Access, Opened};
use crate::image::{Image, ImageKind};
use crate::sys::files::open_at;
use crate::sys::{FdPath, sys};

/// How much is read of a disk at once.
const CHUNK: usize = 256 << 10;

/// What an image is exported as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A tar archive of its tree.
    Tar,
    /// The disk.
    Raw,
}

impl Form {
    /// What fits `image`, if nobody says otherwise.
    pub fn of(image: &Image) -> Self {
        match image.kind {
            ImageKind::Raw | ImageKind::Block => Self::Raw,
            ImageKind::Directory | ImageKind::Subvolume | ImageKind::Layered => Self::Tar,
        }
    }
}

/// Counts what passes, and stops it when it is cancelled.
struct Counted<'a, W> {
    inner: W,
    context: &'a Context,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.context.check().map_err(io::Error::other)?;
        let count = self.inner.write(bytes)?;
        self.context.tell(Event::Moved(count as u64));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes `image` to `sink`, which messages call `target`. Gives what was left out.
///
/// # Errors
/// What ends it.
pub fn export(
    image: &Image,
    form: Form,
    (sink, target): (impl Write, &str),
    (format, options): (Compression, &ExportOptions),
    context: &Context,
) -> Result<Notes, Error> {
    let failed = |error: io::Error| Error::of_writing(target, error);
    let mut compressor = Compressor::new(format, sink).map_err(failed)?;
    let notes = match form {
        Form::Tar => tar(image, Counted { inner: &mut compressor, context }, target, options)?,
        Form::Raw => {
            raw(image, Counted { inner: &mut compressor, context }, target)?;
            Notes::default()
        }
    };
    compressor.finish().and_then(|mut sink| sink.flush()).map_err(failed)?;
    context.check()?;
    Ok(notes)
}

fn tar(image: &Image, sink: impl Write, target: &str, options: &ExportOptions) -> Result<Notes, Error> {
    let opened = Opened::open(&image.path, Access::ReadOnly)
        .map_err(|source| Error::Open { name: image.name.to_string(), source: Box::new(source) })?;
    let sink = io::BufWriter::with_capacity(CHUNK, sink);
    let exported = archive::export(opened.view(), sink, options).map_err(|error| match error {
        archive::Error::Output(error) => Error::of_writing(target, error),
        source => Error::Pack { name: image.name.to_string(), source },
    })?;
    Ok(exported.notes)
}

fn raw(image: &Image, mut sink: impl Write, target: &str) -> Result<(), Error> {
    let failed = |error| Error::of_reading(image.name.as_str(), error);
    let mut file = open_disk(&image.path).map_err(failed)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                sink.write_all(&buffer[..count]).map_err(|error| Error::of_writing(target, error))?
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    sink.flush().map_err(|error| Error::of_writing(target, error))
}

fn open_disk(path: &Path) -> io::Result<File> {
    let opened = open_at(CWD, path, OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK, Mode::empty());
    opened.map(File::from).map_err(io::Error::other)
}

/// How many bytes there are to be read of `image` as `form`, if that is known before.
pub fn length(image: &Image, form: Form) -> Option<u64> {
    let file = (form == Form::Raw).then(|| open_disk(&image.path).ok()).flatten()?;
    // The size of a block device is where its end is.
    let end = rustix::fs::seek(&file, SeekFrom::End(0)).ok()?;
    (end > 0).then_some(end)
}

/// Copies the disk `image` to the empty `file`, holes as holes and data shared where the file system can. Gives its size.
///
/// # Errors
/// What ends it.
pub fn disk(image: &Image, file: &File, target: &str, context: &Context) -> Result<u64, Error> {
    let failed = |error| Error::of_reading(image.name.as_str(), error);
    let source = open_disk(&image.path).map_err(failed)?;
    let size = length(image, Form::Raw).unwrap_or(0);
    if rustix::fs::ioctl_ficlone(file, &source).is_ok() {
        context.tell(Event::Moved(size));
        return Ok(size);
    }
    let whole = [(0, size)];
    let map = Map::of(&source, size);
    let mut buffer = vec![0; CHUNK];
    for (offset, length) in map.as_ref().map_or(whole.as_slice(), Map::pieces) {
        let (mut at, end) = (*offset, offset + length);
        while at < end {
            context.check()?;
            let most = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
            let count =
                std::os::unix::fs::FileExt::read_at(&source, &mut buffer[..most], at).map_err(failed)?;
            if count == 0 {
                break;
            }
            std::os::unix::fs::FileExt::write_all_at(file, &buffer[..count], at)
                .map_err(|error| Error::of_writing(target, error))?;
            at += count as u64;
            context.tell(Event::Moved(count as u64));
        }
    }
    let cut = rustix::fs::ftruncate(file, size);
    sys("ftruncate", cut, || FdPath::of(file).to_string())
        .map_err(|error| Error::of_writing(target, io::Error::other(error)))?;
    Ok(size)
}
