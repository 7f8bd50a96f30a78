//! What a guest finds about its network: files for the managers that it has, and a working /etc/resolv.conf.
//!
//! All of it goes to file systems that are fresh at each start, but for one case. `--resolv-conf=auto` for a machine with a name server
//! of ours is:
//!
//! | /etc/resolv.conf of the tree | what is done |
//! |---|---|
//! | a link to below /run or /tmp | the file that it leads to is made there; systemd-resolved, NetworkManager or resolvconf, whose it is, replaces it once it runs, and was told of our name server by its own files |
//! | a link elsewhere | nothing: it is the tree's own arrangement |
//! | a file, or nothing, and the tree can be written | it is written, as systemd-nspawn does for machines on the host's network. Not a mount: package scripts and managers rename files of theirs onto it, and a mount point refuses that (EBUSY) |
//! | a file, or nothing, in a read-only tree | a mount on it |

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::guest::network::{NetworkFacts, ResolvConfFile};
use crate::network::guest_files;
use crate::network::plan::NetworkPlan;
use crate::settings::{BindIds, ResolvConf};
use crate::sys::mount::MountAttributes;

use super::mounts::RUN_HOST;
use super::plan::{BindSource, MountOperation as Op, Replace};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Resolvers ask no more (MAXNS of resolv.h).
const MOST_SERVERS: usize = 3;

/// What the files depend on.
#[derive(Debug, Clone, Copy)]
pub struct FilesContext<'a> {
    /// The machine's network.
    pub network: &'a NetworkPlan,
    /// What the tree has.
    pub tree: &'a NetworkFacts,
    /// An init runs, and with it what manages networks.
    pub boot: bool,
    /// `--resolv-conf=`.
    pub resolv_conf: ResolvConf,
    /// The tree cannot be written.
    pub read_only: bool,
}

/// Operations on the tree itself, and such for when the API file systems are there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkFiles {
    /// In the tree.
    pub in_tree: Vec<Op>,
    /// In /run and /tmp.
    pub in_run: Vec<Op>,
}

/// What is made for this network in this tree.
pub fn plan(context: &FilesContext<'_>) -> NetworkFiles {
    let mut files = NetworkFiles::default();
    if context.boot {
        for file in guest_files::files(context.network, context.tree) {
            put(&mut files.in_run, file.path, file.mode, file.contents);
        }
    }
    if context.resolv_conf == ResolvConf::Auto && !context.network.dns.is_empty() {
        resolv_conf(context, &mut files);
    }
    files
}

fn resolv_conf(context: &FilesContext<'_>, files: &mut NetworkFiles) {
    let contents = resolv_conf_contents(context.network);
    match &context.tree.resolv_conf {
        ResolvConfFile::Link(target) if target.starts_with("/run") || target.starts_with("/tmp") => {
            // What a tree may not have us write over; nothing of a distribution leads there.
            if !target.starts_with(RUN_HOST) && target.components().count() > 2 {
                put(&mut files.in_run, target.clone(), 0o644, contents);
            }
        }
        ResolvConfFile::Regular | ResolvConfFile::Missing if context.read_only => {
            let source = PathBuf::from(format!("{RUN_HOST}/resolv.conf"));
            files.in_tree.push(Op::File {
                path: RESOLV_CONF.into(),
                mode: 0o644,
                contents: Vec::new(),
                replace: Replace::Nothing,
            });
            put(&mut files.in_run, source.clone(), 0o644, contents);
            files.in_run.push(Op::Bind {
                source: BindSource::Guest(source),
                target: RESOLV_CONF.into(),
                recursive: false,
                attributes: MountAttributes::empty(),
                clear: MountAttributes::empty(),
                ids: BindIds::NoIdmap,
                if_target_exists: true,
            });
        }
        ResolvConfFile::Regular | ResolvConfFile::Missing => files.in_tree.push(Op::File {
            path: RESOLV_CONF.into(),
            mode: 0o644,
            contents: contents.into_bytes(),
            replace: Replace::RegularFile,
        }),
        ResolvConfFile::Link(_) | ResolvConfFile::Other => {}
    }
}

/// resolv.conf(5).
fn resolv_conf_contents(network: &NetworkPlan) -> String {
    let mut text = "# Written by Spinney: --resolv-conf=off leaves this file alone.\n".to_owned();
    for server in network.dns.iter().take(MOST_SERVERS) {
        let _ = writeln!(text, "nameserver {server}");
    }
    if let Some(domain) = &network.domain {
        let _ = writeln!(text, "search {domain}");
    }
    text
}

/// A file and the directories that it is in, which nobody else has made yet.
fn put(operations: &mut Vec<Op>, path: PathBuf, mode: u32, contents: String) {
    let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
    let directory = Op::Directory { path: parent, mode: 0o755 };
    if !operations.contains(&directory) {
        operations.push(directory);
    }
    operations.push(Op::File { path, mode, contents: contents.into_bytes(), replace: Replace::Anything });
}

#[cfg(test)]
mod tests {
    use super::super::describe::operation;
    use super::*;
    use crate::guest::network::Configured;
    use crate::network::plan::{Addresses, LinkKind, LinkPlan};

    fn network() -> NetworkPlan {
        NetworkPlan {
            links: vec![LinkPlan {
                addresses: Some(Addresses { v4: None, v6: None }),
                ..LinkPlan::new(LinkKind::Veth, "host0".parse().unwrap())
            }],
            dns: vec!["10.213.0.1".parse().unwrap()],
            domain: Some("lab.internal".to_owned()),
            ..NetworkPlan::default()
        }
    }

    #[test]
    fn resolv_confs() {
        const FILE: &str = "file /etc/resolv.conf 0644, 106 bytes";
        let link = |path: &str| ResolvConfFile::Link(path.into());
        type Row<'a> = (&'a str, ResolvConfFile, ResolvConf, bool, &'a [&'a str], &'a [&'a str]);
        let table: [Row<'_>; 10] = [
            ("a file", ResolvConfFile::Regular, ResolvConf::Auto, false, &[FILE], &[]),
            ("nothing", ResolvConfFile::Missing, ResolvConf::Auto, false, &[FILE], &[]),
            ("off", ResolvConfFile::Missing, ResolvConf::Off, false, &[], &[]),
            (
                "read-only",
                ResolvConfFile::Regular,
                ResolvConf::Auto,
                true,
                &["file /etc/resolv.conf 0644, 0 bytes"],
                &[
                    "directory /run/host 0755",
                    "file /run/host/resolv.conf 0644, 106 bytes",
                    "bind guest:/run/host/resolv.conf on /etc/resolv.conf (if it is there)",
                ],
            ),
            (
                "resolved's",
                link("/run/systemd/resolve/stub-resolv.conf"),
                ResolvConf::Auto,
                true,
                &[],
                &[
                    "directory /run/systemd/resolve 0755",
                    "file /run/systemd/resolve/stub-resolv.conf 0644, 106 bytes",
                ],
            ),
            (
                "OpenWrt's",
                link("/tmp/resolv.conf"),
                ResolvConf::Auto,
                false,
                &[],
                &["directory /tmp 0755", "file /tmp/resolv.conf 0644, 106 bytes"],
            ),
            ("a link elsewhere", link("/usr/lib/systemd/resolv.conf"), ResolvConf::Auto, false, &[], &[]),
            ("a link to what is ours", link("/run/host/notify"), ResolvConf::Auto, false, &[], &[]),
            ("a link to a mount point", link("/run"), ResolvConf::Auto, false, &[], &[]),
            ("a directory", ResolvConfFile::Other, ResolvConf::Auto, false, &[], &[]),
        ];
        for (name, file, mode, read_only, in_tree, in_run) in table {
            let tree = NetworkFacts { resolv_conf: file, ..NetworkFacts::default() };
            let context =
                FilesContext { network: &network(), tree: &tree, boot: true, resolv_conf: mode, read_only };
            let found = plan(&context);
            let lines = |operations: &[Op]| operations.iter().map(operation).collect::<Vec<_>>();
            assert_eq!(
                (lines(&found.in_tree), lines(&found.in_run)),
                (
                    in_tree.iter().map(|line| (*line).to_owned()).collect(),
                    in_run.iter().map(|line| (*line).to_owned()).collect()
                ),
                "{name}"
            );
        }
        assert_eq!(
            resolv_conf_contents(&network()),
            "# Written by Spinney: --resolv-conf=off leaves this file alone.\nnameserver 10.213.0.1\nsearch lab.internal\n"
        );
    }

    #[test]
    fn managers_are_told_where_an_init_runs() {
        let tree = NetworkFacts {
            networkd: Some(Configured::default()),
            resolved: true,
            resolv_conf: ResolvConfFile::Other,
            ..NetworkFacts::default()
        };
        let mut network = network();
        network.links[0].addresses = Some(Addresses {
            v4: Some(crate::network::plan::Family {
                address: "10.213.0.5".parse().unwrap(),
                prefix: 22,
                gateway: None,
                host: None,
            }),
            v6: None,
        });
        for (boot, expected) in [
            (false, &[] as &[&str]),
            (
                true,
                &[
                    "/run/systemd/network",
                    "/run/systemd/network/00-spinney-host0.network",
                    "/run/systemd/resolved.conf.d",
                    "/run/systemd/resolved.conf.d/50-spinney.conf",
                ],
            ),
        ] {
            let context = FilesContext {
                network: &network,
                tree: &tree,
                boot,
                resolv_conf: ResolvConf::Auto,
                read_only: false,
            };
            let paths: Vec<String> = plan(&context)
                .in_run
                .iter()
                .filter_map(|operation| match operation {
                    Op::Directory { path, .. } | Op::File { path, .. } => Some(path.display().to_string()),
                    _ => None,
                })
                .collect();
            assert_eq!(paths, expected, "{boot}");
        }
    }
}
