//! The interfaces as they describe themselves: methods, properties and signals of systemd-machined and systemd-importd 262
//! (org.freedesktop.machine1(5), org.freedesktop.import1(5)) with their signatures; and our own, as docs/dbus.md lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use super::all_methods::Scene;
use super::client::{NAME, PATH};
use super::described::Interface;
use super::fixture::Bus;
use crate::command::{PATIENCE, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 3] =
        [("described", described), ("as_systemd_has_them", as_systemd_has_them), ("documented", documented)];
    rows.map(|(name, test)| Test::new(format!("{}interface::{name}", super::TIER), test)).into()
}

/// As busctl has them: what is taken, what is given.
const MANAGER: &[&str] = &[
    "CleanPool method s a(st)",
    "CloneImage method ssb -",
    "GetImage method s o",
    "GetImageHostname method s s",
    "GetImageMachineID method s ay",
    "GetImageMachineInfo method s a{ss}",
    "GetImageOSRelease method s a{ss}",
    "ListImages method - a(ssbttto)",
    "MarkImageReadOnly method sb -",
    "RemoveImage method s -",
    "RenameImage method ss -",
    "SetImageLimit method st -",
    "CopyFromMachine method sss -",
    "CopyFromMachineWithFlags method ssst -",
    "CopyToMachine method sss -",
    "CopyToMachineWithFlags method ssst -",
    "BindMountMachine method sssbb -",
    "CreateMachine method sayssusa(sv) o",
    "CreateMachineEx method sa(sv)a(sv) o",
    "CreateMachineWithNetwork method sayssusaia(sv) o",
    "GetMachine method s o",
    "GetMachineAddresses method s a(iay)",
    "GetMachineByPID method u o",
    "GetMachineOSRelease method s a{ss}",
    "GetMachineSSHInfo method s ss",
    "GetMachineUIDShift method s u",
    "KillMachine method ssi -",
    "ListMachines method - a(ssso)",
    "MapFromMachineGroup method su u",
    "MapFromMachineUser method su u",
    "MapToMachineGroup method u sou",
    "MapToMachineUser method u sou",
    "OpenMachineLogin method s hs",
    "OpenMachinePTY method s hs",
    "OpenMachineRootDirectory method s h",
    "OpenMachineShell method sssasas hs",
    "RegisterMachine method sayssus o",
    "RegisterMachineEx method sa(sv) o",
    "RegisterMachineWithNetwork method sayssusai o",
    "SetPoolLimit method t -",
    "TerminateMachine method s -",
    "UnregisterMachine method s -",
    "PoolLimit property t",
    "PoolPath property s",
    "PoolUsage property t",
    "MachineNew signal so",
    "MachineRemoved signal so",
];

const MACHINE: &[&str] = &[
    "BindMount method ssbb -",
    "CopyFrom method ss -",
    "CopyFromWithFlags method sst -",
    "CopyTo method ss -",
    "CopyToWithFlags method sst -",
    "GetAddresses method - a(iay)",
    "GetOSRelease method - a{ss}",
    "GetSSHInfo method - ss",
    "GetUIDShift method - u",
    "Kill method si -",
    "OpenLogin method - hs",
    "OpenPTY method - hs",
    "OpenRootDirectory method - h",
    "OpenShell method ssasas hs",
    "Terminate method - -",
    "Class property s",
    "Id property ay",
    "Leader property u",
    "LeaderPIDFDId property t",
    "Name property s",
    "NetworkInterfaces property ai",
    "RootDirectory property s",
    "SSHAddress property s",
    "SSHPrivateKeyPath property s",
    "Scope property s",
    "Service property s",
    "State property s",
    "Subgroup property s",
    "Supervisor property u",
    "SupervisorPIDFDId property t",
    "Timestamp property t",
    "TimestampMonotonic property t",
    "UID property u",
    "Unit property s",
    "VSockCID property u",
];

/// What is said of `interface` at `path`.
fn said(bus: &Bus, path: &str, interface: &str) -> Result<BTreeSet<String>, Stop> {
    let words = ["--system", "introspect", "--no-legend", "--no-pager", NAME, path, interface];
    let text = run(bus.command("busctl").args(words)).ok()?;
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let count = if words.get(1) == Some(&"method") { 4 } else { 3 };
        let row = words.get(..count)?.join(" ");
        Some(row.trim_start_matches('.').to_owned())
    };
    Ok(text.lines().filter_map(row).collect())
}

fn described(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let mut manager = bus.manager(&[])?;
    // The host has an object too.
    let machine = format!("{PATH}/machine/_2ehost");
    for (path, interface, expected) in [
        (PATH, "org.freedesktop.machine1.Manager", MANAGER),
        (&machine, "org.freedesktop.machine1.Machine", MACHINE),
    ] {
        let said = said(&bus, path, interface)?;
        let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(&said - &expected, BTreeSet::new(), "{interface} has more");
        assert_eq!(&expected - &said, BTreeSet::new(), "{interface} lacks");
    }
    manager.signal(rustix::process::Signal::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

/// As [`super::described::Member`] writes them down, without names.
const OF_SYSTEMD: &[(&str, &[&str])] = &[
    (
        "org.freedesktop.machine1.Image",
        &[
            "method Clone sb -",
            "method GetHostname - s",
            "method GetMachineID - ay",
            "method GetMachineInfo - a{ss}",
            "method GetOSRelease - a{ss}",
            "method MarkReadOnly b -",
            "method Remove - -",
            "method Rename s -",
            "method SetLimit t -",
            "property CreationTimestamp t -",
            "property Limit t -",
            "property LimitExclusive t -",
            "property ModificationTimestamp t -",
            "property Name s -",
            "property Path s -",
            "property ReadOnly b -",
            "property Type s -",
            "property Usage t -",
            "property UsageExclusive t -",
        ],
    ),
    (
        "org.freedesktop.import1.Manager",
        &[
            "method CancelTransfer u -",
            "method ExportRaw shs uo",
            "method ExportRawEx sshst uo",
            "method ExportTar shs uo",
            "method ExportTarEx sshst uo",
            "method ImportFileSystem hsbb uo",
            "method ImportFileSystemEx hsst uo",
            "method ImportRaw hsbb uo",
            "method ImportRawEx hsst uo",
            "method ImportTar hsbb uo",
            "method ImportTarEx hsst uo",
            "method ListImages st a(ssssbtttttt)",
            "method ListTransfers - a(usssdo)",
            "method ListTransfersEx st a(ussssdo)",
            "method PullOci ssst uo",
            "method PullRaw sssb uo",
            "method PullRawEx sssst uo",
            "method PullTar sssb uo",
            "method PullTarEx sssst uo",
            "signal TransferNew uo -",
            "signal TransferRemoved uos -",
        ],
    ),
    (
        "org.freedesktop.import1.Transfer",
        &[
            "method Cancel - -",
            "property Id u -",
            "property Local s -",
            "property Progress d -",
            "property Remote s -",
            "property Type s -",
            "property Verify s -",
            "signal LogMessage us -",
            "signal ProgressUpdate d -",
        ],
    ),
];

fn as_systemd_has_them(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let all = scene.interfaces()?;
    for (name, expected) in OF_SYSTEMD {
        let members = all.get(*name).ok_or(format!("there is no {name}"))?;
        let types = |list: &[(String, String)]| match list {
            [] => "-".to_owned(),
            list => list.iter().map(|(_, kind)| kind.as_str()).collect(),
        };
        let said: BTreeSet<String> = members
            .iter()
            .map(|(member, it)| format!("{} {member} {} {}", it.kind, types(&it.takes), types(&it.gives)))
            .collect();
        let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(&said - &expected, BTreeSet::new(), "{name} has more");
        assert_eq!(&expected - &said, BTreeSet::new(), "{name} lacks");
    }
    scene.over()
}

/// Where the list begins in docs/dbus.md; it goes to the end.
const LIST: &str = "\n## All members\n";

/// Has the document written anew.
const UPDATE: &str = "SPINNEY_UPDATE_DOCUMENTS";

/// Our own interfaces as the document lists them.
fn list(interfaces: &BTreeMap<String, Interface>) -> String {
    let mut text = String::new();
    for (name, members) in interfaces.iter().filter(|(name, _)| name.starts_with("org.spinney.")) {
        let _ = write!(text, "\n### {name}\n\n| | |\n|---|---|\n");
        for kind in ["method", "signal", "property"] {
            for (member, it) in members.iter().filter(|(_, it)| it.kind == kind) {
                let words = it.text.replace('|', "\\|");
                let _ = writeln!(text, "| {kind} `{}` | {words} |", it.signature(member));
            }
        }
    }
    text
}

/// The document lists every interface, method, property and signal, in the words of the introspection.
fn documented(context: &Context) -> TestResult {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dbus.md");
    let Ok(document) = std::fs::read_to_string(&path) else {
        return Err(Stop::Skip("there is no checkout here".to_owned()));
    };
    let scene = Scene::new(context)?;
    let all = scene.interfaces()?;
    scene.over()?;
    // Nothing is without a description.
    for (name, members) in &all {
        for (member, it) in members {
            assert!(!it.text.is_empty(), "{name}.{member} is not described");
        }
    }
    let (before, listed) = document.split_once(LIST).ok_or("docs/dbus.md has no list of members")?;
    let (about, listed) = listed.split_once("\n### ").ok_or("docs/dbus.md lists nothing")?;
    let expected = list(&all);
    if std::env::var_os(UPDATE).is_some() {
        return Ok(std::fs::write(
            &path,
            format!("{before}{LIST}{}\n{expected}", about.trim_end_matches('\n')),
        )?);
    }
    let listed = format!("\n### {listed}");
    let hint = format!("{UPDATE}=1 writes docs/dbus.md anew");
    // The first lines that differ say enough.
    for (documented, said) in listed.lines().zip(expected.lines()) {
        assert_eq!(documented, said, "{hint}");
    }
    assert_eq!(listed.lines().count(), expected.lines().count(), "{hint}");
    Ok(())
}
