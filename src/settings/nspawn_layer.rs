//! A .nspawn file as a layer of settings: which of its lines count, and what is said of the others.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;

use super::assignment::{Assignment, Change, FilePlace, Source};
use super::error::shown;
use super::keys::{self, Key, Kind, NspawnKey, Trust};
use super::nspawn::{NspawnLine, parse, words};
use super::parse_boolean;
use super::refused::SettingsError;
use super::suggestion::did_you_mean;

/// What systemd-nspawn has and Spinney has not yet: accepted, so that a file that is shared with it is no error.
pub(crate) const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("Exec", "PrivateUsersDelegate"),
    ("Exec", "RestrictAddressFamilies"),
    ("Files", "BindUser"),
    ("Files", "BindUserShell"),
    ("Files", "PrivateUsersOwnership"),
    ("Files", "PrivateUsersChown"),
];

const SECTIONS: [&str; 3] = ["Exec", "Files", "Network"];

/// The settings that `text` of the file `path` makes, and warnings.
///
/// # Errors
/// A value that its setting does not take. What is not known is a warning, as systemd-nspawn has it.
pub fn layer(
    path: &Rc<Path>,
    text: &str,
    trusted: bool,
) -> Result<(Vec<Assignment>, Vec<String>), SettingsError> {
    let (lines, odd) = parse(text);
    let mut layer = Layer { path, trusted, found: Vec::new(), ignored: Vec::new(), idle: Vec::new() };
    let mut warnings: Vec<String> = odd
        .into_iter()
        .map(|line| format!("{}:{}: {}; the line is ignored", path.display(), line.number, line.problem))
        .collect();
    for line in &lines {
        // A name of somebody else's, which systemd leaves alone too (systemd.syntax(7)).
        if line.section.starts_with("X-") || line.key.starts_with("X-") {
            continue;
        }
        match keys::of_nspawn(&line.section, &line.key) {
            Some((key, known)) => layer.add(key, known, line)?,
            None if WITHOUT_EFFECT.contains(&(line.section.as_str(), line.key.as_str())) => {
                layer.idle.push((line.number, line.key.clone()));
            }
            None => warnings.push(unknown(path, line)),
        }
    }
    let path = path.display();
    if !layer.ignored.is_empty() {
        let list = list(&layer.ignored);
        warnings
            .push(format!("{path} is not trusted: {list} ignored (--settings=trusted believes all of it)"));
    }
    if !layer.idle.is_empty() {
        warnings.push(format!("{path}: {} without effect in spinney so far", list(&layer.idle)));
    }
    Ok((layer.found, warnings))
}

/// `Bind= (line 3), Port= (line 7)`.
fn list(lines: &[(usize, String)]) -> String {
    let mut text = String::new();
    for (index, (number, key)) in lines.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{key}= (line {number})");
    }
    text
}

fn unknown(path: &Path, line: &NspawnLine) -> String {
    let place = format!("{}:{}", path.display(), line.number);
    let key = shown(&line.key);
    if line.section.is_empty() {
        return format!("{place}: {key} stands before any section; the line is ignored");
    }
    if !SECTIONS.contains(&line.section.as_str()) {
        let near = super::nearest(&line.section, SECTIONS);
        return format!(
            "{place}: unknown section {}, {key} is ignored{}",
            shown(&line.section),
            did_you_mean(near)
        );
    }
    let elsewhere = SECTIONS.into_iter().find(|section| keys::of_nspawn(section, &line.key).is_some());
    let end = match elsewhere {
        Some(section) => format!("; it belongs in [{section}]"),
        None => did_you_mean(keys::nearest_nspawn(&line.section, &line.key)),
    };
    format!("{place}: unknown key {key} in [{}], ignored{end}", line.section)
}

/// What has been read of a file.
struct Layer<'a> {
    path: &'a Rc<Path>,
    trusted: bool,
    found: Vec<Assignment>,
    ignored: Vec<(usize, String)>,
    idle: Vec<(usize, String)>,
}

impl Layer<'_> {
    fn add(&mut self, key: &'static Key, known: &NspawnKey, line: &NspawnLine) -> Result<(), SettingsError> {
        let place = FilePlace { path: self.path.clone(), line: line.number, key: line.key.as_str().into() };
        let source = Source::File(place);
        if !self.trusted && !is_believed(key, &line.value) {
            self.ignored.push((line.number, line.key.clone()));
            return Ok(());
        }
        if line.value.is_empty() && known.prefix.is_empty() {
            self.push(key, Change::Reset, source);
            return Ok(());
        }
        let values = if known.words {
            words(&line.value).map_err(|problem| {
                let error =
                    super::ValueError::new(&line.value, problem, "words with spaces in them in quotes");
                SettingsError::value(&source, error.into())
            })?
        } else {
            vec![format!("{}{}", known.prefix, line.value)]
        };
        for value in values {
            // A variable without a value is ours: not for whoever wrote a file beside a tree to choose.
            if !self.trusted && key.name == "setenv" && !value.contains('=') {
                self.ignored.push((line.number, line.key.clone()));
                continue;
            }
            let value = match self.earlier(key) {
                // systemd-nspawn joins the sets of several lines.
                Some(earlier) if key.kind == Kind::Numbers => {
                    let mut joined = earlier;
                    joined.push(",");
                    joined.push(&value);
                    joined
                }
                _ => value.into(),
            };
            self.push(key, Change::Give(value), source.clone());
        }
        Ok(())
    }

    /// The value that stands so far.
    fn earlier(&self, key: &Key) -> Option<OsString> {
        let last = self.found.iter().rev().find(|assignment| assignment.key == key)?;
        last.value().map(ToOwned::to_owned)
    }

    fn push(&mut self, key: &'static Key, change: Change, source: Source) {
        let mut assignment = Assignment::new(key, change, source);
        assignment.untrusted = !self.trusted;
        self.found.push(assignment);
    }
}

/// Whether a file that nobody trusts may say this.
fn is_believed(key: &Key, value: &str) -> bool {
    match key.trust {
        Trust::Free => true,
        Trust::Never => false,
        Trust::OnlyYes => value.is_empty() || parse_boolean(value) != Ok(false),
        Trust::OnlyDeny => value.is_empty() || value.trim_start().starts_with('~'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_survived(
            lines in prop::collection::vec("(\\[(Exec|Files|Network)\\]|(Boot|Parameters|Bind|CPUAffinity|LimitCPU)=\\PC{0,12}|\\PC{0,12})", 0..12),
            trusted: bool
        ) {
            let _ = layer(&Path::new("/x").into(), &lines.join("\n"), trusted);
        }
    }
}
