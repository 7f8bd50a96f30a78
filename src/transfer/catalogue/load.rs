//! The catalogue: the files that are built in, and those of this host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::error::Error;
use super::file::{CatalogueFile, parse};
use super::model::Distro;
use crate::settings::nearest;
use crate::sys::files::{entries, open_at, open_directory, read_all};
use crate::sys::{FdPath, sys};

/// Where files are looked for. One hides those of the same name in the directories behind it and among those that are built
/// in, as with unit files (systemd.unit(5)); an empty one hides them and says nothing.
pub const DIRECTORIES: [&str; 3] = ["/etc/spinney/images", "/run/spinney/images", "/usr/lib/spinney/images"];

/// Far more than any catalogue file has.
const LIMIT: usize = 1 << 20;

/// The files that are built in.
pub const BUILT_IN: [(&str, &str); 14] = [
    ("almalinux.toml", include_str!("../../../images/almalinux.toml")),
    ("alpine.toml", include_str!("../../../images/alpine.toml")),
    ("arch.toml", include_str!("../../../images/arch.toml")),
    ("busybox.toml", include_str!("../../../images/busybox.toml")),
    ("centos.toml", include_str!("../../../images/centos.toml")),
    ("debian.toml", include_str!("../../../images/debian.toml")),
    ("devuan.toml", include_str!("../../../images/devuan.toml")),
    ("fedora.toml", include_str!("../../../images/fedora.toml")),
    ("gentoo.toml", include_str!("../../../images/gentoo.toml")),
    ("nixos.toml", include_str!("../../../images/nixos.toml")),
    ("opensuse.toml", include_str!("../../../images/opensuse.toml")),
    ("rocky.toml", include_str!("../../../images/rocky.toml")),
    ("ubuntu.toml", include_str!("../../../images/ubuntu.toml")),
    ("void.toml", include_str!("../../../images/void.toml")),
];

/// All distros that are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// By name.
    pub distros: Vec<Distro>,
}

impl Catalogue {
    /// That of this host: built in, and [`DIRECTORIES`].
    ///
    /// # Errors
    /// The first file that cannot be read or understood.
    pub fn system() -> Result<Self, Error> {
        Self::load(&DIRECTORIES.map(PathBuf::from), &BUILT_IN)
    }

    /// What is in `directory`, and nothing else (`--catalogue=`).
    ///
    /// # Errors
    /// As [`Catalogue::system`], and when there is no such directory.
    pub fn of(directory: &Path) -> Result<Self, Error> {
        open_directory(directory).map_err(|source| Error::Read { path: directory.to_owned(), source })?;
        Self::load(&[directory.to_owned()], &[])
    }

    fn load(directories: &[PathBuf], built_in: &[(&str, &str)]) -> Result<Self, Error> {
        let mut files: BTreeMap<String, (String, String)> = BTreeMap::new();
        for (name, text) in built_in {
            files.insert((*name).to_owned(), (format!("built in {name}"), (*text).to_owned()));
        }
        for directory in directories.iter().rev() {
            for (name, path) in names(directory)? {
                files.insert(name, (path.display().to_string(), read(&path)?));
            }
        }
        Self::assemble(files.values().map(|(file, text)| (file.as_str(), text.as_str())))
    }

    /// The catalogue of these files: what messages call each, and its text.
    ///
    /// # Errors
    /// The first file that is wrong, also about a distro that another one describes.
    pub fn assemble<'text>(files: impl Iterator<Item = (&'text str, &'text str)>) -> Result<Self, Error> {
        let mut catalogue = Self::default();
        let mut extensions = Vec::new();
        for (file, text) in files.filter(|(_, text)| !text.trim().is_empty()) {
            match parse(file, text)? {
                CatalogueFile::Extension(extension) => extensions.push(extension),
                CatalogueFile::Distro(distro) => catalogue.add(*distro)?,
            }
        }
        // The first file by name comes first.
        for extension in extensions.into_iter().rev() {
            catalogue.extend(*extension)?;
        }
        catalogue.distros.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(catalogue)
    }

    fn add(&mut self, distro: Distro) -> Result<(), Error> {
        let names = [&distro.name].into_iter().chain(&distro.aliases);
        for name in names {
            if let Some(other) = self.distros.iter().find(|other| other.is_called(name)) {
                return Err(Error::File {
                    file: distro.file.clone(),
                    line: 1,
                    problem: format!("{name:?} is what {} calls a distro too", other.file),
                    hint: Some(format!(
                        "to replace that file, give yours its name; to add to it, write extends = \"{name}\""
                    )),
                });
            }
        }
        self.distros.push(distro);
        Ok(())
    }

    fn extend(&mut self, more: Distro) -> Result<(), Error> {
        let Some(distro) = self.distros.iter_mut().find(|distro| distro.name == more.name) else {
            return Err(Error::File {
                file: more.file,
                line: 1,
                problem: format!("it extends {:?}, which no file describes", more.name),
                hint: Some("spinney search lists the distros that there are".to_owned()),
            });
        };
        for release in more.releases {
            distro.releases.retain(|other| other.name != release.name);
            distro.releases.insert(0, release);
        }
        let first = std::mem::replace(&mut distro.sources, more.sources);
        distro.sources.extend(first);
        distro.aliases.extend(more.aliases);
        distro.architectures.extend(more.architectures);
        distro.keys.extend(more.keys);
        for variant in more.variants {
            if !distro.variants.contains(&variant) {
                distro.variants.push(variant);
            }
        }
        if distro.release(&more.default).is_some() {
            distro.default = more.default;
        }
        distro.file = format!("{}, {}", distro.file, more.file);
        Ok(())
    }

    /// The distro that references call `name`.
    ///
    /// # Errors
    /// [`Error::NoDistro`].
    pub fn find(&self, name: &str) -> Result<&Distro, Error> {
        let names = || {
            self.distros
                .iter()
                .flat_map(|distro| [&distro.name].into_iter().chain(&distro.aliases))
                .map(String::as_str)
        };
        self.distros.iter().find(|distro| distro.is_called(name)).ok_or_else(|| Error::NoDistro {
            name: name.to_owned(),
            nearest: nearest(name, names()).map(str::to_owned),
        })
    }
}

/// The catalogue files in `directory`, which need not be there.
fn names(directory: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let failed = |source| Error::Read { path: directory.to_owned(), source };
    let listed = match open_directory(directory).and_then(entries) {
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        listed => listed.map_err(failed)?,
    };
    Ok(listed
        .into_iter()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.ends_with(".toml") && !name.starts_with('.'))
        .map(|name| (name.clone(), directory.join(name)))
        .collect())
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let not_text = |problem| Error::NotText { path: path.to_owned(), problem };
    // A fifo would be waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = open_at(CWD, path, flags, Mode::empty()).map_err(failed)?;
    let stat = sys("fstat", rustix::fs::fstat(&file), || FdPath::of(&file).to_string()).map_err(failed)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        // /dev/null hides a file, as an empty one does.
        FileType::CharacterDevice => return Ok(String::new()),
        _ => return Err(not_text("it is not a regular file")),
    }
    let bytes = read_all(&file, LIMIT + 1).map_err(failed)?;
    if bytes.len() > LIMIT {
        return Err(not_text("it is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| not_text("it is not UTF-8"))
}
