//! `spinney import`, and `import-tar`, `import-raw` and `import-fs` as importctl(1) has them.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::cli::require_root;
use crate::cli::transferring::options::{ImageOptions, ReportOptions};
use crate::cli::transferring::reporting::Done;
use crate::cli::transferring::{Failure, Transferring, image_name, must_be_free, store};
use crate::cli::{EXIT_FAILURE, output::Output};
use crate::image::origin::Origin;
use crate::image::{Finish, ImageName, NewImage, Store};
use crate::sys::files::open_directory;
use crate::transfer::fetch::{self, FetchOptions};
use crate::transfer::install::{self, InstallOptions, Wanted};
use crate::transfer::verify::Verification;
use crate::transfer::{Digest, Error, Event, naming};

const RULES: &str = "\
FILE is a tar archive or a disk image (raw or qcow2), compressed with gzip, xz, zstd or bzip2 or not at all: what it is, its bytes say. \
'-' is stdin. A directory is copied exactly: owners, permissions, times, links, attributes, ACLs, holes, devices; data is shared where \
the file system can. What is mounted below it stays out. NAME is by default the file's name without its endings.

The image is made under a hidden name, and appears when it is whole and on disk.

import-tar, import-raw and import-fs insist on an archive, a disk image or a directory.

Examples:
  spinney import debian-13.tar.xz
  curl -L https://example.org/root.tar.gz | spinney import - web
  spinney import /srv/chroots/trixie
  spinney import --read-only disk.qcow2 golden

Exit status: 0 when the image is there, 130 or 143 when cancelled by Ctrl-C or SIGTERM, 125 otherwise.";

/// Make an image of an archive, a disk image or a directory
#[derive(Debug, clap::Args)]
#[command(override_usage = "spinney import [OPTIONS] <FILE|DIR|-> [NAME]", after_help = RULES)]
pub struct ImportArguments {
    /// An archive, a disk image or a directory; '-' is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    options: ImportOptions,
}

/// Make an image of a tar archive
#[derive(Debug, clap::Args)]
#[command(override_usage = "spinney import-tar [OPTIONS] <FILE|-> [NAME]", after_help = RULES)]
pub struct ImportTarArguments {
    /// The archive; '-' is stdin [default: -]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    options: ImportOptions,
}

/// Make an image of a disk image
#[derive(Debug, clap::Args)]
#[command(override_usage = "spinney import-raw [OPTIONS] <FILE|-> [NAME]", after_help = RULES)]
pub struct ImportRawArguments {
    /// The disk image; '-' is stdin [default: -]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    options: ImportOptions,
}

/// Make an image of a directory
#[derive(Debug, clap::Args)]
#[command(override_usage = "spinney import-fs [OPTIONS] <DIR> [NAME]", after_help = RULES)]
pub struct ImportFsArguments {
    /// The directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    #[command(flatten)]
    options: ImportOptions,
}

/// What all of them take.
#[derive(Debug, clap::Args)]
pub struct ImportOptions {
    /// What the image is to be called
    #[arg(value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    image: ImageOptions,

    /// Hold the file to this digest
    #[arg(long, value_name = "DIGEST")]
    sha256: Option<String>,

    /// For importctl(1)'s sake: nothing is downloaded
    #[arg(short = 'N', id = "no-keep-download", hide = true)]
    _no_keep_download: bool,

    #[command(flatten)]
    report: ReportOptions,
}

/// What is insisted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    File(Wanted),
    Directory,
}

/// Runs `spinney import`, gives the exit status.
pub fn import(arguments: &ImportArguments) -> u8 {
    perform(&arguments.file, Kind::Any, &arguments.options, "import")
}

/// Runs `spinney import-tar`, gives the exit status.
pub fn import_tar(arguments: &ImportTarArguments) -> u8 {
    perform(or_stdin(arguments.file.as_ref()), Kind::File(Wanted::Tar), &arguments.options, "import-tar")
}

/// Runs `spinney import-raw`, gives the exit status.
pub fn import_raw(arguments: &ImportRawArguments) -> u8 {
    perform(or_stdin(arguments.file.as_ref()), Kind::File(Wanted::Raw), &arguments.options, "import-raw")
}

/// Runs `spinney import-fs`, gives the exit status.
pub fn import_fs(arguments: &ImportFsArguments) -> u8 {
    perform(&arguments.directory, Kind::Directory, &arguments.options, "import-fs")
}

fn or_stdin(file: Option<&PathBuf>) -> &Path {
    file.map_or(Path::new("-"), PathBuf::as_path)
}

fn perform(file: &Path, kind: Kind, options: &ImportOptions, verb: &str) -> u8 {
    if !require_root(verb, &format!("sudo spinney {verb} ..."), Output::new(false)) {
        return EXIT_FAILURE;
    }
    let transferring = Transferring::begin(&options.report, verb, &file.to_string_lossy());
    let result = imported(file, kind, options, &transferring);
    transferring.end(result)
}

fn imported(
    file: &Path,
    kind: Kind,
    options: &ImportOptions,
    transferring: &Transferring,
) -> Result<Done, Failure> {
    options.image.check_class().map_err(Failure::value("--class="))?;
    let digest = options.sha256.as_deref().map(str::parse::<Digest>).transpose();
    let digest = digest.map_err(Failure::value("--sha256="))?;
    if file.to_str().is_some_and(|file| file.contains("://")) {
        return Err(Failure::refused(
            format!("{} is an address, not a file", file.display()),
            "spinney pull fetches images from servers",
        ));
    }
    let store = store(options.image.image_root.as_deref())?;
    let is_stdin = file == Path::new("-");
    let is_directory = !is_stdin && file.is_dir();
    match kind {
        Kind::Directory if !is_directory => {
            return Err(Failure::refused(
                format!("{} is no directory", file.display()),
                "spinney import takes archives and disk images as well",
            ));
        }
        Kind::File(_) if is_directory => {
            return Err(Failure::refused(
                format!("{} is a directory", file.display()),
                "spinney import-fs copies directories",
            ));
        }
        _ => {}
    }
    if is_stdin && std::io::stdin().is_terminal() {
        return Err(Failure::refused(
            "stdin is a terminal, not an image",
            "spinney import FILE, or something | spinney import - NAME",
        ));
    }
    let name = name_of(file, is_directory, options)?;
    transferring.called(&name);
    must_be_free(&store, &name, options.image.force)?;
    let finish = Finish { replace: options.image.force, read_only: options.image.read_only };
    // An fd that was passed is as nameless as stdin.
    let is_nameless = is_stdin || file.starts_with("/proc/self/fd");
    let source = if is_nameless { None } else { std::path::absolute(file).ok() };
    let source = source.map(|path| path.display().to_string());
    let installing = InstallOptions {
        finish,
        origin: Some(Origin { source, ..Origin::new("import") }),
        ..InstallOptions::default()
    };
    if is_directory {
        return from_directory(file, &store, &name, &installing, transferring);
    }
    let wanted = match kind {
        Kind::File(wanted) => Some(wanted),
        Kind::Any | Kind::Directory => None,
    };
    let context = &transferring.context;
    let address = address(file)?;
    let verification = Verification { sha256: digest, unhashed: true, ..Verification::none() };
    let incoming = fetch::open(&address, &verification, &FetchOptions::default(), context)?;
    context.tell(Event::Stage { what: format!("importing {name}"), total: incoming.length() });
    let installed = install::image(incoming, &store, &name, wanted, &installing, context)?;
    Ok(Done::installed("imported", &installed))
}

/// A path that cannot be taken for an address.
fn address(file: &Path) -> Result<String, Failure> {
    match file.to_str() {
        Some("-") => Ok("-".to_owned()),
        Some(path) if path.starts_with('/') => Ok(path.to_owned()),
        Some(path) => Ok(format!("./{path}")),
        None => Err(Failure::refused(
            format!("the name of {} is not UTF-8", file.display()),
            "give it another name, or spinney import - NAME < FILE",
        )),
    }
}

fn name_of(file: &Path, is_directory: bool, options: &ImportOptions) -> Result<ImageName, Failure> {
    let (operand, option) = (options.name.as_deref(), options.image.machine.as_deref());
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let own = absolute.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let default = match (file == Path::new("-"), is_directory) {
        (true, _) if operand.is_none() && option.is_none() => {
            return Err(Failure::refused("what is on stdin has no name", "spinney import - NAME"));
        }
        (true, _) => String::new(),
        (false, true) => own.to_owned(),
        (false, false) => naming::image_name(own),
    };
    image_name(operand, option, &default)
}

fn from_directory(
    directory: &Path,
    store: &Store,
    name: &ImageName,
    installing: &InstallOptions,
    transferring: &Transferring,
) -> Result<Done, Failure> {
    let context = &transferring.context;
    let failed = |source| Error::Fetch(fetch::Error::File { path: directory.to_owned(), source });
    let source = open_directory(&std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned()))
        .map_err(failed)?;
    let what = match installing.origin.as_ref().and_then(|origin| origin.source.as_ref()) {
        Some(_) => format!("copying {}", directory.display()),
        None => format!("importing {name}"),
    };
    context.tell(Event::Stage { what, total: None });
    let new = NewImage::directory(store, name)?;
    let (image, counts, notes) = install::directory(source.as_fd(), new, installing, context)?;
    Ok(Done::made("imported", &image, counts.files, counts.bytes).with_notes(notes.lines()))
}
