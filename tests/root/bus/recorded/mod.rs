//! systemd-machined and systemd-importd, recorded; and ours, held to the record.
//!
//! [`steps`] is the table of what is done: command lines of machinectl and of other clients, machines that are booted and wait to be
//! ended. In the VM (`tests/vm/run 12 --record`) it is done with systemd's daemons and systemd-nspawn's machines, and what the clients
//! said and how they ended is written to `tests/fixtures/machinectl/VERSION.record`; a run of the VM without `--record` holds systemd
//! to that. In this tier the same is done with ours. Where ours says something else the table has it, and why.
//!
//! | file | what it is about |
//! |---|---|
//! | [`steps`] | what is done: the table |
//! | [`shapes`] | what is hidden of what is said, since it is never the same |
//! | [`record`] | the record's form |
//! | [`place`] | whose daemons, whose machines |

mod place;
mod record;
mod shapes;
mod steps;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::images::Pool;
use crate::command::{Ended, PATIENCE, run, run_with};
use crate::harness::{Context, Stop, Test, TestResult};
use crate::http_server::{HttpServer, Reply};
use crate::machine::Machine;
use place::Place;
use record::Record;
use shapes::Names;
use steps::{Does, Step};

pub fn tests() -> Vec<Test> {
    let of_section = |(name, steps): (&'static str, &'static [&'static [Step]])| {
        Test::new(format!("{}recorded::{name}", super::TIER), move |context| section(context, name, steps))
    };
    let shapes = Test::new(format!("{}recorded_shapes::table", super::TIER), |_| shapes::table());
    let record = Test::new(format!("{}recorded_shapes::record", super::TIER), |_| record::table());
    steps::SECTIONS.iter().copied().map(of_section).chain([shapes, record]).collect()
}

/// What all command lines begin with.
const PRELUDE: &str = r#"
machinectl() {
    local status=0 said=$dir/said.$BASHPID
    # It opens its stdout anew for a terminal's bytes, and would write over those of others in a file.
    command machinectl "$@" 2>"$said" | cat
    status=${PIPESTATUS[0]}
    # What a transfer says is its own; of ours, in our words.
    awk '{ print } /^Enqueued transfer job/ { if (getline) print "..."; exit }' "$said" >&2
    [ $status = 0 ] || echo "exit status $status" >&2
    return $status
}
call() {
    local service=$1 method=$2
    shift 2
    dbus-send --system --print-reply=literal "--dest=org.freedesktop.$service" "/org/freedesktop/$service" \
        "org.freedesktop.$service.Manager.$method" "$@"
}
get() { busctl call org.freedesktop.$1 /org/freedesktop/$1 org.freedesktop.$1.Manager "${@:2}"; }
members() {
    busctl introspect --no-legend --no-pager "org.freedesktop.$1" "$2" "$3" |
        awk '{ print $1, $2, $3, $2 == "method" ? $4 : "", $NF }'
}
leader() { machinectl show "$1" --property=Leader --value; }
"#;

/// Does all of a table's section, and holds what came of it to the record, or writes it.
fn section(context: &Context, name: &'static str, steps: &'static [&'static [Step]]) -> TestResult {
    let record = Record::of_client(name, !place::of_systemd())?;
    let mut stage = Stage::new(context)?;
    let mut faults = Vec::new();
    for step in steps.iter().copied().flatten() {
        let Some(ended) = stage.take(step)? else { continue };
        let said = record::block(step, &stage.names.hide(ended));
        if let Err(fault) = record.hold(step, &said, stage.place.is_ours()) {
            faults.push(fault);
        }
    }
    stage.over()?;
    match faults.as_slice() {
        [] => Ok(()),
        faults => Err(faults.join("\n").into()),
    }
}

/// Where the trees are.
fn trees(context: &Context) -> Result<PathBuf, Stop> {
    Ok(context.tree("busybox")?.parent().unwrap_or(Path::new("/")).to_owned())
}

/// Where the steps are done: the daemons, machines that were booted, images, and a server to pull from.
struct Stage<'a> {
    context: &'a Context,
    place: Place,
    names: Names,
    machines: BTreeMap<&'static str, Machine>,
    leaders: BTreeMap<&'static str, String>,
    server: HttpServer,
    _pool: Pool,
}

impl<'a> Stage<'a> {
    fn new(context: &'a Context) -> Result<Self, Stop> {
        let pool = Pool::new(context)?;
        let place = Place::enter(context)?;
        let server = HttpServer::start();
        let names =
            Names::new(&context.prefix, &context.directory, &trees(context)?, server.address().port());
        let files = context.subdirectory("www");
        server.directory("/", files);
        server.put("/slow.tar", Reply::bytes(vec![0; 100_000]).stalls_after(50_000));
        Ok(Self {
            context,
            place,
            names,
            machines: BTreeMap::new(),
            leaders: BTreeMap::new(),
            server,
            _pool: pool,
        })
    }

    /// Does one step; what its command line came to, if it has one.
    fn take(&mut self, step: &Step) -> Result<Option<Ended>, Stop> {
        match step.does {
            Does::Run(line) => return Ok(Some(self.shell(line)?)),
            Does::Boot(name, tree) => {
                let tree = self.context.tree(tree)?;
                self.boot(name, &tree, true)?;
            }
            Does::BootImage(name) => {
                let image = Path::new("/var/lib/machines").join(self.names.of(name));
                self.boot(name, &image, false)?;
            }
            Does::BootAgain(name) => self.boot_again(name)?,
            Does::Gone(name) => {
                self.machine(name)?.wait()?;
                self.machines.remove(name);
                self.forgotten(name)?;
            }
        }
        Ok(None)
    }

    fn machine(&mut self, name: &str) -> Result<&mut Machine, Stop> {
        Ok(self.machines.get_mut(name).ok_or("no such machine was booted")?)
    }

    fn boot(&mut self, name: &'static str, tree: &Path, ephemeral: bool) -> TestResult {
        let full = self.names.of(name);
        let mut machine = self.place.boot(self.context, &full, tree, ephemeral);
        machine.ready()?;
        self.machines.insert(name, machine);
        self.leaders.insert(name, self.leader(name));
        Ok(())
    }

    /// Waits until a machine that was told to reboot has another leader, and is up: its first boot may have said so more than once.
    fn boot_again(&mut self, name: &'static str) -> TestResult {
        loop {
            self.machine(name)?.ready()?;
            let leader = self.leader(name);
            if !leader.is_empty() && self.leaders.get(name) != Some(&leader) {
                self.leaders.insert(name, leader);
                return Ok(());
            }
        }
    }

    /// The leader that the daemon knows; nothing where it knows none.
    fn leader(&self, name: &str) -> String {
        let words = ["show", &self.names.of(name), "--property=Leader", "--value"];
        run(self.place.command("machinectl").args(words)).stdout
    }

    /// Waits until the daemon knows nothing of a machine whose processes have ended.
    fn forgotten(&self, name: &str) -> TestResult {
        let deadline = Instant::now() + PATIENCE;
        while run(self.place.command("machinectl").args(["show", &self.names.of(name)])).status == 0 {
            if Instant::now() > deadline {
                return Err(format!("{name} is still there").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn shell(&self, line: &str) -> Result<Ended, Stop> {
        let mut command = self.place.command("bash");
        command.current_dir(&self.context.directory).env("dir", &self.context.directory);
        command.env("pool", "/var/lib/machines").env("url", self.server.url(""));
        command.env("www", self.context.directory.join("www"));
        command.env("busybox", self.context.tree("busybox")?);
        command.env("fixtures", record::fixtures(&self.context.directory)?);
        for (variable, name) in self.names.all() {
            command.env(variable, name);
        }
        Ok(run_with(command.arg("-c").arg(format!("{PRELUDE}{line}")), 3 * PATIENCE))
    }

    fn over(self) -> TestResult {
        drop(self.machines);
        // Which importd keeps beside what it made of it, by its address with dots and slashes escaped.
        let server = format!("127\\x2e0\\x2e0\\x2e1:{}", self.server.address().port());
        for entry in fs::read_dir("/var/lib/machines").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(&server) {
                run(std::process::Command::new("chattr").arg("-i").arg(entry.path()));
                let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
            }
        }
        self.place.over()
    }
}
