//! What `make install`, `make deb` and `make rpm` make, and what becomes of a host on which the package is installed.
//!
//! | file | what it is about |
//! |---|---|
//! | [`files`] | what is in packages |
//! | [`host`] | a machine of ours that is the host of others, with the package installed by apt |
//! | [`life`] | machines there, through upgrade and removal |
//! | [`readme`] | what README.md shows, typed there |
//! | [`shown`] | what was shown, compared with what comes |

mod files;
mod host;
mod life;
mod readme;
mod shown;

use std::path::PathBuf;
use std::process::Command;

use crate::command::run;
use crate::harness::{Context, Stop, Test, program};

pub fn tests() -> Vec<Test> {
    let mut tests = files::tests();
    tests.push(Test::new("packages::in-a-user-namespace", host::in_a_user_namespace));
    for tree in ["debian-12", "debian-13"] {
        tests.push(Test::new(format!("packages::{tree}"), move |context| life::on_a_host(context, tree)));
        tests
            .push(Test::new(format!("packages::readme-{tree}"), move |context| readme::typed(context, tree)));
    }
    tests
}

/// The checkout that the packages are made of; in a VM there is none.
fn checkout() -> Result<PathBuf, Stop> {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    match top.join("packaging/install").exists() {
        true => Ok(top),
        false => Err(Stop::Skip("there is no checkout here".to_owned())),
    }
}

fn needs(tool: &str) -> Result<(), Stop> {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|path| path.join(tool).exists());
    if found { Ok(()) } else { Err(Stop::Skip(format!("{tool} is not installed"))) }
}

/// Runs a script of `packaging` on the program under test.
fn packaging(script: &str, arguments: &[&str]) -> Result<String, Stop> {
    let mut command = Command::new(checkout()?.join("packaging").join(script));
    Ok(run(command.arg("--program").arg(program()).args(arguments)).ok()?)
}

/// Makes the package; its path.
fn make_deb(context: &Context, options: &[&str]) -> Result<PathBuf, Stop> {
    for tool in ["dpkg-deb", "dpkg-shlibdeps", "strip"] {
        needs(tool)?;
    }
    // For all tests of this run: what it is in goes with the last one.
    let output = context.directory.parent().ok_or("a directory of the tests")?.join("packages");
    let version = options.last().copied().unwrap_or("0.1.0-1");
    if let Some(made) = std::fs::read_dir(&output)
        .into_iter()
        .flatten()
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&format!("spinney_{version}_")))
    {
        return Ok(made.path());
    }
    std::fs::create_dir_all(&output)?;
    let made = packaging("deb", &[&["--quick", "--output", output.to_str().unwrap()], options].concat())?;
    Ok(PathBuf::from(made.trim_end()))
}
