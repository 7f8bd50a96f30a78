//! Why a guest did not come up: from what was seen of it to one clause and a hint. A pure function, so that what it knows
//! is a table. A want of memory is told elsewhere: see [`super::out_of_memory`].

/// What was seen of a guest that did not come up. Texts are safe to print.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Jobs of its systemd that were under way.
    pub jobs: Vec<Job>,
    /// Units of its systemd that had failed.
    pub failed: Vec<String>,
    /// What PID 1 was running: chains of program names, parents first.
    pub processes: Vec<String>,
    /// The last lines of its console.
    pub console: Vec<String>,
}

/// A job of a systemd (systemctl(1), list-jobs).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its unit.
    pub unit: String,
    /// `start`, `stop`, ...
    pub kind: String,
}

/// Why, as far as can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// A clause to put behind a colon.
    pub cause: Option<String>,
    /// The next step.
    pub hint: Option<&'static str>,
}

/// What a line of a console means: a part of it, the clause, the hint. The first that is found in any line counts.
struct Sign {
    text: &'static str,
    cause: &'static str,
    hint: &'static str,
}

const BUDGETS: &str = "machines with a user namespace of their own have budgets of their own (--private-users=pick); else raise \
                       the host's: sysctl fs.inotify.max_user_instances=1024, and see ulimit -n";

const SIGNS: [Sign; 11] = [
    Sign {
        text: "Failed to create /init.scope control group",
        cause: "its init cannot make cgroups",
        hint: "is something of the host's bound over /sys/fs/cgroup of the guest? The machine has its own; leave that bind out",
    },
    Sign {
        text: "Too many open files",
        cause: "it ran out of inotify instances or file descriptors",
        hint: BUDGETS,
    },
    Sign {
        text: "inotify watch",
        cause: "it ran out of inotify watches",
        hint: "raise the host's budget: sysctl fs.inotify.max_user_watches=524288",
    },
    Sign {
        text: "No space left on device",
        cause: "a file system of it is full",
        hint: "df shows which: that of the tree, or \
             that of /var/lib/spinney for --ephemeral",
    },
    Sign {
        text: "Exec format error",
        cause: "it has programs of another architecture",
        hint: "register an emulator with the host: qemu-user-static and binfmt_misc",
    },
    Sign {
        text: "error while loading shared libraries",
        cause: "a program of it lacks a library",
        hint: "is the tree whole? -- /bin/sh looks around in it",
    },
    Sign {
        text: "status=226/NAMESPACE",
        cause: "services cannot set up their sandboxes",
        hint: "an AppArmor profile around this host or container forbids mounts; dmesg says so",
    },
    Sign {
        text: "Read-only file system",
        cause: "it meets a read-only file system where it wants to write",
        hint: "--ephemeral or --volatile=overlay give it a layer to write to",
    },
    Sign {
        text: "You are in emergency mode",
        cause: "it is in emergency mode",
        hint: "often an entry of its /etc/fstab that cannot be mounted: nofail or noauto lets it boot without",
    },
    Sign {
        text: "No working init found",
        cause: "its init found nothing to run",
        hint: "--init= names another program of the tree",
    },
    Sign {
        text: "no inittab",
        cause: "its init has no inittab",
        hint: "is the tree whole? --init= names another program of it",
    },
];

/// How many names a clause lists.
const NAMES: usize = 3;

/// Says why, from the surest sign to the vaguest.
pub fn diagnose(evidence: &Evidence) -> Diagnosis {
    let seen = |sign: &&Sign| evidence.console.iter().any(|line| line.contains(sign.text));
    if let Some(sign) = SIGNS.iter().find(seen) {
        return Diagnosis { cause: Some(sign.cause.to_owned()), hint: Some(sign.hint) };
    }
    let (waits, hint) = jobs(&evidence.jobs);
    let failed: Vec<&str> = match evidence.failed.is_empty() {
        false => evidence.failed.iter().map(String::as_str).collect(),
        true => evidence.console.iter().filter_map(|line| failed_unit(line)).collect(),
    };
    let fails = (!failed.is_empty()).then(|| format!("{} failed", listed(&failed)));
    let froze = evidence.console.iter().rev().find_map(|line| last_words(line));
    let clauses: Vec<String> = waits.into_iter().chain(fails).chain(froze.map(str::to_owned)).collect();
    if !clauses.is_empty() {
        let failed_hint = "spinney logs shows what they said; systemctl mask in the tree goes without them";
        let hint = hint.or_else(|| (!failed.is_empty()).then_some(failed_hint));
        return Diagnosis { cause: Some(clauses.join(", ")), hint };
    }
    let processes: Vec<&str> = evidence.processes.iter().map(String::as_str).collect();
    Diagnosis {
        cause: (!processes.is_empty()).then(|| format!("it runs {}", listed(&processes))),
        hint: None,
    }
}

/// What jobs wait for, and what helps.
fn jobs(jobs: &[Job]) -> (Option<String>, Option<&'static str>) {
    let units = |kind: &str| -> Vec<&str> {
        jobs.iter().filter(|job| job.kind == kind).map(|job| job.unit.as_str()).collect()
    };
    let clause = |kind: &str, doing: &str| {
        let units = units(kind);
        let is = if units.len() == 1 { "is" } else { "are" };
        (!units.is_empty()).then(|| format!("{} {is} still {doing}", listed(&units)))
    };
    let clauses: Vec<String> =
        clause("start", "starting").into_iter().chain(clause("stop", "stopping")).collect();
    let any = |test: fn(&str) -> bool| jobs.iter().any(|job| test(&job.unit));
    let hint = if any(|unit| unit.ends_with(".device") || unit.ends_with(".swap")) {
        Some("devices do not come up in a machine: take them out of its /etc/fstab, or mark them nofail")
    } else if any(|unit| unit.contains("wait-online")) {
        Some("nothing configures a network in it: systemctl disable that service in the tree")
    } else if jobs.is_empty() {
        None
    } else {
        Some("a longer --timeout-ready=, if it only needs time; spinney logs shows what the unit said")
    };
    ((!clauses.is_empty()).then(|| clauses.join(", ")), hint)
}

/// The unit of a line such as `[FAILED] Failed to start foo.service - Foo.`
fn failed_unit(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("[FAILED] Failed to ")?;
    let (_, rest) = rest.split_once(' ')?;
    let unit = rest.split(" - ").next().unwrap_or(rest);
    Some(unit.trim_end_matches('.')).filter(|unit| !unit.is_empty())
}

/// What a systemd says before it freezes or exits: `[!!!!!!] Failed to mount API filesystems.`
fn last_words(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("[!!")?.trim_start_matches('!').strip_prefix(']')?;
    Some(rest.trim().trim_end_matches('.').trim_end_matches(", freezing")).filter(|words| !words.is_empty())
}

/// `a, b, c and 4 more`.
fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The jobs that are under way in what `systemctl list-jobs --plain --no-legend` prints: number, unit, kind, state.
pub fn parse_jobs(output: &[u8]) -> Vec<Job> {
    let job = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (_, unit, kind, state) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let sound = is_unit_name(unit) && matches!(kind, "start" | "stop" | "restart" | "reload");
        (sound && state == "running").then(|| Job { unit: unit.to_owned(), kind: kind.to_owned() })
    };
    String::from_utf8_lossy(output).lines().filter_map(job).collect()
}

/// The units in what `systemctl --failed --plain --no-legend` prints: the unit is the first word.
pub fn parse_failed(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    let units = text.lines().filter_map(|line| line.split_ascii_whitespace().next());
    units.filter(|unit| is_unit_name(unit)).map(str::to_owned).collect()
}

/// Letters, digits and `:-_.\@`, at most 255 of them (systemd.unit(5)).
fn is_unit_name(text: &str) -> bool {
    text.len() <= 255
        && text.contains('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(jobs: &[(&str, &str)], failed: &[&str], processes: &[&str], console: &[&str]) -> Evidence {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Evidence {
            jobs: jobs
                .iter()
                .map(|(unit, kind)| Job { unit: (*unit).into(), kind: (*kind).into() })
                .collect(),
            failed: owned(failed),
            processes: owned(processes),
            console: owned(console),
        }
    }

    #[test]
    fn diagnoses() {
        let rows: &[(Evidence, Option<&str>, Option<&str>)] = &[
            (evidence(&[], &[], &[], &[]), None, None),
            (
                evidence(&[("slow.service", "start")], &[], &["x"], &["Starting slow.service..."]),
                Some("slow.service is still starting"),
                Some("a longer --timeout-ready="),
            ),
            (
                evidence(&[("a.service", "start"), ("b.service", "start")], &["c.service"], &[], &[]),
                Some("a.service, b.service are still starting, c.service failed"),
                Some("a longer --timeout-ready="),
            ),
            (
                evidence(&[("dev-sda1.device", "start")], &[], &[], &[]),
                Some("dev-sda1.device is still starting"),
                Some("devices do not come up in a machine"),
            ),
            (
                evidence(&[("systemd-networkd-wait-online.service", "start")], &[], &[], &[]),
                Some("systemd-networkd-wait-online.service is still starting"),
                Some("nothing configures a network in it"),
            ),
            (
                evidence(&[("a.service", "stop")], &[], &[], &[]),
                Some("a.service is still stopping"),
                Some("a longer"),
            ),
            (
                evidence(&[], &["a.service", "b.mount", "c.socket", "d.service", "e.service"], &[], &[]),
                Some("a.service, b.mount, c.socket and 2 more failed"),
                Some("spinney logs"),
            ),
            (
                evidence(&[], &[], &[], &["[FAILED] Failed to start web.service - A web server.", "x"]),
                Some("web.service failed"),
                Some("spinney logs"),
            ),
            (
                evidence(&[], &[], &[], &["[FAILED] Failed to mount /data.", "x"]),
                Some("/data failed"),
                Some("spinney logs"),
            ),
            (
                evidence(&[], &[], &["rc > S05slow > sleep", "getty"], &["hello"]),
                Some("it runs rc > S05slow > sleep, getty"),
                None,
            ),
            (
                evidence(&[], &[], &[], &["[!!!!!!] Failed to mount API filesystems.", "Exiting PID 1..."]),
                Some("Failed to mount API filesystems"),
                None,
            ),
            (
                evidence(
                    &[],
                    &[],
                    &[],
                    &[
                        "Failed to create /init.scope control group: Read-only file system",
                        "Exiting PID 1...",
                    ],
                ),
                Some("its init cannot make cgroups"),
                Some("is something of the host's bound over /sys/fs/cgroup"),
            ),
            (
                evidence(&[], &[], &[], &["Failed to allocate manager object: Too many open files"]),
                Some("it ran out of inotify instances or file descriptors"),
                Some("machines with a user namespace of their own"),
            ),
            (
                evidence(
                    &[("a.service", "start")],
                    &[],
                    &[],
                    &["You are in emergency mode. After logging in"],
                ),
                Some("it is in emergency mode"),
                Some("often an entry of its /etc/fstab"),
            ),
        ];
        for (evidence, cause, hint) in rows {
            let diagnosis = diagnose(evidence);
            assert_eq!(diagnosis.cause.as_deref(), *cause, "{evidence:?}");
            match hint {
                Some(hint) => {
                    assert!(diagnosis.hint.is_some_and(|said| said.starts_with(hint)), "{diagnosis:?}")
                }
                None => assert_eq!(diagnosis.hint, None, "{evidence:?}"),
            }
        }
    }

    #[test]
    fn a_guests_own_words_are_read_as_data() {
        let jobs = b"  42 multi-user.target start waiting\n  43 slow.service start running\n\x1b[31m x y z\n\
                     44 a/b.service start running\n45 dev-disk-by\\x2duuid.device start running\n46 c.service rm running\n";
        let units: Vec<String> = parse_jobs(jobs).into_iter().map(|job| job.unit).collect();
        assert_eq!(units, ["slow.service", "dev-disk-by\\x2duuid.device"]);
        let failed = b"bad.service loaded failed failed Bad\n\x1b]0;evil\x07.service x\n\xff.service\nnodot\nworse.mount\n";
        assert_eq!(parse_failed(failed), ["bad.service", "worse.mount"]);
    }
}
