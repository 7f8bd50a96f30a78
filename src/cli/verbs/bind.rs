//! `spinney bind`

use std::path::{Path, PathBuf};

use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::cli::refusal::Message;
use crate::cli::verbs::{fail, named};
use crate::machine::MachineHandle;
use crate::machine::bind::{BindRequest, bind as mount};
use crate::settings::BindIds;

const RULES: &str = "\
A directory is mounted on a directory, anything else on a file. The mount is seen by services of the machine that have mount \
namespaces of their own too. It goes with a reboot or the end of the machine, or with spinney unbind NAME DST.

With a user namespace the machine cannot make a read-only mount writable. Without one (--private-users=no) its root can: that root \
is the host's.

Examples:
  spinney bind web /srv/site /var/www --read-only
  spinney bind web ~/project /work --mkdir --rootidmap

Exit status: 0, or 125 when it could not be mounted.";

/// Mount a path of the host in a running machine
#[derive(Debug, clap::Args)]
#[command(after_help = RULES)]
pub struct BindArguments {
    /// The machine
    #[arg(value_name = "NAME")]
    name: String,

    /// A file or directory of the host
    #[arg(value_name = "SRC")]
    source: PathBuf,

    /// Where in the machine [default: the same path]
    #[arg(value_name = "DST")]
    target: Option<PathBuf>,

    /// Nothing can be written there
    #[arg(long)]
    read_only: bool,

    /// Make DST, and the directories above it, if missing
    #[arg(long)]
    mkdir: bool,

    /// The host's IDs are the machine's: root's files are root's there [default with a user namespace]
    #[arg(long, group = "ids")]
    idmap: bool,

    /// IDs as they are on the host: nobody's, in a machine with a user namespace
    #[arg(long, group = "ids")]
    noidmap: bool,

    /// The owner of SRC is root in the machine
    #[arg(long, group = "ids")]
    rootidmap: bool,

    /// The owner of SRC is the owner of DST in the machine
    #[arg(long, group = "ids")]
    owneridmap: bool,

    /// Without what is mounted below SRC
    #[arg(long)]
    norbind: bool,

    /// Print what was mounted as JSON
    #[arg(long)]
    json: bool,

    /// Say nothing when all is well
    #[arg(short, long)]
    quiet: bool,
}

impl BindArguments {
    fn ids(&self) -> Option<BindIds> {
        let words = [
            (self.idmap, BindIds::Idmap),
            (self.noidmap, BindIds::NoIdmap),
            (self.rootidmap, BindIds::RootIdmap),
            (self.owneridmap, BindIds::OwnerIdmap),
        ];
        words.into_iter().find_map(|(given, ids)| given.then_some(ids))
    }
}

/// Runs the verb, gives the exit status.
pub fn bind(arguments: &BindArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    let source = match std::env::current_dir() {
        Ok(directory) => directory.join(&arguments.source),
        Err(_) if arguments.source.is_absolute() => arguments.source.clone(),
        Err(error) => {
            let message = Message::new(format!("there is no working directory: {error}"));
            output.error(&message, Some("give absolute paths"));
            return EXIT_FAILURE;
        }
    };
    let target = arguments.target.clone().unwrap_or_else(|| normal(&source));
    let request = BindRequest {
        source,
        target,
        read_only: arguments.read_only,
        recursive: !arguments.norbind,
        make_target: arguments.mkdir,
        ids: arguments.ids(),
    };
    let machine = named(&arguments.name).and_then(|name| MachineHandle::find(&name));
    match machine.and_then(|machine| mount(&machine, &request)) {
        Ok(record) if arguments.json => match output.json(&record) {
            Ok(()) => 0,
            Err(error) => {
                output.error(&error, None);
                EXIT_FAILURE
            }
        },
        Ok(record) => {
            let how = if record.read_only { ", read-only" } else { "" };
            output.status(&format!(
                "{} of the host is at {} of {}{how}",
                record.source.display(),
                record.target.display(),
                arguments.name
            ));
            0
        }
        Err(error) => fail(&error, output),
    }
}

/// `path` without `.`, and with `..` taken back by name, as `--bind=` names its target after its source.
fn normal(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                result.pop();
            }
            Component::CurDir => {}
            other => result.push(other),
        }
    }
    result
}
