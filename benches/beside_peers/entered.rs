//! A command in a machine that runs already, beside nsenter(1) into the same one, and lxc-attach(1) into one of LXC's.

use std::error::Error;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::contenders::{Contender, Ground, Row, Until};
use super::timing::{ReadySocket, Times, is_missing_program, measure as measure_row, power_off};

/// How long the container of LXC may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most that our median may be of nsenter's.
const TARGET: f64 = 2.0;

/// Boots a machine and a container, and enters both in turns.
pub(crate) fn measure(ground: &Ground, rounds: usize) -> Result<Times, Box<dyn Error>> {
    let name = ground.machine("exec");
    let ready = ReadySocket::listen(ground, "entered")?;
    let options = ["--private-network", "--volatile=overlay", "--notify-ready=yes"];
    let mut command = ground.spinney("exec", &options, &[]);
    let log = File::create(ground.work.join("log-exec"))?;
    let machine = Running(ready.spawn(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log))?);
    ready.wait()?;
    let state = fs::read(format!("/run/spinney/machines/{name}/state"))?;
    let state: Value = serde_json::from_slice(&state)?;
    let leader = state["leader"].to_string();
    let container = Container::start(ground);

    let mut contenders = vec![
        Contender::new("spinney exec", None, 1, Box::new(|| ground.verb(&["exec", &name, "/bin/true"]))),
        Contender::new(
            "nsenter -a",
            Some(TARGET),
            1,
            Box::new(|| {
                let mut command = Command::new("nsenter");
                command.args(["-t", &leader, "-a", "/bin/true"]);
                command
            }),
        ),
    ];
    match &container {
        Ok(container) => {
            contenders.push(Contender::new("lxc-attach", None, 1, Box::new(|| container.attach())));
        }
        Err(error) if is_missing_program(&**error) => {}
        Err(error) => return Err(error.to_string().into()),
    }
    let row = Row {
        key: "exec",
        title: "/bin/true in a machine that runs",
        until: Until::Exit,
        share: 1,
        contenders,
    };
    let times = measure_row(&row, rounds, ground);
    drop(row);
    drop(machine);
    times
}

/// A machine of ours, powered off when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = power_off(&mut self.0);
    }
}

/// A container of LXC's that does nothing.
struct Container<'a> {
    ground: &'a Ground,
    child: Child,
}

impl<'a> Container<'a> {
    fn start(ground: &'a Ground) -> Result<Self, Box<dyn Error>> {
        let config = fs::read_to_string(ground.work.join("lxc.conf"))?;
        let path = ground.work.join("lxc-idle.conf");
        fs::write(&path, config.replace("/bin/true", "/bin/sleep infinity"))?;
        let mut command = Command::new("lxc-start");
        command.arg("-F").arg("-P").arg(ground.work.join("lxc")).arg("-f").arg(path);
        command.arg("-n").arg(ground.machine("lxc-idle"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let container = Self { ground, child };
        let deadline = Instant::now() + PATIENCE;
        while !container.attach().stderr(Stdio::null()).status()?.success() {
            if Instant::now() > deadline {
                return Err("lxc-start does not come up".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(container)
    }

    fn attach(&self) -> Command {
        let mut command = Command::new("lxc-attach");
        command.arg("-P").arg(self.ground.work.join("lxc")).arg("-n").arg(self.ground.machine("lxc-idle"));
        command.args(["--", "/bin/true"]);
        command
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let mut command = self.ground.lxc_stop("lxc-idle");
        let _ = command.stderr(Stdio::null()).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
