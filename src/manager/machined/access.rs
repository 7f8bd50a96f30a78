//! Which methods of machines take which action of polkit: as systemd-machined has it (its policy file, and polkit(8)).
//!
//! Reading what /run and /proc tell everybody takes none. What looks into a machine's files is its own action, as is each way in.

use super::known::Known;
use crate::manager::authority::Caller;
use crate::manager::context::Context;
use crate::manager::problem::Problem;

/// What a caller needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Everybody,
    /// This action; the other on the host itself.
    Action(&'static str, &'static str),
}

const MANAGE: Access =
    Access::Action("org.freedesktop.machine1.manage-machines", "org.freedesktop.machine1.manage-machines");
const INSPECT: Access =
    Access::Action("org.freedesktop.machine1.inspect-machines", "org.freedesktop.machine1.inspect-machines");

/// Methods by what they do, whichever interface they are called on, and the word for it where one action stands for several
/// (`verb`).
pub const METHODS: &[(&str, Access)] = &[
    ("get", Access::Everybody),
    ("list", Access::Everybody),
    ("addresses", Access::Everybody),
    ("uid-shift", Access::Everybody),
    ("map", Access::Everybody),
    ("ssh-info", INSPECT),
    ("os-release", INSPECT),
    (
        "create",
        Access::Action("org.freedesktop.machine1.create-machine", "org.freedesktop.machine1.create-machine"),
    ),
    (
        "register",
        Access::Action(
            "org.freedesktop.machine1.register-machine",
            "org.freedesktop.machine1.register-machine",
        ),
    ),
    ("unregister", MANAGE),
    ("terminate", MANAGE),
    ("kill", MANAGE),
    ("bind", MANAGE),
    ("copy", MANAGE),
    ("open-root", MANAGE),
    (
        "open-pty",
        Access::Action("org.freedesktop.machine1.open-pty", "org.freedesktop.machine1.host-open-pty"),
    ),
    ("login", Access::Action("org.freedesktop.machine1.login", "org.freedesktop.machine1.host-login")),
    ("shell", Access::Action("org.freedesktop.machine1.shell", "org.freedesktop.machine1.host-shell")),
    (
        "set-pool-limit",
        Access::Action("org.freedesktop.machine1.manage-images", "org.freedesktop.machine1.manage-images"),
    ),
];

/// What the user who has registered a machine may do to it unasked, as with systemd-machined 262. What mounts, copies or opens its
/// root is not among it: there the manager would do as root what a process of the user's own says.
const OWNERS: [&str; 6] = ["unregister", "terminate", "kill", "open-pty", "login", "shell"];

/// What `method` takes, on the host itself or on a machine; one that is not listed is nobody's but root's.
pub fn action(method: &str, on_host: bool) -> Option<&'static str> {
    let found = METHODS.iter().find(|(name, _)| *name == method).map(|(_, access)| *access);
    match found.unwrap_or(MANAGE) {
        Access::Everybody => None,
        Access::Action(_, host) if on_host => Some(host),
        Access::Action(machine, _) => Some(machine),
    }
}

/// Whether `caller` may do `method` to `machine`. `details` are for the question that polkit asks.
///
/// # Errors
/// When not.
pub async fn check(
    context: &Context,
    caller: &Caller<'_>,
    method: &str,
    machine: &str,
    details: &[(&str, &str)],
) -> Result<(), Problem> {
    let Some(action) = action(method, machine == super::HOST) else { return Ok(()) };
    // polkit may ask a person, who takes time.
    let _busy = context.busy();
    if OWNERS.contains(&method) && has_registered(context, caller, machine).await? {
        return Ok(());
    }
    let about = [("machine", machine), ("verb", method)];
    let details: Vec<(&str, &str)> = about.iter().chain(details).copied().collect();
    caller.check(context.connection(), action, &details).await
}

/// Whether `machine` is another program's, which `caller`'s user has registered. Machines of ours are root's.
async fn has_registered(context: &Context, caller: &Caller<'_>, machine: &str) -> Result<bool, Problem> {
    let Some(Known::Registered(machine)) = Known::get(context, machine) else { return Ok(false) };
    Ok(caller.user(context.connection()).await? == machine.file.uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// polkit refuses what it does not know, whoever asks.
    #[test]
    fn polkit_knows_all_actions() {
        let policy = include_str!("../../../units/org.spinney.machine1.policy");
        for (method, _) in METHODS {
            for action in [false, true].into_iter().filter_map(|on_host| action(method, on_host)) {
                assert!(policy.contains(&format!("<action id=\"{action}\">")), "{method}: {action}");
            }
        }
        assert!(!policy.contains("annotate"), "systemd's may be installed too, and imply less");
    }

    #[test]
    fn actions() {
        let prefix = "org.freedesktop.machine1.";
        let table = [
            ("get", None, None),
            ("list", None, None),
            ("addresses", None, None),
            ("os-release", Some("inspect-machines"), Some("inspect-machines")),
            ("login", Some("login"), Some("host-login")),
            ("shell", Some("shell"), Some("host-shell")),
            ("open-pty", Some("open-pty"), Some("host-open-pty")),
            ("kill", Some("manage-machines"), Some("manage-machines")),
            ("create", Some("create-machine"), Some("create-machine")),
            ("register", Some("register-machine"), Some("register-machine")),
            ("set-pool-limit", Some("manage-images"), Some("manage-images")),
            ("what is not listed", Some("manage-machines"), Some("manage-machines")),
        ];
        for (method, machine, host) in table {
            let strip = |on_host| action(method, on_host).map(|action| action.trim_start_matches(prefix));
            assert_eq!((strip(false), strip(true)), (machine, host), "{method}");
        }
    }
}
