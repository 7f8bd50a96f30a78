//! `spinney search`.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::fail;
use crate::cli::output::table::{Cell, Table};
use crate::cli::output::{Colour, Output};
use crate::supervisor::printable;
use crate::transfer::catalogue::model::{Distro, Source, SourceKind};
use crate::transfer::catalogue::{Catalogue, Error, Reference, Resolved, architecture};
use crate::transfer::simplestreams::Listed;
use crate::transfer::{Context, obtain};

const RULES: &str = "\
WORD is the name of a distro, a piece of it, or of a release; or a reference such as debian:trixie, of which it says what would be tried.

Examples:
  spinney search                    all distros
  spinney search debian             its releases, architectures and sources
  spinney search noble              whose release that is
  spinney search debian:trixie@arm64
  spinney search --online alpine    what the image servers have now

Exit status: 0 when something was found, 125 otherwise.";

/// Look for images in the catalogue
#[derive(Debug, clap::Args)]
#[command(after_help = RULES)]
pub struct SearchArguments {
    /// What to look for
    #[arg(value_name = "WORD")]
    word: Option<String>,

    /// Ask the image servers what they have
    #[arg(long)]
    online: bool,

    /// Names only
    #[arg(short, long)]
    quiet: bool,

    /// JSON
    #[arg(short = 'j', long)]
    json: bool,

    /// No heading
    #[arg(long)]
    no_legend: bool,

    /// Cut no column, however narrow the terminal is
    #[arg(short = 'l', long)]
    full: bool,

    /// Read the catalogue from this directory alone
    #[arg(long, value_name = "DIR")]
    catalogue: Option<PathBuf>,
}

/// Runs the verb, gives the exit status.
pub fn search(arguments: &SearchArguments) -> u8 {
    let output = Output::new(false);
    match look(arguments, output) {
        Ok(()) => 0,
        Err(error) => fail(&error, error.hint(), output),
    }
}

/// The catalogue that `--catalogue=` names, or the system's.
pub(super) fn catalogue(directory: Option<&std::path::Path>) -> Result<Catalogue, Error> {
    match directory {
        Some(directory) => Catalogue::of(directory),
        None => Catalogue::system(),
    }
}

fn look(arguments: &SearchArguments, output: Output) -> Result<(), Error> {
    let catalogue = catalogue(arguments.catalogue.as_deref())?;
    let word = arguments.word.as_deref().unwrap_or_default();
    if arguments.online {
        return online(&catalogue, word, arguments, output);
    }
    if word.contains([':', '@', '/']) {
        let reference: Reference = word.parse()?;
        let resolved = catalogue.resolve(&reference, architecture::host())?;
        show(arguments, output, &json!(described(&resolved)), || plan(&resolved, output));
        return Ok(());
    }
    let found = matching(&catalogue, word)?;
    let facts: Vec<Value> = found.iter().map(|distro| facts(distro)).collect();
    show(arguments, output, &json!(facts), || {
        if arguments.quiet {
            found.iter().for_each(|distro| output.text(&format!("{}\n", distro.name)));
        } else if let [distro] = found[..] {
            details(distro, output);
        } else {
            output.table(&summary(&found), !arguments.no_legend, arguments.full);
        }
    });
    Ok(())
}

fn show(arguments: &SearchArguments, output: Output, facts: &Value, people: impl FnOnce()) {
    if !arguments.json {
        people();
    } else if let Err(error) = output.json(facts) {
        output.error(&error, None);
    }
}

/// The distros that `word` can mean: the one that is called so, or all in which it occurs.
fn matching<'a>(catalogue: &'a Catalogue, word: &str) -> Result<Vec<&'a Distro>, Error> {
    if let Some(distro) = catalogue.distros.iter().find(|distro| distro.is_called(word)) {
        return Ok(vec![distro]);
    }
    let lower = word.to_lowercase();
    let occurs = |distro: &&Distro| {
        let names = [&distro.name, &distro.title].into_iter().chain(&distro.aliases);
        let releases = distro
            .releases
            .iter()
            .flat_map(|release| [&release.name].into_iter().chain(&release.version).chain(&release.aliases));
        names.into_iter().any(|name| name.to_lowercase().contains(&lower))
            || releases.into_iter().any(|name| name.to_lowercase() == lower)
    };
    let found: Vec<&Distro> = catalogue.distros.iter().filter(occurs).collect();
    if found.is_empty() { catalogue.find(word).map(|distro| vec![distro]) } else { Ok(found) }
}

fn summary(distros: &[&Distro]) -> Table {
    let mut table = Table::new(&["DISTRO", "RELEASES", "VARIANTS", "INIT", "SOURCES"]);
    for distro in distros {
        let releases: Vec<&str> = distro.releases.iter().map(|release| release.name.as_str()).collect();
        let mut kinds: Vec<&str> = distro.sources.iter().map(|source| source.kind.name()).collect();
        kinds.dedup();
        table.add(vec![
            Cell::new(&distro.name, Some(Colour::Bold)),
            releases.join(" ").into(),
            distro.variants.join(" ").into(),
            (&distro.init).into(),
            kinds.join(" ").into(),
        ]);
    }
    table
}

/// All about one distro.
fn details(distro: &Distro, output: Output) {
    let architectures: Vec<&str> = distro.architectures.keys().map(String::as_str).collect();
    let mut text = format!("{}, {}\n", output.in_colour(Colour::Bold, &distro.title), distro.init);
    for (name, words) in [
        (
            "called",
            std::iter::once(&distro.name).chain(&distro.aliases).cloned().collect::<Vec<_>>().join(", "),
        ),
        ("variants", distro.variants.join(", ")),
        ("architectures", architectures.join(", ")),
        ("file", distro.file.clone()),
    ] {
        text += &format!("  {name:<14} {words}\n");
    }
    text += "\n  releases\n";
    for release in &distro.releases {
        let names: Vec<&str> = release.version.iter().chain(&release.aliases).map(String::as_str).collect();
        let mark = if release.name == distro.default { " (default)" } else { "" };
        let until = release.until.as_deref().map(|date| format!(", cared for until {date}"));
        let names = if names.is_empty() { String::new() } else { format!(" = {}", names.join(", ")) };
        text += &format!("    {}{names}{mark}{}\n", release.name, until.unwrap_or_default());
    }
    text += "\n  sources, in the order in which they are tried\n";
    let mut sources: Vec<&Source> = distro.sources.iter().collect();
    sources.sort_by_key(|source| !source.boots);
    for source in sources {
        let boots = if source.boots { "" } else { " (no init)" };
        text += &format!("    {}{boots}: {}\n", source.kind.name(), place(source));
        if let Some(releases) = &source.releases {
            text += &format!("      releases: {}\n", releases.join(", "));
        }
        let seen = source.seen.as_deref().unwrap_or("never");
        text += &format!("      documented: {}\n      seen to work: {seen}\n", source.documented);
    }
    output.text(&text);
}

fn place(source: &Source) -> String {
    match &source.kind {
        SourceKind::Simplestreams { url, alias } => format!("{url} {alias}"),
        SourceKind::File(file) => file.url.clone(),
        SourceKind::Oci { reference } => reference.clone(),
        SourceKind::Bootstrap(plan) => plan.packages.join(" "),
    }
}

/// What would be tried.
fn plan(resolved: &Resolved, output: Output) {
    let mut text =
        format!("{} would be {}, from the first of these:\n", resolved.reference(), resolved.image_name());
    for fact in attempts(resolved) {
        let word = |key: &str| fact[key].as_str().unwrap_or_default().to_owned();
        let boots = if fact["boots"] == json!(true) { "" } else { " (no init)" };
        text += &format!("  {}{boots}: {}\n", word("kind"), word("address"));
    }
    output.text(&text);
}

fn attempts(resolved: &Resolved) -> Vec<Value> {
    use crate::transfer::catalogue::Action;
    let address = |action: &Action| match action {
        Action::Simplestreams { url, alias, arch } => format!("{url} {alias} {arch}"),
        Action::Download(download) => download.url.clone(),
        Action::Oci { reference } => reference.clone(),
        Action::Bootstrap { plan, .. } => format!("{} with {}", plan.suite, plan.packages.join(" ")),
    };
    let fact = |attempt: &crate::transfer::catalogue::Attempt| json!({ "kind": attempt.kind, "address": address(&attempt.action), "boots": attempt.boots });
    resolved.attempts.iter().map(fact).collect()
}

fn described(resolved: &Resolved) -> Value {
    json!({
        "reference": resolved.reference(),
        "image": resolved.image_name(),
        "until": resolved.until,
        "attempts": attempts(resolved),
    })
}

fn facts(distro: &Distro) -> Value {
    let releases: Vec<Value> = distro
        .releases
        .iter()
        .map(|release| {
            json!({
                "name": release.name,
                "version": release.version,
                "aliases": release.aliases,
                "until": release.until,
            })
        })
        .collect();
    let sources: Vec<Value> = distro
        .sources
        .iter()
        .map(|source| {
            json!({
                "kind": source.kind.name(),
                "address": place(source),
                "releases": source.releases,
                "variants": source.variants,
                "boots": source.boots,
                "documented": source.documented,
                "seen": source.seen,
            })
        })
        .collect();
    json!({
        "name": distro.name,
        "title": distro.title,
        "aliases": distro.aliases,
        "default": distro.default,
        "init": distro.init,
        "variants": distro.variants,
        "architectures": distro.architectures.keys().collect::<Vec<_>>(),
        "releases": releases,
        "sources": sources,
        "file": distro.file,
    })
}

/// What the image servers have of it. One that does not answer is told of; that none does, is a failure.
fn online(
    catalogue: &Catalogue,
    word: &str,
    arguments: &SearchArguments,
    output: Output,
) -> Result<(), Error> {
    let mut servers: Vec<&str> = Vec::new();
    for source in catalogue.distros.iter().flat_map(|distro| &distro.sources) {
        if let SourceKind::Simplestreams { url, .. } = &source.kind
            && !servers.contains(&url.as_str())
        {
            servers.push(url);
        }
    }
    let mut found: Vec<(&str, Listed)> = Vec::new();
    let mut answered = false;
    for server in servers {
        match obtain::listing(server, &Context::silent()) {
            Ok(listed) => {
                answered = true;
                let fits = |listed: &Listed| {
                    listed.aliases.iter().any(|alias| alias.to_lowercase().contains(&word.to_lowercase()))
                };
                found.extend(listed.into_iter().filter(fits).map(|listed| (server, listed)));
            }
            Err(error) => output.warning(&format!("{server}: {}", crate::sys::in_words(&error))),
        }
    }
    if !answered {
        return Err(Error::NoSource { what: "a list of what it has".to_owned() });
    }
    if found.is_empty() {
        return Err(Error::NoDistro { name: word.to_owned(), nearest: None });
    }
    let rows: Vec<Value> = found
        .iter()
        .map(|(server, listed)| {
            json!({
                "server": server,
                "aliases": listed.aliases,
                "title": listed.title,
                "architecture": listed.arch,
                "version": listed.version,
            })
        })
        .collect();
    show(arguments, output, &json!(rows), || {
        let safe = |text: &str| printable::line(text.as_bytes());
        let mut table = Table::new(&["ALIAS", "ARCHITECTURE", "VERSION", "TITLE", "SERVER"]);
        for (server, listed) in &found {
            let alias = listed.aliases.first().map(String::as_str).unwrap_or_default();
            if arguments.quiet {
                output.text(&format!("{}\n", safe(alias)));
                continue;
            }
            table.add(vec![
                safe(alias).into(),
                safe(&listed.arch).into(),
                safe(&listed.version).into(),
                safe(&listed.title).into(),
                (*server).into(),
            ]);
        }
        if !arguments.quiet {
            output.table(&table, !arguments.no_legend, arguments.full);
        }
    });
    Ok(())
}
