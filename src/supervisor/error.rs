//! Why a machine could not be run: one line, a hint, an exit status.

use std::path::PathBuf;
use std::time::Duration;

use crate::guest::TreeError;
use crate::host::limits::DiskError;
use crate::image;
use crate::image::layers::LayerError;
use crate::image::opened::OpenError;
use crate::network::configuration::ConfigurationError;
use crate::network::lease::LeaseError;
use crate::network::link::LinkError;
use crate::network::planner::NetworkPlanError;
use crate::network::ports::PortsError;
use crate::network::rules::RulesError;
use crate::runtime::attach::AttachError;
use crate::runtime::cgroup::CgroupError;
use crate::runtime::controllers::LimitError;
use crate::runtime::id_range::IdRangeError;
use crate::runtime::launch::LaunchError;
use crate::runtime::planner::PlanError;
use crate::runtime::prepare::PrepareError;
use crate::runtime::root::RootError;
use crate::settings::ValueError;
use crate::sys::SysError;

use super::console::ConsoleError;
use super::diagnosis::Diagnosis;
use super::gc::ClearError;
use super::out_of_memory::OomEvidence;

/// Exit status for faults of ours and of the input (docker-run(1), env(1)).
pub(super) const OWN_FAILURE: u8 = 125;

/// Why a machine did not run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("a machine called {name:?} is running already")]
    NameInUse { name: String },
    #[error("the name {name:?} was taken by another machine when this one's directory was removed")]
    NameLost { name: String },
    #[error("what an earlier machine {name:?} left behind cannot be cleared")]
    Stale {
        name: String,
        #[source]
        source: ClearError,
    },
    #[error(transparent)]
    Name(ValueError),
    #[error("user {user:?} is not in the tree's /etc/passwd")]
    NoSuchUser { user: String },
    #[error("bad root hash: {0}")]
    RootHash(ValueError),
    #[error("cannot read the root hash's signature {}", path.display())]
    RootHashSignature {
        path: std::path::PathBuf,
        #[source]
        source: SysError,
    },
    #[error(transparent)]
    Image(#[from] OpenError),
    #[error(transparent)]
    Locked(#[from] image::Error),
    #[error(transparent)]
    Layers(#[from] LayerError),
    #[error("{name} is what {} made from", are(.made))]
    HasClones { name: String, made: Vec<String> },
    #[error("image {name:?} is read-only")]
    ReadOnlyImage { name: String },
    #[error("{0:?} is on a read-only file system")]
    ReadOnlyTree(std::path::PathBuf),
    #[error("the file system in {0:?} cannot be written to")]
    ReadOnlyDisk(std::path::PathBuf),
    #[error("{0:?} has no layer that can be written to")]
    NoWritableLayer(std::path::PathBuf),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    IdRange(#[from] IdRangeError),
    #[error("the user namespace that this host is in has no ids {base} to {}", u64::from(*base) + u64::from(*size) - 1)]
    IdsOutOfReach { base: u32, size: u32 },
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("no device can be given by {device:?}")]
    Device {
        device: String,
        #[source]
        source: SysError,
    },
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Ports(#[from] PortsError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Console(#[from] ConsoleError),
    #[error(transparent)]
    NetworkConfiguration(#[from] ConfigurationError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    NetworkPlan(#[from] NetworkPlanError),
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The rules of its packets could not be made.
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error("this process is in no unit whose cgroup a machine could have")]
    NoUnit,
    #[error("the cgroup of {unit} is not handed over to it, so no machine can be in it")]
    NotDelegated { unit: String },
    #[error("cannot {action}")]
    System {
        action: &'static str,
        #[source]
        source: SysError,
    },
    #[error("cannot stop the machine")]
    Stop(#[source] crate::guest::stop::StopError),
    /// What the leader said before it could exec.
    #[error("{text}")]
    Leader { text: String },
    /// Where it was to begin.
    #[error("cannot go to {directory:?} in the guest: {text}")]
    Directory { directory: PathBuf, text: String },
    /// Where it was to run.
    #[error("the machine cannot run on these processors: {text}")]
    Processors { text: String },
    /// The program could not be executed.
    #[error("cannot run {program:?} in the guest: {text}")]
    Exec { program: String, text: String, not_found: bool },
    #[error("{init} of {name} {how} before it was up{}", because(.diagnosis))]
    DiedEarly { name: String, init: String, how: String, diagnosis: Box<Diagnosis>, console: Vec<String> },
    #[error("{name} was not ready after {}{}{}", seconds(*.waited), because(.diagnosis), last_words(.status.as_deref()))]
    NotReady {
        name: String,
        waited: Duration,
        status: Option<String>,
        diagnosis: Box<Diagnosis>,
        console: Vec<String>,
    },
    /// Something else went wrong, for want of memory as it seems.
    #[error("{name} ran out of memory, {evidence}")]
    OutOfMemory {
        name: String,
        evidence: OomEvidence,
        #[source]
        source: Box<Error>,
    },
    #[error("{name} is gone, but {} of its resources are still here", faults.len())]
    Teardown { name: String, faults: Vec<SysError> },
}

/// `image a is`, `image a and image b are`.
fn are(made: &[String]) -> String {
    match made {
        [only] => format!("{only} is"),
        [first, last] => format!("{first} and {last} are"),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more are", rest.len()),
        [] => String::new(),
    }
}

fn because(diagnosis: &Diagnosis) -> String {
    diagnosis.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default()
}

fn last_words(status: Option<&str>) -> String {
    status.map(|status| format!("; last it said: {status}")).unwrap_or_default()
}

/// `2 s`, `0.1 s`.
fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

impl Error {
    /// A failed call, and what it was for.
    pub(super) fn system(action: &'static str) -> impl FnOnce(SysError) -> Self {
        move |source| Self::System { action, source }
    }

    /// What our process exits with.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Exec { not_found: true, .. } => 127,
            Self::Exec { .. } => 126,
            Self::OutOfMemory { source, .. } => source.exit_status(),
            _ => OWN_FAILURE,
        }
    }

    /// The last lines of the guest's console, safe to print.
    pub fn console(&self) -> &[String] {
        match self {
            Self::DiedEarly { console, .. } | Self::NotReady { console, .. } => console,
            Self::OutOfMemory { source, .. } => source.console(),
            _ => &[],
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let fixed = match self {
            Self::DiedEarly { diagnosis, .. } | Self::NotReady { diagnosis, .. }
                if diagnosis.hint.is_some() =>
            {
                return diagnosis.hint.map(str::to_owned);
            }
            Self::Tree(error) => return error.hint(),
            Self::OutOfMemory { evidence, .. } => evidence.hint(),
            Self::Name(error) => return Some(error.hint().to_owned()),
            Self::NameInUse { name } => {
                return Some(format!(
                    "spinney status {name} shows it; run takes another name for this one with --machine=NAME"
                ));
            }
            Self::Stale { source, .. } => match source.hint() {
                Some(hint) => return Some(hint),
                None => "run spinney gc, and see what still uses it",
            },
            Self::Directory { .. } => "--chdir= takes a directory that is in the guest",
            Self::Processors { .. } => "nproc --all tells how many there are; --cpu-affinity= counts from 0",
            Self::NoSuchUser { .. } => "give a user of the tree, or a number",
            Self::Image(error) => return error.hint(),
            Self::RootHash(error) => return Some(error.hint().to_owned()),
            Self::Locked(error) => return error.hint(),
            Self::Layers(error) => return error.hint(),
            Self::HasClones { name, .. } => {
                return Some(format!(
                    "start it with --ephemeral, or start a clone of it: spinney clone {name} NEW"
                ));
            }
            Self::ReadOnlyImage { name } => {
                return Some(format!(
                    "--ephemeral runs it on a layer that is thrown away; spinney clone {name} NEW makes one to change"
                ));
            }
            Self::NoWritableLayer(_) => {
                "--ephemeral runs it on a layer that is thrown away; spinney clone makes an image with one that stays"
            }
            Self::ReadOnlyTree(_) | Self::ReadOnlyDisk(_) => {
                "--ephemeral or --volatile=overlay run it on a layer of its own, --read-only as it is"
            }
            Self::IdsOutOfReach { .. } => {
                "it is a machine itself? boot it with --private-users=no --nesting=yes, and those in it have user namespaces of \
                 their own"
            }
            Self::IdRange(IdRangeError::InUse { .. }) => "let one be picked: --private-users=pick",
            Self::Root(RootError::MountBelow { .. }) => {
                "a /proc or /dev left there by a chroot? findmnt shows it; unmount it, or run with --ephemeral, which leaves \
                 it out"
            }
            Self::Root(RootError::NotMappable { .. }) => {
                "ext4, xfs, btrfs and tmpfs (Linux 6.3) can; --private-users=no goes without a user namespace, which is no \
                 boundary to the host"
            }
            Self::Root(RootError::UpperLayer { .. }) => "--volatile=overlay keeps the layer in memory",
            Self::Cgroup(CgroupError::Missing) => {
                "boot a kernel with CONFIG_CGROUPS and cgroup v2 (Linux 4.5)"
            }
            Self::NoUnit => {
                "--keep-unit is for ExecStart= of a service with Delegate=yes, see spinney@.service(8)"
            }
            Self::NotDelegated { .. } => {
                "Delegate=yes in the unit hands it over, see spinney@.service(8); without --keep-unit the machine has a \
                 cgroup of its own"
            }
            Self::Ports(error) => return error.hint(),
            Self::Limit(error) => error.hint(),
            Self::NetworkConfiguration(error) => error.hint(),
            Self::NetworkPlan(error) => error.hint(),
            Self::Lease(error) => return Some(error.hint()),
            Self::Link(error) => return error.hint().map(str::to_owned),
            Self::Rules(error) => return error.hint(),
            Self::Disk(_) => {
                "the node of a disk, such as /dev/sda, or a file on it; lsblk shows the disks of this host"
            }
            Self::Device { .. } => "the path of a device node, or a driver of /proc/devices",
            Self::Plan(PlanError::SystemCalls(_)) => {
                "a system call by its name in syscalls(2), or a group such as @mount; ~ before the list forbids"
            }
            Self::Plan(PlanError::NoSelinux(_)) => "leave it out, or boot this host with SELinux on",
            Self::Plan(PlanError::Capabilities(_)) => "--capability=help lists them",
            Self::Prepare(_) => {
                "a source is a directory or file of this host, or with + before it of the tree: is it there?"
            }
            Self::Exec { not_found: true, .. } => "is it installed in the tree, and in its PATH?",
            Self::DiedEarly { .. } => {
                "spinney run with --console=interactive shows all it says, with -- /bin/sh you look around"
            }
            Self::NotReady { .. } => {
                "a longer --timeout-ready=; spinney run with --console=interactive shows what it waits for"
            }
            Self::Teardown { .. } => "run spinney gc when nothing uses them any more",
            _ => return None,
        };
        Some(fixed.to_owned())
    }
}
