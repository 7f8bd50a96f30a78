//! What can be said on the command line. Names and meanings of `spinney run` are systemd-nspawn's (systemd-nspawn(1))
//! wherever it has them. Values stay text here: the parsers of [`crate::settings`] judge them, with one kind of message.
//! The order of fields is the order of `--help`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ArgAction;

use super::limit_options::LimitOptions;
use super::network_options::NetworkOptions;
use super::verb::Verb;

const EXAMPLES: &str = "\
Examples:
  spinney run /srv/trixie                    boot the tree's init, its console on this terminal
  spinney run -x /srv/trixie                 the same on a throw-away layer: the tree stays as it is
  spinney run -x /srv/trixie -- apt-get update
                                             run one command, get its exit status
  spinney run -b /srv/trixie -- systemd.unit=rescue.target
                                             boot with arguments for the init
  spinney run --bind=/srv/data:/data:idmap --setenv=LANG=C.UTF-8 /srv/trixie
  spinney run -d -M web /srv/trixie          boot it in the background, return when it is up
  spinney run -x ./disk.raw                  a disk image; web.mstack, a block device or an image's name do as well
  spinney run --explain=json /srv/trixie     print what would be done, do nothing

On the console, ^] three times within a second kills the machine, ^] ^] r reboots it, ^] ^] p powers it off.

Exit status: the payload's; 125 when spinney itself fails, 126 when the command cannot be executed, \
127 when it is not found.";

/// Boots a whole Linux distribution, its own init as PID 1, from any tree
#[derive(Debug, clap::Parser)]
#[command(name = "spinney", version, subcommand_required = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) verb: Verb,

    /// There is none, for machinectl(1)'s sake
    #[arg(long, global = true, hide = true)]
    no_pager: bool,

    /// It is never asked for, for machinectl(1)'s sake
    #[arg(long, global = true, hide = true)]
    no_ask_password: bool,

    /// There are no machines of users, for machinectl(1)'s sake
    #[arg(long, global = true, hide = true)]
    system: bool,
}

/// The definitions of all verbs, for completions and man pages.
pub(super) fn definitions() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Boot a tree, or run a command in it
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "spinney run [OPTIONS] TREE\n       \
                      spinney run [OPTIONS] TREE -- COMMAND [ARG...]\n       \
                      spinney run [OPTIONS] --boot TREE -- [INIT-ARG...]",
    after_help = EXAMPLES,
    args_override_self = true,
    disable_help_flag = true,
    next_help_heading = "General options"
)]
pub struct RunArguments {
    /// Root directory of the machine, then the command and its arguments
    #[arg(value_name = "TREE", trailing_var_arg = true, help_heading = "Operands", num_args = 0..)]
    pub(super) operands: Vec<OsString>,

    /// Print this help
    #[arg(short, long, action = ArgAction::Help)]
    help: Option<bool>,

    /// Print no status lines of our own
    #[arg(short, long)]
    pub quiet: bool,

    /// Run the machine in the background: return when it is ready; its name goes to stdout where that is no terminal, or
    /// with --quiet
    #[arg(short, long)]
    pub detach: bool,

    /// With --detach, return when PID 1 runs
    #[arg(long)]
    pub no_wait: bool,

    /// We are ExecStart= of a unit with Delegate=yes: the machine's cgroups go into the unit's
    #[arg(long, conflicts_with = "detach")]
    pub keep_unit: bool,

    /// Register it with systemd-machined, in a scope of systemd's unless it is in a unit: yes, no, auto (default: if it boots, and these
    /// run here; $SPINNEY_REGISTER)
    #[arg(long, value_name = "MODE")]
    pub register: Option<String>,

    /// The slice that such a scope goes into, in place of machine.slice
    #[arg(long, short = 'S', value_name = "SLICE")]
    pub slice: Option<String>,

    /// Print the settings, where each came from, and the plan, and stop: text (default) or json
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub explain: Option<String>,

    /// Settings files: yes (default), no, override (they win over options), trusted (also those beside trees)
    #[arg(long, value_name = "MODE")]
    pub settings: Option<String>,

    /// Root directory of the machine, instead of TREE
    #[arg(short = 'D', long, value_name = "PATH", help_heading = "Image options")]
    pub directory: Option<PathBuf>,

    /// Disk image or block device to run, instead of TREE
    #[arg(short = 'i', long, value_name = "PATH", help_heading = "Image options")]
    pub image: Option<PathBuf>,

    /// Layered image to run, a directory NAME.mstack, instead of TREE
    #[arg(long, value_name = "PATH", help_heading = "Image options")]
    pub mstack: Option<PathBuf>,

    /// Root hash of dm-verity that the disk image is verified by
    #[arg(long, value_name = "HASH", help_heading = "Image options")]
    pub root_hash: Option<String>,

    /// Signature of the root hash, which the kernel checks: a PKCS#7 file in DER
    #[arg(long, value_name = "PATH|base64:DATA", help_heading = "Image options")]
    pub root_hash_sig: Option<String>,

    /// Hashes of a disk image that is one file system
    #[arg(long, value_name = "PATH", help_heading = "Image options")]
    pub verity_data: Option<String>,

    /// Run on a throw-away layer over the tree
    #[arg(short = 'x', long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "yes", help_heading = "Image options")]
    pub ephemeral: Option<String>,

    /// Mount the root read-only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    #[arg(help_heading = "Image options")]
    pub read_only: Option<String>,

    /// Keep parts of the root in memory: yes (default without a value), state, overlay, no
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    #[arg(help_heading = "Image options")]
    pub volatile: Option<String>,

    /// Pivot into a directory of the tree
    #[arg(long, value_name = "NEW[:OLD]", help_heading = "Image options")]
    pub pivot_root: Option<String>,

    /// Boot the init, also when arguments follow: they are the init's
    #[arg(short, long, help_heading = "Execution options")]
    pub boot: bool,

    /// Program of the tree to boot instead of the init that is found
    #[arg(long, value_name = "PATH", help_heading = "Execution options")]
    pub init: Option<String>,

    /// Run the command under a small reaping init (the default)
    #[arg(short = 'a', long = "as-pid2", help_heading = "Execution options")]
    pub as_pid2: bool,

    /// Run the command as PID 1 itself
    #[arg(long = "as-pid1", help_heading = "Execution options")]
    pub as_pid1: bool,

    /// Working directory in the machine
    #[arg(long, value_name = "PATH", help_heading = "Execution options")]
    pub chdir: Option<String>,

    /// Set an environment variable of PID 1 (by default to our own value)
    #[arg(short = 'E', long, value_name = "NAME[=VALUE]", help_heading = "Execution options")]
    pub setenv: Vec<OsString>,

    /// Run the command as this user of the machine
    #[arg(short, long, alias = "user", value_name = "USER", help_heading = "Execution options")]
    pub uid: Option<String>,

    /// Signal to PID 1 when we are told to end
    #[arg(long, value_name = "SIGNAL", help_heading = "Execution options")]
    pub kill_signal: Option<String>,

    /// Tell our own manager that we are ready only when the guest is
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    #[arg(help_heading = "Execution options")]
    pub notify_ready: Option<String>,

    /// Make sync(2) and its family do nothing
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    #[arg(help_heading = "Execution options")]
    pub suppress_sync: Option<String>,

    /// Give up, and kill it, when the guest is not ready after this time (default: wait for ever; 5min with --detach)
    #[arg(long, value_name = "TIME", help_heading = "Execution options")]
    pub timeout_ready: Option<String>,

    /// Kill the machine when an orderly power-off takes longer (default: 90s)
    #[arg(long, value_name = "TIME", help_heading = "Execution options")]
    pub timeout_stop: Option<String>,

    /// Let the guest's uptime start at 0 (default: yes)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    #[arg(help_heading = "Execution options")]
    pub boot_clock: Option<String>,

    /// Name of the machine (default: the tree's directory name)
    #[arg(short = 'M', long, value_name = "NAME", help_heading = "System identity options")]
    pub machine: Option<String>,

    /// Hostname (default: the machine's name)
    #[arg(long, value_name = "NAME", help_heading = "System identity options")]
    pub hostname: Option<String>,

    /// Machine UUID, where the tree has no machine ID
    #[arg(long, value_name = "UUID", help_heading = "System identity options")]
    pub uuid: Option<String>,

    /// User namespace: pick (default), yes, no, identity or BASE[:SIZE]
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    #[arg(overrides_with = "private_users_pick", help_heading = "User namespacing options")]
    pub private_users: Option<String>,

    /// The same as --private-users=pick
    #[arg(short = 'U', overrides_with = "private_users", help_heading = "User namespacing options")]
    pub private_users_pick: bool,

    /// What it gets of the network
    #[command(flatten)]
    pub network: NetworkOptions,

    /// Keep these capabilities beyond the default set
    #[arg(long, value_name = "CAP,...", help_heading = "Security options")]
    pub capability: Vec<String>,

    /// Drop these capabilities from the default set
    #[arg(long, value_name = "CAP,...", help_heading = "Security options")]
    pub drop_capability: Vec<String>,

    /// Make these capabilities ambient for the command
    #[arg(long, value_name = "CAP,...", help_heading = "Security options")]
    pub ambient_capability: Vec<String>,

    /// Set PR_SET_NO_NEW_PRIVS
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    #[arg(help_heading = "Security options")]
    pub no_new_privileges: Option<String>,

    /// Allow, or with ~ forbid, system calls and @groups of them
    #[arg(long, value_name = "LIST|~LIST", help_heading = "Security options")]
    pub system_call_filter: Vec<String>,

    /// SELinux context of the payload
    #[arg(short = 'Z', long, value_name = "CONTEXT", help_heading = "Security options")]
    pub selinux_context: Option<String>,

    /// SELinux context of files in the API file systems
    #[arg(short = 'L', long, value_name = "CONTEXT", help_heading = "Security options")]
    pub selinux_apifs_context: Option<String>,

    /// Keep proc and sysfs unmasked somewhere, so that containers run inside
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    #[arg(help_heading = "Security options")]
    pub nesting: Option<String>,

    /// Set a resource limit of PID 1
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = "Resource options")]
    pub rlimit: Vec<String>,

    /// Set PID 1's OOM score adjustment
    #[arg(
        long,
        value_name = "-1000..1000",
        allow_negative_numbers = true,
        help_heading = "Resource options"
    )]
    pub oom_score_adjust: Option<String>,

    /// CPUs that the machine may run on
    #[arg(long, value_name = "CPUS", help_heading = "Resource options")]
    pub cpu_affinity: Option<String>,

    /// Architecture that uname(2) tells
    #[arg(long, value_name = "ARCH", help_heading = "Resource options")]
    pub personality: Option<String>,

    /// How much of the host the machine may have
    #[command(flatten)]
    pub limits: LimitOptions,

    /// What becomes of /etc/resolv.conf
    #[arg(long, value_name = "MODE", help_heading = "Integration options")]
    pub resolv_conf: Option<String>,

    /// What becomes of /etc/localtime
    #[arg(long, value_name = "MODE", help_heading = "Integration options")]
    pub timezone: Option<String>,

    /// Where the guest's journal is visible: no, auto, guest, try-guest, host, try-host
    #[arg(long, value_name = "MODE", overrides_with = "link_journal_try_guest")]
    #[arg(help_heading = "Integration options")]
    pub link_journal: Option<String>,

    /// The same as --link-journal=try-guest
    #[arg(short = 'j', overrides_with = "link_journal", help_heading = "Integration options")]
    pub link_journal_try_guest: bool,

    /// Bind mount a file or directory of the host (OPTIONS: rbind, norbind, idmap, noidmap, rootidmap, owneridmap)
    #[arg(long, value_name = "SOURCE[:TARGET[:OPTIONS]]", help_heading = "Mount options")]
    pub bind: Vec<String>,

    /// The same, read-only
    #[arg(long, value_name = "SOURCE[:TARGET[:OPTIONS]]", help_heading = "Mount options")]
    pub bind_ro: Vec<String>,

    /// Hide a file or directory
    #[arg(long, value_name = "PATH", help_heading = "Mount options")]
    pub inaccessible: Vec<String>,

    /// Mount an empty tmpfs
    #[arg(long, value_name = "PATH[:OPTIONS]", help_heading = "Mount options")]
    pub tmpfs: Vec<String>,

    /// Mount an overlay of directories
    #[arg(long, value_name = "LOWER[:LOWER...]:UPPER:TARGET", help_heading = "Mount options")]
    pub overlay: Vec<String>,

    /// The same, read-only
    #[arg(long, value_name = "LOWER[:LOWER...]:TARGET", help_heading = "Mount options")]
    pub overlay_ro: Vec<String>,

    /// How our stdin and stdout meet the guest's: interactive, read-only, passive, pipe, autopipe
    #[arg(long, value_name = "MODE", overrides_with = "pipe", help_heading = "Input/output options")]
    pub console: Option<String>,

    /// The same as --console=pipe
    #[arg(short = 'P', long, overrides_with = "console", help_heading = "Input/output options")]
    pub pipe: bool,

    /// Give the guest a credential
    #[arg(long, value_name = "ID:VALUE", help_heading = "Credential options")]
    pub set_credential: Vec<String>,

    /// Give the guest a credential from a file
    #[arg(long, value_name = "ID:PATH", help_heading = "Credential options")]
    pub load_credential: Vec<String>,
}
