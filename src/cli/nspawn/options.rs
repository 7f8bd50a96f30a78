//! The options of systemd-nspawn 262 (systemd-nspawn(1)), in its groups and its order: how each is written, what it is here, and
//! what `--help` says of it.

/// One option.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Option {
    /// `-D`.
    pub(super) short: std::option::Option<char>,
    /// `--directory`, without dashes; empty where there is only a letter.
    pub(super) long: &'static str,
    /// Whether it has a value.
    pub(super) value: Value,
    /// What it is here.
    pub(super) meaning: Meaning,
    /// What it does; empty for those that `--help` leaves out.
    pub(super) help: &'static str,
}

/// Whether an option has a value. A name is what `--help` calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// It has none.
    None,
    /// After `=`, or the next word.
    Required(&'static str),
    /// After `=`, or none.
    Optional(&'static str),
    /// The same, or the next word, if that is no option: `--user` was once called with a name.
    OptionalOrNext(&'static str),
}

/// What an option is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A value of the setting that has its name.
    Setting,
    /// This value of this setting.
    Word(&'static str, &'static str),
    /// The translation's to deal with, by its name.
    Own,
    /// Nothing is to be done for it: why.
    Nothing,
    /// Not to be had: why not.
    Refused(&'static str),
}

use Meaning::{Nothing, Own, Refused, Setting, Word};
use Value::{OptionalOrNext, Required};

const fn option(long: &'static str, value: Value, meaning: Meaning, help: &'static str) -> Option {
    Option { short: None, long, value, meaning, help }
}

const fn letter(
    short: char,
    long: &'static str,
    value: Value,
    meaning: Meaning,
    help: &'static str,
) -> Option {
    Option { short: Some(short), long, value, meaning, help }
}

const NO: Value = Value::None;

const NO_JOURNAL_REMOTE: &str = "journals are forwarded nowhere yet; spinney logs NAME reads a machine's";
const NO_BOUND_USERS: &str = "users of the host are not bound into machines yet";

/// All of them, by group.
pub(super) static GROUPS: &[(&str, &[Option])] = &[
    ("", GENERAL),
    ("Image", IMAGE),
    ("Execution", EXECUTION),
    ("System Identity", IDENTITY),
    ("Properties", PROPERTIES),
    ("User Namespacing", USERS),
    ("Networking", NETWORK),
    ("Security", SECURITY),
    ("Resources", RESOURCES),
    ("Integration", INTEGRATION),
    ("Mounts", MOUNTS),
    ("Input/Output", CONSOLE),
    ("Credentials", CREDENTIALS),
    ("Other", OTHER),
];

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Option> {
    GROUPS.iter().flat_map(|(_, options)| options.iter())
}

/// The option of this whole name.
pub(super) fn named(long: &str) -> std::option::Option<&'static Option> {
    all().find(|option| !long.is_empty() && option.long == long)
}

static GENERAL: &[Option] = &[
    letter('h', "help", NO, Own, "Print this help"),
    option("version", NO, Own, "Print the version"),
    letter('q', "quiet", NO, Own, "Say nothing but errors"),
    option("no-pager", NO, Nothing, "Nothing is paged anyway"),
    option("settings", Required("MODE"), Own, ".nspawn files: yes, no, override, trusted"),
    option("cleanup", NO, Own, "Remove what a killed container left behind, and exit"),
    option("no-ask-password", NO, Nothing, "Nobody is asked for passwords anyway"),
];

static IMAGE: &[Option] = &[
    letter('D', "directory", Required("PATH"), Own, "Root directory of the container"),
    option("template", Required("PATH"), Own, "What the root directory is copied from if it is missing"),
    letter(
        'x',
        "ephemeral",
        NO,
        Word("machine.ephemeral", "yes"),
        "Throw all changes of the root away at the end",
    ),
    letter('i', "image", Required("PATH"), Own, "Disk image or block device of the container"),
    option("image-policy", Required("POLICY"), Own, "Partitions that are taken; only '*' so far"),
    option("mstack", Required("PATH"), Own, "Directory NAME.mstack of layers of the container"),
    option(
        "oci-bundle",
        Required("PATH"),
        Refused("OCI bundles are not run yet; spinney run takes images of registries"),
        "OCI runtime bundle",
    ),
    option("read-only", NO, Word("files.read-only", "yes"), "Mount the root read-only"),
    option("volatile", Value::Optional("MODE"), Setting, "Keep the root in memory: yes, state, overlay, no"),
    option("root-hash", Required("HASH"), Setting, "Root hash of dm-verity of the disk image"),
    option("root-hash-sig", Required("PATH|base64:DATA"), Setting, "Signature of the root hash (PKCS#7)"),
    option("verity-data", Required("PATH"), Setting, "Where the hashes of dm-verity are"),
    option("pivot-root", Required("NEW[:OLD]"), Setting, "Directory of the tree to pivot into"),
];

static EXECUTION: &[Option] = &[
    letter('a', "as-pid2", NO, Own, "Run the command below a small init"),
    letter('b', "boot", NO, Own, "Run the tree's init; what follows are its arguments"),
    option("chdir", Required("PATH"), Setting, "Working directory in the container"),
    letter('E', "setenv", Required("NAME[=VALUE]"), Setting, "Environment variable of PID 1"),
    letter('u', "uid", Required("USER"), Setting, "User of the container who runs the command"),
    option("kill-signal", Required("SIGNAL"), Setting, "Signal to PID 1 when we are told to end"),
    option("notify-ready", Required("BOOL"), Setting, "Tell our manager READY=1 when the container does"),
    option("suppress-sync", Required("BOOL"), Setting, "Make sync(2) and its family do nothing"),
];

static IDENTITY: &[Option] = &[
    letter('M', "machine", Required("NAME"), Own, "Name of the container"),
    option("hostname", Required("NAME"), Setting, "Its hostname, if that is another one"),
    option("uuid", Required("UUID"), Setting, "Its machine UUID, if the tree has none"),
];

static PROPERTIES: &[Option] = &[
    letter('S', "slice", Required("SLICE"), Own, "Slice of its scope"),
    option("property", Required("NAME=VALUE"), Own, "Limit of its scope, such as MemoryMax=1G"),
    option("register", Required("MODE"), Own, "Tell systemd-machined of it: yes, no, auto (if it boots)"),
    option("keep-unit", NO, Own, "Stay in our unit; on a reboot exit with status 133"),
];

static USERS: &[Option] = &[
    option(
        "private-users",
        Value::Optional("MODE"),
        Setting,
        "User namespace: no, yes, pick, identity, BASE[:NUMBER]",
    ),
    option(
        "private-users-ownership",
        Required("MODE"),
        Own,
        "How the tree gets its owners: map, auto, foreign, off; never by chown",
    ),
    option("private-users-chown", NO, Refused(NEVER_CHOWNED), ""),
    option(
        "private-users-delegate",
        Required("N"),
        Refused("no ranges of user IDs are delegated; spinney run --nesting is for containers inside"),
        "More ranges of IDs for containers inside",
    ),
    letter('U', "", NO, Word("users.private-users", "pick"), "The same as --private-users=pick"),
];

/// What we do not do to trees.
pub(super) const NEVER_CHOWNED: &str = "the owners of a tree are mapped, never changed; --private-users-ownership=auto gives the container the same view";

static NETWORK: &[Option] = &[
    option(
        "private-network",
        NO,
        Word("network.private-network", "yes"),
        "A network of its own, with loopback only",
    ),
    option("network-interface", Required("HOST[:CONTAINER]"), Setting, "Lend it an interface of the host"),
    option(
        "network-macvlan",
        Required("HOST[:CONTAINER]"),
        Setting,
        "A macvlan interface on one of the host's",
    ),
    option(
        "network-ipvlan",
        Required("HOST[:CONTAINER]"),
        Setting,
        "An ipvlan interface on one of the host's",
    ),
    letter(
        'n',
        "network-veth",
        NO,
        Word("network.network-veth", "yes"),
        "A pair of interfaces, host0 and ve-NAME",
    ),
    option("network-veth-extra", Required("HOST[:CONTAINER]"), Setting, "One more pair of interfaces"),
    option("network-bridge", Required("BRIDGE"), Setting, "The pair, its host's end in this bridge"),
    option("network-zone", Required("ZONE"), Setting, "The pair, its host's end in the bridge of this zone"),
    option("network-namespace-path", Required("PATH"), Setting, "The network namespace of this file"),
    letter(
        'p',
        "port",
        Required("[PROTOCOL:]HOST[:CONTAINER]"),
        Setting,
        "Port of the host that leads to it",
    ),
];

static SECURITY: &[Option] = &[
    option("capability", Required("CAP,..."), Setting, "Capabilities beyond the usual ones"),
    option("drop-capability", Required("CAP,..."), Setting, "Usual capabilities that it is not to have"),
    option("ambient-capability", Required("CAP,..."), Setting, "Ambient capabilities of the command"),
    option("no-new-privileges", Required("BOOL"), Setting, "Set PR_SET_NO_NEW_PRIVS"),
    option(
        "system-call-filter",
        Required("LIST|~LIST"),
        Setting,
        "System calls to allow, or with ~ to forbid",
    ),
    option(
        "restrict-address-families",
        Required("LIST|~LIST|none"),
        Refused("socket families are not restricted yet; --private-network takes the network away"),
        "Socket families that it may use",
    ),
    letter('Z', "selinux-context", Required("LABEL"), Setting, "SELinux context of its processes"),
    letter(
        'L',
        "selinux-apifs-context",
        Required("LABEL"),
        Setting,
        "SELinux context of its API file systems",
    ),
];

static RESOURCES: &[Option] = &[
    option("rlimit", Required("NAME=LIMIT"), Setting, "Resource limit of PID 1"),
    option("oom-score-adjust", Required("NUMBER"), Setting, "OOM score adjustment of PID 1"),
    option("cpu-affinity", Required("CPUS"), Setting, "CPUs that it runs on"),
    option("personality", Required("ARCH"), Setting, "Architecture that uname(2) tells"),
];

static INTEGRATION: &[Option] = &[
    option("resolv-conf", Required("MODE"), Setting, "What becomes of /etc/resolv.conf"),
    option("timezone", Required("MODE"), Setting, "What becomes of /etc/localtime"),
    option("link-journal", Required("MODE"), Setting, "Where its journal is visible"),
    letter(
        'j',
        "",
        NO,
        Word("integration.link-journal", "try-guest"),
        "The same as --link-journal=try-guest",
    ),
    option(
        "forward-journal",
        Required("FILE|DIR"),
        Refused(NO_JOURNAL_REMOTE),
        "Where its journal is forwarded to",
    ),
    option("forward-journal-max-use", Required("BYTES"), Refused(NO_JOURNAL_REMOTE), "Space for that"),
    option("forward-journal-keep-free", Required("BYTES"), Refused(NO_JOURNAL_REMOTE), "Space to keep free"),
    option(
        "forward-journal-max-file-size",
        Required("BYTES"),
        Refused(NO_JOURNAL_REMOTE),
        "Size of a file of it",
    ),
    option("forward-journal-max-files", Required("N"), Refused(NO_JOURNAL_REMOTE), "Number of files of it"),
];

static MOUNTS: &[Option] = &[
    option("bind", Required("PATH[:PATH[:OPTIONS]]"), Setting, "Bind mount a path of the host"),
    option("bind-ro", Required("PATH[:PATH[:OPTIONS]]"), Setting, "The same, read-only"),
    option("inaccessible", Required("PATH"), Setting, "Hide a file or directory"),
    option("tmpfs", Required("PATH[:OPTIONS]"), Setting, "Mount an empty tmpfs"),
    option("overlay", Required("LOWER[:LOWER...]:UPPER:PATH"), Setting, "Mount an overlay of directories"),
    option("overlay-ro", Required("LOWER[:LOWER...]:PATH"), Setting, "The same, read-only"),
    option("bind-user", Required("NAME"), Refused(NO_BOUND_USERS), "User of the host to bind"),
    option("bind-user-shell", Required("BOOL|PATH"), Refused(NO_BOUND_USERS), "Shell of that user"),
    option("bind-user-group", Required("GROUP"), Refused(NO_BOUND_USERS), "Group of that user"),
];

static CONSOLE: &[Option] = &[
    option("console", Required("MODE"), Setting, "interactive, read-only, passive, pipe or autopipe"),
    letter('P', "pipe", NO, Word("console.mode", "pipe"), "The same as --console=pipe"),
    option("background", Required("COLOR"), Nothing, "The terminal keeps its colours"),
];

static CREDENTIALS: &[Option] = &[
    option("set-credential", Required("ID:VALUE"), Setting, "Give it a credential"),
    option("load-credential", Required("ID:PATH"), Setting, "Give it a credential from a file"),
];

static OTHER: &[Option] = &[
    option("system", NO, Nothing, "Run it for the system, as is always done"),
    option("user", OptionalOrNext("NAME"), Own, "With a name, the same as --uid=; alone it is not supported"),
    option("share-system", NO, Refused("namespaces are not shared with the host"), ""),
    option("introspect-cli", NO, Refused("--help is for people only"), ""),
];
