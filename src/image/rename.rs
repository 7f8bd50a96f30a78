//! An image with all that is its own, under another name.

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::error::Error;
use super::fault::point;
use super::layers::{self, LayersLock};
use super::lock::lock_name;
use super::name::ImageName;
use super::properties::set_immutable;
use super::remove::{place, unlock_top};
use super::store::{Image, Store};
use super::{companions, origin, users};
use crate::sys::files::open_directory_at;
use crate::sys::{FdPath, SysError, sys};

/// Calls `image` `new`, with its settings, its snapshots and what is known of it. Gives it as it is called now.
///
/// # Errors
/// [`Error::Exists`], [`Error::InUse`] with who uses it, [`Error::OutOfReach`].
pub fn rename(store: &Store, image: &Image, new: &ImageName) -> Result<Image, Error> {
    let (old, path) = (&image.name, &image.path);
    if path.starts_with("/usr") {
        return Err(Error::OutOfReach { name: old.to_string(), path: path.clone() });
    }
    if path.starts_with("/dev") {
        return Err(Error::Device { path: path.clone() });
    }
    let versions = path.parent().and_then(|parent| parent.file_name()?.to_str()).is_some_and(|parent| {
        parent.strip_prefix(old.as_str()).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".v"))
    });
    if versions {
        return Err(Error::Versions { name: old.to_string(), path: path.clone() });
    }
    let _lock = users::lock_unused(store, image)?;
    let _name = lock_name(new)?;
    if let Ok(there) = store.find(new) {
        return Err(Error::Exists { name: new.to_string(), path: there.path });
    }
    let layers = store.state.exists().then(|| LayersLock::take(store)).transpose()?;
    let failed = || Error::system("rename image", path);
    let (directory, entry) = place(path).map_err(failed())?;
    let target = format!("{new}{}", image.kind.suffix());
    let immutable = unlock_top(&directory, &entry, image.kind);
    let renamed = rustix::fs::renameat_with(&directory, &entry, &directory, &target, RenameFlags::NOREPLACE);
    // The mark belongs to the image, whatever it is called now.
    if immutable {
        let now = if renamed.is_ok() { &target } else { &entry };
        open_directory_at(&directory, now).and_then(|top| set_immutable(top, true)).map_err(failed())?;
    }
    let renamed_path = path.with_file_name(&target);
    match renamed {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(Error::Exists { name: new.to_string(), path: renamed_path }),
        Err(errno) => {
            return Err(failed()(SysError::new("renameat2", format!("{entry:?}, {target:?}"), errno)));
        }
    }
    point("rename-renamed");
    sys("fsync", rustix::fs::fsync(&directory), || FdPath::of(&directory).to_string()).map_err(failed())?;
    let mut result = companions::rename(store, image, new);
    result = result.and(origin::rename(store, old, new));
    if let Some(layers) = &layers {
        result = result.and(layers::records::rename(store, old, new, layers).map_err(Error::from));
    }
    result.map(|()| Image { name: new.clone(), path: renamed_path, kind: image.kind })
}
