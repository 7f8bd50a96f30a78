//! `--template=`: a root directory that is missing is made as a copy of another one, in no time where the file system can.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, RenameFlags};

use crate::archive::copy_tree::{CopyTreeOptions, copy_tree};
use crate::cli::output::Output;
use crate::cli::refusal::Refusal;
use crate::image::hidden;
use crate::image::name::ImageName;
use crate::image::store::ImageKind;
use crate::sys::files::{change_mode, open_directory, remove_tree_at};
use crate::sys::{btrfs, in_words};

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
    fn told(error: impl std::error::Error) -> String {
        in_words(&error)
    }
    let source = open_directory(template).map_err(told)?;
    let name = tree.file_name().ok_or("it has no name")?;
    let parent = tree.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = open_directory(parent).map_err(told)?;
    // One that bears no image's name, say of all spaces, is hidden under another.
    let image = name.to_str().and_then(|name| name.parse().ok()).map_or_else(|| "tree".parse(), Ok);
    let image: ImageName = image.map_err(told)?;
    // Of one that was killed at it.
    hidden::sweep_of(&parent, &image).map_err(told)?;
    // Half a copy is not to be taken for a whole one.
    let at_once = btrfs::is_subvolume(&source) && btrfs::is_on(&parent);
    let (hidden, copy) = match at_once {
        true => hidden::snapshot(&parent, &image, &source),
        false => hidden::make(&parent, &image, ImageKind::Directory),
    }
    .map_err(told)?;
    let copied = match at_once {
        true => Ok(()),
        false => {
            let options = CopyTreeOptions::default();
            // The template's own mode is given last: until then its files would be everybody's, setuid ones among them.
            change_mode(&copy, 0o700).map_err(told)?;
            copy_tree(source.as_fd(), copy.as_fd(), options, &mut |_| Ok(())).map(drop).map_err(told)
        }
    };
    let placed = copied.and_then(|()| {
        rustix::fs::renameat_with(&parent, &hidden, &parent, name, RenameFlags::NOREPLACE).map_err(told)
    });
    // What stays of it all the same is hidden, and nobody's image.
    placed.map_err(|why| match remove_tree_at(&parent, &hidden) {
        Ok(()) => why,
        Err(error) => format!("{why}; {hidden:?} stays beside it: {}", told(error)),
    })
}
