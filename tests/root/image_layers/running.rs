//! Clones boot; snapshots, clones, commits and differences of machines that run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::Images;
use crate::command::{Ended, PATIENCE, run};
use crate::harness::{Context, TestResult};

const POOL: &str = "/var/lib/machines";
const STATE: &str = "/var/lib/spinney";

/// The images and machines of this test, in the system's own directories; all gone with it.
struct System<'a> {
    context: &'a Context,
    names: Vec<String>,
    made: Vec<PathBuf>,
}

impl<'a> System<'a> {
    fn new(context: &'a Context) -> Result<Self, String> {
        let made = [POOL, STATE].iter().map(PathBuf::from).filter(|path| !path.exists()).collect();
        fs::create_dir_all(POOL).unwrap();
        Ok(Self { context, names: Vec::new(), made })
    }

    fn name(&mut self) -> String {
        let name = self.context.machine_name();
        self.names.push(name.clone());
        name
    }

    fn spinney(&self, arguments: &[&str]) -> Ended {
        run(self.context.spinney().args(arguments))
    }

    /// What a script in the machine says.
    fn says(&self, name: &str, script: &str) -> Result<String, String> {
        self.spinney(&["exec", name, "--", "sh", "-c", script]).ok()
    }
}

impl Drop for System<'_> {
    fn drop(&mut self) {
        for name in self.names.iter().rev() {
            self.spinney(&["terminate", name]);
        }
        for name in self.names.iter().rev() {
            self.spinney(&["remove", "--force", name]);
        }
        for path in &self.made {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// The pool of the system, told by its path, is the system's: neither loses snapshots of the other.
pub fn one_pool_two_ways(context: &Context) -> TestResult {
    let mut system = System::new(context)?;
    let [base, web, other] = [system.name(), system.name(), system.name()];
    let image = Path::new(POOL).join(format!("{web}.mstack"));
    let root = format!("--image-root={POOL}");
    fs::create_dir_all(Path::new(POOL).join(&base).join("etc"))?;
    system.spinney(&["clone", &root, &base, &web]).ok()?;
    // Programs of guests are in it.
    assert_eq!(fs::metadata(POOL)?.permissions().mode() & 0o007, 0);
    for name in ["s1", "s2"] {
        fs::write(image.join("rw/data").join(name), name)?;
        system.spinney(&["snapshot", &root, &web, name]).ok()?;
    }
    system.spinney(&["rollback", &root, "--discard", &web, "s1"]).ok()?;
    // Only a snapshot has the layer of s2 now.
    system.spinney(&["clone", &base, &other]).ok()?;
    system.spinney(&["remove", &other]).ok()?;
    system.spinney(&["rollback", "--discard", &web, "s2"]).ok()?;
    assert_eq!(system.spinney(&["diff", &web, "--against", "s1"]).ok()?, "A /s2\n");
    Ok(())
}

/// What has clones is not started, wherever the images are.
pub fn clones_elsewhere(context: &Context) -> TestResult {
    let images = Images::new(context, context.directory.join("images"));
    run(Command::new("cp").arg("-a").arg(context.tree("busybox")?).arg(images.path("base"))).ok()?;
    images.spinney(&["clone", "base", "web"]).ok()?;
    let start = || {
        run(context.spinney().args(["run", "-q", "-D"]).arg(images.path("base")).args(["--", "/bin/true"]))
    };
    let ended = start();
    assert_eq!(ended.status, 125, "{ended:?}");
    assert!(ended.stderr.starts_with("spinney: error: base is what image web is made from\n"), "{ended:?}");
    images.spinney(&["remove", "web"]).ok()?;
    start().ok()?;
    Ok(())
}

pub fn running(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let mut system = System::new(context)?;
    let [base, web, other, flat] = [system.name(), system.name(), system.name(), system.name()];
    let pool = Path::new(POOL);
    run(Command::new("cp").arg("-a").arg(tree).arg(pool.join(&base))).ok()?;
    fs::write(pool.join(format!("{base}.toml")), "hostname = \"own\"\n")?;
    system.spinney(&["clone", &base, &web]).ok()?;
    assert_eq!(fs::read_to_string(pool.join(format!("{web}.toml")))?, "hostname = \"own\"\n");
    fs::remove_file(pool.join(format!("{web}.toml")))?;
    system.spinney(&["start", &web]).ok()?;
    system.says(&web, "mkdir /data; echo one > /data/file; rm /etc/issue; chmod 700 /root; sync")?;
    // Seen while it runs.
    let diff = system.spinney(&["diff", &web, "--files"]).ok()?;
    for line in ["A /data\n", "A /data/file\n", "C /root  mode "] {
        assert!(diff.contains(line), "{diff}");
    }
    let ended = system.spinney(&["snapshot", &web, "warm"]);
    assert!(ended.status == 0 && ended.stderr.contains("with its machine paused for "), "{ended:?}");
    assert_eq!(system.says(&web, "cat /data/file; echo two > /data/file; echo more > /data/more")?, "one\n");
    let ended = system.spinney(&["clone", &web, &other]);
    assert!(ended.status == 0 && ended.stderr.contains("paused"), "{ended:?}");
    system.spinney(&["commit", "-q", &web, &flat]).ok()?;
    assert_eq!(fs::read_to_string(pool.join(&flat).join("data/more"))?, "more\n");
    // It cannot go back while it runs; and what it was cloned from is not to be changed.
    let ended = system.spinney(&["rollback", &web]);
    assert!(
        ended.status == 125 && ended.stderr.contains(&format!("image \"{web}\" is in use: machine {web}")),
        "{ended:?}"
    );
    // Killed while the machine is paused, it goes on all the same.
    let mut command = context.spinney();
    command.args(["snapshot", &web, "killed"]).env("SPINNEY_FAULT", "paused");
    assert_eq!(run(&mut command).status, 137);
    // Who resumes it has to notice first.
    let deadline = Instant::now() + PATIENCE;
    while system.says(&web, "true").is_err() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(system.says(&web, "cat /data/file")?, "two\n");
    // Both run at once, apart.
    system.spinney(&["start", &other]).ok()?;
    assert_eq!(
        system.says(&other, "cat /data/file /data/more; rm -r /data; ls -d /data 2>&1; true")?,
        "two\nmore\nls: /data: No such file or directory\n"
    );
    assert_eq!(system.says(&web, "cat /data/more")?, "more\n");
    system.spinney(&["stop", &web, &other]).ok()?;
    system.spinney(&["rollback", "--discard", &web, "warm"]).ok()?;
    system.spinney(&["start", &web]).ok()?;
    assert_eq!(system.says(&web, "cat /data/file; ls /data; stat -c %a /root")?, "one\nfile\n700\n");
    system.spinney(&["stop", &web]).ok()?;
    let diff = system.spinney(&["diff", &other, "--against", &web, "--files"]).ok()?;
    assert!(diff.contains("D /data\n"), "{diff}");
    Ok(())
}
