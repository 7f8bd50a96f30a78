//! What of a tree has to do with its network: which managers of networks it has, which interfaces its administrator has
//! configured in them, what its /etc/resolv.conf is.
//!
//! A look, not a judgement: what we leave for each manager is up to [`crate::network::guest_files`].

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::FileType;

use crate::sys::in_root::{Root, absent_is_none};

/// Most of one file of a manager that is read; those of distributions have less than 4 KiB.
const MAX_FILE: usize = 16 << 10;
/// Most files of a directory that are looked at.
const MAX_FILES: usize = 64;
/// Most links that are followed, as the kernel has it (MAXSYMLINKS in include/linux/namei.h).
const MAX_LINKS: usize = 40;

/// What of a tree has to do with its network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkFacts {
    /// systemd-networkd, if it is there.
    pub networkd: Option<Configured>,
    /// NetworkManager, if it is there.
    pub network_manager: Option<Configured>,
    /// systemd-resolved is there.
    pub resolved: bool,
    /// Its /etc/resolv.conf.
    pub resolv_conf: ResolvConfFile,
}

/// What the administrator of the tree has configured in a manager, by name: interfaces and MAC addresses, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configured(pub Vec<String>);

impl Configured {
    /// Whether the interface of this name or MAC address is theirs. Patterns such as `e*` are no claim.
    pub fn has(&self, interface: &str, mac: Option<&str>) -> bool {
        self.0.iter().any(|word| word == interface || mac.is_some_and(|mac| word.eq_ignore_ascii_case(mac)))
    }
}

/// What /etc/resolv.conf of a tree is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ResolvConfFile {
    /// Nothing.
    #[default]
    Missing,
    /// A file.
    Regular,
    /// A link; where it leads in the tree, whether there is something or not.
    Link(PathBuf),
    /// Something else, which is nobody's business.
    Other,
}

/// Looks at a tree. What cannot be read is taken for not there: its init will have the same trouble with it.
pub fn inspect(root: &Root) -> NetworkFacts {
    let has = |paths: &[&str]| paths.iter().any(|path| root.exists(path).unwrap_or(false));
    let networkd = has(&["/usr/lib/systemd/systemd-networkd", "/lib/systemd/systemd-networkd"]);
    let network_manager = has(&["/usr/sbin/NetworkManager", "/usr/bin/NetworkManager"]);
    NetworkFacts {
        networkd: networkd.then(|| configured_in_networkd(root)),
        network_manager: network_manager.then(|| configured_in_network_manager(root)),
        resolved: has(&["/usr/lib/systemd/systemd-resolved", "/lib/systemd/systemd-resolved"]),
        resolv_conf: resolv_conf(root),
    }
}

/// What /etc/resolv.conf is.
pub fn resolv_conf(root: &Root) -> ResolvConfFile {
    const PATH: &str = "/etc/resolv.conf";
    match absent_is_none(root.symlink_metadata(PATH)) {
        Ok(None) => ResolvConfFile::Missing,
        Ok(Some(metadata)) => match metadata.kind() {
            FileType::RegularFile => ResolvConfFile::Regular,
            FileType::Symlink => match follow(root, Path::new(PATH)) {
                Some(target) => ResolvConfFile::Link(target),
                None => ResolvConfFile::Other,
            },
            _ => ResolvConfFile::Other,
        },
        Err(_) => ResolvConfFile::Other,
    }
}

/// Where `path` leads when all links are followed, also past what is not there: the kernel would not say.
fn follow(root: &Root, path: &Path) -> Option<PathBuf> {
    let mut left: Vec<OsString> = components(path);
    left.reverse();
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(&name);
        let Ok(target) = root.read_link(&at) else { continue };
        links += 1;
        if links > MAX_LINKS {
            return None;
        }
        at.pop();
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        left.extend(components(&target).into_iter().rev());
    }
    Some(at)
}

fn components(path: &Path) -> Vec<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// `[Match] Name=` and `MACAddress=` of systemd.network(5). A drop-in for the file that systemd brings for containers' `host0` is
/// a claim as well.
fn configured_in_networkd(root: &Root) -> Configured {
    const DIRECTORY: &str = "/etc/systemd/network";
    let mut words = Vec::new();
    for file in files(root, DIRECTORY, ".network") {
        words.extend(match_section(&file));
    }
    if root.exists(format!("{DIRECTORY}/80-container-host0.network.d")).unwrap_or(false) {
        words.push("host0".to_owned());
    }
    Configured(words)
}

fn match_section(file: &str) -> Vec<String> {
    let mut in_match = false;
    let mut words = Vec::new();
    for line in file.lines().map(str::trim) {
        if line.starts_with('[') {
            in_match = line == "[Match]";
        } else if in_match
            && let Some((key, value)) = line.split_once('=')
            && matches!(key.trim(), "Name" | "MACAddress" | "PermanentMACAddress")
        {
            words.extend(value.split_whitespace().map(str::to_ascii_lowercase));
        }
    }
    words
}

/// `connection.interface-name` and `ethernet.mac-address` of nm-settings-keyfile(5).
fn configured_in_network_manager(root: &Root) -> Configured {
    let mut words = Vec::new();
    for file in files(root, "/etc/NetworkManager/system-connections", "") {
        for line in file.lines() {
            if let Some((key, value)) = line.split_once('=')
                && matches!(key.trim(), "interface-name" | "mac-address")
            {
                words.push(value.trim().to_ascii_lowercase());
            }
        }
    }
    Configured(words)
}

/// The files of a directory whose names end with `suffix`.
fn files(root: &Root, directory: &str, suffix: &str) -> Vec<String> {
    let (mut names, mut seen) = (Vec::new(), 0);
    let listed = root.scan_dir(directory, |name| {
        seen += 1;
        if name.as_encoded_bytes().ends_with(suffix.as_bytes()) {
            names.push(OsString::from_vec(name.as_encoded_bytes().to_vec()));
        }
        if seen < MAX_FILES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if listed.is_err() {
        return Vec::new();
    }
    names
        .iter()
        .filter_map(|name| root.read(Path::new(directory).join(name), MAX_FILE).ok())
        .map(|contents| String::from_utf8_lossy(&contents).into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(make: impl FnOnce(&Path)) -> NetworkFacts {
        let directory = tempfile::tempdir().unwrap();
        make(directory.path());
        inspect(&Root::open(directory.path()).unwrap())
    }

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn managers_and_what_is_configured_in_them() {
        let words = |words: &[&str]| Some(Configured(words.iter().map(|word| (*word).to_owned()).collect()));
        assert_eq!(tree(|_| ()), NetworkFacts::default());
        let facts = tree(|root| {
            put(root, "usr/lib/systemd/systemd-networkd", "");
            put(root, "usr/lib/systemd/systemd-resolved", "");
            put(
                root,
                "etc/systemd/network/20-lan.network",
                "[Match]\nName = host0 eth*\nMACAddress=02:AA:00:00:00:01\n[Network]\nName=no\n",
            );
            put(root, "etc/systemd/network/other.netdev", "[Match]\nName=vlan\n");
        });
        assert_eq!(facts.networkd, words(&["host0", "eth*", "02:aa:00:00:00:01"]));
        assert_eq!((facts.network_manager, facts.resolved), (None, true));
        let facts = tree(|root| {
            put(root, "usr/sbin/NetworkManager", "");
            put(
                root,
                "etc/NetworkManager/system-connections/lan.nmconnection",
                "[connection]\ninterface-name=host0\n",
            );
        });
        assert_eq!((facts.networkd, facts.network_manager), (None, words(&["host0"])));
        let facts = tree(|root| {
            put(root, "lib/systemd/systemd-networkd", "");
            put(root, "etc/systemd/network/80-container-host0.network.d/a.conf", "[Network]\nDHCP=no\n");
        });
        assert_eq!(facts.networkd, words(&["host0"]));
    }

    #[test]
    fn claims_are_by_name() {
        let configured =
            Configured(vec!["host0".to_owned(), "e*".to_owned(), "02:aa:00:00:00:01".to_owned()]);
        for (interface, mac, expected) in [
            ("host0", None, true),
            ("eth0", None, false),
            ("eth0", Some("02:AA:00:00:00:01"), true),
            ("eth0", Some("02:aa:00:00:00:02"), false),
        ] {
            assert_eq!(configured.has(interface, mac), expected, "{interface} {mac:?}");
        }
    }

    #[test]
    fn resolv_confs() {
        type Row<'a> = (&'a str, &'a dyn Fn(&Path), ResolvConfFile);
        let link = |path: &str| ResolvConfFile::Link(path.into());
        let etc = |root: &Path| std::fs::create_dir(root.join("etc")).unwrap();
        let linked = |root: &Path, target: &str| {
            etc(root);
            symlink(target, root.join("etc/resolv.conf")).unwrap();
        };
        let table: [Row<'_>; 9] = [
            ("no /etc", &|_| (), ResolvConfFile::Missing),
            ("nothing", &etc, ResolvConfFile::Missing),
            ("a file", &|root| put(root, "etc/resolv.conf", ""), ResolvConfFile::Regular),
            (
                "a directory",
                &|root| std::fs::create_dir_all(root.join("etc/resolv.conf")).unwrap(),
                ResolvConfFile::Other,
            ),
            (
                "resolved's",
                &|root| linked(root, "../run/systemd/resolve/stub-resolv.conf"),
                link("/run/systemd/resolve/stub-resolv.conf"),
            ),
            (
                "by the old name of /run",
                &|root| {
                    linked(root, "/var/run/NetworkManager/resolv.conf");
                    std::fs::create_dir(root.join("var")).unwrap();
                    symlink("/run", root.join("var/run")).unwrap();
                },
                link("/run/NetworkManager/resolv.conf"),
            ),
            (
                "resolvconf's",
                &|root| {
                    linked(root, "resolvconf/run/resolv.conf");
                    std::fs::create_dir(root.join("etc/resolvconf")).unwrap();
                    symlink("../../run/resolvconf", root.join("etc/resolvconf/run")).unwrap();
                },
                link("/run/resolvconf/resolv.conf"),
            ),
            ("out of the tree", &|root| linked(root, "../../../../run/x"), link("/run/x")),
            ("a loop", &|root| linked(root, "resolv.conf"), ResolvConfFile::Other),
        ];
        for (name, make, expected) in table {
            assert_eq!(tree(make).resolv_conf, expected, "{name}");
        }
    }
}
