//! `--template=`: a root directory that is missing is made as a copy of another one, in no time where the file system can.

use std::fmt::Display;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, RenameFlags};

use crate::archive::copy_tree::{CopyTreeOptions, copy_tree};
use crate::cli::output::Output;
use crate::cli::refusal::Refusal;
use crate::sys::files::{make_directory_at, open_directory, remove_tree_at};
use crate::sys::{btrfs, in_words, random};

/// Makes `tree` of `template`, if it is not there.
///
/// # Errors
/// When it cannot be made: then nothing of it stays.
pub(super) fn populate(template: &Path, tree: &Path, output: Output) -> Result<(), Refusal> {
    let (tree_shown, template_shown) = (tree.display(), template.display());
    if rustix::fs::statat(CWD, tree, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        output.says(&format!(
            "Directory {tree_shown} already exists, not populating from template {template_shown}."
        ));
        return Ok(());
    }
    copy(template, tree).map_err(|why| {
        Refusal::error(
            format!("Couldn't create snapshot {tree_shown} from {template_shown}: {why}"),
            "a template is a directory, and there is room for a copy of it beside --directory=",
        )
    })?;
    output.says(&format!("Populated {tree_shown} from template {template_shown}."));
    Ok(())
}

fn copy(template: &Path, tree: &Path) -> Result<(), String> {
    fn told(error: impl Display) -> String {
        error.to_string()
    }
    let source = open_directory(template).map_err(|error| in_words(&error))?;
    let name = tree.file_name().ok_or("it has no name")?;
    let parent = tree.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = open_directory(parent).map_err(|error| in_words(&error))?;
    // Half a copy is not to be taken for a whole one.
    let hidden = format!(".#{}{:016x}", name.to_string_lossy(), random().map_err(told)?);
    let made = match btrfs::is_subvolume(&source) && btrfs::is_on(&parent) {
        true => btrfs::snapshot(&source, &parent, &hidden, false).map_err(|error| in_words(&error)),
        false => {
            make_directory_at(&parent, &hidden, 0o700).map_err(|error| in_words(&error)).and_then(|copy| {
                let copied =
                    copy_tree(source.as_fd(), copy.as_fd(), CopyTreeOptions::default(), &mut |_| Ok(()));
                copied.map(drop).map_err(|error| in_words(&error))
            })
        }
    };
    let placed = made.and_then(|()| {
        rustix::fs::renameat_with(&parent, &hidden, &parent, name, RenameFlags::NOREPLACE).map_err(told)
    });
    if placed.is_err() {
        // What stays of it is hidden, and nobody's image.
        let _ = remove_tree_at(&parent, &hidden);
    }
    placed
}
