//! The table of all settings: what each is called in each of its forms, and how its value is put into a [`Draft`].
//!
//! | file | settings |
//! |---|---|
//! | [`key`] | what is known of one setting |
//! | [`autostart`] | `[autostart]`: when it is started by itself |
//! | [`limits`] | the rest of `[resources]`: how much of the host it may have |
//! | [`machine`] | `[machine]`, `[users]`, `[console]`: what machine it is |
//! | [`network`] | `[network]`: what it gets of the network |
//! | [`execution`] | `[execution]`: what runs |
//! | [`security`] | `[security]` and `[resources]` of processes |
//! | [`files`] | `[files]`, `[integration]`, `[credentials]`: what it sees |
//!
//! The names in TOML are the options' names, which are systemd-nspawn's where it has them. A row that is added here is a
//! key of spinney.toml and of machine files, is checked, explained, and must be documented in docs/settings.md (a unit test
//! compares them).

mod autostart;
mod execution;
mod files;
mod key;
mod limits;
mod machine;
mod network;
mod security;

pub use key::{BadValue, Key, Kind, NspawnKey, Put, PutValue, Scope, Trust};

use super::draft::Draft;
use super::suggestion::nearest;

/// Settings by table, in the order in which they are explained. Limits and autostart come after them.
static TABLES: &[&[Key]] = &[machine::KEYS, network::KEYS, execution::KEYS, files::KEYS, security::KEYS];

/// All settings.
pub fn all() -> impl Iterator<Item = &'static Key> {
    TABLES.iter().copied().flatten().chain(limits::KEYS.iter()).chain(autostart::KEYS)
}

/// The setting called `table.name` in TOML. For tables of our own; what users write is looked up by [`find`].
pub fn known(path: &str) -> Option<&'static Key> {
    all().find(|key| path.split_once('.') == Some((key.table, key.name)))
}

/// The setting of the option `--name=`, given with or without its dashes and `=`.
pub fn of_option(option: &str) -> Option<&'static Key> {
    let bare = option.trim_matches(['-', '=']);
    all().find(|key| !key.option.is_empty() && key.option.trim_matches(['-', '=']) == bare)
}

/// The setting of a key of .nspawn files.
pub fn of_nspawn(section: &str, name: &str) -> Option<(&'static Key, &'static NspawnKey)> {
    all().find_map(|key| {
        let found = key.nspawn.iter().find(|known| known.section == section && known.name == name)?;
        Some((key, found))
    })
}

/// The tables of our TOML files.
pub fn tables() -> Vec<&'static str> {
    let mut names: Vec<&str> = all().map(|key| key.table).collect();
    names.dedup();
    let mut seen = Vec::new();
    names.retain(|name| {
        !seen.contains(name) && {
            seen.push(*name);
            true
        }
    });
    names
}

/// The setting `name` of `table`, or the way to the right one.
pub fn find(table: &str, name: &str) -> Result<&'static Key, String> {
    if let Some(key) = all().find(|key| key.table == table && key.name == name) {
        return Ok(key);
    }
    if let Some(key) = all().find(|key| key.name == name) {
        return Err(format!("{name} belongs in [{}]", key.table));
    }
    // People who come from .nspawn files and units write their names, in their case or in ours.
    let plain = |name: &str| name.replace(['-', '_'], "").to_ascii_lowercase();
    let wanted = plain(name);
    let called = |key: &&Key| {
        plain(key.option) == wanted
            || plain(key.name) == wanted
            || key.nspawn.iter().any(|known| plain(known.name) == wanted)
    };
    if let Some(key) = all().find(called) {
        return Err(format!("it is called {} here, in [{}]", key.name, key.table));
    }
    let here: Vec<&str> = all().filter(|key| key.table == table).map(|key| key.name).collect();
    if let Some(close) = nearest(name, here.iter().copied()) {
        return Err(format!("did you mean {close}?"));
    }
    if let Some(key) =
        nearest(name, all().map(|key| key.name)).and_then(|close| all().find(|key| key.name == close))
    {
        return Err(format!("did you mean {} in [{}]?", key.name, key.table));
    }
    Err(format!("[{table}] has {}", here.join(", ")))
}

/// The way to a table that is there.
pub fn find_table(name: &str) -> Result<&'static str, String> {
    let known = tables();
    if let Some(table) = known.iter().find(|table| **table == name) {
        return Ok(table);
    }
    if let Some(key) = all().find(|key| key.name == name) {
        return Err(format!("{name} belongs in [{}]", key.table));
    }
    match nearest(&name.to_ascii_lowercase(), known.iter().copied()) {
        Some(close) => Err(format!("did you mean [{close}]?")),
        None => Err(format!(
            "there are {}",
            known.iter().map(|table| format!("[{table}]")).collect::<Vec<_>>().join(", ")
        )),
    }
}

/// The same for a key of .nspawn files: the end of a warning.
pub fn nearest_nspawn(section: &str, name: &str) -> Option<&'static str> {
    nearest(
        name,
        all().flat_map(|key| key.nspawn).filter(|known| known.section == section).map(|known| known.name),
    )
}
