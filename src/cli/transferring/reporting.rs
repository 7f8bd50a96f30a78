//! How a transfer ended.

use std::time::Duration;

use serde_json::{Value, json};

use super::failure::Failure;
use super::watching::print_line;
use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::cli::refusal::Message;
use crate::cli::transfer_bar::bytes;
use crate::image::{Image, ImageKind};
use crate::settings::MachineName;
use crate::sys::in_words;
use crate::transfer::install::Installed;
use crate::transfer::obtain::Made;
use crate::transfer::oci::Pulled;

/// What was done.
#[derive(Debug)]
pub struct Done {
    /// `pulled debian-13`
    what: String,
    /// `8431 files, 258 MiB`
    amount: String,
    /// What vouches for it; of what nothing vouches for, that.
    proof: Option<String>,
    /// What comes next.
    next: Option<String>,
    notes: Vec<String>,
    facts: Value,
}

impl Done {
    /// An image was made: `verb` says how.
    pub fn installed(verb: &str, installed: &Installed) -> Self {
        let Installed { image, proof, counts, notes } = installed;
        let checked = match &proof.checked {
            Some(checked) => format!("verified by {checked}"),
            None => "not verified".to_owned(),
        };
        let mut done = Self::made(verb, image, counts.files, counts.bytes);
        done.proof = Some(checked);
        done.notes = notes.lines();
        done.facts["sha256"] = json!(proof.sha256.map(|sha256| sha256.to_string()));
        done.facts["verified_by"] = json!(proof.checked);
        done
    }

    /// An image was put together of layers.
    pub fn pulled_layers(pulled: &Pulled) -> Self {
        let mut done = Self::made("pulled", &pulled.image, pulled.counts.files, pulled.counts.bytes);
        let (all, shared) = pulled.layers;
        done.proof = Some(match shared {
            0 => format!("{all} layer{}", if all == 1 { "" } else { "s" }),
            _ => format!("{all} layer{}, {shared} of them here before", if all == 1 { "" } else { "s" }),
        });
        done.notes.clone_from(&pulled.notes);
        done.facts["layers"] = json!(all);
        done.facts["layers_shared"] = json!(shared);
        done.facts["digest"] = json!(pulled.digest.map(|digest| format!("sha256:{digest}")));
        done
    }

    /// The same, of what came from this host and needs no proof.
    pub fn made(verb: &str, image: &Image, files: u64, size: u64) -> Self {
        let amount = match image.kind {
            ImageKind::Raw | ImageKind::Block => bytes(size),
            _ => format!("{files} file{}, {}", if files == 1 { "" } else { "s" }, bytes(size)),
        };
        let facts = json!({
            "event": "done",
            "image": image.name.as_str(),
            "path": image.path,
            "kind": match image.kind {
                ImageKind::Directory => "directory",
                ImageKind::Subvolume => "subvolume",
                ImageKind::Raw => "raw",
                ImageKind::Block => "block",
                ImageKind::Layered => "layered",
            },
            "files": files,
            "bytes": size,
        });
        Self {
            what: format!("{verb} {}", image.name),
            amount,
            proof: None,
            next: Some(next_for(image.name.as_str())),
            notes: Vec::new(),
            facts,
        }
    }

    /// Nothing was made: `what` says why that is well.
    pub fn said(what: String, facts: Value) -> Self {
        Self { what, amount: String::new(), proof: None, next: None, notes: Vec::new(), facts }
    }

    /// Without how much of it there is, which nobody counted.
    #[must_use]
    pub fn without_amount(mut self) -> Self {
        self.amount.clear();
        for fact in ["files", "bytes"] {
            self.facts[fact] = Value::Null;
        }
        self
    }

    /// With where it came from, and what vouches for it.
    #[must_use]
    pub fn from_source(mut self, reference: &str, made: &Made) -> Self {
        self.facts["reference"] = json!(reference);
        self.facts["source_kind"] = json!(made.kind);
        self.facts["source"] = json!(made.address);
        self.facts["sha256"] =
            json!(made.proof.as_ref().and_then(|proof| proof.sha256).map(|sha256| sha256.to_string()));
        self.facts["verified_by"] = json!(made.vouched);
        let vouched = made.vouched.as_ref().map(|vouched| format!("verified by {vouched}"));
        self.proof = vouched.or(Some("not verified".to_owned()));
        self
    }

    /// With what is not as it was.
    #[must_use]
    pub fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes = notes;
        self
    }

    /// An image was written to a file.
    pub fn exported(image: &Image, target: &str, size: u64, notes: Vec<String>) -> Self {
        Self {
            what: format!("exported {} to {target}", image.name),
            // Of a stream nobody knows.
            amount: if size == 0 { String::new() } else { bytes(size) },
            proof: None,
            next: None,
            notes,
            facts: json!({ "event": "done", "image": image.name.as_str(), "file": target, "bytes": size }),
        }
    }

    /// What was done, in one line.
    pub(super) fn words(&self) -> String {
        match self.amount.as_str() {
            "" => self.what.clone(),
            amount => format!("{}: {amount}", self.what),
        }
    }

    pub(super) fn report(mut self, took: Duration, json: bool, output: Output) -> u8 {
        for note in &self.notes {
            output.warning(note);
        }
        if json {
            self.facts["seconds"] = json!(took.as_secs_f64());
            self.facts["notes"] = json!(self.notes);
            print_line(output, &self.facts);
            return 0;
        }
        let proof = self.proof.map(|proof| format!(", {proof}")).unwrap_or_default();
        match (self.amount.as_str(), self.next.is_some()) {
            ("", false) => output.status(&self.what),
            ("", true) => output.status(&format!("{} in {:.1} s{proof}", self.what, took.as_secs_f64())),
            (amount, _) => {
                output.status(&format!("{}: {amount} in {:.1} s{proof}", self.what, took.as_secs_f64()));
            }
        }
        if let Some(next) = self.next {
            output.status(&format!("next: {next}"));
        }
        0
    }
}

/// What to do with the image `name`: names of images may have what names of machines have not.
fn next_for(name: &str) -> String {
    match name.parse::<MachineName>() {
        Ok(name) => format!("spinney start {name}"),
        Err(_) => format!("spinney rename {name:?} NAME: a machine is called like a host"),
    }
}

/// Says why nothing was made, and gives the exit status: that of a shell for who was told to stop by `signal`.
pub(super) fn failed(failure: &Failure, signal: Option<i32>, json: bool, output: Output) -> u8 {
    let (cancelled, hint) = (failure.is_cancelled(), failure.hint());
    let gone = Message::new("cancelled; what there was of it is removed");
    output.error(if cancelled { &gone } else { failure.error() }, hint.as_deref());
    if json {
        let text = in_words(failure.error());
        print_line(
            output,
            &json!({ "event": "failed", "cancelled": cancelled, "error": text, "hint": hint }),
        );
    }
    match signal {
        Some(signal) if cancelled => u8::try_from(128 + signal).unwrap_or(EXIT_FAILURE),
        _ => EXIT_FAILURE,
    }
}
