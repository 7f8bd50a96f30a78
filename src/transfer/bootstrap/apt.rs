//! What this host's apt knows: where it has Debian from, and through which proxy (apt-get(8), apt-config(8)).
//!
//! Where people have their packages from a mirror of their own, the one that everybody uses may be out of reach.

use std::process::{Command, Stdio};

use super::Wanted;

/// Far more than a host's sources come to.
const LIMIT: usize = 1 << 20;

/// Lines of sources.list(5) for `wanted`, from where this host has Debian. None where the catalogue names a mirror, where
/// this host is no Debian, or where its lists are not there: mmdebstrap takes its own then.
pub(super) fn mirrors(wanted: &Wanted<'_>) -> Vec<String> {
    if wanted.bootstrap.mirror.is_some() {
        return Vec::new();
    }
    let format = "$(REPO_URI)|$(ORIGIN)|$(LABEL)";
    let targets = output("apt-get", &["indextargets", "--format", format, "Created-By: Packages"]);
    sources(&targets, &wanted.bootstrap.suite, &wanted.bootstrap.components)
}

/// What this host's apt is told of proxies, as lines of apt.conf(5).
pub(super) fn proxies() -> Vec<String> {
    let text = output(
        "apt-config",
        &[
            "dump",
            "--format",
            "%f|%v%n",
            "Acquire::http::Proxy",
            "Acquire::https::Proxy",
            "Acquire::http",
            "Acquire::https",
        ],
    );
    settings(&text)
}

/// `REPO_URI|ORIGIN|LABEL` a line, as lines of sources.list(5).
fn sources(targets: &str, suite: &str, components: &[String]) -> Vec<String> {
    let of = |label: &str| {
        targets.lines().find_map(|line| {
            let mut fields = line.split('|');
            let (uri, origin, found) = (fields.next()?, fields.next()?, fields.next()?);
            let plain = uri.contains("://")
                && !uri.chars().any(|char| char.is_whitespace() || "[]\"\\".contains(char));
            (origin == "Debian" && found == label && plain).then(|| uri.trim_end_matches('/'))
        })
    };
    let Some(main) = of("Debian") else { return Vec::new() };
    let components = components.join(" ");
    let mut lines = vec![format!("deb {main} {suite} {components}")];
    // The next release and the one under work have no other suites (the Debian reference, 2.1).
    if ["sid", "unstable", "forky", "testing"].contains(&suite) {
        return lines;
    }
    lines.push(format!("deb {main} {suite}-updates {components}"));
    lines.extend(of("Debian-Security").map(|uri| format!("deb {uri} {suite}-security {components}")));
    lines
}

/// `NAME|VALUE` a line, as lines of apt.conf(5): those of proxies alone.
fn settings(dump: &str) -> Vec<String> {
    let mut lines: Vec<String> = dump
        .lines()
        .filter_map(|line| line.split_once('|'))
        .filter(|(name, value)| {
            let mut parts = name.split("::");
            let known = parts.next() == Some("Acquire")
                && matches!(parts.next(), Some("http" | "https"))
                && parts.next() == Some("Proxy");
            let plain =
                |text: &str| text.chars().all(|char| char.is_ascii_graphic() && !"\"\\{};".contains(char));
            known && !value.is_empty() && plain(name) && plain(value)
        })
        .map(|(name, value)| format!("{name} \"{value}\""))
        .collect();
    lines.sort();
    lines.dedup();
    lines
}

/// What a program of apt's prints; nothing where there is none, or where it fails.
fn output(program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match ran {
        Ok(ran) if ran.status.success() && ran.stdout.len() <= LIMIT => {
            String::from_utf8(ran.stdout).unwrap_or_default()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_of_the_host() {
        let targets = "http://other.example/x/|Other|Other\nhttp://near.example/debian/|Debian|Debian\n\
                       http://near.example/debian/|Debian|Debian\nhttp://near.example/sec/|Debian|Debian-Security\n";
        let rows: [(&str, &str, &[&str]); 4] = [
            (
                targets,
                "trixie",
                &[
                    "deb http://near.example/debian trixie main",
                    "deb http://near.example/debian trixie-updates main",
                    "deb http://near.example/sec trixie-security main",
                ],
            ),
            (targets, "sid", &["deb http://near.example/debian sid main"]),
            ("http://archive.example/ubuntu/|Ubuntu|Ubuntu\n", "trixie", &[]),
            ("http://x.example/ trusted=yes]|Debian|Debian\n", "trixie", &[]),
        ];
        for (targets, suite, expected) in rows {
            assert_eq!(sources(targets, suite, &["main".to_owned()]), expected, "{suite}");
        }
    }

    #[test]
    fn proxies_of_the_host() {
        let dump = "Acquire::http|\nAcquire::http::Proxy|http://p.example:3142/\nAcquire::http::Proxy::d.example|DIRECT\n\
                    Acquire::http::Proxy-Auto-Detect|/usr/bin/x\nAcquire::https::Proxy|a\"b\nAcquire::http::Timeout|3\n\
                    Acquire::http::Proxy|http://p.example:3142/\n";
        assert_eq!(
            settings(dump),
            ["Acquire::http::Proxy \"http://p.example:3142/\"", "Acquire::http::Proxy::d.example \"DIRECT\""]
        );
    }
}
