//! Who a name is in a tree: passwd(5) and group(5) of the tree, read as data.
//!
//! The host's name service is never asked about a guest's users, and no program of the guest either.

use crate::sys::in_root::Root;

/// A user of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name; the number in words if it has none.
    pub name: String,
    /// Its uid.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
    /// Its home directory.
    pub home: String,
    /// Its login shell.
    pub shell: String,
}

/// What login(1) takes where passwd(5) names none.
const DEFAULT_SHELL: &str = "/bin/sh";

/// Most of a passwd or group file that is read.
const LIMIT: usize = 1 << 20;

impl User {
    /// root, as every tree has it.
    pub fn root() -> Self {
        Self {
            name: "root".to_owned(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            home: "/root".to_owned(),
            shell: DEFAULT_SHELL.to_owned(),
        }
    }

    /// Finds `user`, a name or a number, in the tree. A number need not be in its files.
    pub fn find(tree: &Root, user: &str) -> Option<Self> {
        lookup(&read(tree, "/etc/passwd"), &read(tree, "/etc/group"), user)
    }
}

/// Finds the gid of `group`, a name or a number, in the tree. A number need not be in its files.
pub fn find_group(tree: &Root, group: &str) -> Option<u32> {
    id(group).or_else(|| lookup_group(&read(tree, "/etc/group"), group))
}

fn read(tree: &Root, path: &str) -> String {
    tree.read(path, LIMIT).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}

fn lookup_group(group: &str, name: &str) -> Option<u32> {
    group.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() == Some(name) { id(fields.nth(1)?) } else { None }
    })
}

/// The id of `text`. The last number is none: to setresuid(2) it says "leave the id as it is".
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

fn lookup(passwd: &str, group: &str, user: &str) -> Option<User> {
    let number = id(user);
    let entry = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, rest @ ..] = fields.as_slice() else { return None };
        let (uid, gid) = (id(uid)?, id(gid)?);
        let found = *name == user || number == Some(uid);
        let home = if home.starts_with('/') { *home } else { "/" };
        let shell = rest.first().filter(|shell| shell.starts_with('/')).unwrap_or(&DEFAULT_SHELL);
        found.then(|| User {
            name: (*name).to_owned(),
            uid,
            gid,
            groups: Vec::new(),
            home: home.to_owned(),
            shell: (*shell).to_owned(),
        })
    });
    let mut found = match (entry, number) {
        (Some(entry), _) => entry,
        (None, Some(uid)) => User {
            name: uid.to_string(),
            uid,
            gid: uid,
            groups: Vec::new(),
            home: "/".to_owned(),
            shell: DEFAULT_SHELL.to_owned(),
        },
        (None, None) => return None,
    };
    found.groups = group
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':').skip(2);
            let gid = id(fields.next()?)?;
            let member = fields.next()?.split(',').any(|name| name == found.name);
            (member && gid != found.gid).then_some(gid)
        })
        .collect();
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nbroken\nalice:x:1000:1000:A,,,:/home/alice:/bin/dash\nall:x:4294967295:0::/:\n";
    const GROUP: &str =
        "root:x:0:\nsudo:x:27:bob,alice\nalice:x:1000:alice\nx:y:z:alice\nall:x:4294967295:alice\n";

    #[test]
    fn users_by_name_and_number() {
        let alice = User {
            name: "alice".to_owned(),
            uid: 1000,
            gid: 1000,
            groups: vec![27],
            home: "/home/alice".to_owned(),
            shell: "/bin/dash".to_owned(),
        };
        let nobody = User {
            name: "77".to_owned(),
            uid: 77,
            gid: 77,
            groups: Vec::new(),
            home: "/".to_owned(),
            shell: "/bin/sh".to_owned(),
        };
        let root = User { shell: "/bin/bash".to_owned(), ..User::root() };
        for (user, expected) in [
            ("alice", Some(alice.clone())),
            ("1000", Some(alice)),
            ("root", Some(root)),
            ("77", Some(nobody)),
            ("bob", None),
            ("4294967295", None),
            ("all", None),
        ] {
            assert_eq!(lookup(PASSWD, GROUP, user), expected, "{user}");
        }
    }

    #[test]
    fn groups_by_name() {
        for (name, expected) in
            [("sudo", Some(27)), ("root", Some(0)), ("x", None), ("all", None), ("none", None), ("", None)]
        {
            assert_eq!(lookup_group(GROUP, name), expected, "{name}");
        }
    }
}
