//! Options that several verbs of transfers take.

use std::path::PathBuf;

use super::watching::Style;
use crate::cli::output::Output;
use crate::settings::ValueError;

/// How it is told.
#[derive(Debug, clap::Args)]
pub struct ReportOptions {
    /// Print how far it is, and what came of it, as lines of JSON
    #[arg(short = 'j', long)]
    pub json: bool,

    /// No progress bar, and nothing said when all is well
    #[arg(short, long)]
    pub quiet: bool,
}

impl ReportOptions {
    pub(super) fn style(&self) -> Style {
        if self.json {
            Style::Json
        } else if self.quiet {
            Style::Nothing
        } else {
            Style::fitting()
        }
    }

    /// Where words go.
    pub fn output(&self) -> Output {
        Output::new(self.quiet || self.json)
    }
}

/// What becomes of the image.
#[derive(Debug, clap::Args)]
pub struct ImageOptions {
    /// The same as NAME
    #[arg(short = 'M', long, value_name = "NAME", hide = true)]
    pub machine: Option<String>,

    /// Replace an image of this name that nothing uses
    #[arg(short = 'f', long)]
    pub force: bool,

    /// Mark the new image read-only
    #[arg(long, visible_alias = "ro")]
    pub read_only: bool,

    /// Keep images in this directory instead of /var/lib/machines
    #[arg(long, value_name = "DIR")]
    pub image_root: Option<PathBuf>,

    /// What it is an image of: machine, the only class there is here
    #[arg(long, value_name = "CLASS", hide = true)]
    pub class: Option<String>,

    /// The same as --class=machine
    #[arg(short = 'm', hide = true)]
    pub class_machine: bool,
}

impl ImageOptions {
    /// Refuses classes of images that are none of machines (importctl(1)).
    ///
    /// # Errors
    /// For any but `machine`.
    pub fn check_class(&self) -> Result<(), ValueError> {
        match self.class.as_deref() {
            None | Some("machine") => Ok(()),
            Some(class @ ("portable" | "sysext" | "confext")) => Err(ValueError::new(
                class,
                "is a class that spinney keeps no images of",
                "machine; importctl has the others",
            )),
            Some(class) => Err(ValueError::new(class, "is no class of images", "machine")),
        }
    }
}

/// What a download is held to.
#[derive(Debug, clap::Args)]
pub struct VerifyOptions {
    /// Hold it to a checksum file beside it (checksum), a signed one (signature), or nothing (no) [default: checksum over
    /// https, signature over http]
    #[arg(long, value_name = "MODE")]
    pub verify: Option<String>,

    /// Hold it to this digest
    #[arg(long, value_name = "DIGEST")]
    pub sha256: Option<String>,

    /// Believe signatures of the keys in this file, in place of the host's keyring
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
}

/// A boolean as systemd has it (systemd.syntax(7)).
pub fn boolean(text: &str) -> Result<bool, ValueError> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Ok(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Ok(false),
        _ => Err(ValueError::new(text, "is neither yes nor no", "yes or no")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans() {
        for (text, expected) in
            [("yes", Some(true)), ("0", Some(false)), ("Off", Some(false)), ("maybe", None)]
        {
            assert_eq!(boolean(text).ok(), expected, "{text}");
        }
    }
}
