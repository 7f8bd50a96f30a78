//! The console: a terminal on our side, one of the guest's own on the other.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::command::{PATIENCE, Process, shell_status};
use crate::harness::{Context, Row, Test, TestResult};

pub fn tests() -> Vec<Test> {
    let single: [Row; 7] = [
        ("interactive_command", interactive_command),
        ("session_from_outside_the_pid_namespace", session_from_outside_the_pid_namespace),
        ("window_size", window_size),
        ("login", login),
        ("hotkey_reboots_and_powers_off", hotkey_reboots_and_powers_off),
        ("hotkey_kills", hotkey_kills),
        ("passive_is_not_connected", passive_is_not_connected),
    ];
    single.map(|(name, test)| Test::new(format!("console::{name}"), test)).into()
}

/// The user's terminal, and spinney on the other side of it.
pub struct Session {
    pub terminal: std::fs::File,
    slave: OwnedFd,
    pub process: Process,
    said: Vec<u8>,
    seen: usize,
}

impl Session {
    pub fn start(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        tcsetwinsize(&master, Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let slave = rustix::fs::open(
            &*name,
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY,
            rustix::fs::Mode::empty(),
        );
        let slave = slave.unwrap();
        let copy = || Stdio::from(slave.try_clone().unwrap());
        let process = Process::spawn(command.stdin(copy()).stdout(copy()).stderr(copy()));
        Self { terminal: master.into(), slave, process, said: Vec::new(), seen: 0 }
    }

    pub fn types(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for `text` after what was waited for before.
    pub fn sees(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let new = &self.said[self.seen..];
            if let Some(at) = new.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.seen += at + text.len();
                return;
            }
            self.read();
            assert!(
                Instant::now() < deadline,
                "{text:?} does not come:\n{}",
                String::from_utf8_lossy(&self.said)
            );
        }
    }

    /// All that it has said so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said).into_owned()
    }

    fn read(&mut self) {
        let moment = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        if poll(&mut [PollFd::new(&self.terminal, PollFlags::IN)], Some(&moment)) == Ok(1) {
            let mut buffer = [0; 4096];
            let length = self.terminal.read(&mut buffer).unwrap();
            self.said.extend(&buffer[..length]);
        }
    }

    /// Waits for the end; the terminal must be as it was.
    pub fn ends(mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            // What is not read is what it waits for.
            self.read();
            if let Some(status) = self.process.wait(Duration::ZERO) {
                break status;
            }
            assert!(Instant::now() < deadline, "does not end:\n{}", String::from_utf8_lossy(&self.said));
        };
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON), "the terminal is left raw: {modes:?}");
        shell_status(status)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.process.wait(Duration::ZERO).is_none() {
            self.process.signal(libc::SIGTERM);
            self.process.signal(libc::SIGINT);
            self.process.wait(PATIENCE);
        }
    }
}

fn session(context: &Context, options: &[&str], rest: &[&str]) -> Result<Session, crate::harness::Stop> {
    let mut command = context.spinney();
    command.args(["run", "-x", "-M", &context.machine_name()]).args(options);
    Ok(Session::start({
        command.arg(context.tree("busybox")?).args(rest);
        command
    }))
}

fn interactive_command(context: &Context) -> TestResult {
    let mut session = session(context, &[], &["--", "/bin/sh"])?;
    session.types("echo $((6 * 7)); tty\n");
    session.sees("42\r\n/dev/pts/0");
    // ^C is the guest's own; ^Z as well.
    // A ^C takes away what has been typed and not read, so it waits until its reader is there, and what follows waits for
    // the prompt.
    session.types("sh -c 'trap \"exit 9\" INT; echo as\"\"leep; while :; do sleep 0.1; done'\n");
    session.sees("asleep");
    session.types("\x03");
    session.sees("# ");
    session.types("echo again=$?\n");
    session.sees("again=9");
    session.types("exit 3\n");
    assert_eq!(session.ends(), 3);
    Ok(())
}

/// As in a CI runner or `docker exec -t`: there our session and process group are numbered 0 (pid_namespaces(7)).
fn session_from_outside_the_pid_namespace(context: &Context) -> TestResult {
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(crate::harness::program())
        .args(["run", "-x", "-M", &context.machine_name()])
        .arg(context.tree("busybox")?)
        .args(["--", "/bin/sh"])
        .env("NO_COLOR", "1");
    let mut session = Session::start(command);
    session.types("echo $((6 * 7)); exit 3\n");
    session.sees("42\r\n");
    assert_eq!(session.ends(), 3);
    Ok(())
}

fn window_size(context: &Context) -> TestResult {
    let mut session = session(context, &[], &["--", "/bin/sh"])?;
    session.types("stty size; echo first\n");
    session.sees("33 99");
    tcsetwinsize(&session.terminal, Winsize { ws_row: 44, ws_col: 111, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    // It is not the session's leader, to whom the kernel would send this.
    session.process.signal(libc::SIGWINCH);
    session.types("while ! stty size | grep '44 111'; do sleep 0.05; done; exit\n");
    session.sees("\n44 111");
    assert_eq!(session.ends(), 0);
    Ok(())
}

fn login(context: &Context) -> TestResult {
    let mut session = session(context, &[], &[])?;
    session.sees("is ready after");
    session.sees("login: ");
    session.types("\x1d\x1d");
    std::thread::sleep(Duration::from_millis(1200));
    // Too late for a hotkey.
    session.types("p");
    session.types("\x1d\x1dp");
    assert_eq!(session.ends(), 0);
    Ok(())
}

fn hotkey_reboots_and_powers_off(context: &Context) -> TestResult {
    let mut session = session(context, &[], &[])?;
    session.sees("login: ");
    session.types("\x1d\x1dr");
    session.sees("reboots");
    session.sees("login: ");
    session.types("\x1d\x1dp");
    session.sees("is told to power off");
    session.sees("is off after");
    assert_eq!(session.ends(), 0);
    Ok(())
}

fn hotkey_kills(context: &Context) -> TestResult {
    let mut session = session(context, &[], &["--", "/bin/sh", "-c", "echo here; sleep 1000"])?;
    session.sees("here");
    session.types("\x1d\x1d\x1d");
    assert_eq!(session.ends(), 137);
    Ok(())
}

fn passive_is_not_connected(context: &Context) -> TestResult {
    let session = session(
        context,
        &["--console=passive"],
        &["--", "/bin/sh", "-c", "tty; echo seen > /dev/console; exit 5"],
    )?;
    assert_eq!(session.ends(), 5);
    Ok(())
}
