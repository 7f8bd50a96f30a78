//! The files of the host that a guest gets to see: /etc/resolv.conf and /etc/localtime (systemd-nspawn(1),
//! `--resolv-conf=`, `--timezone=`).

use std::path::PathBuf;

use crate::settings::{BindIds, ResolvConf, Timezone};
use crate::sys::mount::MountAttributes;

use super::plan::{BindSource, MountOperation as Op, Replace};

/// Where it is in the guest.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
const LOCALTIME: &str = "/etc/localtime";

/// How the guest gets a file of the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Copy,
    Replace,
    Bind,
}

/// Which resolv.conf of the host a mode means: /etc/resolv.conf, and systemd-resolved.service(8)'s three others.
fn resolv_conf_source(mode: ResolvConf) -> Option<(How, &'static str)> {
    const STATIC: &str = "/usr/lib/systemd/resolv.conf";
    const UPLINK: &str = "/run/systemd/resolve/resolv.conf";
    const STUB: &str = "/run/systemd/resolve/stub-resolv.conf";
    Some(match mode {
        ResolvConf::CopyHost => (How::Copy, RESOLV_CONF),
        ResolvConf::CopyStatic => (How::Copy, STATIC),
        ResolvConf::CopyUplink => (How::Copy, UPLINK),
        ResolvConf::CopyStub => (How::Copy, STUB),
        ResolvConf::ReplaceHost => (How::Replace, RESOLV_CONF),
        ResolvConf::ReplaceStatic => (How::Replace, STATIC),
        ResolvConf::ReplaceUplink => (How::Replace, UPLINK),
        ResolvConf::ReplaceStub => (How::Replace, STUB),
        ResolvConf::BindHost => (How::Bind, RESOLV_CONF),
        ResolvConf::BindStatic => (How::Bind, STATIC),
        ResolvConf::BindUplink => (How::Bind, UPLINK),
        ResolvConf::BindStub => (How::Bind, STUB),
        ResolvConf::Off | ResolvConf::Delete | ResolvConf::Auto => return None,
    })
}

/// What `auto` means: a machine with a network of its own has its own resolver; one on the host's network uses the
/// host's, bound where the tree cannot be written.
pub fn resolve_auto(mode: ResolvConf, private_network: bool, read_only: bool) -> ResolvConf {
    match mode {
        ResolvConf::Auto if private_network => ResolvConf::Off,
        ResolvConf::Auto if read_only => ResolvConf::BindHost,
        ResolvConf::Auto => ResolvConf::CopyHost,
        other => other,
    }
}

/// The host's file that `mode`, which is not `auto`, brings the guest.
pub fn resolv_conf_of_host(mode: ResolvConf) -> Option<&'static str> {
    resolv_conf_source(mode).map(|(_, path)| path)
}

/// The host's file to read for `mode`, where its contents are copied.
pub fn resolv_conf_to_read(mode: ResolvConf) -> Option<&'static str> {
    resolv_conf_source(mode).and_then(|(how, path)| (how != How::Bind).then_some(path))
}

/// Operations for /etc/resolv.conf; `contents` is what [`resolv_conf_to_read`] holds.
pub fn resolv_conf(mode: ResolvConf, contents: Option<Vec<u8>>) -> Vec<Op> {
    if mode == ResolvConf::Delete {
        return vec![Op::Remove { path: RESOLV_CONF.into() }];
    }
    match (resolv_conf_source(mode), contents) {
        (Some((How::Bind, path)), _) => vec![bind_read_only(path, RESOLV_CONF)],
        (Some((how, _)), Some(contents)) => {
            let replace = if how == How::Copy { Replace::RegularFile } else { Replace::Anything };
            vec![Op::File { path: RESOLV_CONF.into(), mode: 0o644, contents, replace }]
        }
        _ => Vec::new(),
    }
}

/// What the timezone depends on.
#[derive(Debug, Clone, Copy)]
pub struct TimezoneContext<'a> {
    /// The zone of the host, `Europe/Berlin`, if its /etc/localtime says one.
    pub zone: Option<&'a str>,
    /// The tree has that zone.
    pub zone_in_tree: bool,
    /// The tree cannot be written.
    pub read_only: bool,
}

/// The zone that a target of /etc/localtime names (localtime(5)).
pub fn zone_of(target: &str) -> Option<&str> {
    let (_, zone) = target.split_once("/usr/share/zoneinfo/")?;
    let sane = !zone.is_empty() && !zone.split('/').any(|part| part.is_empty() || part == "..");
    sane.then_some(zone)
}

/// Operations for /etc/localtime.
pub fn timezone(mode: Timezone, context: &TimezoneContext<'_>) -> Vec<Op> {
    let symlink = |zone: &str| {
        let target = PathBuf::from("../usr/share/zoneinfo").join(zone);
        vec![Op::Symlink { path: LOCALTIME.into(), target, replace: true }]
    };
    match (mode, context.zone) {
        (Timezone::Off, _) => Vec::new(),
        (Timezone::Delete, _) => vec![Op::Remove { path: LOCALTIME.into() }],
        (Timezone::Symlink, Some(zone)) => symlink(zone),
        (Timezone::Auto, Some(zone)) if context.zone_in_tree && !context.read_only => symlink(zone),
        (Timezone::Auto, _) => Vec::new(),
        (Timezone::Copy | Timezone::Bind | Timezone::Symlink, _) => {
            vec![bind_read_only(LOCALTIME, LOCALTIME)]
        }
    }
}

fn bind_read_only(source: &str, target: &str) -> Op {
    Op::Bind {
        source: BindSource::Host(source.into()),
        target: target.into(),
        recursive: false,
        attributes: MountAttributes::MOUNT_ATTR_RDONLY,
        clear: MountAttributes::empty(),
        ids: BindIds::NoIdmap,
        if_target_exists: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_of_localtime() {
        for (target, zone) in [
            ("/usr/share/zoneinfo/Europe/Berlin", Some("Europe/Berlin")),
            ("../usr/share/zoneinfo/UTC", Some("UTC")),
            ("../usr/share/zoneinfo/../../etc/shadow", None),
            ("/etc/foo", None),
        ] {
            assert_eq!(zone_of(target), zone, "{target}");
        }
    }

    #[test]
    fn auto_depends_on_network_and_tree() {
        for (private, read_only, mode) in [
            (true, false, ResolvConf::Off),
            (false, false, ResolvConf::CopyHost),
            (false, true, ResolvConf::BindHost),
        ] {
            assert_eq!(resolve_auto(ResolvConf::Auto, private, read_only), mode);
        }
        assert_eq!(resolve_auto(ResolvConf::Delete, true, false), ResolvConf::Delete);
    }

    #[test]
    fn a_copy_leaves_symlinks_alone_and_a_replacement_does_not() {
        let replace = |mode| match resolv_conf(mode, Some(b"nameserver ::1\n".to_vec())).as_slice() {
            [Op::File { replace, .. }] => *replace,
            other => panic!("{other:?}"),
        };
        assert_eq!(replace(ResolvConf::CopyHost), Replace::RegularFile);
        assert_eq!(replace(ResolvConf::ReplaceHost), Replace::Anything);
    }
}
