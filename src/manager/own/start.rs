//! Machines on their way up: `spinney run --detach`, as a job that ends when the machine is ready.

use serde_json::json;
use zbus::OwnedObjectPath;
use zbus::message::Header;

use super::job::{self, About};
use super::machine_path;
use super::options::StartOptions;
use super::variants::Dictionary;
use super::verb::Verb;
use crate::machine::{MachineHandle, find_image};
use crate::manager::context::Context;
use crate::manager::problem::{Kind, Problem};
use crate::manager::systemd;
use crate::settings::{MachineName, handed};
use crate::sys::files::memory_file;

/// The objects of a machine that is being started, and of its start.
pub type Started = (OwnedObjectPath, OwnedObjectPath);

/// Starts the machine `name` from its image.
///
/// # Errors
/// What is wrong before its PID 1 runs; with `wait`, before it is ready.
pub async fn start(
    context: &Context,
    header: &Header<'_>,
    name: &str,
    options: &Dictionary,
) -> Result<Started, Problem> {
    let asked = StartOptions::of(options)?;
    let name = machine_name(name)?;
    if asked.machine.as_ref().is_some_and(|machine| machine != name.as_str()) {
        return Err(invalid("The machine has two names"));
    }
    free(&name)?;
    find_image::find(&name)?;
    let plain = asked.settings.is_empty() && asked.parameters.is_empty();
    // As `spinney start` has it: what the user's drop-ins say of a service is to hold.
    let verb = match plain && systemd::has_units() {
        true => Verb::new(["start", "--quiet", "--", name.as_str()]),
        false => verb(RUN, &asked, Some(&name), None)?,
    };
    begin(context, header, Some(name), verb, asked.wait).await
}

/// Runs a tree, an image or what is pulled by a reference; `command` in place of its init, if there is one.
///
/// # Errors
/// As [`start`].
pub async fn run(
    context: &Context,
    header: &Header<'_>,
    tree: &str,
    command: Vec<String>,
    options: &Dictionary,
) -> Result<Started, Problem> {
    let mut asked = StartOptions::of(options)?;
    if !command.is_empty() && !asked.parameters.is_empty() {
        return Err(invalid("There are two commands: command and parameters"));
    }
    if !command.is_empty() {
        asked.parameters = command;
    }
    let (name, tree) = tree_of(&asked, tree)?;
    if let Some(name) = &name {
        free(name)?;
    }
    let verb = verb(RUN, &asked, name.as_ref(), Some(&tree))?;
    begin(context, header, name, verb, asked.wait).await
}

/// How Run or Start would make a machine, and where each setting comes from: JSON (spinney-explain(1)).
///
/// # Errors
/// As [`run`].
pub async fn explain(tree: &str, options: &Dictionary) -> Result<String, Problem> {
    let asked = StartOptions::of(options)?;
    let (name, tree) = tree_of(&asked, tree)?;
    let verb = verb(&["run", "--explain=json"], &asked, name.as_ref(), Some(&tree))?;
    Ok(verb.run().await?.last.to_string())
}

/// The machine's name, as far as it is known, and the tree; a name without a slash is that of an image before anything else.
fn tree_of(asked: &StartOptions, tree: &str) -> Result<(Option<MachineName>, String), Problem> {
    let name = asked.machine.as_deref().map(machine_name).transpose()?;
    if tree.is_empty() {
        return Err(invalid("No tree given"));
    }
    let image =
        Some(tree).filter(|tree| !tree.contains('/')).and_then(|tree| tree.parse::<MachineName>().ok());
    match image.and_then(|image| Some((find_image::find(&image).ok()?, image))) {
        Some((path, image)) => Ok((name.or(Some(image)), path.to_string_lossy().into_owned())),
        None => Ok((name, tree.to_owned())),
    }
}

/// What a line begins with that runs something in the background.
const RUN: &[&str] = &["run", "--detach", "--quiet"];

/// The verb that does it. Settings, credentials among them, do not stand in its command line, which everybody may read.
fn verb(
    words: &[&str],
    asked: &StartOptions,
    name: Option<&MachineName>,
    tree: Option<&str>,
) -> Result<Verb, Problem> {
    let settings = memory_file(c"options", &handed::written(&asked.settings));
    let settings = settings.map_err(|error| Problem::of(Kind::Failed, &error, None))?;
    Ok(Verb::new(line(words, asked, name, tree)).stdin(settings))
}

/// The words that everybody may read: which machine, which tree, which command.
fn line(words: &[&str], asked: &StartOptions, name: Option<&MachineName>, tree: Option<&str>) -> Vec<String> {
    let (run, options) = words.split_at(1);
    let mut line: Vec<String> =
        run.iter().chain(&[handed::WORD]).chain(options).map(|word| (*word).to_owned()).collect();
    line.extend(name.map(|name| format!("--machine={name}")));
    match tree {
        Some(tree) if tree.starts_with('/') => line.push(format!("--directory={tree}")),
        // A name or a reference; one that looks like an option is none of these.
        Some(tree) => line.push(tree.trim_start_matches('-').to_owned()),
        None => {}
    }
    if !asked.parameters.is_empty() {
        line.push("--".to_owned());
        line.extend(asked.parameters.iter().cloned());
    }
    line
}

/// Comes back when the machine is there, or its start has failed; where nobody knows its name, or the caller `wait`s, when it is
/// ready.
async fn begin(
    context: &Context,
    header: &Header<'_>,
    name: Option<MachineName>,
    verb: Verb,
    wait: bool,
) -> Result<Started, Problem> {
    let place = job::reserve(context).await?;
    let running = verb.spawn()?;
    let process = running.process()?;
    let known = name.as_ref().map(ToString::to_string);
    let work = async move {
        let ended = running.ended(|_| {}).await?.well()?;
        // `run` prints the name.
        Ok(json!({ "machine": known.unwrap_or(ended.text) }))
    };
    let about = About::machine("start", name.as_ref().map_or("", MachineName::as_str), header);
    let job = place.begin(about, Some(process), work).await?;
    let name = match name {
        Some(name) if !wait => {
            let name = name.to_string();
            let mut over = std::pin::pin!(job.wait());
            loop {
                let arrival = context.arrivals().notified();
                if context.machines().get(&name).is_some_and(|machine| machine.is_there()) {
                    break;
                }
                tokio::select! {
                    biased;
                    outcome = &mut over => {
                        outcome?;
                        break;
                    }
                    () = arrival => {}
                }
            }
            name
        }
        _ => job.wait().await?.get("machine").and_then(|name| name.as_str()).unwrap_or_default().to_owned(),
    };
    // Its object is there before the caller hears of it; a command may be over by now.
    let _ = context.machine(&name).await;
    Ok((machine_path(&name), job.path()))
}

fn machine_name(name: &str) -> Result<MachineName, Problem> {
    name.parse().map_err(|source| crate::machine::Error::Name { source }.into())
}

fn free(name: &MachineName) -> Result<(), Problem> {
    match MachineHandle::find(name) {
        Ok(_) => Err(crate::machine::Error::RunningAlready { name: name.to_string() }.into()),
        Err(_) => Ok(()),
    }
}

fn invalid(text: impl Into<String>) -> Problem {
    Problem::new(Kind::InvalidArgument, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let asked = StartOptions {
            settings: vec!["--ephemeral=yes".to_owned()],
            parameters: vec!["-s".to_owned()],
            ..StartOptions::default()
        };
        let name: MachineName = "web".parse().unwrap();
        let of = |name: Option<&MachineName>, tree| line(RUN, &asked, name, tree).join(" ");
        let begin = "run --options-on-stdin --detach --quiet";
        assert_eq!(of(Some(&name), None), format!("{begin} --machine=web -- -s"));
        assert_eq!(of(None, Some("/srv/x")), format!("{begin} --directory=/srv/x -- -s"));
        assert_eq!(of(None, Some("debian:13")), format!("{begin} debian:13 -- -s"));
        // It is no option.
        assert_eq!(of(None, Some("--image=/x")), format!("{begin} image=/x -- -s"));
    }
}
