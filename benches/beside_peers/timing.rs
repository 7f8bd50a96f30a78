//! Times of commands: to their exit, or until they say that they are ready.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::contenders::{Contender, Ground, Row, Until};

/// Rounds that nobody looks at: they fill the page cache.
const WARM_UP: usize = 2;

/// Before each run: the kernel takes the last contender's network namespace apart behind its back, and lets nobody make
/// one meanwhile (cleanup_net() in net/core/net_namespace.c). No contender is to pay for another.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// A boot that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a machine may take to power off before it is asked more firmly.
const POWER_OFF: Duration = Duration::from_secs(10);

/// The times of a row.
pub(crate) struct Times {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) contenders: Vec<ContenderTimes>,
}

/// The times of one contender.
pub(crate) struct ContenderTimes {
    pub(crate) name: &'static str,
    pub(crate) target: Option<f64>,
    /// Sorted.
    pub(crate) seconds: Vec<f64>,
}

/// Measures a row, its contenders in turns. One whose program is not installed is left out.
pub(crate) fn measure(row: &Row<'_>, rounds: usize, ground: &Ground) -> Result<Times, Box<dyn Error>> {
    let rounds = (rounds / row.share).max(3);
    let mut kept: Vec<(&Contender<'_>, Vec<f64>)> = Vec::new();
    for contender in &row.contenders {
        let warm_up = if contender.share == 1 { WARM_UP } else { 1 };
        match (0..warm_up).try_for_each(|_| once(contender, row.until, ground).map(drop)) {
            Ok(()) => kept.push((contender, Vec::new())),
            // A peer; the first is ours, without which there is nothing to compare.
            Err(error) if is_missing_program(&*error) && !kept.is_empty() => {}
            Err(error) => return Err(error),
        }
    }
    for round in 0..rounds {
        for (contender, seconds) in &mut kept {
            if round % contender.share == 0 {
                seconds.push(once(contender, row.until, ground)?.as_secs_f64());
            }
        }
    }
    let contenders = kept.into_iter().map(|(contender, mut seconds)| {
        seconds.sort_by(f64::total_cmp);
        ContenderTimes { name: contender.name, target: contender.target, seconds }
    });
    Ok(Times { key: row.key, title: row.title, contenders: contenders.collect() })
}

/// Whether a contender could not be measured since it is not installed.
pub(crate) fn is_missing_program(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn once(contender: &Contender<'_>, until: Until, ground: &Ground) -> Result<Duration, Box<dyn Error>> {
    let mut command = (contender.command)();
    let log = ground.work.join("log");
    let output = File::create(&log)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let failed = |what: String| -> Box<dyn Error> {
        let log = fs::read_to_string(&log).unwrap_or_default();
        format!("{}: {what}\n{log}", contender.name).into()
    };
    std::thread::sleep(PAUSE);
    match until {
        Until::Exit => {
            let started = Instant::now();
            let status = command.status()?;
            let time = started.elapsed();
            if status.success() { Ok(time) } else { Err(failed(status.to_string())) }
        }
        Until::Ready => {
            let ready = ReadySocket::listen(ground, "ready")?;
            let started = Instant::now();
            let mut child = ready.spawn(&mut command)?;
            let answer = ready.wait();
            let time = started.elapsed();
            power_off(&mut child)?;
            answer.map(|()| time).map_err(|error| failed(format!("it did not get ready: {error}")))
        }
    }
}

/// A NOTIFY_SOCKET that hears one machine's READY=1.
pub(crate) struct ReadySocket {
    path: PathBuf,
    socket: UnixDatagram,
}

impl ReadySocket {
    pub(crate) fn listen(ground: &Ground, name: &str) -> io::Result<Self> {
        let path = ground.work.join(name);
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { path, socket })
    }

    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        command.env("NOTIFY_SOCKET", &self.path).spawn()
    }

    pub(crate) fn wait(&self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer)?;
            let message = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
            if message.lines().any(|line| line == "READY=1") {
                return Ok(());
            }
        }
    }
}

impl Drop for ReadySocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Ends a machine as its own way is: SIGTERM to whoever holds it, once more if that takes too long.
pub(crate) fn power_off(child: &mut Child) -> io::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    loop {
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM)?;
        }
        let deadline = Instant::now() + POWER_OFF;
        while Instant::now() < deadline {
            if child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
