//! A host of a test's own: a network namespace with a second one as its LAN, and others as guests.

use std::process::{Command, Stdio};
use std::thread;

use rustix::process::Pid;
use spinney::sys::process::{Namespaces, join_namespaces_of, pidfd_open, unshare};

use crate::command::{Ended, Process, run};
use crate::harness::{Stop, TestResult};

/// A network namespace, held by a process that does nothing.
pub struct Namespace {
    process: Process,
}

impl Namespace {
    /// A new one, beside that of the thread.
    pub fn new() -> Self {
        // The namespace is there once the program is.
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && echo && exec sleep 1000"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("unshare");
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        Self { process: Process::of(child) }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Runs a shell script in it; it must end well.
    pub fn script(&self, script: &str) -> Result<String, String> {
        self.try_script(script).ok()
    }

    /// The same, however it ends.
    pub fn try_script(&self, script: &str) -> Ended {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid().to_string(), "-n", "sh", "-ec", script]).stdin(Stdio::null());
        run(&mut command)
    }

    /// Does `work` in it.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let pidfd = pidfd_open(Pid::from_raw(self.pid().cast_signed()).unwrap()).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                join_namespaces_of(&pidfd, Namespaces::NEWNET).unwrap();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// A network that the thread's host is on by its interface `name`, and another host on it: the one is .1 and ::1 of `v4` and `v6`,
/// the other .2 and ::2.
pub fn network(name: &str, v4: &str, v6: &str) -> Result<Namespace, String> {
    let other = Namespace::new();
    shell(&format!(
        "ip link add name {name} type veth peer name eth0 netns {} && ip link set {name} up
         ip address add {v4}.1/24 dev {name} && ip address add {v6}::1/64 dev {name} nodad",
        other.pid()
    ))?;
    other.script(&format!(
        "ip link set eth0 up && ip address add {v4}.2/24 dev eth0
         ip address add {v6}::2/64 dev eth0 nodad"
    ))?;
    Ok(other)
}

/// Does `test` on a host of its own: in a thread whose network namespace is new.
pub fn on_own_host(test: impl FnOnce() -> TestResult + Send) -> TestResult {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(Namespaces::NEWNET).unwrap();
            shell("ip link set lo up").map_err(|why| (false, why))?;
            test().map_err(|stop| match stop {
                Stop::Skip(why) => (true, why),
                Stop::Fail(why) => (false, why),
            })
        });
        match thread.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err((true, why))) => Err(Stop::Skip(why)),
            Ok(Err((false, why))) => Err(Stop::Fail(why)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Err(Stop::Fail(text.unwrap_or_else(|| "panic".to_owned())))
            }
        }
    })
}

/// Runs a shell script in the namespace of the thread; it must end well.
pub fn shell(script: &str) -> Result<String, String> {
    let mut command = Command::new("sh");
    command.args(["-ec", script]).stdin(Stdio::null());
    run(&mut command).ok().map_err(|error| format!("{script}: {error}"))
}
