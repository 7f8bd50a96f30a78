//! The writable layer of an image becomes one more that is not, and an empty one takes its place.
//!
//! Nothing is copied, and at each step the image is what it was: an empty layer is put over the others, which changes
//! nothing, and then it and the writable one change places, which is one rename.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::links::rename;
use super::place::mount_of;
use super::stack::copy_root;
use super::{Layer, LayerError, LayerPlace, LayeredImage, LayersLock};
use crate::archive::copy_tree::{CopyTreeOptions, copy_tree};
use crate::image::fault::point;
use crate::image::{Store, mstack};
use crate::sys::files::{
    entries, make_directory_at, open_at, open_directory, open_directory_at, remove_tree_at, try_lock,
};
use crate::sys::{FdPath, SysResult, attributes, btrfs};

/// Makes a layer of what was changed over the layers of `image`, which no machine runs from. `None` if nothing was.
///
/// # Errors
/// When one of the steps fails: the image is whole then, too.
pub fn freeze(store: &Store, image: &LayeredImage, _lock: &LayersLock) -> Result<Option<Layer>, LayerError> {
    let Some(data) = changed(image)? else { return Ok(None) };
    let failed = || LayerError::system("make a layer of the changes of", image.path());
    let Some(writable) = image.writable()? else { return Ok(None) };
    let place = place_for(store, image, &writable)?;
    let id = LayerPlace::fresh_id().map_err(failed())?;
    let empty = make_directory_at(&place, &id, 0o700).map_err(failed())?;
    copy_root(&data, &empty).map_err(failed())?;
    point("layer-made");
    let layer = Layer { path: place.path().join(&id), disk: false };
    image.add(&layer)?;
    point("layer-linked");
    // The kernel's scratch directory belongs to the layer that it was used with.
    remove_tree_at(&writable, mstack::WORK).map_err(failed())?;
    make_directory_at(&writable, mstack::WORK, 0o700).map_err(failed())?;
    point("work-emptied");
    rename(&writable, mstack::DATA, &place, &id, RenameFlags::EXCHANGE).map_err(failed())?;
    point("upper-swapped");
    Ok(Some(layer))
}

/// A layer that nobody refers to yet: under a hidden name, and removed when dropped without a name of its own.
#[derive(Debug)]
pub struct NewLayer {
    place: LayerPlace,
    id: String,
    hidden: String,
    directory: OwnedFd,
    named: bool,
}

impl NewLayer {
    /// Copies what was changed over the layers of `image` while its machine does not run; `None` if nothing was.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn copy_of_changes(store: &Store, image: &LayeredImage) -> Result<Option<Self>, LayerError> {
        let Some(data) = changed(image)? else { return Ok(None) };
        let failed = || LayerError::system("copy the changes of", image.path());
        let Some(writable) = image.writable()? else { return Ok(None) };
        let place = place_for(store, image, &writable)?;
        let id = LayerPlace::fresh_id().map_err(failed())?;
        let new = Self::begin(place, id).map_err(failed())?;
        let options = CopyTreeOptions { overlay_attributes: true, ..CopyTreeOptions::default() };
        copy_tree(data.as_fd(), new.directory.as_fd(), options, &mut |_| Ok(()))?;
        Ok(Some(new))
    }

    /// Begins an empty one that will be called `id`, for an image in `pool`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn empty(store: &Store, pool: &Path, id: &str) -> Result<Self, LayerError> {
        let place = LayerPlace::of(store, pool)?;
        let failed = LayerError::system("make a layer in", place.path().to_owned());
        Self::begin(place, id.to_owned()).map_err(failed)
    }

    fn begin(place: LayerPlace, id: String) -> SysResult<Self> {
        loop {
            // Several may be making the same one.
            let hidden = format!(".#{}", LayerPlace::fresh_id()?);
            let directory = make_directory_at(&place, &hidden, 0o755)?;
            // Swept before it was locked, it is gone.
            if try_lock(&directory)? && rustix::fs::statat(&place, &hidden, AtFlags::SYMLINK_NOFOLLOW).is_ok()
            {
                return Ok(Self { place, id, hidden, directory, named: false });
            }
        }
    }

    /// It will be called `id` after all.
    pub fn call(&mut self, id: String) {
        self.id = id;
    }

    /// Its directory.
    pub fn content(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Brings it to disk, which may take long: before the lock is taken.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<(), LayerError> {
        crate::sys::sys("syncfs", rustix::fs::syncfs(&self.directory), || {
            FdPath::of(&self.directory).to_string()
        })
        .map_err(LayerError::system("make layer", self.place.path().join(&self.id)))
    }

    /// Gives it its name, under the lock: who has it refers to the layer before letting go.
    ///
    /// # Errors
    /// When it cannot be brought to disk.
    pub fn finish(mut self, _lock: &LayersLock) -> Result<Layer, LayerError> {
        let path = self.place.path().join(&self.id);
        self.sync()?;
        match rename(&self.place, &self.hidden, &self.place, &self.id, RenameFlags::NOREPLACE) {
            Ok(()) => self.named = true,
            // Somebody else has made the same one meanwhile.
            Err(error) if error.errno() == Errno::EXIST => {}
            Err(error) => return Err(LayerError::system("make layer", &path)(error)),
        }
        Ok(Layer { path, disk: false })
    }
}

impl Drop for NewLayer {
    fn drop(&mut self) {
        if !self.named {
            let _ = remove_tree_at(&self.place, &self.hidden);
        }
    }
}

/// Where a layer of what is in `writable` goes by a rename.
fn place_for(store: &Store, image: &LayeredImage, writable: &OwnedFd) -> Result<LayerPlace, LayerError> {
    let failed = || LayerError::system("make a layer of the changes of", image.path());
    let place = LayerPlace::of(store, image.pool())?;
    let same = mount_of(&place).and_then(|one| Ok(one == mount_of(writable)?)).map_err(failed())?;
    if same {
        return Ok(place);
    }
    // A link leads out of the image: layers of it are kept where it leads.
    let real = super::links::real_path(writable).map_err(failed())?;
    LayerPlace::of(store, real.parent().unwrap_or(&real))
}

/// What was changed over the layers of `image`: `None` if that is nothing.
fn changed(image: &LayeredImage) -> Result<Option<OwnedFd>, LayerError> {
    let Some(data) = image.changes()? else { return Ok(None) };
    let failed = || LayerError::system("look into", image.path());
    if !entries(&data).map_err(failed())?.is_empty() {
        return Ok(Some(data));
    }
    let Some(top) = image.layers().last().filter(|top| !top.disk) else { return Ok(Some(data)) };
    let below = open_directory(&top.path).map_err(failed())?;
    let same = looks(&below).and_then(|one| Ok(one == looks(&data)?)).map_err(failed())?;
    Ok((!same).then_some(data))
}

/// What a root directory is, times aside.
type Looks = (u32, u32, u32, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn looks(directory: &OwnedFd) -> SysResult<Looks> {
    let stat = rustix::fs::statat(directory, ".", AtFlags::empty());
    let stat = crate::sys::sys("fstatat", stat, String::new)?;
    let mut found = Vec::new();
    for name in attributes::list(directory)? {
        if !name.starts_with(b"user.overlay.") && !name.starts_with(b"trusted.overlay.") {
            let value = attributes::get(directory, &name)?;
            found.push((name, value));
        }
    }
    found.sort();
    Ok((stat.st_mode, stat.st_uid, stat.st_gid, found))
}

/// Moves layers that are part of `image` itself to where others are, and leaves links: they can be shared then. A link takes
/// the place of the layer by one rename.
///
/// # Errors
/// When one cannot be moved.
pub fn share_own_layers(
    store: &Store,
    image: LayeredImage,
    _lock: &LayersLock,
) -> Result<LayeredImage, LayerError> {
    let failed = || LayerError::system("share the layers of", image.path());
    let own = image.own_layers();
    if own.is_empty() {
        return Ok(image);
    }
    let place = LayerPlace::of(store, image.pool())?;
    for (entry, layer) in own {
        let suffix = if layer.disk { ".raw" } else { "" };
        let name = format!("{}{suffix}", LayerPlace::fresh_id().map_err(failed())?);
        let target = place.path().join(&name);
        super::links::link(&place, &name, &super::links::link_text(&target, image.pool()))
            .map_err(failed())?;
        rename(&image, entry, &place, &name, RenameFlags::EXCHANGE).map_err(failed())?;
    }
    LayeredImage::open(image.path())
}

/// Removes the layer `name` of `place`: hidden first, so that nobody sees half of it.
pub(super) fn remove(place: &LayerPlace, name: &str) -> SysResult<()> {
    let dead = if name.starts_with(".#") { name.to_owned() } else { format!(".#{name}") };
    if dead != name {
        rename(place, name, place, &dead, RenameFlags::NOREPLACE)?;
    }
    // A snapshot of btrfs cannot be written to, nor emptied.
    if let Ok(layer) = open_directory_at(place, &dead)
        && btrfs::is_subvolume(&layer)
    {
        btrfs::set_read_only(&layer, false)?;
    }
    remove_tree_at(place, &dead)
}

/// Opens the layer `name` of `place` as what it is, links not followed.
pub(super) fn open(place: &LayerPlace, name: &str) -> SysResult<OwnedFd> {
    open_directory_at(place, name)
        .or_else(|_| open_at(place, name, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()))
}
