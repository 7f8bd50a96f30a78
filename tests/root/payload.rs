//! One command in a machine of its own, over a throw-away layer.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Ended, run};
use crate::harness::{Context, Stop};

/// `spinney run -q -x OPTIONS TREE -- ARGUMENTS`.
pub fn command(context: &Context, tree: &Path, options: &[&str], arguments: &[&str]) -> Command {
    let mut command = context.spinney();
    command
        .args(["run", "-q", "-x", "-M", &context.machine_name()])
        .args(options)
        .arg(tree)
        .arg("--")
        .args(arguments);
    command
}

/// Runs a shell script in a machine.
pub fn script(context: &Context, tree: &Path, options: &[&str], script: &str) -> Ended {
    run(&mut command(context, tree, options, &["/bin/sh", "-c", script]))
}

/// The stdout of a script that must end well, without the last newline.
pub fn says(context: &Context, tree: &Path, options: &[&str], text: &str) -> Result<String, Stop> {
    let ended = script(context, tree, options, text);
    match ended.status {
        0 => Ok(ended.stdout.trim_end().to_owned()),
        _ => Err(Stop::Fail(format!("{options:?}: {text}: {ended:#?}"))),
    }
}

/// A busybox tree of the test's own, to be changed.
pub fn own_busybox(context: &Context) -> Result<PathBuf, Stop> {
    let own = context.directory.join("tree");
    let tree = context.tree("busybox")?;
    run(Command::new("cp").arg("-a").arg(&tree).arg(&own)).ok()?;
    Ok(own)
}

/// Writes an executable file.
pub fn write_script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
