//! What is known before anything is claimed: the tree, the host, the plan. Nothing here changes anything.

use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::guest::network::{self, NetworkFacts, ResolvConfFile};
use crate::guest::tree::{inspect, inspect_for_command};
use crate::guest::users::User;
use crate::guest::{DetectedInit, TreeError, TreeFacts};
use crate::host::Host;
use crate::host::limits::Wholes;
use crate::image::ImageKind;
use crate::image::opened::{Access, Opened};
use crate::network::plan::{Namespace, NetworkPlan};
use crate::runtime::device_filter::{self, DeviceKind, DeviceRule};
use crate::runtime::host_files;
use crate::runtime::id_range::{SIZE, candidates};
use crate::runtime::journal::JOURNALS;
use crate::runtime::plan::{MachinePlan, UserPlan};
use crate::runtime::planner::{RootForm, RootView, Surroundings, TreeView, plan, wants_user_namespace};
use crate::settings::{
    CustomMount, MachineName, MachineSettings, Payload, PrivateUsers, ResolvConf, Uuid, Volatile,
};
use crate::sys::SysError;
use crate::sys::in_root::Root;

use super::Request;
use super::devices;
use super::error::Error;

/// Facts, before anything is claimed.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) name: MachineName,
    pub(super) image: Opened,
    pub(super) facts: TreeFacts,
    pub(super) view: TreeView,
    pub(super) host: Host,
}

/// What a machine of these settings may do to its image.
pub(super) fn access(settings: &MachineSettings) -> Access {
    match settings.ephemeral || settings.read_only || settings.volatile != Volatile::No {
        true => Access::ReadOnly,
        false => Access::Write,
    }
}

/// Looks at image and host; changes nothing.
pub(super) fn look(
    settings: &MachineSettings,
    name: MachineName,
    host: Host,
    image: Opened,
) -> Result<Facts, Error> {
    let tree = image.view();
    // With --pivot-root= a directory of the tree is what runs.
    let pivoted = match &settings.pivot_root {
        Some(pivot) => Some(tree.subroot(&pivot.new).map_err(TreeError::from)?),
        None => None,
    };
    let root = pivoted.as_ref().unwrap_or(tree);
    let facts = match &settings.payload {
        Payload::Boot { init, .. } => inspect(root, init.as_deref())?,
        Payload::Command { argv, .. } => {
            inspect_for_command(root, argv.first().map_or(Path::new(""), Path::new))?
        }
    };
    let user = match &settings.user {
        None => User::root(),
        Some(user) => User::find(root, user).ok_or_else(|| Error::NoSuchUser { user: user.clone() })?,
    };
    let owner = rustix::fs::fstat(tree).map(|stat| stat.st_uid).unwrap_or(0);
    let zone = host.localtime.as_deref().and_then(host_files::zone_of);
    let view = TreeView {
        init: facts.init.as_ref().map(|init| init.path.clone()),
        machine_id: facts.machine_id.id().map(|id| id.0),
        user: UserPlan {
            uid: user.uid,
            gid: user.gid,
            groups: user.groups,
            name: user.name,
            home: user.home,
        },
        // Ids come in ranges of 65536: the upper half of the root's owner says which (systemd-nspawn(1)).
        id_base: owner & 0xffff_0000,
        legacy_cgroups: settings
            .knobs
            .legacy_cgroups
            .unwrap_or_else(|| facts.init.as_ref().is_some_and(DetectedInit::needs_legacy_cgroups)),
        links: links(settings, tree),
        zone: zone.is_some_and(|zone| tree.exists(format!("/usr/share/zoneinfo/{zone}")).unwrap_or(false)),
        network: network_facts(settings, root),
        root: root_view(&image, access(settings)),
    };
    Ok(Facts { name, image, facts, view, host })
}

/// What of the tree has to do with the machine's network. /etc of --volatile=yes is empty.
fn network_facts(settings: &MachineSettings, root: &Root) -> NetworkFacts {
    if !settings.has_private_network() {
        return NetworkFacts::default();
    }
    let facts = match settings.payload {
        Payload::Boot { .. } => network::inspect(root),
        Payload::Command { .. } => {
            NetworkFacts { resolv_conf: network::resolv_conf(root), ..NetworkFacts::default() }
        }
    };
    match settings.volatile {
        Volatile::Yes => NetworkFacts { resolv_conf: ResolvConfFile::Missing, ..facts },
        _ => facts,
    }
}

/// How the root of `image` is made.
fn root_view(image: &Opened, access: Access) -> RootView {
    let form = match (image.is_plain(), image.is_one_tree()) {
        (true, _) => RootForm::Directory,
        (false, true) => RootForm::Disk,
        (false, false) => RootForm::Layers,
    };
    let mut layers = image.layers();
    if access == Access::ReadOnly {
        layers.extend(image.writable_layer());
    }
    let usr = image.has_own_usr().then(|| (PathBuf::from("/usr"), access == Access::ReadOnly));
    RootView {
        form,
        layers,
        binds: usr.into_iter().chain(image.binds()).collect(),
        out_of_reach: !image.is_plain(),
    }
}

/// Top-level links of the tree that `--volatile=yes` needs again.
fn links(settings: &MachineSettings, tree: &Root) -> Vec<(String, std::path::PathBuf)> {
    if settings.volatile != Volatile::Yes {
        return Vec::new();
    }
    let names = tree.read_dir(".").unwrap_or_default();
    names
        .into_iter()
        .filter_map(|name| {
            let target = tree.read_link(&name).ok()?;
            Some((name.to_string_lossy().into_owned(), target))
        })
        .collect()
}

/// Which ids a machine is to have.
pub(super) enum WantedIds {
    Host,
    Pick,
    Range(u32, u32),
}

pub(super) fn wanted_ids(settings: &MachineSettings, tree_base: u32) -> WantedIds {
    match settings.private_users {
        PrivateUsers::No => WantedIds::Host,
        PrivateUsers::Yes if tree_base != 0 => WantedIds::Range(tree_base, SIZE),
        PrivateUsers::Yes | PrivateUsers::Pick => WantedIds::Pick,
        PrivateUsers::Identity => WantedIds::Range(0, SIZE),
        PrivateUsers::Range { base, size } => WantedIds::Range(base, size),
    }
}

/// What becomes of /etc/resolv.conf of a machine with this network.
pub(super) fn resolv_conf_mode(settings: &MachineSettings, network: &NetworkPlan) -> ResolvConf {
    let private_network = network.namespace == Namespace::Private;
    host_files::resolve_auto(settings.resolv_conf, private_network, settings.read_only)
}

pub(super) fn make_plan(
    request: &Request,
    facts: &Facts,
    ids: Option<(u32, u32)>,
    network: NetworkPlan,
) -> Result<MachinePlan, Error> {
    let settings = &request.settings;
    debug_assert_eq!(ids.is_some(), wants_user_namespace(settings));
    let resolv_conf = resolv_conf_mode(settings, &network);
    let random = || {
        Uuid::random()
            .map_err(|errno| SysError::new("getrandom", "16 bytes", errno))
            .map_err(Error::system("make a random ID"))
    };
    let around = Surroundings {
        term: std::env::var("TERM").ok(),
        ids,
        random: [random()?, random()?],
        listen_fds: listen_fds(
            std::env::var("LISTEN_PID").ok().as_deref(),
            std::env::var("LISTEN_FDS").ok().as_deref(),
            std::process::id(),
        ),
        journals: host_journals(facts),
        resolv_conf: host_files::resolv_conf_to_read(resolv_conf).and_then(|path| std::fs::read(path).ok()),
        bound_devices: settings.mounts.iter().filter_map(bound_device).collect(),
        given_devices: devices::given(&settings.limits)?,
        allowed_devices: devices::allowed(&settings.limits)?,
        wholes: Wholes::probe(&settings.limits, &facts.host.cgroup)?,
        // A command without limits is over before anyone asks what it uses.
        accounting: request.background || matches!(settings.payload, Payload::Boot { .. }),
        network,
    };
    Ok(plan(facts.name.clone(), settings, &facts.view, &facts.host, around)?)
}

/// What is let to the machine by binding a device node of the host's into it.
fn bound_device(mount: &CustomMount) -> Option<DeviceRule> {
    let CustomMount::Bind { source: Some(source), source_in_guest: false, read_only, .. } = mount else {
        return None;
    };
    let stat = rustix::fs::stat(source).ok()?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => DeviceKind::Block,
        FileType::CharacterDevice => DeviceKind::Character,
        _ => return None,
    };
    let write = if *read_only { 0 } else { device_filter::WRITE };
    Some(DeviceRule {
        kind,
        major: Some(rustix::fs::major(stat.st_rdev)),
        minor: Some(rustix::fs::minor(stat.st_rdev)),
        access: device_filter::READ | write,
    })
}

/// Whether this host keeps journals on disk, and whether one of the tree's machine ID.
fn host_journals(facts: &Facts) -> (bool, bool) {
    let journals = Path::new(JOURNALS);
    let own = facts.view.machine_id.is_some_and(|id| journals.join(Uuid(id).simple()).is_dir());
    (own || journals.is_dir(), own)
}

/// How many sockets were passed to us: LISTEN_FDS, if LISTEN_PID says that they are ours (sd_listen_fds(3)).
fn listen_fds(pid: Option<&str>, count: Option<&str>, our_pid: u32) -> u32 {
    /// Far more than any unit has.
    const MOST: u32 = 4096;
    let ours = pid.and_then(|pid| pid.parse().ok()) == Some(our_pid);
    let count: u32 = count.and_then(|count| count.parse().ok()).unwrap_or(0);
    if ours && count <= MOST { count } else { 0 }
}

/// The plan alone, with the ids that would be tried first.
pub(super) fn plan_only(request: &Request) -> Result<MachinePlan, Error> {
    let settings = &request.settings;
    let name = super::name_of(settings)?;
    let image = Opened::open_verified(&settings.tree, Access::ReadOnly, &super::image::verify(settings)?)?;
    // A disk that is mounted read-only to be looked at does not tell.
    if !matches!(image.kind(), ImageKind::Raw | ImageKind::Block) {
        super::image::refuse_read_only(settings, &image)?;
    }
    let host = Host::probe().map_err(Error::system("look at this host"))?;
    let facts = look(settings, name, host, image)?;
    let ids = match wanted_ids(settings, facts.view.id_base) {
        WantedIds::Host => None,
        WantedIds::Pick => candidates(facts.name.as_str()).next().map(|base| (base, SIZE)),
        WantedIds::Range(base, size) => Some((base, size)),
    };
    let network = super::network::plan(&facts.name, settings, &facts.host.machine_id, false)?;
    make_plan(request, &facts, ids, network.plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_are_ours() {
        for (pid, count, expected) in [
            (Some("7"), Some("2"), 2),
            (Some("8"), Some("2"), 0),
            (None, Some("2"), 0),
            (Some("7"), None, 0),
            (Some("7"), Some("-1"), 0),
            (Some("7"), Some("99999"), 0),
        ] {
            assert_eq!(listen_fds(pid, count, 7), expected, "{pid:?} {count:?}");
        }
    }
}
