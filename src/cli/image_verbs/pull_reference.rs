//! `spinney pull` of what the catalogue has: `spinney pull debian:trixie`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::search::catalogue;
use crate::cli::transferring::reporting::Done;
use crate::cli::transferring::{Failure, Transferring, existing, image_name, store, sweep};
use crate::image::origin::{self, Origin};
use crate::image::{Finish, Image, Store};
use crate::sys::SysError;
use crate::sys::files::{open_directory, read_at, replace_at};
use crate::transfer::catalogue::{Reference, Resolved, architecture};
use crate::transfer::lockfile::{self, LIMIT, LockFile, NAME, Pin};
use crate::transfer::obtain::{self, Made, Obtained, Request};
use crate::transfer::verify::Mode;
use crate::transfer::{Digest, Event};

/// What only names of the catalogue have.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Names of the catalogue")]
pub struct ReferenceOptions {
    /// For this architecture [default: this host's]
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,

    /// Only from sources of this kind: simplestreams, tar, disk, oci, mmdebstrap, ...
    #[arg(long = "source", id = "source-kind", value_name = "KIND")]
    only: Option<String>,

    /// Replace an image that is there, unless the source has nothing newer
    #[arg(long)]
    refresh: bool,

    /// Write down which bytes came, for others to get the same; all operands are names then
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = NAME, conflicts_with = "frozen")]
    lock: Option<PathBuf>,

    /// Take only the bytes that are written down
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = NAME)]
    frozen: Option<PathBuf>,

    /// Read the catalogue from this directory alone
    #[arg(long, value_name = "DIR")]
    catalogue: Option<PathBuf>,
}

impl ReferenceOptions {
    /// Nothing of it, but for an architecture that was asked for.
    pub(super) fn of_architecture(arch: Option<String>) -> Self {
        Self { arch, ..Self::default() }
    }

    /// The architecture that was asked for.
    pub(super) fn architecture(&self) -> Option<&str> {
        self.arch.as_deref()
    }

    /// Whether every operand is a name, not the second one the image's.
    pub(super) fn takes_many(&self) -> bool {
        self.lock.is_some() || self.frozen.is_some()
    }
}

/// What the options that it shares with addresses say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// What is wanted.
    pub(super) reference: &'a str,
    /// What the image is to be called.
    pub(super) name: Option<&'a str>,
    pub(super) machine: Option<&'a str>,
    pub(super) image_root: Option<&'a Path>,
    pub(super) force: bool,
    pub(super) mode: Option<Mode>,
    pub(super) keys: &'a [PathBuf],
    pub(super) keep_partial: bool,
    pub(super) options: &'a ReferenceOptions,
}

/// Pulls it.
pub(super) fn pull(asked: &Asked<'_>, transferring: &Transferring) -> Result<Done, Failure> {
    let options = asked.options;
    let resolved = resolve(asked).map_err(crate::transfer::Error::from)?;
    let store = store(asked.image_root)?;
    let name = image_name(asked.name, asked.machine, &resolved.image_name())?;
    let reference = resolved.reference();
    let pin = match &options.frozen {
        Some(file) => Some(read(file)?.find(&file.display().to_string(), &reference).cloned()?),
        None => None,
    };
    transferring.called(&name);
    sweep(&store);
    let there = existing(&store, &name)?;
    let again = asked.force || options.refresh || options.lock.is_some();
    if let Some(image) = &there
        && !again
        && pin.is_none()
    {
        call(asked, &resolved, &store, image)?;
        return Ok(Done::said(
            format!("{name} is there already; --refresh looks whether there is a newer one"),
            json!({ "event": "done", "image": name.as_str(), "path": image.path, "changed": false }),
        ));
    }
    let context = &transferring.context;
    if let Some(until) = resolved.until.as_deref().filter(|until| is_past(until)) {
        let release = format!("{} {}", resolved.title, resolved.release);
        context.tell(Event::Note(format!("{release} is old: nobody has cared for it since {until}")));
    }
    let request = Request {
        reference: asked.reference,
        resolved: &resolved,
        store: &store,
        name: &name,
        finish: Finish { replace: again, read_only: true },
        mode: asked.mode,
        keys: asked.keys.to_vec(),
        partial: asked.keep_partial.then(|| store.state.join("downloads")),
        // With --force it is made anew, whatever it is.
        known: there.as_ref().filter(|_| !asked.force).and_then(|image| digest_of(&store, image)),
        pinnable: options.lock.is_some(),
    };
    let obtained = match &pin {
        Some(pin) => obtain::obtain_pinned(&request, pin, context),
        None => obtain::obtain(&request, context),
    }?;
    let (done, pin) = match obtained {
        Obtained::UpToDate { address, pin } => (
            Done::said(
                format!("{name} is up to date with {address}"),
                json!({ "event": "done", "image": name.as_str(), "source": address, "changed": false }),
            ),
            pin,
        ),
        Obtained::Made(made) => {
            let pin = made.pin.clone();
            (report(&made, &reference), pin)
        }
    };
    if let (Some(file), Some(pin)) = (&options.lock, pin) {
        add(file, &reference, pin)?;
    }
    Ok(done)
}

fn resolve(asked: &Asked<'_>) -> Result<Resolved, crate::transfer::catalogue::Error> {
    let catalogue = catalogue(asked.options.catalogue.as_deref())?;
    let mut reference: Reference = asked.reference.parse()?;
    if let Some(name) = &asked.options.arch {
        reference.architecture = Some(architecture::parse(name)?);
    }
    let resolved = catalogue.resolve(&reference, architecture::host())?;
    match &asked.options.only {
        Some(kind) => resolved.only(kind),
        None => Ok(resolved),
    }
}

fn report(made: &Made, reference: &str) -> Done {
    let done = match &made.counts {
        Some(counts) => Done::made("pulled", &made.image, counts.files, counts.bytes),
        None => Done::made("made", &made.image, 0, 0).without_amount(),
    };
    done.with_notes(made.notes.clone()).from_source(reference, made)
}

/// What an image that is there was made of.
fn digest_of(store: &Store, image: &Image) -> Option<Digest> {
    origin::of(store, image)?.digest?.parse().ok()
}

/// An image is found again by the name that was given last, of several that mean the same: `run debian:13` after
/// `pull debian:trixie`. What came from elsewhere is another image that happens to have the name.
fn call(asked: &Asked<'_>, resolved: &Resolved, store: &Store, image: &Image) -> Result<(), Failure> {
    let origin = origin::of(store, image).ok_or_else(|| another(image))?;
    let means_the_same = |before: &str| {
        let known = resolve(&Asked { reference: before, ..*asked });
        known.is_ok_and(|known| known.reference() == resolved.reference())
    };
    match origin.reference.as_deref() {
        Some(before) if before == asked.reference => Ok(()),
        Some(before) if means_the_same(before) => {
            let origin = Origin { reference: Some(asked.reference.to_owned()), ..origin };
            Ok(origin::write(store, image, &origin)?)
        }
        _ => Err(another(image)),
    }
}

fn another(image: &Image) -> Failure {
    Failure::refused(
        format!("there is an image {:?} already, which was not made of this", image.name.as_str()),
        "--force replaces it; a NAME of its own keeps both",
    )
}

fn is_past(date: &str) -> bool {
    date.parse::<jiff::civil::Date>().is_ok_and(|date| date < jiff::Zoned::now().date())
}

/// The lock file `file`.
fn read(file: &Path) -> Result<LockFile, Failure> {
    let (directory, name) = place(file)?;
    let shown = file.display().to_string();
    let text = open_directory(&directory)
        .and_then(|directory| read_at(directory, &name, LIMIT + 1))
        .map_err(|error| unreadable(file, &error))?;
    let text = String::from_utf8(text).map_err(|_| {
        Failure::refused(format!("{shown} is no text"), "a lock file is written by spinney pull --lock")
    })?;
    Ok(LockFile::parse(&shown, &text)?)
}

/// Adds a pin to the lock file `file`, which need not be there.
fn add(file: &Path, reference: &str, pin: Pin) -> Result<(), Failure> {
    let (directory, name) = place(file)?;
    let opened = open_directory(&directory).map_err(|error| unreadable(&directory, &error))?;
    let mut lock = match read_at(&opened, &name, 1) {
        Err(error) if error.errno() == rustix::io::Errno::NOENT => LockFile::default(),
        _ => read(file)?,
    };
    lock.set(reference, pin, jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let text = lock.render()?;
    replace_at(&opened, &name, text.as_bytes(), 0o644).map_err(|error| {
        Failure::refused(
            format!("cannot write {}: {}", file.display(), error.errno()),
            "the image itself is there",
        )
    })
}

/// The directory and the name of a lock file.
fn place(file: &Path) -> Result<(PathBuf, String), Failure> {
    let refuse =
        || Failure::refused(format!("{file:?} is no name of a lock file"), "--lock=FILE or --frozen=FILE");
    let name = file.file_name().and_then(|name| name.to_str()).ok_or_else(refuse)?.to_owned();
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((parent.unwrap_or(Path::new(".")).to_owned(), name))
}

fn unreadable(file: &Path, error: &SysError) -> Failure {
    let hint = if error.errno() == rustix::io::Errno::NOENT {
        "spinney pull --lock writes one"
    } else {
        "look at who may read it"
    };
    Failure::refused(format!("cannot read {}: {}", file.display(), error.errno()), hint)
}

impl From<lockfile::Error> for Failure {
    fn from(error: lockfile::Error) -> Self {
        Self::Transfer(error.into())
    }
}
