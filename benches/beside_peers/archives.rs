//! Images from archives and back: beside GNU tar with the compressor that it starts, and beside importd's own worker. What is
//! unpacked is on disk at the end for all alike.

use std::cell::Cell;
use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::contenders::{Contender, Ground, Row, Until};

/// How often a process is asked for its memory.
const LOOK: Duration = Duration::from_millis(5);

/// As importd has it; GNU tar restores owners and permissions of root's by itself.
const EVERYTHING: &str = "--numeric-owner --xattrs '--xattrs-include=*' --acls -p";

/// How compressions are called by a file's name, and the most that our time may be of GNU tar's.
const FORMATS: [(&str, &str, f64); 3] = [
    ("gz", "unpack tar.gz of Debian, to disk", 0.5),
    ("zst", "unpack tar.zst of Debian, to disk", 0.5),
    ("xz", "unpack tar.xz of Debian, to disk", 0.7),
];

/// Archives of one tree.
pub(crate) struct Archives<'a> {
    ground: &'a Ground,
    directory: PathBuf,
    /// How many directories were made for images.
    runs: Cell<u32>,
}

/// The most memory that unpacking an archive took, in KiB.
pub(crate) struct Peak {
    pub(crate) name: String,
    pub(crate) kib: u64,
}

impl<'a> Archives<'a> {
    /// Archives of `tree`, made by GNU tar.
    pub(crate) fn new(ground: &'a Ground, tree: &Path) -> Result<Self, Box<dyn Error>> {
        let directory = ground.work.join("archives");
        fs::create_dir_all(directory.join("images"))?;
        let archives = Self { ground, directory, runs: Cell::new(0) };
        let script = format!(
            "tar {EVERYTHING} -cf t.tar -C \"$1\" . && gzip -k t.tar && zstd -q t.tar && xz -k t.tar && sync t.*"
        );
        run(archives.shell(&script).arg(tree))?;
        run(archives.shell("mkdir store && cp -a --reflink=auto \"$1\" store/tree").arg(tree))?;
        // On ext4 each directory in it begins in another part of the disk then, by its name (chattr(1)).
        run(&mut archives.shell("chattr +T images 2>/dev/null || :"))?;
        Ok(archives)
    }

    /// `sh -c`, in the directory of the archives.
    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.current_dir(&self.directory).args(["-c", script, "sh"]);
        command
    }

    /// Where images of a contender go: nothing is there yet, and nothing was. Without a journal ext4 gives no inode again for
    /// minutes, and looks at all those around at each file that is made (recently_deleted() in fs/ext4/ialloc.c): whoever
    /// comes where much was removed takes several times as long.
    fn fresh(&self) -> PathBuf {
        let all = self.directory.join("images");
        let of = |run: u32| all.join(run.to_string());
        let last = self.runs.replace(self.runs.get() + 1);
        let _ = fs::remove_dir_all(of(last));
        let images = of(last + 1);
        let _ = fs::create_dir(&images);
        // What was removed, and what others did, is not for the next one to bring to disk.
        let _ = Command::new("sync").arg("-f").arg(&images).status();
        images
    }

    fn ours(&self, arguments: &[&str]) -> Command {
        let images = self.fresh();
        let mut command = self.ground.verb(arguments);
        command.current_dir(&self.directory).arg("--image-root").arg(images).arg("--quiet");
        command
    }

    /// The timed rows.
    pub(crate) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = FORMATS.iter().map(|format| self.unpack(format)).collect();
        for (format, compressor, title) in
            [("gz", "pigz", "export Debian as tar.gz"), ("zst", "zstd -T0", "export Debian as tar.zst")]
        {
            rows.push(self.export(format, compressor, title));
        }
        rows
    }

    fn unpack(&self, (format, title, target): &'static (&'static str, &'static str, f64)) -> Row<'_> {
        let archive = format!("t.tar.{format}");
        let by_us = archive.clone();
        let mut contenders = vec![Contender::new(
            "spinney",
            None,
            1,
            Box::new(move || self.ours(&["import-tar", &by_us, "i"])),
        )];
        let by_tar = archive.clone();
        contenders.push(Contender::new(
            "GNU tar, sync",
            Some(*target),
            1,
            Box::new(move || {
                let images = self.fresh();
                let script = format!("tar {EVERYTHING} -xf {by_tar} -C \"$1\" && sync -f \"$1\"");
                let mut command = self.shell(&script);
                command.arg(images);
                command
            }),
        ));
        // Older ones know no zstd.
        if *format != "zst" {
            contenders.push(Contender::new(
                "systemd-import tar",
                Some(1.0),
                1,
                Box::new(move || {
                    let images = self.fresh();
                    let mut command = Command::new("/lib/systemd/systemd-import");
                    command.current_dir(&self.directory).arg("tar").arg(&archive).arg("i");
                    command.arg(format!("--image-root={}", images.display()));
                    command
                }),
            ));
        }
        Row { key: "unpack", title, until: Until::Exit, share: 4, contenders }
    }

    fn export(&self, format: &'static str, compressor: &'static str, title: &'static str) -> Row<'_> {
        let contenders = vec![
            Contender::new(
                "spinney",
                None,
                1,
                Box::new(move || {
                    let out = self.fresh().join(format!("out.tar.{format}"));
                    let mut command = self.ground.verb(&["export-tar", "tree"]);
                    command.arg(out).arg("--image-root").arg(self.directory.join("store")).arg("--quiet");
                    command
                }),
            ),
            Contender::new(
                if format == "gz" { "GNU tar | pigz, sync" } else { "GNU tar | zstd -T0, sync" },
                Some(1.0),
                1,
                Box::new(move || {
                    let out = self.fresh().join("out");
                    let script = format!(
                        "tar {EVERYTHING} --sort=name -c -C \"$1\" . | {compressor} -q > \"$2\" && sync \"$2\""
                    );
                    let mut command = self.shell(&script);
                    command.arg("store/tree").arg(out);
                    command
                }),
            ),
        ];
        Row { key: "export", title, until: Until::Exit, share: 4, contenders }
    }

    /// The most memory that each archive takes, and one of much data in much of it the same.
    pub(crate) fn peaks(&self) -> Result<Vec<Peak>, Box<dyn Error>> {
        // 4 GiB of it would tell no more than 1, and fill disks.
        run(&mut self.shell(
            "truncate -s 1G big && for name in big; do tar -c $name | zstd -q -1 > big.tar.zst; done && rm big",
        ))?;
        let formats = FORMATS.iter().map(|(format, _, _)| format!("t.tar.{format}"));
        formats
            .chain(["big.tar.zst".to_owned()])
            .map(|name| {
                let kib = peak(&mut self.ours(&["import-tar", &name, "i"]))?;
                Ok(Peak { name, kib })
            })
            .collect()
    }
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

/// Runs `command`, and watches how much memory it had at most (proc_pid_status(5), VmHWM): that only grows, so the last
/// look is right but for what is allocated in the last few milliseconds.
fn peak(command: &mut Command) -> Result<u64, Box<dyn Error>> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let path = format!("/proc/{}/status", child.id());
    let mut most = 0;
    loop {
        most = high_water(Path::new(&path)).unwrap_or(0).max(most);
        if let Some(status) = child.try_wait()? {
            return if status.success() { Ok(most) } else { Err(format!("{command:?}: {status}").into()) };
        }
        std::thread::sleep(LOOK);
    }
}

fn high_water(path: &Path) -> Option<u64> {
    let text = std::io::read_to_string(File::open(path).ok()?).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
