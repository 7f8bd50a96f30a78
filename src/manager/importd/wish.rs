//! What a client wants moved, checked and as the command line that does it. Pure but for a look at the client's fd.

use std::os::fd::AsFd;

use rustix::fs::{FileType, OFlags};

use crate::image::ImageName;
use crate::manager::problem::{Kind as ProblemKind, Problem};
use crate::transfer::compression::Compression;
use crate::transfer::source::Source;
use crate::transfer::verify::Mode;

/// Bits of `flags` (org.freedesktop.import1(5)).
pub const FORCE: u64 = 1;
/// The image is marked read-only.
pub const READ_ONLY: u64 = 1 << 1;
/// systemd-importd would keep what it has downloaded, to make other images of. That is a matter of its own store: here all
/// images are made of what comes, and nothing else is kept.
pub const KEEP_DOWNLOAD: u64 = 1 << 2;

/// The only class of images that there is here.
pub const CLASS: &str = "machine";

/// The others (importctl(1)).
const OTHER_CLASSES: [&str; 3] = ["portable", "sysext", "confext"];

/// How a transfer of a registry is told from a name of the catalogue (containers-transports(5)).
const REGISTRY: &str = "docker://";

/// What kind of transfer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Kind {
    ImportTar,
    ImportRaw,
    ImportFs,
    ExportTar,
    ExportRaw,
    PullTar,
    PullRaw,
    PullOci,
}

impl Kind {
    /// systemd-importd's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::ImportTar => "import-tar",
            Self::ImportRaw => "import-raw",
            Self::ImportFs => "import-fs",
            Self::ExportTar => "export-tar",
            Self::ExportRaw => "export-raw",
            Self::PullTar => "pull-tar",
            Self::PullRaw => "pull-raw",
            Self::PullOci => "pull-oci",
        }
    }

    /// Our verb that does it.
    fn verb(self) -> &'static str {
        if self == Self::PullOci { "pull" } else { self.word() }
    }

    /// What its fd is for, if it has one.
    pub fn stream(self) -> Option<Stream> {
        match self {
            Self::ImportTar | Self::ImportRaw => Some(Stream::Read),
            Self::ImportFs => Some(Stream::Directory),
            Self::ExportTar | Self::ExportRaw => Some(Stream::Write),
            Self::PullTar | Self::PullRaw | Self::PullOci => None,
        }
    }
}

/// What a client's fd is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The image is read from it.
    Read,
    /// The image is what is below it.
    Directory,
    /// The image is written to it.
    Write,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// What kind of transfer.
    pub kind: Kind,
    /// Where a pull is from.
    pub remote: String,
    /// The image.
    pub local: String,
    /// What a pull is held to.
    pub verify: Option<Mode>,
    /// How an export is compressed; nothing for not at all.
    format: String,
    flags: u64,
}

fn invalid(text: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::InvalidArgument, text)
}

/// A client's text in a message: cut, and without what terminals obey.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

impl Wish {
    /// An image of what comes from a client.
    ///
    /// # Errors
    /// When an argument is invalid.
    pub fn import(kind: Kind, local: &str, class: &str, flags: u64) -> Result<Self, Problem> {
        check_class(class)?;
        check_flags(flags, FORCE | READ_ONLY)?;
        let local = image_name(local)?;
        Ok(Self { kind, remote: String::new(), local, verify: None, format: String::new(), flags })
    }

    /// An image to a client.
    ///
    /// # Errors
    /// When an argument is invalid.
    pub fn export(kind: Kind, local: &str, class: &str, format: &str, flags: u64) -> Result<Self, Problem> {
        check_class(class)?;
        check_flags(flags, 0)?;
        let local = image_name(local)?;
        if !format.is_empty() && format.parse::<Compression>().is_err() {
            return Err(invalid(format!("Unknown format {}", shown(format))));
        }
        Ok(Self { kind, remote: String::new(), local, verify: None, format: format.to_owned(), flags })
    }

    /// An image from a server.
    ///
    /// # Errors
    /// When an argument is invalid.
    pub fn pull(
        kind: Kind,
        remote: &str,
        local: &str,
        class: &str,
        verify: &str,
        flags: u64,
    ) -> Result<Self, Problem> {
        check_class(class)?;
        check_flags(flags, FORCE | READ_ONLY | KEEP_DOWNLOAD)?;
        let plain =
            !remote.is_empty() && remote.is_ascii() && !remote.contains(|c: char| c.is_ascii_control());
        let known = match kind {
            Kind::PullOci => !remote.contains(' ') && !remote.starts_with(['/', '.', '-']),
            _ => matches!(Source::parse(remote), Ok(Source::Url(_))),
        };
        if !plain || !known {
            let what = if kind == Kind::PullOci { "Reference" } else { "URL" };
            return Err(invalid(format!("{what} {} is invalid", shown(remote))));
        }
        if local.is_empty() {
            // It would be one of systemd-importd's hidden downloads.
            return Err(Problem::new(
                ProblemKind::NotSupported,
                "Downloads without a local name are not kept",
            ));
        }
        let verify = match (kind, verify) {
            (Kind::PullOci, _) => None,
            (_, "") => Some(Mode::Signature),
            (_, word) => Some(
                word.parse().map_err(|_| invalid(format!("Unknown verification mode {}", shown(word))))?,
            ),
        };
        let local = image_name(local)?;
        Ok(Self { kind, remote: remote.to_owned(), local, verify, format: String::new(), flags })
    }

    /// The word for what it is held to.
    pub fn verify_word(&self) -> Option<&'static str> {
        self.verify.map(|mode| match mode {
            Mode::No => "no",
            Mode::Checksum => "checksum",
            Mode::Signature => "signature",
        })
    }

    /// The command line that does it: what comes, or is written, is its standard input or output.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![self.kind.verb().to_owned(), "--quiet".to_owned()];
        for (bit, option) in [(FORCE, "--force"), (READ_ONLY, "--read-only")] {
            arguments.extend((self.flags & bit != 0).then(|| option.to_owned()));
        }
        arguments.extend(self.verify_word().map(|word| format!("--verify={word}")));
        if !self.format.is_empty() {
            arguments.push(format!("--format={}", self.format));
        }
        // Whatever a client writes is no option.
        arguments.push("--".to_owned());
        let local = self.local.clone();
        arguments.extend(match self.kind {
            Kind::ImportTar | Kind::ImportRaw => ["-".to_owned(), local],
            Kind::ImportFs => ["/proc/self/fd/0".to_owned(), local],
            Kind::ExportTar | Kind::ExportRaw => [local, "-".to_owned()],
            Kind::PullTar | Kind::PullRaw => [self.remote.clone(), local],
            Kind::PullOci if self.remote.starts_with(REGISTRY) => [self.remote.clone(), local],
            Kind::PullOci => [format!("{REGISTRY}{}", self.remote), local],
        });
        arguments
    }
}

/// # Errors
/// When there are no images of `class` here.
pub fn check_class(class: &str) -> Result<(), Problem> {
    match class {
        CLASS => Ok(()),
        other if OTHER_CLASSES.contains(&other) => Err(Problem::new(
            ProblemKind::NotSupported,
            format!("Images of class {other} are not kept here, only those of class {CLASS}"),
        )),
        other => Err(invalid(format!("Image class '{}' not known", shown(other)))),
    }
}

/// Whether images of `class` are asked for, where nothing stands for all.
///
/// # Errors
/// For a class that there is not at all.
pub fn is_asked(class: &str) -> Result<bool, Problem> {
    match class {
        "" => Ok(true),
        other if OTHER_CLASSES.contains(&other) => Ok(false),
        other => check_class(other).map(|()| true),
    }
}

/// # Errors
/// When `flags` has others than `known`.
pub fn check_flags(flags: u64, known: u64) -> Result<(), Problem> {
    if flags & !known == 0 { Ok(()) } else { Err(invalid(format!("Flags 0x{flags:x} invalid"))) }
}

fn image_name(name: &str) -> Result<String, Problem> {
    match name.parse::<ImageName>() {
        Ok(name) => Ok(name.to_string()),
        Err(_) => Err(invalid(format!("Local image name {} is invalid", shown(name)))),
    }
}

/// Whether a client's `fd` can be what it is for: a file or a pipe, or a directory, that it has opened for that. One that was
/// opened as a path only gives no right to what is there.
///
/// # Errors
/// When it cannot.
pub fn check_fd(fd: impl AsFd, stream: Stream) -> Result<(), Problem> {
    let wrong = || invalid("Invalid argument");
    let flags = rustix::fs::fcntl_getfl(&fd).map_err(|_| wrong())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd).map_err(|_| wrong())?.st_mode);
    let mode = flags & OFlags::RWMODE;
    let good = !flags.contains(OFlags::PATH)
        && match stream {
            Stream::Directory => kind == FileType::Directory,
            _ if !matches!(kind, FileType::RegularFile | FileType::Fifo) => false,
            Stream::Read => mode != OFlags::WRONLY,
            Stream::Write => mode != OFlags::RDONLY,
        };
    if good { Ok(()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(wish: Result<Wish, Problem>) -> String {
        match wish {
            Ok(wish) => wish.arguments().join(" "),
            Err(problem) => format!("{:?}: {}", problem.kind, problem.text),
        }
    }

    #[test]
    fn imports_and_exports() {
        let long = "x".repeat(1 << 20);
        let imports: [(Kind, &str, &str, u64, String); 10] = [
            (Kind::ImportTar, "a", "machine", 0, "import-tar --quiet -- - a".into()),
            (Kind::ImportRaw, "a", "machine", 1, "import-raw --quiet --force -- - a".into()),
            (Kind::ImportFs, "a", "machine", 2, "import-fs --quiet --read-only -- /proc/self/fd/0 a".into()),
            (Kind::ImportTar, "--help", "machine", 0, "import-tar --quiet -- - --help".into()),
            (Kind::ImportTar, "a", "machine", 4, "InvalidArgument: Flags 0x4 invalid".into()),
            (Kind::ImportTar, "a/b", "machine", 0, "InvalidArgument: Local image name a/b is invalid".into()),
            (Kind::ImportTar, "", "machine", 0, "InvalidArgument: Local image name  is invalid".into()),
            (
                Kind::ImportTar,
                "a",
                "sysext",
                0,
                "NotSupported: Images of class sysext are not kept here, only those of class machine".into(),
            ),
            (Kind::ImportTar, "a", "x", 0, "InvalidArgument: Image class 'x' not known".into()),
            (
                Kind::ImportTar,
                &long,
                "machine",
                0,
                format!("InvalidArgument: Local image name {} is invalid", "x".repeat(200)),
            ),
        ];
        for (kind, local, class, flags, expected) in imports {
            assert_eq!(line(Wish::import(kind, local, class, flags)), expected);
        }
        let exports = [
            (Kind::ExportTar, "a", "", 0, "export-tar --quiet -- a -"),
            (Kind::ExportRaw, "a", "xz", 0, "export-raw --quiet --format=xz -- a -"),
            (Kind::ExportTar, "a", "rar", 0, "InvalidArgument: Unknown format rar"),
            (Kind::ExportTar, "a", "", 1, "InvalidArgument: Flags 0x1 invalid"),
        ];
        for (kind, local, format, flags, expected) in exports {
            assert_eq!(line(Wish::export(kind, local, CLASS, format, flags)), expected);
        }
    }

    #[test]
    fn pulls() {
        let table = [
            (Kind::PullTar, "http://a/b", "c", "", 0, "pull-tar --quiet --verify=signature -- http://a/b c"),
            (
                Kind::PullRaw,
                "file:///b",
                "c",
                "no",
                7,
                "pull-raw --quiet --force --read-only --verify=no -- file:///b c",
            ),
            (
                Kind::PullTar,
                "https://a/b",
                "c",
                "checksum",
                0,
                "pull-tar --quiet --verify=checksum -- https://a/b c",
            ),
            (Kind::PullOci, "debian:13", "c", "", 1, "pull --quiet --force -- docker://debian:13 c"),
            (Kind::PullOci, "docker://a/b", "c", "", 0, "pull --quiet -- docker://a/b c"),
            (Kind::PullOci, "/etc/passwd", "c", "", 0, "InvalidArgument: Reference /etc/passwd is invalid"),
            (Kind::PullOci, "a", "c", "", 2, "pull --quiet --read-only -- docker://a c"),
            (Kind::PullTar, "http://a/b", "c", "x", 0, "InvalidArgument: Unknown verification mode x"),
            (Kind::PullTar, "debian:13", "c", "", 0, "InvalidArgument: URL debian:13 is invalid"),
            (Kind::PullTar, "http://a/\u{7}b", "c", "", 0, "InvalidArgument: URL http://a/b is invalid"),
            (Kind::PullTar, "-", "c", "", 0, "InvalidArgument: URL - is invalid"),
            (
                Kind::PullTar,
                "http://a/b",
                "",
                "",
                0,
                "NotSupported: Downloads without a local name are not kept",
            ),
            (Kind::PullTar, "http://a/b", ".c", "", 0, "InvalidArgument: Local image name .c is invalid"),
            (Kind::PullTar, "http://a/b", "c", "", 8, "InvalidArgument: Flags 0x8 invalid"),
        ];
        for (kind, remote, local, verify, flags, expected) in table {
            assert_eq!(line(Wish::pull(kind, remote, local, CLASS, verify, flags)), expected);
        }
    }

    #[test]
    fn streams() {
        use rustix::fs::{Mode, open};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "").unwrap();
        let fd = |path: &std::path::Path, flags| open(path, flags, Mode::empty()).unwrap();
        let table = [
            (fd(&path, OFlags::RDONLY), Stream::Read, true),
            (fd(&path, OFlags::WRONLY), Stream::Read, false),
            (fd(&path, OFlags::PATH), Stream::Read, false),
            (fd(&path, OFlags::RDONLY), Stream::Write, false),
            (fd(&path, OFlags::RDWR), Stream::Write, true),
            (fd(&path, OFlags::RDONLY), Stream::Directory, false),
            (fd(directory.path(), OFlags::RDONLY), Stream::Directory, true),
            (fd(directory.path(), OFlags::PATH), Stream::Directory, false),
            (fd(directory.path(), OFlags::RDONLY), Stream::Read, false),
            (fd("/dev/zero".as_ref(), OFlags::RDONLY), Stream::Read, false),
        ];
        for (row, (fd, stream, good)) in table.into_iter().enumerate() {
            assert_eq!(check_fd(&fd, stream).is_ok(), good, "row {row}");
        }
    }
}
