//! The interfaces as they describe themselves: methods, properties and signals of systemd-machined 262 (org.freedesktop.machine1(5)),
//! with their signatures.

use std::collections::BTreeSet;

use super::client::{NAME, PATH};
use super::fixture::Bus;
use crate::command::{PATIENCE, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 1] = [("described", described)];
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
