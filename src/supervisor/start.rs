//! From settings to a running leader.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::guest::{Contract, ExitMeaning, ReadySignal, StopMethod};
use crate::host::Host;
use crate::image::opened::{Assembled, Opened};
use crate::runtime::cgroup::Hierarchy;
use crate::runtime::controllers::{self, Controllers};
use crate::runtime::journal::JournalPlan;
use crate::runtime::layers::Place;
use crate::runtime::plan::{BindSource, MachinePlan, MountOperation, RootBase, UpperLayer};
use crate::runtime::root::{RootIds, RootPlaces};
use crate::runtime::user_namespace::{self, Beginning, Creator, Holder, IdMapping, create, hold};
use crate::runtime::{device_filter, legacy_cgroup, root};
use crate::settings::{ConsoleMode, MachineSettings, Payload};
use crate::sys::SysError;
use crate::sys::directory_watch;
use crate::sys::files::make_directories;
use crate::sys::in_root::Root;
use crate::sys::process::start_time;
use crate::sys::signal::{SignalSet, realtime};

use super::claimed::Claimed;
use super::console::Console;
use super::console_log::ConsoleLog;
use super::control::Control;
use super::error::Error;
use super::facts::{Facts, WantedIds, look, make_plan, resolv_conf_mode, wanted_ids};
use super::fault;
use super::host_resolv_conf::HostResolvConf;
use super::keeper::Keeper;
use super::machine::{MADE_AHEAD, MAKE_NAMESPACES, Machine, Parts};
use super::manager_notifier::ManagerNotifier;
use super::network::Network;
use super::out_of_memory::OutOfMemory;
use super::registration::{Registration, scope};
use super::resources::Resource;
use super::terminal::Terminal;
use super::unit::{self, Unit, Watchdog};
use super::{Event, KeepUnit, Report, Request};

/// Signals that the supervisor takes by signalfd, or wants to have nothing of (SIGPIPE, SIGTTIN, SIGTTOU).
pub(super) const SIGNALS: [i32; 9] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGWINCH,
    libc::SIGCONT,
    libc::SIGPIPE,
    libc::SIGTTIN,
    libc::SIGTTOU,
    directory_watch::SIGNAL,
];

/// Makes all that the machine needs, up to the point where its leader can be launched.
pub(super) fn start(request: &Request, report: &mut Report<'_>) -> Result<Machine, Error> {
    // Files of ours are made with exactly the mode given.
    rustix::process::umask(Mode::empty());
    SignalSet::of(&SIGNALS).block().map_err(Error::system("block signals"))?;
    let name = super::name_of(&request.settings)?;
    let host = Host::probe().map_err(Error::system("look at this host"))?;
    let mut claimed = Claimed::new(&name, host.cgroup.clone())?;
    let facts = match super::image::open(&mut claimed, &request.settings).and_then(|image| {
        for note in image.notes() {
            report(&Event::Warning(&format!("disk image: {note}")));
        }
        look(&request.settings, name, host, image)
    }) {
        Ok(facts) => facts,
        Err(error) => {
            for fault in claimed.release(false) {
                report(&Event::Warning(&format!("left behind: {fault}")));
            }
            return Err(error);
        }
    };
    // Before the state file, which has clients come.
    let control = Control::open(claimed.directory().fd()).map_err(Error::system("listen for clients"));
    let made = control.and_then(|control| Ok((make(&mut claimed, request, facts, report)?, control)));
    match made {
        Ok((parts, control)) => {
            let keeper = Keeper::watch(&claimed, parts.init.is_some());
            Ok(Machine { claimed, parts, control, keeper })
        }
        Err(error) => {
            if request.background {
                super::archive::keep_or_warn(request, claimed.directory(), Err(&error), report);
            }
            for fault in claimed.release(false) {
                report(&Event::Warning(&format!("left behind: {fault}")));
            }
            Err(error)
        }
    }
}

/// Makes the host's side of the journal's link.
fn link_journal(claimed: &Claimed, plan: &MachinePlan, tree: &Root) -> Result<(), Error> {
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
            let target = tree.path().join(path.strip_prefix("/").unwrap_or(path));
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
    let hierarchy = Hierarchy::open(claimed.cgroups())?;
    let unit = unit::find(request, &hierarchy, report)?;
    let boots = matches!(settings.payload, Payload::Boot { .. });
    // systemd makes it while we go on.
    let scope = if unit.is_none() { scope::begin(request, facts.name.as_str(), boots) } else { None };
    let ids = match wanted_ids(settings, facts.view.id_base) {
        WantedIds::Host => None,
        // Ids of the host's own are nobody's to lock.
        WantedIds::Range(0, size) => Some((0, size)),
        WantedIds::Pick => Some(claimed.take_ids(None)?),
        WantedIds::Range(base, size) => Some(claimed.take_ids(Some((base, size)))?),
    };
    // A child of ours works at the namespaces, which take the longest, while we go on.
    let user_namespace = ids.map(|(base, _)| user_namespace::begin(creator(base))).transpose();
    let user_namespace = user_namespace.map_err(Error::system("make a user namespace"))?;
    let network = super::network::plan(&facts.name, settings, &facts.host.machine_id, true)?;
    for warning in &network.warnings {
        report(&Event::Warning(warning));
    }
    let mut plan = make_plan(request, &facts, ids, network.plan)?;
    let user_namespace = user_namespace.map(|begun| finish_user_namespace(begun, ids, report)).transpose()?;
    let (user_namespace, holder) = user_namespace.unzip();
    let holder = holder.flatten();
    let holder = match holder {
        Some(holder) => holder.make(plan.namespaces & MADE_AHEAD).map(|()| holder),
        None => hold(user_namespace.as_ref(), plan.namespaces & MADE_AHEAD),
    };
    let holder = holder.map_err(Error::system(MAKE_NAMESPACES))?;
    fault::point("user-namespace");
    let ports = Network::hold_ports(&plan)?;
    let mut network = Network::prepare(claimed, &plan, network.host.as_ref())?;
    network.ports = ports;
    for warning in &plan.warnings {
        report(&Event::Warning(warning));
    }
    let mut manager = ManagerNotifier::from_environment().unwrap_or_else(|error| {
        report(&Event::Warning(&error.to_string()));
        ManagerNotifier::default()
    });
    if request.background && request.keep_unit != KeepUnit::Always {
        // That socket is for who started us, which is another process and may be gone.
        manager = ManagerNotifier::default();
    }
    let unit = match scope {
        Some(scope) => unit::in_scope(request, scope, &hierarchy, report)?,
        None => unit,
    };
    let registration =
        Registration::new(request, &plan, boots, unit.as_ref().is_some_and(Unit::is_the_systems));
    if unit.is_some() {
        // Of what it has no limit in, the unit's own cgroups are to count it, and to limit it.
        plan.limits.legacy.retain(|cgroup| !cgroup.assignments.is_empty());
    }
    let above = unit.as_ref().map_or_else(BTreeMap::new, |unit| unit.legacy.clone());
    let mut controllers = Controllers::new(facts.name.as_str(), above);
    if !plan.limits.legacy.is_empty() {
        // Before the cgroups of v2, and so given back after them: those know when their processes are gone.
        let hierarchies = controllers.begins(&plan.limits.legacy);
        claimed.note(&Resource::Controllers { name: facts.name.to_string(), hierarchies })?;
        let lacking = controllers.apply(&plan.limits.legacy)?;
        lacking.iter().for_each(|warning| report(&Event::Warning(warning)));
        fault::point("controllers");
    }
    let owner = plan.ids.map_or(0, |ids| ids.base);
    let cgroup = unit::make_cgroup(claimed, &hierarchy, unit, facts.name.as_str(), owner)?;
    let lacking = controllers::write_limits(cgroup.outer(), &plan.limits.unified)?;
    lacking.iter().for_each(|warning| report(&Event::Warning(warning)));
    if let Some(rules) = &plan.devices
        && let Err(error) = device_filter::apply(rules, cgroup.outer())
    {
        report(&Event::Warning(&format!("the host's devices are not kept from the machine: {error}")));
    }
    let legacy_cgroup = match plan.legacy_cgroups {
        true => {
            claimed.note(&Resource::LegacyCgroup(facts.name.to_string()))?;
            Some(legacy_cgroup::create(facts.name.as_str(), owner)?)
        }
        false => None,
    };
    fault::point("cgroup");
    claimed.leave_host_mounts().map_err(Error::system("leave the host's mount namespace"))?;
    let scratch = needs_scratch(&plan).then(|| claimed.make_scratch()).transpose()?;
    fault::point("scratch");
    if !facts.view.root.binds.is_empty() {
        claimed.expect_binds();
    }
    let tree = mount_root(claimed, &plan, &facts.image, user_namespace.as_ref(), scratch.as_ref())?;
    fault::point("root");
    link_journal(claimed, &plan, &tree)?;
    let mode = resolv_conf_mode(settings, &plan.network);
    let resolv_conf = HostResolvConf::begin(&mut plan, mode, claimed.directory());
    let console = make_console(claimed, &plan)?;
    let init = facts.facts.init.as_ref();
    Ok(Parts {
        contract: init.map_or_else(|| command_contract(settings), |init| init.contract()),
        os: facts.facts.os_release.as_ref().map_or_else(
            || "an unknown system".to_owned(),
            |os| super::printable::line(os.pretty_name().as_bytes()),
        ),
        init: init.map(ToString::to_string),
        network,
        plan,
        tree,
        user_namespace,
        holder: Some(holder),
        legacy_cgroup,
        out_of_memory: OutOfMemory::watch(&cgroup, &controllers),
        cgroup,
        controllers,
        limits: settings.limits.clone(),
        scratch,
        console,
        watchdog: manager.has_manager().then(Watchdog::from_environment).flatten(),
        manager,
        registration,
        resolv_conf,
        supervisor_started: start_time(rustix::process::getpid().as_raw_nonzero().get())
            .map_err(Error::system("look at ourselves"))?,
    })
}

/// The machine's first id makes its namespace: then no other machine shares its budgets (/proc/sys/user, namespaces(7)).
fn creator(base: u32) -> Creator {
    if base == 0 { Creator::Root } else { Creator::Id(base) }
}

/// Maps the machine's ids in its namespace. Where its first id was not let make one, root makes another, at the price of
/// sharing root's budgets.
fn finish_user_namespace(
    begun: Beginning,
    ids: Option<(u32, u32)>,
    report: &mut Report<'_>,
) -> Result<(OwnedFd, Option<Holder>), Error> {
    let (base, size) = ids.unwrap_or_default();
    let map = IdMapping { inside: 0, outside: base, count: size };
    match begun.finish(map, map) {
        Ok((namespace, holder)) => Ok((namespace, Some(holder))),
        Err(error) if base != 0 && matches!(error.errno(), Errno::PERM | Errno::ACCESS | Errno::NOSPC) => {
            report(&Event::Warning(
                "this host lets only root make user namespaces: all machines share one inotify budget",
            ));
            let namespace = create(Creator::Root, map, map);
            Ok((namespace.map_err(Error::system("make a user namespace"))?, None))
        }
        // Who is in a user namespace has no ids but those of its map (setuid(2)).
        Err(error) if base != 0 && error.errno() == Errno::INVAL => Err(Error::IdsOutOfReach { base, size }),
        Err(error) => Err(Error::system("make a user namespace")(error)),
    }
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

/// Mounts the root, and gives what it was made from as one tree.
fn mount_root(
    claimed: &Claimed,
    plan: &MachinePlan,
    image: &Opened,
    user_namespace: Option<&OwnedFd>,
    scratch: Option<&OwnedFd>,
) -> Result<Root, Error> {
    let machine = claimed.mount_points();
    let machine_path = claimed.directory().path();
    let failed = || Error::system("mount the image");
    let place =
        (!image.is_plain()).then(|| Place::make(machine, machine_path)).transpose().map_err(failed())?;
    let parts = image.assemble(place.as_ref().map_or(machine, Place::fd))?;
    let shifted = plan.ids.filter(|ids| ids.tree_base != 0).map(|ids| {
        let map = IdMapping { inside: ids.tree_base, outside: ids.base, count: ids.size };
        create(Creator::Root, map, map)
    });
    let shifted = shifted.transpose().map_err(Error::system("map the ids of a shifted tree"))?;
    let ids = plan.ids.zip(user_namespace).map(|(ids, guest)| RootIds {
        base: ids.base,
        tree_base: ids.tree_base,
        guest,
        tree: shifted.as_ref().unwrap_or(guest),
    });
    let places = RootPlaces {
        parts: &parts,
        place: place.as_ref().map(Place::fd),
        machine,
        machine_path,
        scratch,
        ids,
    };
    root::mount(&plan.root, &places)?;
    let shows_tree = |operation: &MountOperation| match operation {
        MountOperation::Bind { source, .. } => matches!(source, BindSource::Tree(_)),
        MountOperation::Overlay { lower, .. } => lower.iter().any(|(_, in_tree)| *in_tree),
        _ => false,
    };
    if plan.mounts.iter().any(shows_tree) {
        root::mount_tree_layer(&plan.root, &places)?;
    }
    if let Some(place) = place {
        place.clear(machine).map_err(failed())?;
    }
    let Assembled { mut lower, .. } = parts;
    match (image.is_plain(), lower.pop()) {
        (true, Some(tree)) => Ok(tree),
        _ => Ok(image.view().try_clone().map_err(failed())?),
    }
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
        exit: ExitMeaning::End,
    }
}
