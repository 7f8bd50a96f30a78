//! The settings beside an image that is being pulled (`NAME.nspawn`): what its configuration says.

use super::settings;
use crate::image::{ImageName, Store};
use crate::sys::SysResult;
use crate::sys::files::{open_directory, read_at, remove_file_at, replace_at};
use crate::sys::in_root::absent_is_none;

/// The settings beside an image that is being made. What a person wrote there stays as it is.
pub(super) struct Settings<'a> {
    store: &'a Store,
    file: String,
    state: SettingsState,
}

/// What is in the way of them, and what is done about it.
enum SettingsState {
    /// Those of a person, or none: nothing.
    Untouched,
    /// Nothing was; they are written, and removed unless the image comes to be.
    Written,
    /// Those of an image that it takes the place of: they become these, or none, when it has.
    Former(Option<String>),
}

impl<'a> Settings<'a> {
    /// Writes them, where nobody else did.
    pub(super) fn write(
        store: &'a Store,
        name: &ImageName,
        text: Option<String>,
    ) -> Result<Self, crate::image::Error> {
        const LIMIT: usize = 1 << 20;
        let file = format!("{name}.nspawn");
        let failed =
            || crate::image::Error::system("write the settings of the image to", store.pool.join(&file));
        let pool = open_directory(&store.pool).map_err(failed())?;
        let state = match (absent_is_none(read_at(&pool, &file, LIMIT)), text) {
            (Ok(None), Some(text)) => {
                replace_at(pool, &file, text.as_bytes(), 0o644).map_err(failed())?;
                SettingsState::Written
            }
            (Ok(Some(there)), text) if there.starts_with(settings::HEAD.as_bytes()) => {
                SettingsState::Former(text)
            }
            _ => SettingsState::Untouched,
        };
        Ok(Self { store, file, state })
    }

    /// The image is there.
    pub(super) fn keep(mut self) -> SysResult<()> {
        match std::mem::replace(&mut self.state, SettingsState::Untouched) {
            SettingsState::Untouched | SettingsState::Written => Ok(()),
            SettingsState::Former(Some(text)) => {
                replace_at(open_directory(&self.store.pool)?, &self.file, text.as_bytes(), 0o644)
            }
            SettingsState::Former(None) => remove_file_at(open_directory(&self.store.pool)?, &self.file),
        }
    }
}

impl Drop for Settings<'_> {
    fn drop(&mut self) {
        if matches!(self.state, SettingsState::Written)
            && let Ok(pool) = open_directory(&self.store.pool)
        {
            let _ = remove_file_at(pool, &self.file);
        }
    }
}
