//! The layers of one image, read and written (systemd.mstack(7)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::LayerError;
use super::links::{is_same, link, link_text, real_path, rename, target_of};
use crate::image::mstack::{self, PartKind, Stack};
use crate::image::opened::{OpenError, newest_version};
use crate::image::{self, ImageKind, ImageName, hidden};
use crate::sys::files::{
    change_mode, change_owner, entries, make_directory_at, open_at, open_directory, remove_tree_at, try_lock,
};
use crate::sys::{FdPath, SysResult, attributes, sys};

/// A layer that nobody writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Where it is.
    pub path: PathBuf,
    /// A disk image: its entry ends with `.raw`.
    pub disk: bool,
}

/// A layered image, opened to be looked at or changed.
#[derive(Debug)]
pub struct LayeredImage {
    path: PathBuf,
    /// The directory it is in, to which links of its are relative.
    pool: PathBuf,
    directory: OwnedFd,
    stack: Stack,
    layers: Vec<Layer>,
}

impl LayeredImage {
    /// Opens the image at `path`.
    ///
    /// # Errors
    /// When it is none, or one whose root is not made of layers.
    pub fn open(path: &Path) -> Result<Self, LayerError> {
        let failed = || LayerError::system("look into", path);
        let directory = open_directory(path).map_err(failed())?;
        // Links in it are resolved from where it is in truth.
        let path = real_path(&directory).map_err(failed())?;
        let mut found = Vec::new();
        for (name, _) in entries(&directory).map_err(failed())? {
            let name = name.to_string_lossy().into_owned();
            // What is hidden is no part of it: a link of somebody who was killed, perhaps.
            if name.starts_with('.') {
                continue;
            }
            match rustix::fs::statat(&directory, &name, AtFlags::empty()) {
                Ok(stat) => found.push((name, FileType::from_raw_mode(stat.st_mode))),
                Err(_) => return Err(OpenError::Dangling { path, entry: name }.into()),
            }
        }
        let stack = mstack::parse(found.iter().map(|(name, kind)| (name.as_str(), *kind)))
            .map_err(|source| OpenError::Stack { path: path.clone(), source })?;
        let mut layers = Vec::with_capacity(stack.layers.len());
        for part in &stack.layers {
            let target = target_of(&directory, &path, &part.entry).map_err(failed())?;
            let target = newest_version(&target)?;
            let stat = rustix::fs::statat(CWD, &target, AtFlags::empty());
            let stat = sys("fstatat", stat, || format!("{target:?}")).map_err(failed())?;
            let disk = FileType::from_raw_mode(stat.st_mode) != FileType::Directory;
            layers.push(Layer { path: target, disk });
        }
        let pool = path.parent().unwrap_or(Path::new("/")).to_owned();
        let image = Self { path, pool, directory, stack, layers };
        match image.layers.is_empty() || image.stack.root.is_some() {
            true => Err(LayerError::NotLayered { name: image.name() }),
            false => Ok(image),
        }
    }

    /// What messages call it.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_suffix(mstack::SUFFIX).unwrap_or(&name).to_owned()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory it is in.
    pub fn pool(&self) -> &Path {
        &self.pool
    }

    /// Its layers, the lowest first, without the writable one.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Whether it has a writable layer.
    pub fn is_writable(&self) -> bool {
        self.stack.writable.is_some()
    }

    /// The directory of the writable layer, if it has one.
    ///
    /// # Errors
    /// When it is no directory.
    pub fn writable(&self) -> Result<Option<OwnedFd>, LayerError> {
        let Some(part) = &self.stack.writable else { return Ok(None) };
        if part.kind != PartKind::Directory {
            return Err(LayerError::Kind {
                name: self.name(),
                what: "an image whose writable layer is a disk",
                action: "this",
            });
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        open_at(&self.directory, &part.entry, flags, Mode::empty())
            .map(Some)
            .map_err(LayerError::system("look into", &self.path))
    }

    /// What was changed over its layers, if a machine ever ran from it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn changes(&self) -> Result<Option<OwnedFd>, LayerError> {
        let Some(writable) = self.writable()? else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        match open_at(writable, mstack::DATA, flags, Mode::empty()) {
            Ok(data) => Ok(Some(data)),
            Err(error) if error.errno() == Errno::NOENT => Ok(None),
            Err(error) => Err(LayerError::system("look into", &self.path)(error)),
        }
    }

    /// The entries beside layers and what is written, with where they point.
    ///
    /// # Errors
    /// [`LayerError::OwnEntry`] where one is no link, and so could not be in two images.
    pub fn other_entries(&self) -> Result<Vec<(String, PathBuf)>, LayerError> {
        let entries = self.stack.binds.iter().map(|bind| &bind.part.entry);
        entries
            .map(|entry| match rustix::fs::readlinkat(&self.directory, entry, Vec::new()) {
                Ok(target) => {
                    use std::os::unix::ffi::OsStringExt;
                    let target = std::ffi::OsString::from_vec(target.into_bytes());
                    Ok((entry.clone(), PathBuf::from(target)))
                }
                Err(_) => Err(LayerError::OwnEntry { path: self.path.clone(), entry: entry.clone() }),
            })
            .collect()
    }

    /// Puts `layer` over the others, below the writable one.
    ///
    /// # Errors
    /// When its link cannot be made.
    pub fn add(&self, layer: &Layer) -> Result<(), LayerError> {
        let top = self.stack.layers.last().and_then(|part| part.entry.strip_prefix("layer@"));
        let top = top.map(|id| id.trim_end_matches(".raw").trim_end_matches(".v"));
        let id = match top.map(str::parse::<u64>) {
            Some(Ok(number)) => (number + 1).to_string(),
            // Of two versions the longer is the newer (UAPI.10).
            _ => format!("{}.1", top.unwrap_or("0")),
        };
        let suffix = if layer.disk { ".raw" } else { "" };
        link(&self.directory, &format!("layer@{id}{suffix}"), &link_text(&layer.path, &self.pool))
            .map_err(LayerError::system("add a layer to", &self.path))
    }

    /// Makes its links to `from` ones to `to`; each by a rename, so that one that is read meanwhile leads to either.
    ///
    /// # Errors
    /// When one cannot be replaced.
    pub fn retarget(&self, from: &Path, to: &Path) -> Result<(), LayerError> {
        let failed = || LayerError::system("change a layer of", &self.path);
        for (part, layer) in self.stack.layers.iter().zip(&self.layers) {
            if !is_same(&layer.path, from) {
                continue;
            }
            let temporary = format!(".#{}", part.entry);
            remove_tree_at(&self.directory, &temporary).map_err(failed())?;
            link(&self.directory, &temporary, &link_text(to, &self.pool)).map_err(failed())?;
            rename(&self.directory, &temporary, &self.directory, &part.entry, RenameFlags::empty())
                .map_err(failed())?;
        }
        Ok(())
    }

    /// Its layers that are directories or files of its own, no links: their entries.
    pub fn own_layers(&self) -> Vec<(&str, &Layer)> {
        let pairs = self.stack.layers.iter().zip(&self.layers);
        pairs
            .filter(|(_, layer)| layer.path.starts_with(&self.path))
            .map(|(part, layer)| (part.entry.as_str(), layer))
            .collect()
    }
}

impl AsFd for LayeredImage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// A layered image that nobody sees yet; removed when dropped, and, unlocked, by whoever comes after one that was killed.
///
/// It has links and empty directories and nothing else, which file systems bring to disk in order: nothing needs to wait for
/// data of others that is not there yet (`syncfs` can take seconds).
#[derive(Debug)]
pub struct NewStack {
    path: PathBuf,
    pool: OwnedFd,
    hidden: String,
    directory: OwnedFd,
    /// What it changed places with.
    old: Option<OwnedFd>,
    shown: bool,
}

impl NewStack {
    /// Begins one in `pool`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(pool: &Path, name: &ImageName) -> Result<Self, LayerError> {
        let begun = || -> SysResult<Self> {
            let directory = hidden::pool(pool)?;
            let (hidden, made) = hidden::make(&directory, name, ImageKind::Layered)?;
            Ok(Self {
                path: pool.to_owned(),
                pool: directory,
                hidden,
                directory: made,
                old: None,
                shown: false,
            })
        };
        begun().map_err(LayerError::system("make an image in", pool))
    }

    /// Gives it its layers, the lowest first, and other links.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn fill(&self, layers: &[Layer], others: &[(String, PathBuf)]) -> Result<(), LayerError> {
        let filled = || -> SysResult<()> {
            for (number, layer) in layers.iter().enumerate() {
                let suffix = if layer.disk { ".raw" } else { "" };
                let entry = format!("{}{suffix}", mstack::layer_name(number));
                link(&self.directory, &entry, &link_text(&layer.path, &self.path))?;
            }
            others.iter().try_for_each(|(entry, target)| link(&self.directory, entry, target))
        };
        filled().map_err(LayerError::system("make an image in", &self.path))
    }

    /// Gives it an empty writable layer. The root directory of a machine is that of its uppermost layer, so it is made as the
    /// one below is; over a disk it is left to the first start.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_writable(&self, top: Option<&Layer>) -> Result<(), LayerError> {
        let made = || -> SysResult<()> {
            // Files of the guest's are in it, setuid ones among them: nobody but root may go there.
            let writable = make_directory_at(&self.directory, mstack::WRITABLE, 0o700)?;
            if let Some(top) = top.filter(|top| !top.disk) {
                make_directory_at(&writable, mstack::WORK, 0o700)?;
                let data = make_directory_at(&writable, mstack::DATA, 0o700)?;
                copy_root(&open_directory(&top.path)?, &data)?;
            }
            Ok(())
        };
        made().map_err(LayerError::system("make an image in", &self.path))
    }

    /// It, as a directory.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// [`image::Error::Exists`] where the name is taken.
    pub fn show(mut self, name: &ImageName) -> Result<PathBuf, LayerError> {
        let entry = format!("{name}{}", mstack::SUFFIX);
        let path = self.path.join(&entry);
        match rename(&self.pool, &self.hidden, &self.pool, &entry, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(error) if error.errno() == Errno::EXIST => {
                return Err(image::Error::Exists { name: name.to_string(), path }.into());
            }
            Err(error) => return Err(LayerError::system("make image", path)(error)),
        }
        self.shown = true;
        Ok(path)
    }

    /// Changes places with the image at `path` in the same directory: at no time is there none. What was there is hidden
    /// now, and goes when this is dropped.
    ///
    /// # Errors
    /// When it cannot be exchanged.
    pub fn exchange(&mut self, path: &Path) -> Result<(), LayerError> {
        let entry = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let old = open_directory(path).map_err(LayerError::system("change", path))?;
        // Hidden, it must not look left behind before we are done with it.
        try_lock(&old).map_err(LayerError::system("change", path))?;
        self.old = Some(old);
        rename(&self.pool, &self.hidden, &self.pool, &entry, RenameFlags::EXCHANGE)
            .map_err(LayerError::system("change", path))
    }
}

impl Drop for NewStack {
    fn drop(&mut self) {
        if !self.shown {
            // What is left is unlocked: the next command removes it.
            let _ = remove_tree_at(&self.pool, &self.hidden);
        }
    }
}

/// Gives the directory `to` what the root directory `from` of a tree is: owner, attributes, permissions and times.
pub(super) fn copy_root(from: &impl AsFd, to: &impl AsFd) -> SysResult<()> {
    let stat = sys("fstat", rustix::fs::fstat(from), || FdPath::of(from).to_string())?;
    change_owner(to, stat.st_uid, stat.st_gid)?;
    for name in attributes::list(from)? {
        // Which layer of which overlay it was is not what it is.
        if name.starts_with(b"user.overlay.") || name.starts_with(b"trusted.overlay.") {
            continue;
        }
        if let Some(value) = attributes::get(from, &name)? {
            match attributes::set(to, &name, &value) {
                // Between file systems of two kinds.
                Err(error) if error.errno() == Errno::OPNOTSUPP => {}
                set => set?,
            }
        }
    }
    change_mode(to, stat.st_mode & 0o7777)?;
    let time = |seconds: i64, nanoseconds: u64| rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    attributes::set_times(
        to,
        time(stat.st_atime, stat.st_atime_nsec),
        time(stat.st_mtime, stat.st_mtime_nsec),
    )
}
