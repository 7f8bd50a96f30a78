//! `spinney logs`

use std::io::IsTerminal;

use super::{fail, named};
use crate::cli::EXIT_FAILURE;
use crate::cli::logs::render::{Format, Renderer};
use crate::cli::logs::request::{self, BadValue, Request, value};
use crate::cli::logs::{journal, text};
use crate::cli::output::Output;
use crate::cli::refusal::Message;
use crate::machine::Error;
use crate::machine::logs::{Places, Source};

const EXAMPLES: &str = "\
Examples:
  spinney logs web                           all that it has logged, also after its end
  spinney logs -f web                        the last lines, and what comes, until the machine ends
  spinney logs -u ssh -p err --since=-1h web what went wrong with ssh within the last hour
  spinney logs -b -n 20 web                  the last lines of the last boot
  spinney logs --source=console web          what it wrote on its console
  spinney logs --json web | jq .MESSAGE      entries with all their fields, one a line

By default the guest's journal is shown; where it has none its syslog, and where it has neither its console.";

/// Show what a machine has logged
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, override_usage = "spinney logs [OPTIONS] NAME")]
pub struct LogsArguments {
    /// The machine
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Go on with what it logs from now on, until it ends
    #[arg(short, long)]
    follow: bool,

    /// Only the newest N lines, or 'all' (10 with --follow, else all)
    #[arg(short = 'n', long, value_name = "N|all", allow_hyphen_values = true)]
    lines: Option<String>,

    /// Nothing older: '2026-11-22 10:00', 10:00, today, yesterday, '10 min ago', -1h, @SECONDS
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,

    /// Nothing newer
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,

    /// Only of this unit; may be a pattern with * and ?, and be given several times
    #[arg(short, long, value_name = "UNIT")]
    unit: Vec<String>,

    /// Only what is this important or more: emerg, alert, crit, err, warning, notice, info, debug, 0 to 7, or A..B
    #[arg(short, long, value_name = "PRIORITY")]
    priority: Option<String>,

    /// Only of this boot: 0 the last, -1 the one before it, 1 the first, or its id
    #[arg(short, long, value_name = "BOOT", num_args = 0..=1, default_missing_value = "0", allow_negative_numbers = true)]
    boot: Option<String>,

    /// The newest first
    #[arg(short, long)]
    reverse: bool,

    /// How: short, short-iso, short-precise, short-monotonic, cat, verbose or json
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,

    /// An object an entry, one a line: --output=json
    #[arg(long)]
    json: bool,

    /// Leave out the hostname
    #[arg(long)]
    no_hostname: bool,

    /// This log: journal, syslog, console or supervisor
    #[arg(long, value_name = "LOG")]
    source: Option<String>,

    /// Tell which log it is
    #[arg(short, long)]
    verbose: bool,
}

/// Runs the verb, gives the exit status.
pub fn logs(arguments: &LogsArguments) -> u8 {
    let output = Output::new(false);
    let refuse = |message: String, hint: &str| {
        output.error(&Message::new(message), Some(hint));
        EXIT_FAILURE
    };
    let (name, boot) = name_and_boot(arguments);
    let Some(name) = name else {
        return refuse("no machine given".to_owned(), "spinney logs NAME; spinney list shows those that run");
    };
    let request = match typed(arguments, boot) {
        Ok(request) => request,
        Err(error) => return refuse(error.to_string(), error.hint()),
    };
    if request.follow && request.reverse {
        return refuse("--reverse does not go with --follow".to_owned(), "leave out one of them");
    }
    match named(name).and_then(|name| show(Places::find(&name)?, &request, output)) {
        Ok(()) => 0,
        Err(error) => fail(&error, output),
    }
}

/// A boot may be left out, so that what follows `-b` may be the machine.
fn name_and_boot(arguments: &LogsArguments) -> (Option<&str>, Option<&str>) {
    let boot = arguments.boot.as_deref();
    match (arguments.name.as_deref(), boot) {
        (None, Some(name)) if request::boot(name).is_err() => (Some(name), Some("0")),
        (name, boot) => (name, boot),
    }
}

fn typed(arguments: &LogsArguments, boot: Option<&str>) -> Result<Request, BadValue> {
    let text = Option::as_deref;
    let format = value("--output=", text(&arguments.output), request::format)?.unwrap_or(Format::Short);
    Ok(Request {
        follow: arguments.follow,
        lines: value("--lines=", text(&arguments.lines), request::lines)?.unwrap_or_default(),
        all: text(&arguments.lines) == Some("all"),
        reverse: arguments.reverse,
        filter: request::filter(
            &arguments.unit,
            text(&arguments.priority),
            text(&arguments.since),
            text(&arguments.until),
        )?,
        boot: value("--boot=", boot, request::boot)?,
        source: value("--source=", text(&arguments.source), request::source)?,
        format: if arguments.json { Format::Json } else { format },
        hostname: !arguments.no_hostname,
        verbose: arguments.verbose,
    })
}

fn show(places: Places, request: &Request, output: Output) -> Result<(), Error> {
    let terminal = std::io::stdout().is_terminal();
    let renderer = || Renderer::new(request.format, request.hostname, terminal, output.colours_results());
    let sources = request.source.map_or_else(|| Source::ALL.to_vec(), |source| vec![source]);
    let name = places.name().to_string();
    for source in sources {
        if source == Source::Journal {
            if let Some(viewer) = journal::Viewer::open(&places, request, renderer(), output) {
                let files = viewer.files();
                let files = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
                tell(request, output, &format!("the journal of {name}, {files}"));
                return viewer.show(places);
            }
        } else if let Some(viewer) = text::Viewer::open(&places, source, request, renderer(), output) {
            only_a_journal_can(request, source, &name)?;
            tell(request, output, &format!("the {} log of {name}", source.name()));
            return viewer.show(places);
        }
    }
    Err(match request.source {
        Some(source) => Error::NoSuchLog { name, log: source.name() },
        None => Error::NoLogs { name },
    })
}

fn tell(request: &Request, output: Output, text: &str) {
    if request.verbose {
        output.status(text);
    }
}

/// Refuses what lines of text do not tell.
fn only_a_journal_can(request: &Request, source: Source, name: &str) -> Result<(), Error> {
    let filter = &request.filter;
    let asked = [
        ("--unit", !filter.units.is_empty()),
        ("--priority", filter.priority.is_some()),
        ("--boot", request.boot.is_some()),
        ("--since", filter.since.is_some() && source == Source::Console),
        ("--until", filter.until.is_some() && source == Source::Console),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        None => Ok(()),
        Some((option, _)) => Err(Error::NotInLog { option, name: name.to_owned(), log: source.name() }),
    }
}
