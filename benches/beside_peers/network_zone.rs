//! A hundred machines in one zone: how long until they reach each other, and what that takes of the host.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::contenders::Ground;
use super::crowd::{Machines, boot_all, cpu_of, cpu_of_children, meminfo};
use super::network_host::{GLANCE, Namespace, PATIENCE};
use super::network_ping::Echo;

/// What the zone took.
#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) machines: usize,
    /// Until all were up.
    pub(crate) ready: Duration,
    /// From then until each had an answer of all that it asks.
    pub(crate) reached: Duration,
    /// Pairs that came to an answer, and that there are.
    pub(crate) answered: usize,
    pub(crate) pairs: usize,
    /// Until all were gone.
    pub(crate) gone: Duration,
    /// Processor time of the command line, a machine.
    pub(crate) command_line: Duration,
    /// The same, of the supervisor, until all were up.
    pub(crate) supervisor: Duration,
    /// What the kernel keeps for itself, a machine, in KiB: objects of all sizes, and what it has for each processor.
    pub(crate) kernel: u64,
    /// Addresses that the bridge knows behind its ports.
    pub(crate) forwarding: usize,
}

/// Whom each asks: how many places farther in a ring. Not all: the kernel has 1024 places for neighbours of IPv4, for all network
/// namespaces together (gc_thresh3, arp(7)), and keeps each for five seconds.
const STEPS: [usize; 2] = [1, 37];

/// Boots the machines of `tree`, has them ping each other, and ends them.
pub(crate) fn measure(ground: &Ground, tree: &Path) -> Result<Zone, Box<dyn Error>> {
    let host = Namespace::new_host()?;
    let (kernel, children) = (kernel_memory()?, cpu_of_children()?);
    let begun = Instant::now();
    let machines =
        host.within(|| boot_all(ground, "zone", tree, &["-d", "-x", "--network-zone=spinney"]))??;
    let ready = begun.elapsed();
    let command_line = cpu_of_children()? - children;
    let count = u32::try_from(machines.0.len())?;
    let mut supervisor = Duration::ZERO;
    for machine in &machines.0 {
        supervisor += cpu_of(&machine["supervisor"])?;
    }
    let met = Instant::now();
    let (answered, pairs) = meet(&machines)?;
    let reached = met.elapsed();
    let forwarding = host.links()?.forwarding()?;
    let kernel = kernel_memory()?.saturating_sub(kernel) / u64::from(count);
    let told = Instant::now();
    drop(machines);
    Ok(Zone {
        machines: usize::try_from(count)?,
        ready,
        reached,
        answered,
        pairs,
        gone: told.elapsed(),
        command_line: command_line / count,
        supervisor: supervisor / count,
        kernel,
        forwarding,
    })
}

/// Has each ask some; how many came to an answer, of how many.
fn meet(machines: &Machines) -> Result<(usize, usize), Box<dyn Error>> {
    let mut all = Vec::new();
    for machine in &machines.0 {
        let pid = u32::try_from(machine["leader"].as_u64().ok_or("a machine without a leader")?)?;
        let name = machine["name"].as_str().ok_or("a machine without a name")?;
        all.push((Namespace::of(pid)?, address_of(name)?));
    }
    let addresses: Vec<Ipv4Addr> = all.iter().map(|(_, address)| *address).collect();
    let mut asking = Vec::new();
    for (place, (namespace, _)) in all.iter().enumerate() {
        let siblings = STEPS.iter().filter_map(|step| addresses.get((place + step) % addresses.len()));
        asking.push((Echo::new(namespace)?, siblings.copied().collect::<BTreeSet<_>>()));
    }
    let pairs: usize = asking.iter().map(|(_, silent)| silent.len()).sum();
    let begun = Instant::now();
    while asking.iter().any(|(_, silent)| !silent.is_empty()) && begun.elapsed() < PATIENCE {
        for (echo, silent) in &mut asking {
            silent.iter().for_each(|address| echo.ask(*address));
            for address in echo.answers() {
                silent.remove(&address);
            }
        }
        std::thread::sleep(GLANCE);
    }
    let answered = pairs - asking.iter().map(|(_, silent)| silent.len()).sum::<usize>();
    Ok((answered, pairs))
}

fn address_of(machine: &str) -> Result<Ipv4Addr, Box<dyn Error>> {
    let network = fs::read(format!("/run/spinney/machines/{machine}/network"))?;
    let network: serde_json::Value = serde_json::from_slice(&network)?;
    let address = network["plan"]["links"][0]["addresses"]["v4"]["address"].as_str();
    Ok(address.ok_or_else(|| format!("{machine} has no address"))?.parse()?)
}

/// proc_meminfo(5).
fn kernel_memory() -> Result<u64, Box<dyn Error>> {
    Ok(meminfo("Slab:")? + meminfo("Percpu:")?)
}
