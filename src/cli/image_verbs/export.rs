//! `spinney export`, and `export-tar` and `export-raw` as importctl(1) has them.

use std::io::IsTerminal;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::archive::ExportOptions;
use crate::archive::entry::Time;
use crate::archive::pack::Modified;
use crate::cli::require_root;
use crate::cli::transferring::options::ReportOptions;
use crate::cli::transferring::reporting::Done;
use crate::cli::transferring::target::{Target, file_name, is_stdout};
use crate::cli::transferring::{Failure, Transferring, image_name, store};
use crate::cli::{EXIT_FAILURE, output::Output};
use crate::image::Image;
use crate::image::lock::{Hold, try_lock_path};
use crate::image::users::holders;
use crate::settings::ValueError;
use crate::transfer::compression::Compression;
use crate::transfer::export::{self, Form};
use crate::transfer::{Context, Event};

const RULES: &str = "\
A disk image is written as it is, any other image as a tar archive of its tree; export-tar makes an archive of either, export-raw \
insists on a disk image. FILE's ending says how it is compressed (.gz, .xz, .zst, .bz2), --format= otherwise; without FILE, or with '-', \
it goes to stdout. All processors compress. FILE appears when it is whole and on disk.

An archive is the same, byte for byte, whenever and wherever the same tree is exported. --mtime= gives all files one time; with \
--clamp-mtime those alone that are later, as SOURCE_DATE_EPOCH in the environment does.

Examples:
  spinney export web web.tar.zst
  spinney export web --format=gzip | ssh host spinney import - web
  spinney export-raw disk disk.raw.xz
  SOURCE_DATE_EPOCH=1735689600 spinney export web web.tar

Exit status: 0 when all was exported, 130 or 143 when cancelled by Ctrl-C or SIGTERM, 125 otherwise.";

/// Write an image as an archive or a disk image
#[derive(Debug, clap::Args)]
#[command(override_usage = "spinney export [OPTIONS] <NAME> [FILE|-]", after_help = RULES)]
pub struct ExportArguments {
    #[command(flatten)]
    options: ExportVerbOptions,
}

/// Write an image as a tar archive
#[derive(Debug, clap::Args)]
#[command(override_usage = "spinney export-tar [OPTIONS] <NAME> [FILE|-]", after_help = RULES)]
pub struct ExportTarArguments {
    #[command(flatten)]
    options: ExportVerbOptions,
}

/// Write a disk image
#[derive(Debug, clap::Args)]
#[command(override_usage = "spinney export-raw [OPTIONS] <NAME> [FILE|-]", after_help = RULES)]
pub struct ExportRawArguments {
    #[command(flatten)]
    options: ExportVerbOptions,
}

/// What all of them take.
#[derive(Debug, clap::Args)]
pub struct ExportVerbOptions {
    /// The image
    #[arg(value_name = "NAME")]
    name: String,

    /// Where to; '-' is stdout [default: -]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// How to compress it: uncompressed, xz, gzip, bzip2 or zstd [default: as FILE ends]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// The time of all files: @SECONDS since 1970, or as in 2025-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    mtime: Option<String>,

    /// The time of those files alone that are later
    #[arg(long, requires = "mtime")]
    clamp_mtime: bool,

    /// Replace FILE if it is there
    #[arg(short = 'f', long)]
    force: bool,

    /// Where images are, instead of where machinectl looks
    #[arg(long, value_name = "DIR")]
    image_root: Option<PathBuf>,

    #[command(flatten)]
    report: ReportOptions,
}

/// Runs `spinney export`, gives the exit status.
pub fn export(arguments: &ExportArguments) -> u8 {
    perform(&arguments.options, None, "export")
}

/// Runs `spinney export-tar`, gives the exit status.
pub fn export_tar(arguments: &ExportTarArguments) -> u8 {
    perform(&arguments.options, Some(Form::Tar), "export-tar")
}

/// Runs `spinney export-raw`, gives the exit status.
pub fn export_raw(arguments: &ExportRawArguments) -> u8 {
    perform(&arguments.options, Some(Form::Raw), "export-raw")
}

fn perform(options: &ExportVerbOptions, form: Option<Form>, verb: &str) -> u8 {
    if !require_root(verb, &format!("sudo spinney {verb} ..."), Output::new(false)) {
        return EXIT_FAILURE;
    }
    let file = options.file.as_ref().map_or("-".into(), |file| file.to_string_lossy());
    let transferring = Transferring::begin(&options.report, verb, &file);
    let result = exported(options, form, &transferring);
    transferring.end(result)
}

fn exported(
    options: &ExportVerbOptions,
    form: Option<Form>,
    transferring: &Transferring,
) -> Result<Done, Failure> {
    let to_stdout = is_stdout(options.file.as_ref());
    if to_stdout && options.report.json {
        return Err(Failure::refused("--json and the image would both be on stdout", "name a FILE"));
    }
    let file = options.file.as_deref().map(file_name).unwrap_or_default();
    let format = match options.format.as_deref() {
        Some(word) => word.parse().map_err(Failure::value("--format="))?,
        None => Compression::of_name(&file).0,
    };
    let exporting = ExportOptions { modified: modified(options)? };
    let store = store(options.image_root.as_deref())?;
    let image = store.find(&image_name(Some(&options.name), None, "")?)?;
    let context = &transferring.context;
    transferring.called(&image.name);
    let named_tar = Compression::of_name(&file).1.ends_with(".tar");
    let form = form.unwrap_or(if named_tar { Form::Tar } else { Form::of(&image) });
    if form == Form::Raw && Form::of(&image) != Form::Raw {
        return Err(Failure::refused(
            format!("{} is no disk image", image.name),
            "spinney export-tar writes its tree as an archive",
        ));
    }
    if to_stdout && std::io::stdout().is_terminal() {
        return Err(Failure::refused(
            "stdout is a terminal, which no image is for",
            format!("spinney export {} FILE, or | something", image.name),
        ));
    }
    let lock = try_lock_path(&image.path, Hold::Shared)?;
    if lock.is_none() {
        let by = holders(&image.path);
        let by = if by.is_empty() { String::new() } else { format!(" ({})", by.join(", ")) };
        context.tell(Event::Note(format!("{} is in use{by}: it may change while it is read", image.name)));
    }
    let target = match &options.file {
        Some(path) if !to_stdout => Target::file(path, options.force)?,
        _ => Target::stdout()?,
    };
    let what = format!("exporting {}", image.name);
    context.tell(Event::Stage { what, total: export::length(&image, form) });
    let lines = write(&image, form, &target, (format, &exporting), context)?;
    let shown = target.shown().to_owned();
    if target.as_file().is_some() {
        context.tell(Event::Stage { what: format!("writing {shown} to disk"), total: None });
    }
    let size = target.finish()?;
    Ok(Done::exported(&image, &shown, size, lines))
}

fn write(
    image: &Image,
    form: Form,
    target: &Target,
    (format, exporting): (Compression, &ExportOptions),
    context: &Context,
) -> Result<Vec<String>, Failure> {
    if let (Form::Raw, Compression::None, Some(file)) = (form, format, target.as_file()) {
        export::disk(image, file, target.shown(), context)?;
        return Ok(Vec::new());
    }
    let sink = (target.sink(), target.shown());
    let notes = export::export(image, form, sink, (format, exporting), context)?;
    if notes.has_faults() {
        let lines = notes.lines().join("; ");
        return Err(Failure::refused(
            format!("{} could not be exported whole: {lines}", image.name),
            "stop what changes it, and try again",
        ));
    }
    Ok(notes.lines())
}

/// What becomes of the times of files.
fn modified(options: &ExportVerbOptions) -> Result<Modified, Failure> {
    if let Some(text) = options.mtime.as_deref() {
        let time = point_in_time(text).map_err(Failure::value("--mtime="))?;
        return Ok(if options.clamp_mtime { Modified::AtMost(time) } else { Modified::Fixed(time) });
    }
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => {
            let time = point_in_time(&format!("@{seconds}"));
            Ok(Modified::AtMost(time.map_err(Failure::value("SOURCE_DATE_EPOCH="))?))
        }
        Err(_) => Ok(Modified::AsItIs),
    }
}

fn point_in_time(text: &str) -> Result<Time, ValueError> {
    let refuse = || ValueError::new(text, "is no point in time", "@1735689600, or 2025-01-01T00:00:00Z");
    if let Some(seconds) = text.strip_prefix('@') {
        return Ok(Time { seconds: seconds.parse().map_err(|_| refuse())?, nanoseconds: 0 });
    }
    let time: Timestamp = text.parse().map_err(|_| refuse())?;
    Ok(Time { seconds: time.as_second(), nanoseconds: u32::try_from(time.subsec_nanosecond()).unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time() {
        let rows = [
            ("@0", Some(0)),
            ("@1735689600", Some(1_735_689_600)),
            ("2025-01-01T00:00:00Z", Some(1_735_689_600)),
            ("2025-01-01T01:00:00+01:00", Some(1_735_689_600)),
            ("yesterday", None),
            ("@", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(point_in_time(text).ok().map(|time| time.seconds), expected, "{text}");
        }
    }
}
