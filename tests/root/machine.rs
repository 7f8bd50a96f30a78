//! A machine that runs in the background of a test.

use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use spinney::supervisor::state::State;

use crate::command::{Ended, PATIENCE, Process, capture, contents, run, shell_status};
use crate::harness::Context;

/// How often it is looked whether a machine that says nothing has died.
const LOOK: Duration = Duration::from_millis(200);

/// The state file of the machine called `name`.
pub fn state_of(name: &str) -> Result<State, String> {
    let path = format!("/run/spinney/machines/{name}/state");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("{path}: {error}: {text}"))
}

/// Runs a shell command as root of the machine whose state this is.
pub fn run_inside(state: &State, script: &str) -> Result<Ended, String> {
    let mut command = Command::new("nsenter");
    command
        .args(["-t", &state.leader.to_string(), "-a", "/bin/sh", "-c", script])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(std::process::Stdio::null());
    Ok(run(&mut command))
}

/// A supervisor and its machine; killed when dropped.
pub struct Machine {
    pub name: String,
    process: Process,
    stdout: File,
    stderr: File,
    notify: UnixDatagram,
    socket: PathBuf,
}

impl Machine {
    /// Starts `tree`'s init with `options`.
    pub fn start(context: &Context, tree: &Path, options: &[&str]) -> Self {
        let name = context.machine_name();
        Self::start_as(context, &name, tree, options, &[])
    }

    /// The same, with a name, and with arguments after the tree.
    pub fn start_as(context: &Context, name: &str, tree: &Path, options: &[&str], rest: &[&str]) -> Self {
        let mut command = context.spinney();
        command
            .args(["run", "-x", "-M", name, "--console=read-only", "--notify-ready"])
            .args(options)
            .arg(tree)
            .args(rest);
        Self::spawn(context, name, command)
    }

    /// Runs `command`, which is the program or becomes it.
    pub fn spawn(context: &Context, name: &str, mut command: Command) -> Self {
        let socket = context.directory.join(format!("{name}.notify"));
        let notify = UnixDatagram::bind(&socket).unwrap();
        notify.set_read_timeout(Some(LOOK)).unwrap();
        let (stdout, stderr) = (capture(), capture());
        command
            .env("NOTIFY_SOCKET", &socket)
            .stdout(stdout.try_clone().unwrap())
            .stderr(stderr.try_clone().unwrap());
        let process = Process::spawn(&mut command);
        Self { name: name.to_owned(), process, stdout, stderr, notify, socket }
    }

    /// What it said.
    pub fn output(&self) -> String {
        format!("console:\n{}\nspinney:\n{}", contents(&self.stdout), self.messages())
    }

    /// What spinney itself said.
    pub fn messages(&self) -> String {
        contents(&self.stderr)
    }

    pub fn supervisor(&self) -> u32 {
        self.process.pid()
    }

    pub fn signal(&self, signal: i32) {
        self.process.signal(signal);
    }

    /// Waits until the guest is up, for the first time or again.
    pub fn ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let mut datagram = [0; 4096];
        loop {
            if let Ok(length) = self.notify.recv(&mut datagram)
                && datagram[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
            {
                return Ok(());
            }
            if let Some(status) = self.process.wait(Duration::ZERO) {
                return Err(format!("ended with {status} before it was ready\n{}", self.output()));
            }
            if Instant::now() > deadline {
                return Err(format!("not ready after {PATIENCE:?}\n{}", self.output()));
            }
        }
    }

    /// Waits until the console has said `text`.
    pub fn wait_for_console(&self, text: &str) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while !contents(&self.stdout).contains(text) {
            if Instant::now() > deadline {
                return Err(format!("{text:?} does not come\n{}", self.output()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Its state file.
    pub fn state(&self) -> Result<State, String> {
        state_of(&self.name).map_err(|error| format!("{error}\n{}", self.output()))
    }

    /// Runs a shell command in it, as its root.
    pub fn shell(&self, script: &str) -> Result<Ended, String> {
        run_inside(&self.state()?, script)
    }

    /// The stdout of a shell command that must end well, without the last newline.
    pub fn says(&self, script: &str) -> Result<String, String> {
        let ended = self.shell(script)?;
        match ended.status {
            0 => Ok(ended.stdout.trim_end().to_owned()),
            _ => Err(format!("{script}: {ended:#?}\n{}", self.output())),
        }
    }

    /// Waits for its end; gives the exit status.
    pub fn wait(&mut self) -> Result<i32, String> {
        let status = self.process.wait(PATIENCE);
        status.map(shell_status).ok_or_else(|| format!("does not end\n{}", self.output()))
    }

    /// Tells its supervisor to end, and says how long that took.
    pub fn stop(mut self) -> Result<Duration, String> {
        self.signal(libc::SIGTERM);
        let told = Instant::now();
        let status = self.wait()?;
        let took = told.elapsed();
        match (status, self.messages().contains("does not stop")) {
            (0, false) => Ok(took),
            (status, killed) => Err(format!("exit status {status}, killed: {killed}\n{}", self.output())),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Twice tells it to kill the machine and to clean up, which a test that fails wants too.
        if self.process.wait(Duration::ZERO).is_none() {
            self.signal(libc::SIGTERM);
            self.signal(libc::SIGINT);
            self.process.wait(PATIENCE);
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}
