//! Users and groups: passwd(5), group(5), and whether shadow(5) has another password.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::image::merged::View;
use crate::sys::SysResult;

/// Far more than these files have.
const LIMIT: usize = 8 << 20;

/// What became of users and groups.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Accounts {
    /// Users, by name.
    pub users: Vec<AccountChange>,
    /// Groups, by name.
    pub groups: Vec<AccountChange>,
}

/// A user or group that differs.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AccountChange {
    /// Its name, as the file has it.
    pub name: String,
    /// What became of it.
    pub change: super::Kind,
    /// Its number now, or the one that it had.
    pub id: String,
    /// In what it differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<&'static str>,
}

/// A line's fields, those that count, and what they are called.
type Fields = BTreeMap<String, Vec<String>>;

/// Compares the users and groups of two trees.
///
/// # Errors
/// When a file cannot be read.
pub fn compare(old: &View, new: &View) -> SysResult<Accounts> {
    let read = |view: &View, path: &str| -> SysResult<Fields> {
        Ok(parse(&view.read(path, LIMIT)?.unwrap_or_default()))
    };
    let with_shadow = |view: &View| -> SysResult<Fields> {
        let mut users = read(view, "etc/passwd")?;
        for (name, fields) in read(view, "etc/shadow")? {
            if let Some(user) = users.get_mut(&name) {
                user.extend(fields.into_iter().nth(1));
            }
        }
        Ok(users)
    };
    Ok(Accounts {
        users: changes(&with_shadow(old)?, &with_shadow(new)?, &USER_FIELDS),
        groups: changes(&read(old, "etc/group")?, &read(new, "etc/group")?, &GROUP_FIELDS),
    })
}

const USER_FIELDS: [(usize, &str); 7] = [
    (1, "password"),
    (2, "uid"),
    (3, "gid"),
    (4, "comment"),
    (5, "home"),
    (6, "shell"),
    // That of shadow(5), put after the others.
    (7, "password"),
];

const GROUP_FIELDS: [(usize, &str); 2] = [(2, "gid"), (3, "members")];

fn parse(bytes: &[u8]) -> Fields {
    String::from_utf8_lossy(bytes)
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains(':'))
        .map(|line| {
            let fields: Vec<String> = line.split(':').map(str::to_owned).collect();
            (fields.first().cloned().unwrap_or_default(), fields)
        })
        .collect()
}

fn changes(old: &Fields, new: &Fields, names: &[(usize, &'static str)]) -> Vec<AccountChange> {
    let id = |fields: &[String]| fields.get(2).cloned().unwrap_or_default();
    let entry = |name: &String, change, fields: &[String], details| AccountChange {
        name: name.clone(),
        change,
        id: id(fields),
        details,
    };
    let mut found = Vec::new();
    for (name, fields) in new {
        match old.get(name) {
            None => found.push(entry(name, super::Kind::Added, fields, Vec::new())),
            Some(before) => {
                let differs = |(place, _): &&(usize, &'static str)| fields.get(*place) != before.get(*place);
                let mut details: Vec<_> = names.iter().filter(differs).map(|(_, name)| *name).collect();
                details.dedup();
                if !details.is_empty() {
                    found.push(entry(name, super::Kind::Changed, fields, details));
                }
            }
        }
    }
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    found.extend(gone.map(|(name, fields)| entry(name, super::Kind::Deleted, fields, Vec::new())));
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::diff::Kind;

    #[test]
    fn users() {
        let old = "root:x:0:0:root:/root:/bin/sh\nold:x:10:10::/:/bin/false\nsame:x:5:5::/:/bin/sh\n";
        type Expected<'a> = &'a [(&'a str, Kind, &'a str, &'a [&'a str])];
        let rows: &[(&str, Expected<'_>)] = &[
            (old, &[]),
            (
                "",
                &[
                    ("old", Kind::Deleted, "10", &[]),
                    ("root", Kind::Deleted, "0", &[]),
                    ("same", Kind::Deleted, "5", &[]),
                ],
            ),
            (
                "root:x:0:0:root:/root:/bin/bash\nsame:x:5:5::/:/bin/sh\nnew:x:1000:1000::/home/new:/bin/sh\nno line\n",
                &[
                    ("new", Kind::Added, "1000", &[]),
                    ("old", Kind::Deleted, "10", &[]),
                    ("root", Kind::Changed, "0", &["shell"]),
                ],
            ),
        ];
        for (new, expected) in rows {
            let found = changes(&parse(old.as_bytes()), &parse(new.as_bytes()), &USER_FIELDS);
            let found: Vec<_> = found
                .iter()
                .map(|change| {
                    (change.name.as_str(), change.change, change.id.as_str(), change.details.as_slice())
                })
                .collect();
            assert_eq!(found, *expected);
        }
    }
}
