//! Packages: the databases of dpkg, apk and pacman, which are text. Those of rpm are told to be there and not read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use crate::image::merged::View;
use crate::sys::SysResult;

/// A database of a full desktop has some 10 MiB.
const LIMIT: usize = 128 << 20;

const DPKG: &str = "var/lib/dpkg/status";
const APK: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];
const PACMAN: &str = "var/lib/pacman/local";
const RPM: [&str; 2] = ["usr/lib/sysimage/rpm", "var/lib/rpm"];

/// Name to version.
type Database = BTreeMap<String, String>;

/// What became of packages.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Packages {
    /// The manager whose database was read.
    pub manager: Option<&'static str>,
    /// A database that is there and is not read.
    pub unread: Option<&'static str>,
    /// New ones.
    pub added: Vec<Package>,
    /// Those that are gone.
    pub removed: Vec<Package>,
    /// Those of another version.
    pub changed: Vec<Upgrade>,
}

/// A package.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Its name; with its architecture where it is foreign.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A package of another version.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Upgrade {
    /// Its name.
    pub name: String,
    /// The version before.
    pub old: String,
    /// The version now.
    pub new: String,
}

/// Compares the packages of two trees.
///
/// # Errors
/// When a database cannot be read.
pub fn compare(old: &View, new: &View) -> SysResult<Packages> {
    let (before, now) = (database(old)?, database(new)?);
    let manager = now.as_ref().or(before.as_ref()).map(|(manager, _)| *manager);
    let mut unread = None;
    for path in RPM {
        if new.find(Path::new(path))?.is_some_and(|node| node.is_directory()) {
            unread = Some("rpm");
        }
    }
    let packages = |database: Option<(&str, Database)>| database.map(|(_, all)| all).unwrap_or_default();
    Ok(Packages { manager, unread, ..changes(&packages(before), &packages(now)) })
}

fn database(view: &View) -> SysResult<Option<(&'static str, Database)>> {
    if let Some(text) = view.read(DPKG, LIMIT)? {
        return Ok(Some(("dpkg", dpkg(&String::from_utf8_lossy(&text)))));
    }
    for path in APK {
        if let Some(text) = view.read(path, LIMIT)? {
            return Ok(Some(("apk", apk(&String::from_utf8_lossy(&text)))));
        }
    }
    if let Some(directory) = view.find(Path::new(PACMAN))?.filter(|node| node.is_directory()) {
        let mut found = Database::new();
        for name in view.names(&directory)? {
            let there = view.child(&directory, &name)?.is_some_and(|node| node.is_directory());
            found.extend(pacman(&name.to_string_lossy()).filter(|_| there));
        }
        return Ok(Some(("pacman", found)));
    }
    Ok(None)
}

/// Paragraphs of deb822(5).
fn dpkg(text: &str) -> Database {
    let mut all = Vec::new();
    for paragraph in text.split("\n\n") {
        let field = |name: &str| {
            paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        // One that was removed, and whose configuration stays, is not installed.
        let installed = field("Status").is_some_and(|status| status.ends_with(" installed"));
        if let (true, Some(name), Some(version)) = (installed, field("Package"), field("Version")) {
            all.push((
                name.to_owned(),
                field("Architecture").unwrap_or("all").to_owned(),
                version.to_owned(),
            ));
        }
    }
    // dpkg itself is of the native architecture.
    let native = all.iter().find(|(name, ..)| name == "dpkg").map(|(_, native, _)| native.clone());
    all.into_iter()
        .map(|(name, architecture, version)| {
            let foreign =
                architecture != "all" && native.as_ref().is_some_and(|native| *native != architecture);
            (if foreign { format!("{name}:{architecture}") } else { name }, version)
        })
        .collect()
}

/// Alpine's: fields of one letter, a paragraph a package.
fn apk(text: &str) -> Database {
    let package = |paragraph: &str| {
        let field =
            |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        field("P:").zip(field("V:"))
    };
    text.split("\n\n").filter_map(package).collect()
}

/// Arch's: a directory `NAME-VERSION-RELEASE` a package.
fn pacman(name: &str) -> Option<(String, String)> {
    let (rest, release) = name.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    Some((name.to_owned(), format!("{version}-{release}")))
}

fn changes(old: &Database, new: &Database) -> Packages {
    let mut found = Packages::default();
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let package = |version: &String| Package { name: name.clone(), version: version.clone() };
        match (old.get(name), new.get(name)) {
            (None, Some(version)) => found.added.push(package(version)),
            (Some(version), None) => found.removed.push(package(version)),
            (Some(old), Some(new)) if old != new => {
                found.changed.push(Upgrade { name: name.clone(), old: old.clone(), new: new.clone() })
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(database: &Database) -> Vec<(&str, &str)> {
        database.iter().map(|(name, version)| (name.as_str(), version.as_str())).collect()
    }

    #[test]
    fn databases() {
        let status = "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.22\n\n\
                      Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.41\n\n\
                      Package: libc6\nStatus: hold ok installed\nArchitecture: i386\nVersion: 2.41\n\n\
                      Package: tzdata\nStatus: install ok installed\nArchitecture: all\nVersion: 1\nDescription: x\n Version: 9\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 3\n";
        let expected = [("dpkg", "1.22"), ("libc6", "2.41"), ("libc6:i386", "2.41"), ("tzdata", "1")];
        assert_eq!(pairs(&dpkg(status)), expected);
        let installed = "C:Q1=\nP:musl\nV:1.2.5-r0\nA:x86_64\n\nP:busybox\nV:1.36-r1\nF:bin\n\n";
        assert_eq!(pairs(&apk(installed)), [("busybox", "1.36-r1"), ("musl", "1.2.5-r0")]);
        let rows = [
            ("linux-api-headers-6.10-1", Some(("linux-api-headers", "6.10-1"))),
            ("glibc-2.40+r16+gaa533d58ff-2", Some(("glibc", "2.40+r16+gaa533d58ff-2"))),
            ("gtk3-1:3.24.43-4", Some(("gtk3", "1:3.24.43-4"))),
            ("ALPM_DB_VERSION", None),
        ];
        for (name, expected) in rows {
            let found = pacman(name);
            assert_eq!(found.as_ref().map(|(name, version)| (name.as_str(), version.as_str())), expected);
        }
    }

    #[test]
    fn what_became_of_them() {
        let database = |pairs: &[(&str, &str)]| -> Database {
            pairs.iter().map(|(name, version)| (name.to_string(), version.to_string())).collect()
        };
        let old = database(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let new = database(&[("b", "2"), ("c", "1"), ("d", "1")]);
        let package = |name: &str| Package { name: name.into(), version: "1".into() };
        let expected = Packages {
            added: vec![package("d")],
            removed: vec![package("a")],
            changed: vec![Upgrade { name: "b".into(), old: "1".into(), new: "2".into() }],
            ..Packages::default()
        };
        assert_eq!(changes(&old, &new), expected);
    }
}
