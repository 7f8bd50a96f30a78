//! A tree to a stream: whole images. The same tree gives the same bytes, whatever the file system, the day and who asks:
//! directories in the order of their names, the first name of a file with several as the one that has its data, owners as
//! numbers, and nothing of when files were read or their inodes changed.

use std::io::Write;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};

use super::error::Error;
use super::notes::{Counts, Notes};
use super::output::ToWriter;
use super::pack::{Extent, Modified, PackOptions, Packer};
use crate::sys::files::open_at;
use crate::sys::open_files::OpenFiles;

/// How a tree is exported.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExportOptions {
    /// What becomes of the times of files.
    pub modified: Modified,
}

/// What was packed.
#[derive(Debug, Default)]
pub struct Exported {
    /// How much.
    pub counts: Counts,
    /// What was left out: sockets, and what could not be read.
    pub notes: Notes,
}

/// Packs the tree at `root`, a directory (`O_PATH` is enough), as `./` and what is below it on the same file system.
///
/// # Errors
/// When `sink` fails: [`Error::Output`] has what it said. A file that cannot be read is noted, and the rest goes on.
pub fn export(root: impl AsFd, sink: impl Write, options: &ExportOptions) -> Result<Exported, Error> {
    let failed = || Error::system("open", b"/");
    let open_files = OpenFiles::of_this_process().map_err(failed())?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let place = open_at(root, ".", flags, Mode::empty()).map_err(failed())?;
    let options = PackOptions {
        drop_privileges: false,
        one_file_system: true,
        extent: Extent::Image,
        sorted: true,
        modified: options.modified,
    };
    let mut packer = Packer::new(ToWriter::new(sink), open_files, options);
    packer.add(b".", place)?;
    let (counts, notes) = packer.finish()?;
    Ok(Exported { counts, notes })
}
