//! Man pages and completions as who packages them gets them. Needs no root.
#![allow(clippy::unwrap_used, reason = "a test may fail by panic, its helpers too")]

use std::process::{Command, Output, Stdio};

const SPINNEY: &str = env!("CARGO_BIN_EXE_spinney");

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// groff has nothing to say against any of them, and each time they are the same.
#[test]
fn pages_are_clean() {
    let directory = tempfile::tempdir().unwrap();
    let mut texts = Vec::new();
    for _ in 0..2 {
        let written = output(Command::new(SPINNEY).arg("man").arg(directory.path()));
        assert_eq!(written, (Some(0), String::new(), String::new()));
        let mut pages: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        pages.sort();
        texts.push(pages.iter().map(|page| std::fs::read(page).unwrap()).collect::<Vec<_>>());
        assert!(pages.len() > 50, "{pages:?}");
        for page in pages {
            let mut groff = Command::new("groff");
            let said = output(groff.args(["-ww", "-man", "-Tutf8", "-rLL=90n"]).arg(&page));
            assert_eq!((said.0, said.2.as_str()), (Some(0), ""), "{page:?}");
            assert!(said.1.lines().count() > 20, "{page:?}");
        }
    }
    assert_eq!(texts[0], texts[1]);
}

/// What bash makes of a line that ends here; readline's own words are cut at `=` and `:`.
fn bash(line: &str) -> Vec<String> {
    let script = format!(
        "spinney() {{ {SPINNEY:?} \"$@\"; }}; source <(spinney completions bash)
         COMP_LINE=$1 COMP_POINT=${{#1}}
         compopt() {{ :; }}
         _spinney
         printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let (status, stdout, stderr) = output(Command::new("bash").args(["-c", &script, "bash", line]));
    assert_eq!((status, stderr.as_str()), (Some(0), ""), "{line}");
    stdout.lines().map(str::to_owned).filter(|word| !word.is_empty()).collect()
}

#[test]
fn bash_completes() {
    let rows: [(&str, &[&str]); 5] = [
        ("spinney sta", &["status", "start"]),
        ("spinney stop --ti", &["--timeout="]),
        ("spinney net ru", &["rules"]),
        ("spinney run --ephemeral=y", &["yes"]),
        ("spinney run -x /etc/passw", &["/etc/passwd", "/etc/passwd-"]),
    ];
    for (line, expected) in rows {
        let mut found = bash(line);
        found.retain(|word| expected.contains(&word.as_str()) || !word.starts_with("/etc/"));
        assert!(
            !found.is_empty() && found.iter().all(|word| expected.contains(&word.as_str())),
            "{line}: {found:?}"
        );
    }
}

#[test]
fn scripts_are_what_their_shells_read() {
    for shell in ["bash", "zsh", "fish"] {
        let (status, script, stderr) = output(Command::new(SPINNEY).args(["completions", shell]));
        assert_eq!((status, stderr.as_str()), (Some(0), ""));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("script");
        std::fs::write(&path, script).unwrap();
        match Command::new(shell).arg("-n").arg(&path).output() {
            Ok(read) => assert!(read.status.success() && read.stderr.is_empty(), "{shell}: {read:?}"),
            Err(error) => println!("{shell} is not looked at: {error}"),
        }
    }
    let (status, _, stderr) = output(Command::new(SPINNEY).args(["completions", "tcsh"]));
    assert_eq!(status, Some(125), "{stderr}");
    assert!(stderr.starts_with("spinney: error: ") && stderr.contains("\n  hint: "), "{stderr}");
}
