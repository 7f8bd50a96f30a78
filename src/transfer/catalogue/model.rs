//! What a catalogue file says, typed.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// One distro.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distro {
    /// What references call it.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// Other names that references may give it.
    pub aliases: Vec<String>,
    /// The release that is meant where none is named.
    pub default: String,
    /// What runs as PID 1, and how it behaves, for people.
    pub init: String,
    /// Our names of architectures (Debian's), and how the distro spells them.
    pub architectures: BTreeMap<String, String>,
    /// Its variants, the first of which is meant where none is named.
    pub variants: Vec<String>,
    /// Its releases, newest first.
    pub releases: Vec<Release>,
    /// Where it comes from, in the order in which they are tried.
    pub sources: Vec<Source>,
    /// The keys that sign what comes from there, by our names for them.
    pub keys: BTreeMap<String, Key>,
    /// The file that says all this, or `built in`.
    pub file: String,
}

/// One release of a distro.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// What references and addresses call it.
    pub name: String,
    /// Its number, where addresses need it besides.
    pub version: Option<String>,
    /// Other names that references may give it.
    pub aliases: Vec<String>,
    /// The last day on which the distro cares for it, where that was announced: `2028-08-09`.
    pub until: Option<String>,
}

/// One way to get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Which way.
    pub kind: SourceKind,
    /// Which releases it has; all, where it does not say.
    pub releases: Option<Vec<String>>,
    /// Which variants it has.
    pub variants: Vec<String>,
    /// How it spells architectures where that is not as the distro does; it has only these then.
    pub architectures: Option<BTreeMap<String, String>>,
    /// What comes from it has an init and can be booted.
    pub boots: bool,
    /// What to know before it is used.
    pub note: Option<String>,
    /// Where all this is written.
    pub documented: String,
    /// When and how it was seen to work; `None` if never.
    pub seen: Option<String>,
}

/// Which way an image comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// From an image server with a simplestreams index.
    Simplestreams {
        /// Where `streams/v1/index.json` is.
        url: String,
        /// One of the aliases of the product.
        alias: String,
    },
    /// A file of the distro.
    File(Box<FileSource>),
    /// An image in a registry.
    Oci {
        /// Its reference.
        reference: String,
    },
    /// Packages, unpacked by the distro's own tool.
    Bootstrap(Box<Bootstrap>),
}

/// A file of the distro.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// What it is.
    pub format: FileFormat,
    /// Where it is; `{found}` is what `find` found.
    pub url: String,
    /// How to find out its name, where that changes.
    pub find: Option<Find>,
    /// The list with its checksum; relative to `url`.
    pub checksums: Option<String>,
    /// A signature of the list, or where there is none, of the file.
    pub signature: Option<Signature>,
    /// The directory in the archive that is the root.
    pub strip: Option<String>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// An archive of a tree.
    Tar,
    /// A disk image.
    Disk,
    /// An archive of an OCI layout.
    OciArchive,
}

/// A text that names files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Find {
    /// Where it is.
    pub url: String,
    /// What the name looks like, with `*` for anything but a slash. The greatest by version wins.
    pub pattern: String,
}

/// A signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Where it is; `None` where the list of checksums is itself a signed message (RFC 9580, section 7).
    pub url: Option<String>,
    /// Whose: one of [`Distro::keys`].
    pub key: String,
}

/// A key of a distro.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The fingerprints of those that are meant: 40 hexadecimal digits each, in capitals.
    pub fingerprints: Vec<String>,
    /// The keyring files that may have it; the first that there is, is taken.
    pub files: Vec<PathBuf>,
    /// Which Debian package brings one of them.
    pub package: Option<String>,
    /// Where it is written that it is this key.
    pub documented: String,
}

/// How the distro's own tool makes a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// Which tool.
    pub tool: Tool,
    /// What it calls the release.
    pub suite: String,
    /// What to install; for a tree that boots, an init among it.
    pub packages: Vec<String>,
    /// Where packages come from; `None` where the tool, or this host, knows.
    pub mirror: Option<String>,
    /// Sections of the archive (sources.list(5)).
    pub components: Vec<String>,
    /// The key that signs the packages: one of [`Distro::keys`].
    pub key: Option<String>,
    /// What else is to be done to the tree.
    pub finish: Option<Finishing>,
}

/// The tools that make trees out of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// mmdebstrap(1).
    Mmdebstrap,
    /// dnf(8) with `--installroot=`.
    Dnf,
    /// pacstrap(8).
    Pacstrap,
    /// apk(8) with `--root`, also as apk.static.
    Apk,
    /// xbps-install(1) with `--rootdir`.
    Xbps,
}

/// What is done to a tree after its packages are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finishing {
    /// A tree of one executable: its links, an inittab, a name.
    Busybox,
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Mmdebstrap, Self::Dnf, Self::Pacstrap, Self::Apk, Self::Xbps];

    /// What a catalogue file calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mmdebstrap => "mmdebstrap",
            Self::Dnf => "dnf",
            Self::Pacstrap => "pacstrap",
            Self::Apk => "apk",
            Self::Xbps => "xbps",
        }
    }
}

impl SourceKind {
    /// What a catalogue file, and `--source=`, call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Simplestreams { .. } => "simplestreams",
            Self::File(file) => match file.format {
                FileFormat::Tar => "tar",
                FileFormat::Disk => "disk",
                FileFormat::OciArchive => "oci-archive",
            },
            Self::Oci { .. } => "oci",
            Self::Bootstrap(bootstrap) => bootstrap.tool.name(),
        }
    }
}

impl Distro {
    /// Whether references may call it `name`.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// The release that references call `name`.
    pub fn release(&self, name: &str) -> Option<&Release> {
        self.releases.iter().find(|release| release.is_called(name))
    }
}

impl Release {
    /// Whether references may call it `name`. Its number is one of its names.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name
            || self.version.as_deref() == Some(name)
            || self.aliases.iter().any(|alias| alias == name)
    }
}
