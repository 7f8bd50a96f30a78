//! What the verbs that move images have in common.
//!
//! | file | what it owns |
//! |---|---|
//! | [`options`] | options that several of them take |
//! | [`watching`] | how far a transfer is, as a bar, as lines of JSON, or not at all |
//! | [`cancelling`] | Ctrl-C and SIGTERM |
//! | [`failure`] | why a verb gives up |
//! | [`target`] | the file that an export goes to |
//! | [`reporting`] | how it ended: the result, or why there is none |

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::output::Output;
use crate::image::{Error as ImageError, Image, ImageName, Store};
use crate::image::{hidden, origin};
use crate::sys::in_words;
use crate::transfer::fetch::shown_address;
use crate::transfer::recording::{Recording, Running};
use crate::transfer::running;
use crate::transfer::told::Outcome;
use crate::transfer::{Context, Error};

pub mod cancelling;
pub mod failure;
pub mod options;
pub mod reporting;
pub mod target;
pub mod watching;

use cancelling::Cancelling;
pub use failure::Failure;
use options::ReportOptions;
use watching::Watching;

/// A transfer of the command line, from its beginning to its report.
#[derive(Debug)]
pub struct Transferring {
    /// Goes with the transfer.
    pub context: Context,
    watching: Watching,
    cancelling: Option<Cancelling>,
    running: Option<Arc<Running>>,
    output: Output,
    json: bool,
    started: Instant,
}

impl Transferring {
    /// Begins to watch what `verb` does with `remote`: from now on signals cancel, and do not kill.
    pub fn begin(options: &ReportOptions, verb: &str, remote: &str) -> Self {
        let output = options.output();
        let watching = Watching::new(output, options.style());
        // That others cannot see it is no reason not to do it.
        let running =
            Running::begin(Path::new(running::DIRECTORY), verb, &shown_address(remote)).ok().map(Arc::new);
        let context = match &running {
            Some(running) => {
                Context::new(Arc::new(Recording { inner: watching.watcher(), running: Arc::clone(running) }))
            }
            None => Context::new(watching.watcher()),
        };
        let cancelling = Cancelling::begin(&context);
        Self { context, watching, cancelling, running, output, json: options.json, started: Instant::now() }
    }

    /// The image is called `name`.
    pub fn called(&self, name: &ImageName) {
        if let Some(running) = &self.running {
            running.set_local(name.as_str());
        }
    }

    /// What comes is held to `mode`.
    pub fn held_to(&self, mode: &str) {
        if let Some(running) = &self.running {
            running.set_verify(mode);
        }
    }

    /// Ends it, says how, and gives the exit status.
    pub fn end(self, result: Result<reporting::Done, Failure>) -> u8 {
        self.watching.finish();
        if let Some(running) = &self.running {
            match &result {
                Ok(done) => running.finish(Outcome::Done, &done.words()),
                Err(failure) if failure.is_cancelled() => running.finish(Outcome::Cancelled, ""),
                Err(failure) => running.finish(Outcome::Failed, &in_words(failure.error())),
            }
        }
        let cancelled = self.cancelling.and_then(|cancelling| cancelling.signal());
        match result {
            Ok(done) => done.report(self.started.elapsed(), self.json, self.output),
            Err(error) => reporting::failed(&error, cancelled, self.json, self.output),
        }
    }
}

/// What an image is to be called: as it was said, by operand or option, or as `default`.
pub fn image_name(operand: Option<&str>, option: Option<&str>, default: &str) -> Result<ImageName, Failure> {
    let name = match (operand, option) {
        (Some(operand), Some(option)) if operand != option => {
            return Err(Failure::refused(
                format!("two names given: {operand:?} and --machine={option:?}"),
                "give one of them",
            ));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => default,
    };
    name.parse().map_err(|source| ImageError::Name { source }.into())
}

/// The store that `--image-root=` names, or the system's.
pub fn store(root: Option<&Path>) -> Result<Store, Error> {
    let Some(root) = root else { return Ok(Store::system()) };
    let root = std::path::absolute(root)
        .map_err(|source| Error::Read { name: root.display().to_string(), source })?;
    Ok(Store::at(&root))
}

/// The image `name`, if there is one.
pub fn existing(store: &Store, name: &ImageName) -> Result<Option<Image>, Error> {
    match store.find(name) {
        Ok(image) => Ok(Some(image)),
        Err(ImageError::NoImage { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes what killed commands left. What cannot be removed is in nobody's way.
pub fn sweep(store: &Store) {
    let _ = hidden::sweep(store);
    origin::sweep(store);
}

/// Removes what killed commands left, and refuses a name that is taken, before anything is moved. Whoever takes it meanwhile
/// is met at the end.
pub fn must_be_free(store: &Store, name: &ImageName, force: bool) -> Result<(), Error> {
    sweep(store);
    match existing(store, name)? {
        Some(image) if !force => Err(ImageError::Exists { name: name.to_string(), path: image.path }.into()),
        _ => Ok(()),
    }
}
