//! Cleaning a pool: what is hidden and nobody's, layers that nothing has, and all images if that is wanted.

use super::error::Error;
use super::layers::{self, LayersLock};
use super::properties::Properties;
use super::remove::{self, HiddenEntry, hidden_entries, remove_hidden};
use super::store::{Image, Store};
use super::{hidden, origin};

/// What is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CleanOptions {
    /// Also images that are not hidden, but for those in use and those that are read-only.
    pub all: bool,
    /// With `all`, also those that are read-only.
    pub force: bool,
    /// Nothing is; it is only told.
    pub dry_run: bool,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// Names, and what they took on disk where that is known without a walk. As they are in the file system: not safe to print.
    pub removed: Vec<(String, Option<u64>)>,
    /// Names, and why they stay.
    pub kept: Vec<(String, String)>,
    /// How many layers that nothing had.
    pub layers: usize,
    /// What could not be removed.
    pub faults: Vec<Error>,
}

/// Cleans the pool of `store`; what cannot be removed does not stop it.
///
/// # Errors
/// When the pool cannot be read.
pub fn clean(store: &Store, options: CleanOptions) -> Result<Cleaned, Error> {
    let mut done = Cleaned::default();
    for entry in hidden_entries(store)?.into_iter().filter(HiddenEntry::is_ours) {
        if entry.in_use {
            done.kept.push((entry.name, "somebody works on it".to_owned()));
            continue;
        }
        let removed = options.dry_run
            || remove_hidden(store, &entry).unwrap_or_else(|error| {
                done.faults.push(error);
                false
            });
        if removed {
            done.removed.push((entry.name, None));
        }
    }
    let images = if options.all { store.all()? } else { Vec::new() };
    // What is elsewhere on the search path is another one's.
    for image in images.iter().filter(|image| image.path.starts_with(&store.pool)) {
        clean_image(store, image, options, &mut done);
    }
    if !options.dry_run && store.state.exists() {
        done.layers = layers::collect(store, &LayersLock::take(store)?)?;
        origin::sweep(store);
    }
    if !options.dry_run {
        // Locks of the dead.
        let _ = hidden::sweep(store);
    }
    Ok(done)
}

fn clean_image(store: &Store, image: &Image, options: CleanOptions, done: &mut Cleaned) {
    let name = image.name.to_string();
    let properties = Properties::of(image).ok();
    let usage = properties.and_then(|properties| properties.usage);
    if options.dry_run {
        match properties.is_some_and(|properties| properties.read_only) && !options.force {
            true => done.kept.push((name, "it is read-only".to_owned())),
            false => done.removed.push((name, usage)),
        }
        return;
    }
    match remove::remove(store, image, options.force) {
        Ok(()) => done.removed.push((name, usage)),
        Err(Error::InUse { by, .. }) => done.kept.push((name, format!("in use by {}", by.join(", ")))),
        Err(Error::ReadOnly { .. }) => done.kept.push((name, "it is read-only".to_owned())),
        Err(error) => done.faults.push(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_ones_and_all() {
        let temporary = tempfile::tempdir().unwrap();
        let store = Store::at(temporary.path());
        for name in [".#web.0123456789abcdef", ".tar-https:x", ".mine", "a", "b"] {
            std::fs::create_dir(temporary.path().join(name)).unwrap();
        }
        let names = |cleaned: Cleaned| {
            assert!(cleaned.faults.is_empty() && cleaned.kept.is_empty());
            cleaned.removed.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
        };
        let cleaned = |options| names(clean(&store, options).unwrap());
        let hidden = CleanOptions::default();
        assert_eq!(cleaned(CleanOptions { dry_run: true, ..hidden }), ".#web.0123456789abcdef .tar-https:x");
        assert_eq!(cleaned(hidden), ".#web.0123456789abcdef .tar-https:x");
        assert_eq!(cleaned(hidden), "");
        assert_eq!(cleaned(CleanOptions { all: true, force: true, ..hidden }), "a b");
        assert!(temporary.path().join(".mine").exists());
    }
}
