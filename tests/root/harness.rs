//! Which tests run, in which surroundings, and how their outcome is told.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::command::run as run_program;
use crate::host_state::HostState;
use crate::own_host::OwnHost;

/// Why a test did not pass.
#[derive(Debug)]
pub enum Stop {
    /// This host, or what is installed on it, does not let it run.
    Skip(String),
    /// What it expects does not hold.
    Fail(String),
}

pub type TestResult = Result<(), Stop>;

impl<E: Display> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Fail(error.to_string())
    }
}

/// One row of the table of tests.
pub struct Test {
    pub name: String,
    pub run: Box<dyn Fn(&Context) -> TestResult>,
}

impl Test {
    pub fn new(name: impl Into<String>, run: impl Fn(&Context) -> TestResult + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// A name and a test.
pub type Row = (&'static str, fn(&Context) -> TestResult);

/// What a test has.
pub struct Context {
    /// All names of its machines begin with this.
    pub prefix: String,
    /// A directory of its own, which goes with it.
    pub directory: PathBuf,
    /// The host is the real one, and to be left as it is in all things.
    pub on_host: bool,
    machines: AtomicU32,
}

impl Context {
    /// The cached tree `name`.
    pub fn tree(&self, name: &str) -> Result<PathBuf, Stop> {
        let trees =
            std::env::var_os("SPINNEY_TREES").map_or("/var/cache/spinney/trees".into(), PathBuf::from);
        let tree = trees.join(name);
        match tree.is_dir() {
            true => Ok(tree),
            false => {
                Err(Stop::Skip(format!("no tree {}: images/build-tree {name} makes it", tree.display())))
            }
        }
    }

    /// A name for a machine, never the same.
    pub fn machine_name(&self) -> String {
        format!("{}-{}", self.prefix, self.machines.fetch_add(1, Ordering::Relaxed))
    }

    /// The program under test, with nothing on stdin.
    pub fn spinney(&self) -> Command {
        let mut command = Command::new(program());
        command
            .stdin(Stdio::null())
            .env_remove("NOTIFY_SOCKET")
            .env_remove("SPINNEY_FAULT")
            .env("NO_COLOR", "1")
            .env(TEST, &self.prefix);
        command
    }

    /// A new directory in the test's own.
    pub fn subdirectory(&self, name: &str) -> PathBuf {
        let path = self.directory.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

/// Set in the environment of all that a test starts: the prefix of its machines.
pub const TEST: &str = "SPINNEY_TEST";

/// The program under test.
pub fn program() -> PathBuf {
    std::env::var_os("SPINNEY").map_or(env!("CARGO_BIN_EXE_spinney").into(), PathBuf::from)
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// How outcomes are written.
struct Reporter {
    tap: bool,
    number: usize,
    passed: usize,
    failed: Vec<String>,
    skipped: usize,
}

impl Reporter {
    fn plan(&self, count: usize) {
        if self.tap {
            println!("TAP version 14\n1..{count}");
        } else {
            println!("running {count} tests");
        }
    }

    fn outcome(&mut self, name: &str, result: &TestResult, seconds: f64) {
        self.number += 1;
        let number = self.number;
        match (result, self.tap) {
            (Ok(()), true) => println!("ok {number} - {name} # {seconds:.2} s"),
            (Ok(()), false) => println!("test {name} ... ok ({seconds:.2} s)"),
            (Err(Stop::Skip(why)), true) => println!("ok {number} - {name} # SKIP {why}"),
            (Err(Stop::Skip(why)), false) => println!("test {name} ... skipped: {why}"),
            (Err(Stop::Fail(why)), true) => {
                println!("not ok {number} - {name}");
                why.lines().for_each(|line| println!("# {line}"));
            }
            (Err(Stop::Fail(why)), false) => {
                println!("test {name} ... FAILED ({seconds:.2} s)\n{}", indented(why))
            }
        }
        match result {
            Ok(()) => self.passed += 1,
            Err(Stop::Skip(_)) => self.skipped += 1,
            Err(Stop::Fail(_)) => self.failed.push(name.to_owned()),
        }
        let _ = std::io::stdout().flush();
    }

    fn finish(self, wanted: bool) -> ExitCode {
        let comment = if self.tap { "# " } else { "" };
        for name in &self.failed {
            println!("{comment}failed: {name}");
        }
        println!("{comment}{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped);
        let ran = self.passed + self.failed.len() > 0;
        if wanted && !ran {
            println!("{comment}no test ran");
        }
        if self.failed.is_empty() && (ran || !wanted) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// What the arguments may be, but for parts of tests' names.
const OPTIONS: [(&str, &str); 5] = [
    ("--list", "lists the tests instead of running them"),
    ("--tap", "prints the outcome as TAP 14"),
    ("--bus", "the bus tier instead: a D-Bus, and systemd's own clients"),
    (
        "--on-host",
        "on the host as it is, and not in namespaces of the tests' own: for a host that is the tests' alone",
    ),
    ("--help", "prints this"),
];

/// Exit status for arguments that make no sense, which is neither that of a failed test nor a panic's (101).
const USAGE: u8 = 2;

pub fn tests() -> Vec<Test> {
    vec![Test::new("harness::arguments", arguments)]
}

/// Nothing but what is known runs tests, and help does not.
fn arguments(_: &Context) -> TestResult {
    let ended =
        |arguments: &[&str]| run_program(Command::new(std::env::current_exe().unwrap()).args(arguments));
    let helped = ended(&["--help", "no-test-is-called-so"]);
    assert_eq!((helped.status, helped.stderr.as_str()), (0, ""), "{helped:?}");
    assert!(OPTIONS.iter().all(|(option, _)| helped.stdout.contains(option)), "{helped:?}");
    assert!(helped.stdout.starts_with("Boots trees"), "{helped:?}");
    let refused = ended(&["no-test-is-called-so", "--nonsense"]);
    let expected = "root tests: unknown option \"--nonsense\"\n  hint: cargo test --test root -- --help\n";
    assert_eq!((refused.status, refused.stdout.as_str(), refused.stderr.as_str()), (2, "", expected));

    let none = ended(&["no-test-is-called-so", "--list"]);
    assert_eq!((none.status, none.stdout.as_str()), (0, ""));
    Ok(())
}

fn help() -> String {
    let rows: String = OPTIONS.iter().map(|(option, about)| format!("  {option:<10} {about}\n")).collect();
    format!(
        "Boots trees with the built program, as root, and looks at the host before and after each test.\n\n\
         cargo test --test root [-- [OPTION...] [PART-OF-A-NAME...]]\n\n{rows}\n\
         SPINNEY_TREES says where the trees of images/build-tree are, SPINNEY which program is tested."
    )
}

/// Runs those of `tests` that the arguments ask for.
pub fn run(tests: Vec<Test>) -> ExitCode {
    let (flags, filters): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    let flag = |name: &str| flags.iter().any(|flag| flag == name);
    if flag("--help") || flag("-h") {
        println!("{}", help());
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = flags.iter().find(|flag| OPTIONS.iter().all(|(option, _)| option != flag)) {
        eprintln!("root tests: unknown option {unknown:?}\n  hint: cargo test --test root -- --help");
        return ExitCode::from(USAGE);
    }
    // Two tiers in one program: what they share is built once.
    let tier = |test: &Test| test.name.starts_with(crate::bus::TIER) == flag("--bus");
    let named = |test: &Test| filters.is_empty() || filters.iter().any(|filter| test.name.contains(filter));
    let tests: Vec<Test> = tests.into_iter().filter(|test| tier(test) && named(test)).collect();
    if flag("--list") {
        tests.iter().for_each(|test| println!("{}: test", test.name));
        return ExitCode::SUCCESS;
    }
    let mut reporter = Reporter { tap: flag("--tap"), number: 0, passed: 0, failed: Vec::new(), skipped: 0 };
    reporter.plan(tests.len());
    if !rustix::process::geteuid().is_root() {
        let why = || Err(Stop::Skip("needs root".to_owned()));
        tests.iter().for_each(|test| reporter.outcome(&test.name, &why(), 0.0));
        return reporter.finish(true);
    }
    let on_host = flag("--on-host");
    let host = OwnHost::enter(on_host);
    panic::set_hook(Box::new(|info| PANIC.set(info.to_string())));
    let run = std::process::id();
    for (index, test) in tests.iter().enumerate() {
        let prefix = format!("rt{run}-{index}");
        let directory = host.directory.join(&prefix);
        std::fs::create_dir(&directory).unwrap();
        let context = Context { prefix, directory, on_host, machines: AtomicU32::new(0) };
        let started = Instant::now();
        let result = watched(test, &context);
        if matches!(result, Err(Stop::Fail(_))) {
            // What it left is not the next one's fault.
            let _ = context.spinney().arg("gc").stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        remove(&context.directory);
        reporter.outcome(&test.name, &result, started.elapsed().as_secs_f64());
    }
    drop(host);
    reporter.finish(true)
}

/// Runs a test and holds it to leave the host as it was.
fn watched(test: &Test, context: &Context) -> TestResult {
    let before = HostState::look(&context.prefix);
    let result = panic::catch_unwind(AssertUnwindSafe(|| (test.run)(context)))
        .unwrap_or_else(|_| Err(Stop::Fail(PANIC.take())));
    let left = before.changes(&context.prefix);
    match (result, left.is_empty()) {
        (result, true) => result,
        (Ok(()) | Err(Stop::Skip(_)), false) => {
            Err(Stop::Fail(format!("the host has changed:\n{}", left.join("\n"))))
        }
        (Err(Stop::Fail(why)), false) => {
            Err(Stop::Fail(format!("{why}\nand the host has changed:\n{}", left.join("\n"))))
        }
    }
}

fn remove(directory: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory) {
        eprintln!("cannot remove {}: {error}", directory.display());
    }
}
