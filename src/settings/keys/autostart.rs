//! When it is started by itself: `[autostart]`.

use std::time::Duration;

use super::key::{BadValue, Key, Kind};
use crate::settings::{MachineName, ValueError, parse_boolean, parse_duration};

pub(super) static KEYS: &[Key] = &[
    Key::new("autostart", "enabled", Kind::Boolean, |draft, given| {
        draft.settings.autostart.enabled = Some(parse_boolean(given.text)?);
        Ok(())
    })
    .machine_only()
    .about("Start it with spinney start --all-enabled, or never do")
    .default("as spinney enable and disable say"),
    Key::new("autostart", "after", Kind::List, |draft, given| {
        add(&mut draft.settings.autostart.after, given.text)
    })
    .machine_only()
    .about("Start it after these machines, if they are started too")
    .default("none"),
    Key::new("autostart", "requires", Kind::List, |draft, given| {
        add(&mut draft.settings.autostart.requires, given.text)
    })
    .machine_only()
    .about("Start these machines with it, and before it; without them it is not started")
    .default("none"),
    Key::new("autostart", "wants", Kind::List, |draft, given| {
        add(&mut draft.settings.autostart.wants, given.text)
    })
    .machine_only()
    .about("Start these machines with it, and before it, if that can be")
    .default("none"),
    Key::new("autostart", "delay", Kind::Number, |draft, given| {
        draft.settings.autostart.delay = parse_delay(given.text)?;
        Ok(())
    })
    .about("Wait so long after all these")
    .default("0"),
];

fn add(machines: &mut Vec<MachineName>, name: &str) -> Result<(), BadValue> {
    let name = name.parse()?;
    if !machines.contains(&name) {
        machines.push(name);
    }
    Ok(())
}

/// The longest delay that makes sense before a machine's start.
const LONGEST_DELAY: Duration = Duration::from_secs(24 * 3600);

/// A machine that waits for ever is one that is not enabled.
fn parse_delay(text: &str) -> Result<Duration, ValueError> {
    const HINT: &str = "a time such as 5s, at most a day";
    match parse_duration(text)? {
        None => Err(ValueError::new(text, "is for ever", "a time such as 5s, or enabled = false")),
        Some(delay) if delay > LONGEST_DELAY => Err(ValueError::new(text, "is longer than a day", HINT)),
        Some(delay) => Ok(delay),
    }
}
