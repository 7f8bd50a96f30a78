//! From settings to a running leader.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::guest::users::User;
use crate::guest::{Contract, ExitMeaning, ReadySignal, StopMethod, Tree, TreeFacts};
use crate::host::Host;
use crate::runtime::cgroup::{Hierarchy, MachineCgroup};
use crate::runtime::id_range::{SIZE, candidates};
use crate::runtime::journal::{JOURNALS, JournalPlan};
use crate::runtime::plan::{BindSource, MachinePlan, MountOperation, RootBase, UpperLayer, UserPlan};
use crate::runtime::planner::{Surroundings, TreeView, plan, wants_user_namespace};
use crate::runtime::prepare::PrepareContext;
use crate::runtime::root::{RootIds, RootPlaces};
use crate::runtime::user_namespace::{Creator, IdMapping, create};
use crate::runtime::{host_files, prepare, root};
use crate::settings::{ConsoleMode, MachineName, MachineSettings, Payload, PrivateUsers, Uuid};
use crate::sys::SysError;
use crate::sys::files::make_directories;
use crate::sys::signal::{SignalSet, realtime};

use super::claimed::Claimed;
use super::console::Console;
use super::console_log::ConsoleLog;
use super::error::Error;
use super::fault;
use super::manager_notifier::ManagerNotifier;
use super::resources::{Resource, make_scratch};
use super::terminal::Terminal;
use super::{Event, Report, Request};

/// A machine whose leader can be launched, now and after each reboot.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) claimed: Claimed,
    pub(super) parts: Parts,
}

/// What the machine is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) plan: MachinePlan,
    pub(super) contract: Contract,
    pub(super) os: String,
    pub(super) init: Option<String>,
    pub(super) tree: Tree,
    pub(super) user_namespace: Option<OwnedFd>,
    pub(super) cgroup: MachineCgroup,
    pub(super) scratch: Option<OwnedFd>,
    pub(super) console: Option<Console>,
    pub(super) manager: ManagerNotifier,
}

/// Signals that the supervisor takes by signalfd, or wants to have nothing of (SIGPIPE, SIGTTIN, SIGTTOU).
pub(super) const SIGNALS: [i32; 8] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGWINCH,
    libc::SIGCONT,
    libc::SIGPIPE,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Facts, before anything is claimed.
#[derive(Debug)]
struct Facts {
    name: MachineName,
    tree: Tree,
    facts: TreeFacts,
    view: TreeView,
    host: Host,
}

/// Makes all that the machine needs, up to the point where its leader can be launched.
pub(super) fn start(request: &Request, report: &mut Report<'_>) -> Result<Machine, Error> {
    // Files of ours are made with exactly the mode given.
    rustix::process::umask(Mode::empty());
    SignalSet::of(&SIGNALS).block().map_err(Error::system("block signals"))?;
    let facts = look(&request.settings)?;
    let mut claimed = Claimed::new(&facts.name, facts.host.cgroup.clone())?;
    match make(&mut claimed, request, facts, report) {
        Ok(parts) => Ok(Machine { claimed, parts }),
        Err(error) => {
            for fault in claimed.release() {
                report(&Event::Warning(&format!("left behind: {fault}")));
            }
            Err(error)
        }
    }
}

/// The plan alone, with the ids that would be tried first.
pub(super) fn plan_only(request: &Request) -> Result<MachinePlan, Error> {
    let settings = &request.settings;
    let facts = look(settings)?;
    let ids = match wanted_ids(settings, facts.view.id_base) {
        WantedIds::Host => None,
        WantedIds::Pick => candidates(facts.name.as_str()).next().map(|base| (base, SIZE)),
        WantedIds::Range(base, size) => Some((base, size)),
    };
    make_plan(settings, &facts, ids)
}

/// Looks at tree and host; changes nothing.
fn look(settings: &MachineSettings) -> Result<Facts, Error> {
    let name = match &settings.machine {
        Some(name) => name.clone(),
        None => MachineName::from_tree(&settings.tree).map_err(Error::Name)?,
    };
    let tree = Tree::open(&settings.tree)?;
    let facts = match &settings.payload {
        Payload::Boot { init, .. } => tree.inspect(init.as_deref())?,
        Payload::Command { argv, .. } => {
            tree.inspect_for_command(argv.first().map_or(Path::new(""), Path::new))?
        }
    };
    let user = match &settings.user {
        None => User::root(),
        Some(user) => User::find(&tree.root, user).ok_or_else(|| Error::NoSuchUser { user: user.clone() })?,
    };
    let host = Host::probe().map_err(Error::system("look at this host"))?;
    refuse_read_only(settings, &tree)?;
    let owner = rustix::fs::fstat(&tree.root).map(|stat| stat.st_uid).unwrap_or(0);
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
        links: links(settings, &tree),
        zone: zone
            .is_some_and(|zone| tree.root.exists(format!("/usr/share/zoneinfo/{zone}")).unwrap_or(false)),
    };
    Ok(Facts { name, tree, facts, view, host })
}

/// Top-level links of the tree that `--volatile=yes` needs again.
fn links(settings: &MachineSettings, tree: &Tree) -> Vec<(String, std::path::PathBuf)> {
    if settings.volatile != crate::settings::Volatile::Yes {
        return Vec::new();
    }
    let names = tree.root.read_dir(".").unwrap_or_default();
    names
        .into_iter()
        .filter_map(|name| {
            let target = tree.root.read_link(&name).ok()?;
            Some((name.to_string_lossy().into_owned(), target))
        })
        .collect()
}

/// A tree that cannot be written boots badly; better said at once.
fn refuse_read_only(settings: &MachineSettings, tree: &Tree) -> Result<(), Error> {
    use crate::settings::Volatile;
    let stat = rustix::fs::fstatvfs(&tree.root);
    let read_only = stat.is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    let layered = settings.ephemeral || settings.read_only || settings.volatile != Volatile::No;
    if read_only && !layered { Err(Error::ReadOnlyTree(settings.tree.clone())) } else { Ok(()) }
}

/// Which ids a machine is to have.
enum WantedIds {
    Host,
    Pick,
    Range(u32, u32),
}

fn wanted_ids(settings: &MachineSettings, tree_base: u32) -> WantedIds {
    match settings.private_users {
        PrivateUsers::No => WantedIds::Host,
        PrivateUsers::Yes if tree_base != 0 => WantedIds::Range(tree_base, SIZE),
        PrivateUsers::Yes | PrivateUsers::Pick => WantedIds::Pick,
        PrivateUsers::Identity => WantedIds::Range(0, SIZE),
        PrivateUsers::Range { base, size } => WantedIds::Range(base, size),
    }
}

fn make_plan(
    settings: &MachineSettings,
    facts: &Facts,
    ids: Option<(u32, u32)>,
) -> Result<MachinePlan, Error> {
    debug_assert_eq!(ids.is_some(), wants_user_namespace(settings));
    let resolv_conf =
        host_files::resolve_auto(settings.resolv_conf, settings.private_network, settings.read_only);
    let random = || {
        Uuid::random()
            .map_err(|errno| SysError::new("getrandom", "16 bytes", errno))
            .map_err(Error::system("make a random ID"))
    };
    let around = Surroundings {
        term: std::env::var("TERM").ok(),
        ids,
        random: [random()?, random()?],
        journals: host_journals(facts),
        resolv_conf: host_files::resolv_conf_to_read(resolv_conf).and_then(|path| std::fs::read(path).ok()),
    };
    Ok(plan(facts.name.clone(), settings, &facts.view, &facts.host, around)?)
}

/// Whether this host keeps journals on disk, and whether one of the tree's machine ID.
fn host_journals(facts: &Facts) -> (bool, bool) {
    let journals = Path::new(JOURNALS);
    let own = facts.view.machine_id.is_some_and(|id| journals.join(Uuid(id).simple().to_string()).is_dir());
    (own || journals.is_dir(), own)
}

/// Makes the host's side of the journal's link.
fn link_journal(claimed: &Claimed, plan: &MachinePlan, tree: &Tree) -> Result<(), Error> {
    match &plan.journal {
        JournalPlan::None => Ok(()),
        JournalPlan::Host(path) => make_directories(path, 0o755)
            .map(drop)
            .map_err(Error::system("make the journal's directory on the host")),
        JournalPlan::Guest(path) => {
            if std::fs::symlink_metadata(path).is_ok() {
                return Ok(());
            }
            claimed.note(&Resource::JournalLink(path.clone()))?;
            let target = tree.root.path().join(path.strip_prefix("/").unwrap_or(path));
            rustix::fs::symlink(&target, path)
                .map_err(|errno| SysError::new("symlink", format!("{target:?}, {path:?}"), errno))
                .map_err(Error::system("link the guest's journal"))
        }
    }
}

fn make(
    claimed: &mut Claimed,
    request: &Request,
    facts: Facts,
    report: &mut Report<'_>,
) -> Result<Parts, Error> {
    let settings = &request.settings;
    let ids = match wanted_ids(settings, facts.view.id_base) {
        WantedIds::Host => None,
        // Ids of the host's own are nobody's to lock.
        WantedIds::Range(0, size) => Some((0, size)),
        WantedIds::Pick => Some(claimed.take_ids(None)?),
        WantedIds::Range(base, size) => Some(claimed.take_ids(Some((base, size)))?),
    };
    let plan = make_plan(settings, &facts, ids)?;
    for warning in &plan.warnings {
        report(&Event::Warning(warning));
    }
    let manager = ManagerNotifier::from_environment().unwrap_or_else(|error| {
        report(&Event::Warning(&error.to_string()));
        ManagerNotifier::default()
    });
    let user_namespace = plan.ids.map(|ids| make_user_namespace(ids.base, ids.size, report)).transpose()?;
    fault::point("user-namespace");
    claimed.leave_host_mounts().map_err(Error::system("leave the host's mount namespace"))?;
    let tree = facts.tree.reopen()?;
    let scratch = needs_scratch(&plan).then(|| make_scratch_noted(claimed)).transpose()?;
    fault::point("scratch");
    mount_root(claimed, &plan, &tree, user_namespace.as_ref(), scratch.as_ref())?;
    fault::point("root");
    claimed.note(&Resource::Cgroup(facts.name.to_string()))?;
    let hierarchy = Hierarchy::open(claimed.cgroups(), &claimed.directory().path().join("cgroup"))?;
    let cgroup = hierarchy.create(facts.name.as_str(), plan.ids.map_or(0, |ids| ids.base))?;
    fault::point("cgroup");
    link_journal(claimed, &plan, &tree)?;
    let console = make_console(claimed, &plan)?;
    let init = facts.facts.init.as_ref();
    Ok(Parts {
        contract: init.map_or_else(|| command_contract(settings), |init| init.contract()),
        os: facts.facts.os_release.as_ref().map_or_else(
            || "an unknown system".to_owned(),
            |os| super::printable::line(os.pretty_name().as_bytes()),
        ),
        init: init.map(ToString::to_string),
        plan,
        tree,
        user_namespace,
        cgroup,
        scratch,
        console,
        manager,
    })
}

/// The namespace of the machine, made by its own first id; where that is not let, by root, at the price of sharing
/// root's budgets with other machines.
fn make_user_namespace(base: u32, size: u32, report: &mut Report<'_>) -> Result<OwnedFd, Error> {
    let map = IdMapping { inside: 0, outside: base, count: size };
    let creator = if base == 0 { Creator::Root } else { Creator::Id(base) };
    match create(creator, map, map) {
        Err(error)
            if creator != Creator::Root
                && matches!(error.errno(), Errno::PERM | Errno::ACCESS | Errno::NOSPC) =>
        {
            report(&Event::Warning(
                "this host lets only root make user namespaces: all machines share one inotify budget",
            ));
            create(Creator::Root, map, map)
        }
        other => other,
    }
    .map_err(Error::system("make a user namespace"))
}

fn needs_scratch(plan: &MachinePlan) -> bool {
    plan.root.base == RootBase::Overlay(UpperLayer::Disk)
        || plan.mounts.iter().any(|operation| {
            matches!(
                operation,
                MountOperation::Bind { source: BindSource::Temporary, .. }
                    | MountOperation::Overlay { upper: Some(None), .. }
            )
        })
}

fn make_scratch_noted(claimed: &Claimed) -> Result<OwnedFd, Error> {
    let name = claimed.directory().name().as_str();
    claimed.note(&Resource::Scratch(name.to_owned()))?;
    make_scratch(name).map_err(Error::system("make the scratch directory"))
}

fn mount_root(
    claimed: &Claimed,
    plan: &MachinePlan,
    tree: &Tree,
    user_namespace: Option<&OwnedFd>,
    scratch: Option<&OwnedFd>,
) -> Result<(), Error> {
    let shifted = plan.ids.filter(|ids| ids.tree_base != 0).map(|ids| {
        let map = IdMapping { inside: ids.tree_base, outside: ids.base, count: ids.size };
        create(Creator::Root, map, map)
    });
    let shifted = shifted.transpose().map_err(Error::system("map the ids of a shifted tree"))?;
    let ids = plan.ids.zip(user_namespace).map(|(ids, guest)| RootIds {
        base: ids.base,
        guest,
        tree: shifted.as_ref().unwrap_or(guest),
    });
    let places = RootPlaces {
        tree: &tree.root,
        machine: claimed.mount_points(),
        machine_path: claimed.directory().path(),
        scratch,
        ids,
    };
    Ok(root::mount(&plan.root, &places)?)
}

fn make_console(claimed: &Claimed, plan: &MachinePlan) -> Result<Option<Console>, Error> {
    if plan.console == ConsoleMode::Pipe {
        return Ok(None);
    }
    let terminal = Terminal::open(rustix::stdio::stdin(), rustix::stdio::stdout())
        .map_err(Error::system("use our own standard input and output"))?;
    let directory = claimed
        .directory()
        .fd()
        .try_clone()
        .map_err(|_| Error::Leader { text: "too many open files".to_owned() })?;
    let log = ConsoleLog::open(directory).map_err(Error::system("make the console log"))?;
    Ok(Some(Console::new(plan.console, terminal, Some(log))))
}

/// A command is up when it runs, and ends as our stub init lets it: see [`crate::runtime::stub_init`].
fn command_contract(settings: &MachineSettings) -> Contract {
    let as_pid1 = matches!(settings.payload, Payload::Command { as_pid1: true, .. });
    let (off, again) = if as_pid1 { (libc::SIGTERM, libc::SIGHUP) } else { (realtime(4), realtime(5)) };
    Contract {
        ready: ReadySignal::AtStart,
        power_off: vec![StopMethod::Signal(off)],
        reboot: vec![StopMethod::Signal(again)],
        kill_signal: None,
        exit: ExitMeaning::End,
    }
}

impl Machine {
    /// Launches the leader and waits until it has exec'd.
    pub(super) fn launch(&mut self) -> Result<super::running::Running, Error> {
        let Parts { plan, tree, user_namespace, cgroup, scratch, console, .. } = &mut self.parts;
        let directory = self.claimed.directory();
        let ids = plan.ids.zip(user_namespace.as_ref());
        let context = PrepareContext { tree: &tree.root, ids, scratch: scratch.as_ref() };
        let prepared = prepare::prepare(&plan.mounts, &context)?;
        let clone =
            root::clone_for_leader(self.claimed.mount_points()).map_err(Error::system("clone the root"))?;
        fault::point("prepared");
        let staging = directory.path().join("root");
        let leader = crate::runtime::launch::launch(crate::runtime::launch::Launch {
            plan,
            user_namespace: user_namespace.as_ref(),
            cgroup: cgroup.payload(),
            root: clone,
            staging: &staging,
            prepared,
        })?;
        fault::point("cloned");
        let running = super::running::Running::hear(leader, plan, console.as_mut())?;
        fault::point("executed");
        Ok(running)
    }
}
