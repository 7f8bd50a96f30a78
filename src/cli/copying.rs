//! What `spinney copy-to` and `spinney copy-from` have in common.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::EXIT_FAILURE;
use super::output::Output;
use super::refusal::Message;
use super::transfer_bar::{TransferBar, bytes};
use super::verbs::{fail, named};
use crate::machine::copy::{Copied, CopyOptions, CopyRequest, Direction, copy, is_stream};
use crate::machine::{Error, MachineHandle};
use crate::settings::parse_duration;

/// What both take.
#[derive(Debug, clap::Args)]
pub struct CopyArguments {
    /// The machine
    #[arg(value_name = "NAME")]
    name: String,

    /// What to copy and, last, where to; with one path alone the copy has the same path
    #[arg(value_name = "SRC... [DST]", required = true, num_args = 1..)]
    paths: Vec<OsString>,

    /// Replace files that exist (a directory is never replaced)
    #[arg(short = 'f', long)]
    force: bool,

    /// Owner of the copies, by number [default: as in the source]
    #[arg(long, alias = "owner", value_name = "UID[:GID]")]
    chown: Option<String>,

    /// Leave out what is on other file systems below SRC
    #[arg(short = 'x', long)]
    one_file_system: bool,

    /// Give up when nothing moves for so long
    #[arg(long, value_name = "SPAN", default_value = "60s")]
    timeout: String,

    /// Print what was copied as JSON
    #[arg(long)]
    json: bool,

    /// No progress bar, and nothing said when all is well
    #[arg(short, long)]
    quiet: bool,
}

/// Why a command line asks for nothing that can be done.
fn refused(output: Output, message: &str, hint: &str) -> u8 {
    output.error(&Message::new(message.to_owned()), Some(hint));
    EXIT_FAILURE
}

/// Copies, tells what was copied and what was not, gives the exit status.
pub(super) fn perform(arguments: &CopyArguments, direction: Direction, keep_privileges: bool) -> u8 {
    let output = Output::new(arguments.quiet);
    let options = match options(arguments, keep_privileges) {
        Ok(options) => options,
        Err((message, hint)) => return refused(output, &message, hint),
    };
    let (sources, destination) = match paths(arguments, direction) {
        Ok(paths) => paths,
        Err((message, hint)) => return refused(output, &message, hint),
    };
    let machine = match named(&arguments.name).and_then(|name| MachineHandle::find(&name)) {
        Ok(machine) => machine,
        Err(error) => return fail(&error, output),
    };
    let what = match direction {
        Direction::In => format!("to {}", machine.name()),
        Direction::Out => format!("from {}", machine.name()),
    };
    let bar = TransferBar::new(what, arguments.quiet || arguments.json);
    let started = Instant::now();
    let request = CopyRequest { machine: &machine, direction, sources, destination, options };
    let result = copy(&request, &mut |count| bar.moved(count));
    bar.finish();
    match result {
        Ok(copied) => done(&copied, started.elapsed(), arguments, output),
        Err(error) => {
            if let Error::Copy { copied, .. } = &error {
                tell_notes(copied, output);
                // Of what the machine was sent only its child could have told; if it did, something is there.
                if copied.counts.files > 0 {
                    output.status(&format!("{} were copied before, and are whole", amount(copied)));
                }
            }
            fail(&error, output)
        }
    }
}

fn done(copied: &Copied, took: Duration, arguments: &CopyArguments, output: Output) -> u8 {
    tell_notes(copied, output);
    if arguments.json {
        let value = serde_json::json!({
            "files": copied.counts.files,
            "directories": copied.counts.directories,
            "bytes": copied.counts.bytes,
            "seconds": took.as_secs_f64(),
            "notes": copied.notes.lines(),
        });
        if let Err(error) = output.json(&value) {
            output.error(&error, None);
            return EXIT_FAILURE;
        }
    } else {
        output.status(&format!("copied {} in {:.1} s", amount(copied), took.as_secs_f64()));
    }
    if copied.notes.has_faults() { EXIT_FAILURE } else { 0 }
}

fn tell_notes(copied: &Copied, output: Output) {
    for line in copied.notes.lines() {
        output.warning(&line);
    }
}

fn amount(copied: &Copied) -> String {
    let counts = copied.counts;
    let plural =
        |count: u64, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
    let files = plural(counts.files, "file", "files");
    if counts.directories == 0 {
        return format!("{files}, {}", bytes(counts.bytes));
    }
    format!("{files} and {}, {}", plural(counts.directories, "directory", "directories"), bytes(counts.bytes))
}

type Refused = (String, &'static str);

fn options(arguments: &CopyArguments, keep_privileges: bool) -> Result<CopyOptions, Refused> {
    let patience = parse_duration(&arguments.timeout).map_err(|error| {
        (format!("--timeout={}: {}", arguments.timeout, error.problem()), "as in --timeout=90s, or infinity")
    })?;
    let owner = arguments.chown.as_deref().map(owner).transpose()?;
    Ok(CopyOptions {
        replace: arguments.force,
        keep_privileges,
        one_file_system: arguments.one_file_system,
        owner,
        patience,
    })
}

/// `UID[:GID]`; the group's number is the user's unless it is given.
fn owner(text: &str) -> Result<(u32, u32), Refused> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    let id = |text: &str| text.parse().ok().filter(|id| *id != u32::MAX);
    match (id(uid), id(gid)) {
        (Some(uid), Some(gid)) => Ok((uid, gid)),
        _ => Err((
            format!("--chown={text:?} is no owner"),
            "numbers, as in --chown=1000:100: names are the machine's own",
        )),
    }
}

type Paths = (Vec<PathBuf>, Option<PathBuf>);

/// Splits the operands, and makes the host's paths absolute.
fn paths(arguments: &CopyArguments, direction: Direction) -> Result<Paths, Refused> {
    let mut sources: Vec<PathBuf> = arguments.paths.iter().map(PathBuf::from).collect();
    let destination = if sources.len() > 1 { sources.pop() } else { None };
    refuse_streams(arguments, direction, &sources, destination.as_deref())?;
    let ours = |path: PathBuf| if is_stream(&path) { Ok(path) } else { host_path(&path) };
    let (sources, destination) = match direction {
        Direction::In => {
            (sources.into_iter().map(ours).collect::<Result<_, _>>(), destination.map(guest_path).transpose())
        }
        Direction::Out => {
            (sources.into_iter().map(guest_path).collect::<Result<_, _>>(), destination.map(ours).transpose())
        }
    };
    Ok((sources?, destination?))
}

/// Says no where a stream makes no sense.
fn refuse_streams(
    arguments: &CopyArguments,
    direction: Direction,
    sources: &[PathBuf],
    destination: Option<&Path>,
) -> Result<(), Refused> {
    let streams = sources.iter().filter(|source| is_stream(source)).count();
    let to_stream = destination.is_some_and(is_stream);
    let (message, hint) = match direction {
        Direction::In if to_stream => {
            ("'-' is no destination in a machine", "a tar stream comes from stdin: copy-to NAME - DIRECTORY")
        }
        Direction::Out if streams > 0 => {
            ("'-' is no source in a machine", "a tar stream goes to stdout: copy-from NAME SRC... -")
        }
        Direction::In if streams > 0 && (sources.len() > 1 || destination.is_none()) => (
            "a tar stream needs a directory to go to, and nothing beside it",
            "spinney copy-to NAME - DIRECTORY",
        ),
        Direction::In if streams > 0 && std::io::stdin().is_terminal() => {
            ("stdin is a terminal, not a tar stream", "tar -c FILE... | spinney copy-to NAME - DIRECTORY")
        }
        Direction::Out if to_stream && std::io::stdout().is_terminal() => {
            ("stdout is a terminal, which no tar stream is for", "spinney copy-from NAME SRC... - > FILE.tar")
        }
        Direction::Out if to_stream && arguments.json => {
            ("--json and the tar stream would both be on stdout", "leave --json out")
        }
        _ => return Ok(()),
    };
    Err((message.to_owned(), hint))
}

/// Joins a path to the working directory; a trailing slash or dot, which means something, stays.
fn host_path(path: &Path) -> Result<PathBuf, Refused> {
    if path.as_os_str().is_empty() {
        return Err(("a path is empty".to_owned(), "name a file or directory"));
    }
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let directory = std::env::current_dir()
        .map_err(|error| (format!("there is no working directory: {error}"), "give absolute paths"))?;
    Ok(directory.join(path))
}

fn guest_path(path: PathBuf) -> Result<PathBuf, Refused> {
    if path.as_os_str().as_bytes().starts_with(b"/") {
        return Ok(path);
    }
    Err((
        format!("{path:?} is no absolute path in the machine"),
        "a machine has no working directory: give the whole path",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        let rows = [
            ("0", Some((0, 0))),
            ("1000", Some((1000, 1000))),
            ("1000:5", Some((1000, 5))),
            ("root", None),
            ("1:", None),
            (":1", None),
            ("4294967295", None),
            ("-1", None),
        ];
        for (text, expected) in rows {
            assert_eq!(owner(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn guest_paths_are_absolute() {
        for (path, good) in [("/etc", true), ("/", true), ("etc", false), ("", false), ("./x", false)] {
            assert_eq!(guest_path(path.into()).is_ok(), good, "{path}");
        }
    }
}
