//! Hosts of the rows about the network: each is a network namespace of its own, so that no contender's rules are in another's way and
//! nothing of the real host is touched.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use spinney::sys::netlink::{DUMP, Requests, Socket};
use spinney::sys::network::{in_namespace, loopback_up};
use spinney::sys::process::{Namespaces, unshare};

/// How long anything may take to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is looked whether it has.
pub(crate) const GLANCE: Duration = Duration::from_micros(100);

/// Gives the rest of this process a /run of its own: a host keeps there what it knows of its network by the namespace's number, and
/// numbers come again.
pub(crate) fn enter_own_run() -> Result<(), Box<dyn Error>> {
    unshare(Namespaces::NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=0755"))?;
    Ok(())
}

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Namespace(File);

impl Namespace {
    /// A new one, with nothing but `lo`, which is up.
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let made = std::thread::spawn(|| {
            unshare(Namespaces::NEWNET).map_err(io::Error::other)?;
            loopback_up().map_err(io::Error::other)?;
            File::open("/proc/thread-self/ns/net")
        });
        Ok(Self(made.join().map_err(|_| "the thread that makes a namespace panicked")??))
    }

    /// A new one that is a host. A pair of links whose numbers are the same, as those of the first ones of two new namespaces are, comes
    /// up as much as a second later (linkwatch_urgent_event() in net/core/link_watch.c): no host's first link is a machine's.
    pub(crate) fn new_host() -> Result<Self, Box<dyn Error>> {
        let host = Self::new()?;
        host.ip("link add name first type bridge\nlink delete first\n")?;
        Ok(host)
    }

    /// Has its links ask for a neighbour again as soon as the kernel can, and not a second later (arp(7)): what was asked before frames
    /// pass is lost without a word.
    pub(crate) fn hurry_neighbours(&self) -> Result<(), Box<dyn Error>> {
        for (link, _) in self.links()?.look()? {
            self.within(|| fs::write(format!("/proc/sys/net/ipv4/neigh/{link}/retrans_time_ms"), "1"))??;
        }
        Ok(())
    }

    /// That of a process.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/ns/net")).map(Self)
    }

    /// Does `work` in it.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> Result<T, Box<dyn Error>> {
        Ok(in_namespace(&self.0, work)?)
    }

    /// What ip(8) and the like know it by.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// The first namespace other than this one that `pid` or a process below it is in, once there is one.
    pub(crate) fn of_guest(&self, pid: u32) -> Result<Self, Box<dyn Error>> {
        let own = self.0.metadata()?.ino();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let mut found = [vec![pid], below(pid)].concat().into_iter().filter_map(|pid| Self::of(pid).ok());
            if let Some(guest) =
                found.find(|guest| guest.0.metadata().is_ok_and(|metadata| metadata.ino() != own))
            {
                return Ok(guest);
            }
            std::thread::sleep(GLANCE);
        }
        Err("the machine has no network namespace".into())
    }

    /// Carries out the lines of `batch`, each the arguments of an `ip`, in one call of it.
    pub(crate) fn ip(&self, batch: &str) -> Result<(), Box<dyn Error>> {
        self.feed(Command::new("ip").args(["-batch", "-"]), batch)
    }

    /// Carries out `rules`, in nft(8)'s words.
    pub(crate) fn nft(&self, rules: &str) -> Result<(), Box<dyn Error>> {
        self.feed(Command::new("nft").args(["-f", "-"]), rules)
    }

    fn feed(&self, command: &mut Command, input: &str) -> Result<(), Box<dyn Error>> {
        let mut child = self.within(|| command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn())??;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let status = child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}, given:\n{input}").into()) }
    }

    /// A look at its links.
    pub(crate) fn links(&self) -> Result<Links, Box<dyn Error>> {
        let socket = self.within(|| Socket::open(NETLINK_ROUTE))??;
        Ok(Links(socket))
    }
}

/// NETLINK_ROUTE (linux/netlink.h).
const NETLINK_ROUTE: u32 = 0;

/// The links of a namespace.
#[derive(Debug)]
pub(crate) struct Links(Socket);

impl Links {
    /// Names of all but `lo`, each with whether it and its carrier are up.
    pub(crate) fn look(&mut self) -> Result<Vec<(String, bool)>, Box<dyn Error>> {
        // linux/rtnetlink.h, linux/if_link.h and linux/if.h: a message begins with an ifinfomsg of 16 bytes, its flags at the 8th.
        const RTM_GETLINK: u16 = 18;
        const IFLA_IFNAME: u16 = 3;
        const HEADER: usize = 16;
        const FLAGS: usize = 8;
        // IFF_UP and IFF_LOWER_UP.
        const UP: u32 = 0x1_0001;
        let mut requests = Requests::default();
        requests.push(RTM_GETLINK, DUMP, &[0; HEADER], "RTM_GETLINK");
        let messages = self.0.dump(requests.bytes(), "RTM_GETLINK")?;
        let links = messages.iter().filter_map(|message| {
            let flags = u32::from_ne_bytes(*message.body.get(FLAGS..)?.first_chunk()?);
            let mut attributes = spinney::sys::netlink::attributes(message.body.get(HEADER..)?);
            let (_, name) = attributes.find(|(kind, _)| *kind == IFLA_IFNAME)?;
            let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
            (name != "lo").then_some((name, flags & UP == UP))
        });
        Ok(links.collect())
    }

    /// How many addresses bridges of it know behind their ports.
    pub(crate) fn forwarding(&mut self) -> Result<usize, Box<dyn Error>> {
        // linux/rtnetlink.h, linux/neighbour.h: an ndmsg of 12 bytes, which begins with the family.
        const RTM_GETNEIGH: u16 = 30;
        const AF_BRIDGE: u8 = 7;
        let mut body = [0; 12];
        body[0] = AF_BRIDGE;
        let mut requests = Requests::default();
        requests.push(RTM_GETNEIGH, DUMP, &body, "RTM_GETNEIGH");
        Ok(self.0.dump(requests.bytes(), "RTM_GETNEIGH")?.len())
    }

    /// The name of the first one that is `wanted`, once there is one.
    pub(crate) fn wait_for(&mut self, wanted: impl Fn(&str) -> bool) -> Result<String, Box<dyn Error>> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some((name, _)) = self.look()?.into_iter().find(|(name, _)| wanted(name)) {
                return Ok(name);
            }
            std::thread::sleep(GLANCE);
        }
        Err("there is no such link".into())
    }
}

/// All processes below `pid` (proc_pid_task(5), children).
fn below(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    children.flat_map(|child| [vec![child], below(child)].concat()).collect()
}

/// A program, killed when dropped.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
