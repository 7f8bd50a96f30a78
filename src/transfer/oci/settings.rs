//! A configuration as settings of a machine: `NAME.nspawn` beside the image (systemd.nspawn(5)), which both systemd-nspawn and we
//! read, and neither trusts.

use std::fmt::Write as _;

use super::document::RunConfiguration;

/// How a file of ours begins: what a person wrote does not.
pub const HEAD: &str = "# What the image says of itself.\n";

/// What boots: with one of these as its command an image is a system, and without any command it may be one.
const INITS: [&str; 8] = [
    "/sbin/init",
    "/usr/sbin/init",
    "/bin/init",
    "/usr/bin/init",
    "/init",
    "/lib/systemd/systemd",
    "/usr/lib/systemd/systemd",
    "init",
];

/// The settings that `run` comes to, and what of it has none; `None` where it says nothing.
pub fn settings(run: &RunConfiguration) -> (Option<String>, Vec<String>) {
    let mut lines = Vec::new();
    let mut lost = Vec::new();
    let command: Vec<&str> = run.entrypoint.iter().chain(&run.cmd).map(String::as_str).collect();
    match command.split_first() {
        None => {}
        Some((init, rest)) if INITS.contains(init) => {
            lines.push("Boot=yes".to_owned());
            if !rest.is_empty() {
                lines.push(format!("Parameters={}", words(rest)));
            }
        }
        Some(_) => {
            lines.push("Boot=no".to_owned());
            lines.push(format!("Parameters={}", words(&command)));
        }
    }
    for variable in &run.env {
        match variable.split_once('=') {
            Some((name, _)) if is_name(name) => lines.push(format!("Environment={}", words(&[variable]))),
            _ => lost.push(format!("the variable {variable:?}")),
        }
    }
    let (user, group) = run.user.split_once(':').unwrap_or((&run.user, ""));
    if !user.is_empty() && !matches!(user, "root" | "0") {
        match is_user(user) {
            true => lines.push(format!("User={user}")),
            false => lost.push(format!("the user {user:?}")),
        }
    }
    if !group.is_empty() && group != user && !matches!(group, "root" | "0") {
        lost.push(format!("the group {group:?}"));
    }
    if !run.working_dir.is_empty() && run.working_dir != "/" {
        match run.working_dir.starts_with('/') && !run.working_dir.contains(char::is_control) {
            true => lines.push(format!("WorkingDirectory={}", run.working_dir)),
            false => lost.push(format!("the directory {:?}", run.working_dir)),
        }
    }
    if let Some(signal) = run.stop_signal.as_deref().filter(|signal| !signal.is_empty()) {
        match signal.chars().all(|character| character.is_ascii_alphanumeric() || "+-".contains(character)) {
            true => lines.push(format!("KillSignal={signal}")),
            false => lost.push(format!("the signal {signal:?}")),
        }
    }
    let text = (!lines.is_empty()).then(|| {
        let mut text = format!("{HEAD}[Exec]\n");
        for line in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{line}");
        }
        text
    });
    (text, lost)
}

/// In double quotes, with the escapes of systemd.syntax(7).
fn words(words: &[&str]) -> String {
    let quoted = words.iter().map(|word| {
        let mut text = "\"".to_owned();
        for character in word.chars() {
            match character {
                '"' | '\\' => text.extend(['\\', character]),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                character if character.is_ascii_control() => {
                    let _ = write!(text, "\\x{:02x}", u32::from(character));
                }
                character => text.push(character),
            }
        }
        text + "\""
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn is_name(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_user(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)) && !text.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &[&str]) -> RunConfiguration {
        RunConfiguration {
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn files() {
        let head = "# What the image says of itself.\n[Exec]\n";
        let whole = RunConfiguration {
            user: "www:data".to_owned(),
            env: vec![
                "PATH=/usr/bin:/bin".to_owned(),
                "A=x \"y\"\n".to_owned(),
                "bad name=1".to_owned(),
                "B".to_owned(),
            ],
            entrypoint: vec!["/entry".to_owned()],
            working_dir: "/srv/www".to_owned(),
            stop_signal: Some("SIGQUIT".to_owned()),
            ..run(&["a b", "\\"])
        };
        let bad = RunConfiguration {
            user: "a b".to_owned(),
            working_dir: "srv".to_owned(),
            stop_signal: Some("a\nBoot=yes".to_owned()),
            ..run(&[])
        };
        let rows: [(RunConfiguration, Option<&str>, &[&str]); 6] = [
            (run(&[]), None, &[]),
            (run(&["bash"]), Some("Boot=no\nParameters=\"bash\"\n"), &[]),
            (run(&["/sbin/init"]), Some("Boot=yes\n"), &[]),
            (run(&["/lib/systemd/systemd", "--unit=x"]), Some("Boot=yes\nParameters=\"--unit=x\"\n"), &[]),
            (
                whole,
                Some(
                    "Boot=no\nParameters=\"/entry\" \"a b\" \"\\\\\"\nEnvironment=\"PATH=/usr/bin:/bin\"\n\
                     Environment=\"A=x \\\"y\\\"\\n\"\nUser=www\nWorkingDirectory=/srv/www\nKillSignal=SIGQUIT\n",
                ),
                &["the variable \"bad name=1\"", "the variable \"B\"", "the group \"data\""],
            ),
            (bad, None, &["the user \"a b\"", "the directory \"srv\"", "the signal \"a\\nBoot=yes\""]),
        ];
        for (run, expected, lost) in rows {
            let (text, notes) = settings(&run);
            assert_eq!(text, expected.map(|lines| format!("{head}{lines}")), "{run:?}");
            assert_eq!(notes, lost, "{run:?}");
        }
    }
}
