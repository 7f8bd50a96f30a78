//! What differs between two states of a tree.
//!
//! Files are compared by what they are, not by which layer they lie in: one that was copied up and is as before is no change.
//! What both states have from the same layers is not looked at, so a comparison costs what was touched, not what there is.
//! From the changed files of distros that we know follows what they mean: packages, users, units, privileges.
//!
//! | file | what it owns |
//! |---|---|
//! | [`sides`] | which two states are compared |
//! | [`compare`] | two views, file by file |
//! | [`change`] | one file that differs, and in what |
//! | [`packages`] | databases of packages: dpkg, apk, pacman |
//! | [`accounts`] | users and groups |
//! | [`units`] | what is started at boot |
//! | [`privileges`] | set-id bits and file capabilities |

pub mod accounts;
pub mod change;
pub mod compare;
pub mod packages;
pub mod privileges;
pub mod sides;
pub mod units;

pub use change::{Change, Detail, Kind};
pub use compare::compare;

use crate::image::merged::View;
use crate::sys::SysResult;

/// All that differs.
#[derive(Debug, Default, serde::Serialize)]
pub struct Differences {
    /// Files, by path.
    pub files: Vec<Change>,
    /// Packages.
    pub packages: packages::Packages,
    /// Users and groups.
    pub accounts: accounts::Accounts,
    /// Units and services.
    pub units: units::Units,
    /// Set-id bits and capabilities gained.
    pub privileges: Vec<privileges::Privilege>,
}

/// Compares `new` with `old`.
///
/// # Errors
/// When one of them cannot be read.
pub fn differences(old: &View, new: &View) -> SysResult<Differences> {
    let files = compare(old, new)?;
    Ok(Differences {
        packages: packages::compare(old, new)?,
        accounts: accounts::compare(old, new)?,
        units: units::compare(old, new)?,
        privileges: privileges::of(&files),
        files,
    })
}
