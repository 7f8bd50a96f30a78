//! What runs: `[execution]`.

use std::time::Duration;

use super::key::{Key, Kind, NspawnKey};
use crate::settings::{
    PRACTICALLY_FOR_EVER, ValueError, Variable, parse_boolean, parse_duration, parse_guest_path, parse_user,
};

pub(super) static KEYS: &[Key] = &[
    Key::new("execution", "boot", Kind::Boolean, |draft, given| {
        draft.boot = Some(parse_boolean(given.text)?);
        Ok(())
    })
    .option("--boot")
    .nspawn(&[NspawnKey::new("Exec", "Boot")])
    .default("yes, unless a command is given"),
    Key::new("execution", "parameters", Kind::Command, |draft, given| {
        draft.parameters.push(given.raw.to_owned());
        Ok(())
    })
    .nspawn(&[NspawnKey::words("Exec", "Parameters")])
    .about("The command that is run; with boot, the arguments of the init")
    .default("none"),
    Key::new("execution", "init", Kind::Text, |draft, given| {
        draft.init = Some(parse_guest_path(given.text)?);
        Ok(())
    })
    .option("--init=")
    .default("the init that is found in the tree"),
    Key::new("execution", "process-two", Kind::Boolean, |draft, given| {
        draft.process_two = Some(parse_boolean(given.text)?);
        Ok(())
    })
    .option("--as-pid2")
    .nspawn(&[NspawnKey::new("Exec", "ProcessTwo")])
    .default("yes"),
    Key::new("execution", "chdir", Kind::Text, |draft, given| {
        draft.settings.chdir = Some(parse_guest_path(given.text)?);
        Ok(())
    })
    .option("--chdir=")
    .nspawn(&[NspawnKey::new("Exec", "WorkingDirectory")])
    .default("/, or the user's home directory for a command"),
    Key::new("execution", "user", Kind::Text, |draft, given| {
        draft.settings.user = Some(parse_user(given.text)?);
        Ok(())
    })
    .option("--uid=")
    .nspawn(&[NspawnKey::new("Exec", "User")])
    .default("root"),
    Key::new("execution", "setenv", Kind::Pairs('='), |draft, given| {
        draft.variables.push(Variable::parse(given.raw)?);
        Ok(())
    })
    .option("--setenv=")
    .nspawn(&[NspawnKey::words("Exec", "Environment")])
    .secret()
    .default("none"),
    Key::new("execution", "kill-signal", Kind::Text, |draft, given| {
        draft.settings.kill_signal = Some(given.text.parse()?);
        Ok(())
    })
    .option("--kill-signal=")
    .nspawn(&[NspawnKey::new("Exec", "KillSignal")])
    .default("the init's own way to power off"),
    Key::new("execution", "notify-ready", Kind::Boolean, |draft, given| {
        draft.settings.notify_ready = parse_boolean(given.text)?;
        Ok(())
    })
    .option("--notify-ready=")
    .nspawn(&[NspawnKey::new("Exec", "NotifyReady")])
    .default("no"),
    Key::new("execution", "suppress-sync", Kind::Boolean, |draft, given| {
        draft.settings.suppress_sync = parse_boolean(given.text)?;
        Ok(())
    })
    .option("--suppress-sync=")
    .nspawn(&[NspawnKey::new("Exec", "SuppressSync")])
    .default("no"),
    Key::new("execution", "timeout-ready", Kind::Number, |draft, given| {
        draft.settings.timeout_ready = parse_timeout_ready(given.text)?;
        Ok(())
    })
    .option("--timeout-ready=")
    .default("infinity"),
    Key::new("execution", "timeout-stop", Kind::Number, |draft, given| {
        let limit = parse_duration(given.text)?;
        draft.settings.timeout_stop = limit.unwrap_or(PRACTICALLY_FOR_EVER).min(PRACTICALLY_FOR_EVER);
        Ok(())
    })
    .option("--timeout-stop=")
    .default("90s"),
    Key::new("execution", "boot-clock", Kind::Boolean, |draft, given| {
        draft.settings.boot_clock = parse_boolean(given.text)?;
        Ok(())
    })
    .option("--boot-clock=")
    .default("yes"),
];

/// Nobody can be ready in no time: `0`, which systemd units write for "no limit", would only mislead.
fn parse_timeout_ready(text: &str) -> Result<Option<Duration>, ValueError> {
    match parse_duration(text)? {
        Some(Duration::ZERO) => Err(ValueError::new(text, "is no time at all", "infinity waits for ever")),
        limit => Ok(limit.map(|limit| limit.min(PRACTICALLY_FOR_EVER))),
    }
}
