//! The record's form: for each step of a section a block of what was run, what it said and how it ended.
//!
//! ```text
//! # section
//! [step]
//! $ machinectl list
//! 1| what it said on stdout
//! 2| what it said on stderr
//! = 0
//! ```

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::shapes::hide;
use super::steps::{Does, SECTIONS, Step};
use crate::command::Ended;
use crate::harness::{Stop, TestResult};

/// Set to the file that the record is written to, when it is.
const WRITE: &str = "SPINNEY_RECORD";

/// What was recorded, by the version of systemd; clients and daemons are of the same one.
const RECORDS: &[(&str, &str)] = &[
    ("252", include_str!("../../../fixtures/machinectl/252.record")),
    ("257", include_str!("../../../fixtures/machinectl/257.record")),
];

/// What all records have, and what any client can see.
pub const INTERFACES: &str = "interfaces";

/// Files that steps find in `$fixtures`.
const FIXTURES: &[(&str, &[u8])] = &[
    ("signer.gpg", include_bytes!("../../../fixtures/machinectl/signer.gpg")),
    ("SHA256SUMS", include_bytes!("../../../fixtures/machinectl/SHA256SUMS")),
    ("SHA256SUMS.gpg", include_bytes!("../../../fixtures/machinectl/SHA256SUMS.gpg")),
];

/// A directory with them.
pub fn fixtures(directory: &Path) -> Result<PathBuf, Stop> {
    let path = directory.join("fixtures");
    if !path.exists() {
        std::fs::create_dir(&path)?;
        for (name, bytes) in FIXTURES {
            std::fs::write(path.join(name), bytes)?;
        }
    }
    Ok(path)
}

/// What a step came to, as the record has it. A line may end as those of terminals do.
pub fn block(step: &Step, ended: &Ended) -> String {
    let Does::Run(line) = step.does else { return String::new() };
    let mut block = format!("[{}]\n", step.name);
    let mut lines = |mark: &str, text: &str| {
        for line in text.lines() {
            block += &format!("{mark}{}\n", visible(line));
        }
    };
    lines("$ ", &dedented(line));
    for (mark, text) in [("1| ", &ended.stdout), ("2| ", &ended.stderr)] {
        let text = step.hides.iter().fold(text.clone(), |text, rule| hide(&text, rule));
        lines(mark, &text);
    }
    block += &format!("= {}\n", ended.status);
    block
}

/// A command line of several lines without the table's indentation.
fn dedented(line: &str) -> String {
    let lines: Vec<&str> = line.lines().filter(|line| !line.trim().is_empty()).collect();
    let indent = lines.iter().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    lines.iter().map(|line| format!("{}\n", &line[indent..])).collect()
}

/// Control characters, which terminals are told by, as escapes.
fn visible(line: &str) -> String {
    let char = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    line.chars().map(char).collect()
}

/// The blocks of `section`, by their names, in order.
fn blocks(record: &str, section: &str) -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in record.lines() {
        if let Some(title) = line.strip_prefix("# ") {
            inside = title == section;
        } else if inside && let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            blocks.push((name.to_owned(), format!("{line}\n")));
        } else if inside && let Some((_, block)) = blocks.last_mut() {
            *block += &format!("{line}\n");
        }
    }
    blocks
}

/// The record of one section: to be held to, or to be written.
pub enum Record {
    Read(Vec<Vec<(String, String)>>),
    Write(File),
}

impl Record {
    /// Of the machinectl that is installed here. The interfaces of `ours` have what those of all versions have.
    pub fn of_client(section: &str, ours: bool) -> Result<Self, Stop> {
        if let Some(path) = std::env::var_os(WRITE) {
            let mut file = OpenOptions::new().append(true).open(path)?;
            writeln!(file, "# {section}")?;
            return Ok(Self::Write(file));
        }
        if ours && section == INTERFACES {
            return Ok(Self::Read(RECORDS.iter().map(|(_, text)| blocks(text, section)).collect()));
        }
        let Ok(version) = Command::new("machinectl").arg("--version").output() else {
            return Err(Stop::Skip("no machinectl here".to_owned()));
        };
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        let version = version.split_whitespace().nth(1).unwrap_or_default();
        match RECORDS.iter().find(|(recorded, _)| *recorded == version) {
            Some((_, text)) if text.contains(&format!("# {section}\n")) => {
                Ok(Self::Read(vec![blocks(text, section)]))
            }
            _ => Err(Stop::Skip(format!("there is no record of machinectl {version}"))),
        }
    }

    /// Holds what a step came to to the record; with the step's differences, where it is `ours`.
    pub fn hold(&self, step: &Step, said: &str, ours: bool) -> Result<(), String> {
        match self {
            Self::Write(file) => {
                let mut file = file;
                file.write_all(said.as_bytes()).map_err(|error| error.to_string())
            }
            Self::Read(records) => records.iter().try_for_each(|blocks| hold(blocks, step, said, ours)),
        }
    }
}

fn hold(blocks: &[(String, String)], step: &Step, said: &str, ours: bool) -> Result<(), String> {
    let Some((_, recorded)) = blocks.iter().find(|(name, _)| name == step.name) else {
        return Err(format!("[{}] is not in the record; it says\n{said}", step.name));
    };
    let mut expected = recorded.clone();
    for but in step.but.iter().filter(|_| ours) {
        if !step.may_have_more && !expected.contains(but.theirs) {
            return Err(format!("[{}] has a difference to {:?}, which is not there", step.name, but.theirs));
        }
        expected = expected.replace(but.theirs, but.ours);
    }
    if ours && step.may_have_more {
        let lacks: Vec<&str> = expected
            .lines()
            .filter(|line| line.starts_with("1| ") && !said.lines().any(|said| said == *line))
            .collect();
        return if lacks.is_empty() { Ok(()) } else { Err(format!("[{}] lacks {lacks:#?}", step.name)) };
    }
    if expected == said { Ok(()) } else { Err(difference(&expected, said)) }
}

/// Two blocks, the lines of each where they differ marked.
fn difference(expected: &str, said: &str) -> String {
    let (expected, said): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), said.lines().collect());
    let same = expected.iter().zip(&said).take_while(|(one, other)| one == other).count();
    let (left, right) = (&expected[same..], &said[same..]);
    let tail = left.iter().rev().zip(right.iter().rev()).take_while(|(one, other)| one == other).count();
    let mut out: Vec<String> = expected[..same].iter().map(|line| format!("  {line}")).collect();
    out.extend(left[..left.len() - tail].iter().map(|line| format!("- {line}")));
    out.extend(right[..right.len() - tail].iter().map(|line| format!("+ {line}")));
    out.extend(left[left.len() - tail..].iter().map(|line| format!("  {line}")));
    out.join("\n")
}

/// Records have the steps of the table and no others, in its order; and the form can be read back.
pub fn table() -> TestResult {
    for (version, text) in RECORDS {
        for (section, steps) in SECTIONS {
            // Only the first is held to by all that the table has.
            if *version != RECORDS[0].0 && *section != INTERFACES {
                continue;
            }
            let recorded: Vec<String> = blocks(text, section).into_iter().map(|(name, _)| name).collect();
            let steps = steps.iter().copied().flatten();
            let wanted: Vec<&str> =
                steps.filter(|step| matches!(step.does, Does::Run(_))).map(|step| step.name).collect();
            assert_eq!(recorded, wanted, "the record of {version}, {section}");
        }
    }
    let ended = Ended { status: 3, stdout: "a\rb\r\n".into(), stderr: "b\n\nc".into() };
    let step = Step { name: "x", does: Does::Run("\n  one\n    two\n  "), ..Step::NONE };
    let text = block(&step, &ended);
    assert_eq!(text, "[x]\n$ one\n$   two\n1| a\\rb\n2| b\n2| \n2| c\n= 3\n");
    assert_eq!(blocks(&format!("# other\n[y]\n# s\n{text}"), "s"), [("x".to_owned(), text)]);
    assert_eq!(difference("a\nb\nd\n", "a\nc\nd\n"), "  a\n- b\n+ c\n  d");
    Ok(())
}
