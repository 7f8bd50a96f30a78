//! Binds, tmpfs, overlays, and what happens to single files of the tree.

use std::path::PathBuf;

use super::words::{Words, display_and_parse_by_word};

/// How ids of a bound tree are mapped (systemd-nspawn(1), `--bind=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BindIds {
    /// As they are: in a user namespace most show as nobody.
    #[default]
    NoIdmap,
    /// The host's ids are the guest's ids.
    Idmap,
    /// The host's root is the guest's root, nobody else is anyone.
    RootIdmap,
    /// The owner of the source is the owner of the target in the guest.
    OwnerIdmap,
}

/// A mount that the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomMount {
    /// `--bind=`, `--bind-ro=`.
    Bind {
        /// Source; `None` is a temporary directory. With `source_in_guest` a path in the tree.
        source: Option<PathBuf>,
        /// `+` before the source.
        source_in_guest: bool,
        /// Absolute path in the guest.
        target: PathBuf,
        /// Read-only.
        read_only: bool,
        /// With its submounts.
        recursive: bool,
        /// Id mapping.
        ids: BindIds,
    },
    /// `--tmpfs=`.
    Tmpfs {
        /// Absolute path in the guest.
        target: PathBuf,
        /// tmpfs(5) options, and the usual `ro`, `nosuid`, `nodev`, `noexec`.
        options: String,
    },
    /// `--overlay=`, `--overlay-ro=`.
    Overlay {
        /// Lowest first; `true` marks a path in the tree (`+`).
        lower: Vec<(PathBuf, bool)>,
        /// `None` for `--overlay-ro=`; `Some(None)` is a temporary directory.
        upper: Option<Option<(PathBuf, bool)>>,
        /// Absolute path in the guest.
        target: PathBuf,
    },
    /// `--inaccessible=`.
    Inaccessible {
        /// Absolute path in the guest.
        target: PathBuf,
    },
}

/// `--pivot-root=NEW[:OLD]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PivotRoot {
    /// Directory of the tree that becomes the root.
    pub new: PathBuf,
    /// Where the whole tree is then found, in the new root.
    pub old: Option<PathBuf>,
}

/// `--volatile=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Volatile {
    /// Nothing is.
    #[default]
    No,
    /// A tmpfs root with /usr from the tree, read-only.
    Yes,
    /// The tree read-only, /var a tmpfs.
    State,
    /// An overlay whose upper layer is a tmpfs.
    Overlay,
}

/// `--resolv-conf=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "named as in systemd-nspawn(1)")]
pub enum ResolvConf {
    Off,
    CopyHost,
    CopyStatic,
    CopyUplink,
    CopyStub,
    ReplaceHost,
    ReplaceStatic,
    ReplaceUplink,
    ReplaceStub,
    BindHost,
    BindStatic,
    BindUplink,
    BindStub,
    Delete,
    #[default]
    Auto,
}

/// `--timezone=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "named as in systemd-nspawn(1)")]
pub enum Timezone {
    Off,
    Copy,
    Bind,
    Symlink,
    Delete,
    #[default]
    Auto,
}

/// `--link-journal=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "named as in systemd-nspawn(1)")]
pub enum LinkJournal {
    No,
    Host,
    TryHost,
    Guest,
    TryGuest,
    #[default]
    Auto,
}

impl Words for Volatile {
    const WORDS: &'static [(&'static str, Self)] =
        &[("no", Self::No), ("yes", Self::Yes), ("state", Self::State), ("overlay", Self::Overlay)];
}

impl Words for ResolvConf {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("copy-host", Self::CopyHost),
        ("copy-static", Self::CopyStatic),
        ("copy-uplink", Self::CopyUplink),
        ("copy-stub", Self::CopyStub),
        ("replace-host", Self::ReplaceHost),
        ("replace-static", Self::ReplaceStatic),
        ("replace-uplink", Self::ReplaceUplink),
        ("replace-stub", Self::ReplaceStub),
        ("bind-host", Self::BindHost),
        ("bind-static", Self::BindStatic),
        ("bind-uplink", Self::BindUplink),
        ("bind-stub", Self::BindStub),
        ("delete", Self::Delete),
        ("auto", Self::Auto),
    ];
}

impl Words for Timezone {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("copy", Self::Copy),
        ("bind", Self::Bind),
        ("symlink", Self::Symlink),
        ("delete", Self::Delete),
        ("auto", Self::Auto),
    ];
}

impl Words for LinkJournal {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("no", Self::No),
        ("host", Self::Host),
        ("try-host", Self::TryHost),
        ("guest", Self::Guest),
        ("try-guest", Self::TryGuest),
        ("auto", Self::Auto),
    ];
}

display_and_parse_by_word!(Volatile, ResolvConf, Timezone, LinkJournal);
