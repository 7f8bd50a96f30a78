//! `spinney set`: changes limits of running machines.

use serde_json::{Value, json};

use super::each;
use crate::cli::EXIT_FAILURE;
use crate::cli::limit_options::LimitOptions;
use crate::cli::output::Output;
use crate::cli::refusal::Message;
use crate::machine::{Control, Error, MachineHandle};
use crate::settings::Limits;

const EXAMPLES: &str = "\
Examples:
  spinney set web --memory-max=1G --cpu-quota=150%
  spinney set web db --property=TasksMax=500
  spinney set web --memory-max=infinity    take the limit away

They hold until the machine is off, over reboots too. Without an option it prints the limits that hold.";

/// Change the limits of running machines
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SetArguments {
    /// The machines, and limits as properties: MemoryMax=1G
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// The limits
    #[command(flatten)]
    limits: LimitOptions,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,

    /// Print the limits that hold then as JSON, an object a machine
    #[arg(long)]
    json: bool,
}

/// Runs the verb, gives the exit status.
pub fn set(arguments: &SetArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    // `systemctl set-property NAME PROPERTY=VALUE...`: no machine has a name with a '='.
    let (properties, names): (Vec<String>, Vec<String>) =
        arguments.names.iter().cloned().partition(|word| word.contains('='));
    let options = arguments.limits.clone().with_properties(properties);
    let limits = match options.limits() {
        Ok(limits) => limits,
        Err(error) => {
            output.error(&error, error.hint());
            return EXIT_FAILURE;
        }
    };
    if names.is_empty() {
        output.error(&Message::new("no machine given"), Some("spinney set NAME --memory-max=1G"));
        return EXIT_FAILURE;
    }
    if !options.is_empty() && limits.is_empty() {
        let hint = "infinity takes a limit away: --memory-max=infinity; the usual weight is 100";
        output.error(&Message::new("an empty value changes nothing"), Some(hint));
        return EXIT_FAILURE;
    }
    each(&names, output, |machine| {
        let (held, warnings) = if limits.is_empty() {
            (machine.state().limits.clone(), Vec::new())
        } else {
            change(machine, &limits)?
        };
        warnings.iter().for_each(|warning| output.warning(warning));
        if arguments.json {
            // A limit is text: that it is JSON cannot fail.
            let _ = output.json(&json!({ "name": machine.name().as_str(), "limits": held }));
        } else if limits.is_empty() {
            output.text(&shown(machine, &held));
        } else {
            let changed: Vec<String> = limits.texts().map(|(key, _)| key.property.to_owned()).collect();
            output.status(&format!("{}: {} changed", machine.name(), changed.join(", ")));
        }
        Ok(())
    })
}

/// Asks the machine's supervisor.
fn change(machine: &MachineHandle, limits: &Limits) -> Result<(Limits, Vec<String>), Error> {
    let mut control = Control::connect(machine)?;
    let mut results = control.call("org.spinney.Machine.SetLimits", json!({ "limits": limits }))?;
    let mut take = |key: &str| results.get_mut(key).map(Value::take).unwrap_or_default();
    let held = serde_json::from_value(take("limits")).unwrap_or_default();
    Ok((held, serde_json::from_value(take("warnings")).unwrap_or_default()))
}

/// Limits as `systemctl show` has properties.
fn shown(machine: &MachineHandle, limits: &Limits) -> String {
    if limits.is_empty() {
        return format!("{} has no limits\n", machine.name());
    }
    let lines = limits.texts().flat_map(|(key, texts)| {
        texts.into_iter().map(|text| format!("{}={text}\n", key.property)).collect::<Vec<_>>()
    });
    lines.collect()
}
