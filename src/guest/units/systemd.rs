//! `systemctl show`: speaks to PID 1 over its private socket, so that it works before there is a message bus.

use super::{Answer, Look, Reader, Wanted};

const PROPERTIES: &str = "LoadState,ActiveState,SubState,Result,Type,ConditionResult,ConditionTimestampMonotonic,\
                          InactiveEnterTimestampMonotonic";

pub(super) fn look(wanted: &Wanted) -> Look {
    let (name, suffix) = match wanted {
        Wanted::Unit(name) => (name, ".service"),
        Wanted::Target(name) => (name, ".target"),
    };
    // What has no suffix that is a unit's is short for a service, as for systemctl(1).
    const SUFFIXES: [&str; 11] = [
        ".automount",
        ".device",
        ".mount",
        ".path",
        ".scope",
        ".service",
        ".slice",
        ".socket",
        ".swap",
        ".target",
        ".timer",
    ];
    let whole = SUFFIXES.iter().any(|known| name.ends_with(known));
    let name = if whole { name.clone() } else { format!("{name}{suffix}") };
    let property = format!("--property={PROPERTIES}");
    Look::Program {
        argv: ["systemctl", "show", &property, "--", &name].into_iter().map(str::to_owned).collect(),
        reader: Reader::Systemctl,
    }
}

pub(super) fn read(status: i32, output: &str) -> Answer {
    if status != 0 {
        return Answer::not_yet("systemd does not answer");
    }
    let get = |name: &str| {
        output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    let has_been = |timestamp: &str| !matches!(get(timestamp), "" | "0");
    match get("LoadState") {
        "" => return Answer::not_yet("systemd does not answer"),
        "not-found" => return Answer::never("there is no such unit"),
        state @ ("masked" | "bad-setting" | "error") => return Answer::never(format!("the unit is {state}")),
        _ => {}
    }
    match (get("ActiveState"), get("SubState")) {
        ("active" | "reloading" | "refreshing", _) => Answer::Holds,
        ("failed", _) => Answer::never(format!("the unit has failed: {}", get("Result"))),
        ("inactive", _) if get("ConditionResult") == "no" && has_been("ConditionTimestampMonotonic") => {
            Answer::never("the unit was skipped: a condition of it does not hold")
        }
        // It has done what it had to do.
        ("inactive", _)
            if get("Type") == "oneshot"
                && get("Result") == "success"
                && has_been("InactiveEnterTimestampMonotonic") =>
        {
            Answer::Holds
        }
        (active, sub) => Answer::not_yet(format!("the unit is {active} ({sub})")),
    }
}
