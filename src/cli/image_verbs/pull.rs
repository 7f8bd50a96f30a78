//! `spinney pull`, and `pull-tar` and `pull-raw` as importctl(1) has them.

use super::fail;
use super::pull_reference::{self, Asked, ReferenceOptions};
use crate::cli::refusal::Message;
use crate::cli::require_root;
use crate::cli::transferring::options::{ImageOptions, ReportOptions, VerifyOptions, boolean};
use crate::cli::transferring::reporting::Done;
use crate::cli::transferring::{Failure, Transferring, image_name, must_be_free, store};
use crate::cli::{EXIT_FAILURE, output::Output};
use crate::image::Finish;
use crate::image::origin::Origin;
use crate::transfer::fetch::{self, FetchOptions};
use crate::transfer::install::{self, InstallOptions, Wanted};
use crate::transfer::naming;
use crate::transfer::source::Source;
use crate::transfer::verify::{Mode, Verification};
use crate::transfer::{self, Digest, Event, oci};

const RULES: &str = "\
SOURCE is an address (https://, http://, file://) of a tar archive or a disk image (raw or qcow2), compressed with gzip, xz, zstd or \
bzip2 or not at all: what it is, its bytes say. Or it is a name of the catalogue (debian:trixie; see spinney search), or an image of an \
OCI registry (docker.io/library/debian:trixie). NAME is by default the file's name without its endings.

The image is unpacked under a hidden name while it is downloaded, and appears when it is whole, verified and on disk. Ctrl-C removes what \
there is of it; with --keep-partial the next pull of the same address goes on where this one stopped.

pull-tar and pull-raw insist on an archive or a disk image, and by default on a signature, as importctl(1) does. pull-oci takes what it is \
given for an image of a registry, of Docker's where none is named.

Examples:
  spinney pull https://example.org/debian-13.tar.xz
  spinney pull https://example.org/root.tar.zst web --sha256=9f86d081884c7d65...
  spinney pull http://mirror/disk.qcow2 --key=/etc/keys/mirror.pgp
  spinney pull debian:trixie

Exit status: 0 when the image is there, 130 or 143 when cancelled by Ctrl-C or SIGTERM, 125 otherwise.";

/// Fetch an image
#[derive(Debug, clap::Args)]
#[command(override_usage = "spinney pull [OPTIONS] <SOURCE> [NAME]", after_help = RULES)]
pub struct PullArguments {
    /// An address, a name of the catalogue, or an image of a registry
    #[arg(value_name = "SOURCE")]
    source: String,

    #[command(flatten)]
    options: PullOptions,

    /// More names of the catalogue, with --lock and --frozen
    #[arg(value_name = "NAME", hide = true)]
    more: Vec<String>,

    #[command(flatten)]
    reference: ReferenceOptions,
}

/// Fetch a tar archive as an image
#[derive(Debug, clap::Args)]
#[command(override_usage = "spinney pull-tar [OPTIONS] <URL> [NAME]", after_help = RULES)]
pub struct PullTarArguments {
    /// The address of the archive
    #[arg(value_name = "URL")]
    url: String,

    #[command(flatten)]
    options: PullOptions,
}

/// Fetch a disk image
#[derive(Debug, clap::Args)]
#[command(override_usage = "spinney pull-raw [OPTIONS] <URL> [NAME]", after_help = RULES)]
pub struct PullRawArguments {
    /// The address of the disk image
    #[arg(value_name = "URL")]
    url: String,

    #[command(flatten)]
    options: PullOptions,
}

/// Fetch an image of an OCI registry
#[derive(Debug, clap::Args)]
#[command(override_usage = "spinney pull-oci [OPTIONS] <REFERENCE> [NAME]", after_help = RULES)]
pub struct PullOciArguments {
    /// The image: [REGISTRY/]REPOSITORY[:TAG]
    #[arg(value_name = "REFERENCE")]
    reference: String,

    #[command(flatten)]
    options: PullOptions,

    /// For this architecture [default: this host's]
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
}

/// What all of them take.
#[derive(Debug, clap::Args)]
pub struct PullOptions {
    /// What the image is to be called
    #[arg(value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    image: ImageOptions,

    #[command(flatten)]
    verify: VerifyOptions,

    /// Keep what was downloaded when it breaks off, and go on from there the next time
    #[arg(long)]
    keep_partial: bool,

    /// Take no for importctl(1)'s sake; downloads are not kept
    #[arg(long, value_name = "BOOL", hide = true)]
    keep_download: Option<String>,

    /// The same as --keep-download=no
    #[arg(short = 'N', hide = true)]
    no_keep_download: bool,

    #[command(flatten)]
    report: ReportOptions,
}

/// Runs `spinney pull`, gives the exit status.
pub fn pull(arguments: &PullArguments) -> u8 {
    let options = &arguments.options;
    if arguments.reference.takes_many() {
        let mut names = [&arguments.source].into_iter().chain(&options.name).chain(&arguments.more);
        let one = |name: &String| perform(name, None, None, options, Some(&arguments.reference), "pull");
        // The first that fails ends it.
        return names.by_ref().map(one).find(|status| *status != 0).unwrap_or(0);
    }
    if let Some(more) = arguments.more.first() {
        let error = Message::new(format!("an operand too many: {more:?}"));
        return fail(
            &error,
            Some("pull one image at a time, or several with --lock or --frozen".to_owned()),
            Output::new(false),
        );
    }
    perform(&arguments.source, options.name.as_deref(), None, options, Some(&arguments.reference), "pull")
}

/// Runs `spinney pull-tar`, gives the exit status.
pub fn pull_tar(arguments: &PullTarArguments) -> u8 {
    let options = &arguments.options;
    perform(&arguments.url, options.name.as_deref(), Some(Wanted::Tar), options, None, "pull-tar")
}

/// Runs `spinney pull-raw`, gives the exit status.
pub fn pull_raw(arguments: &PullRawArguments) -> u8 {
    let options = &arguments.options;
    perform(&arguments.url, options.name.as_deref(), Some(Wanted::Raw), options, None, "pull-raw")
}

/// Runs `spinney pull-oci`, gives the exit status.
pub fn pull_oci_image(arguments: &PullOciArguments) -> u8 {
    let options = &arguments.options;
    let reference = ReferenceOptions::of_architecture(arguments.arch.clone());
    let source = Source::of_registry(&arguments.reference);
    perform(&source, options.name.as_deref(), None, options, Some(&reference), "pull-oci")
}

fn perform(
    source: &str,
    name: Option<&str>,
    wanted: Option<Wanted>,
    options: &PullOptions,
    reference: Option<&ReferenceOptions>,
    verb: &str,
) -> u8 {
    if !require_root(verb, &format!("sudo spinney {verb} ..."), Output::new(false)) {
        return EXIT_FAILURE;
    }
    let transferring = Transferring::begin(&options.report, verb, source);
    if let Some(mode) = &options.verify.verify {
        transferring.held_to(mode);
    }
    let result =
        checked(options).and_then(|verification| match (heeded(source, &verification, reference)?, wanted) {
            (Source::Url(url), wanted) => {
                pull_url(&url, name, wanted, as_importctl(verification, wanted, &url), options, &transferring)
            }
            (Source::Catalogue(text), None) if let Some(reference) = reference => {
                let asked = Asked {
                    reference: &text,
                    name,
                    machine: options.image.machine.as_deref(),
                    image_root: options.image.image_root.as_deref(),
                    force: options.image.force,
                    // Who names a key wants a signature of it, as with addresses.
                    mode: verification.mode.or((!verification.keys.is_empty()).then_some(Mode::Signature)),
                    keys: &verification.keys,
                    keep_partial: options.keep_partial,
                    options: reference,
                };
                pull_reference::pull(&asked, &transferring)
            }
            (_, Some(_)) => Err(Failure::refused(
                format!("{source:?} is no address"),
                "https://, http:// or file://; spinney pull takes names of the catalogue and registries too",
            )),
            (Source::Catalogue(name), None) => {
                Err(Failure::refused(format!("there is no catalogue to find {name:?} in"), "give an address"))
            }
            (Source::Oci(text), None) => {
                let architecture = reference.and_then(ReferenceOptions::architecture);
                pull_oci(&text, name, architecture, options, &transferring)
            }
        });
    transferring.end(result)
}

/// `source`, if all that is asked to vouch for it can. What cannot is refused, never passed over in silence.
fn heeded(
    source: &str,
    asked: &Verification,
    reference: Option<&ReferenceOptions>,
) -> Result<Source, Failure> {
    let source = Source::parse(source)?;
    let locks = reference.is_some_and(ReferenceOptions::takes_many);
    let signature = asked.mode == Some(Mode::Signature) || !asked.keys.is_empty();
    const REGISTRY: &str = "REPOSITORY@sha256:DIGEST pins an image of a registry";
    let (what, hint) = match &source {
        Source::Url(_) if locks => {
            ("--lock and --frozen are for names of the catalogue", "--sha256= pins an address")
        }
        Source::Oci(_) if locks => ("--lock and --frozen are for names of the catalogue", REGISTRY),
        Source::Oci(_) if asked.sha256.is_some() => ("--sha256= is for addresses", REGISTRY),
        Source::Oci(_) if signature => ("signatures of images of registries are not checked", REGISTRY),
        Source::Catalogue(_) if asked.sha256.is_some() => {
            ("--sha256= is for addresses", "--frozen takes what --lock wrote down")
        }
        _ => return Ok(source),
    };
    Err(Failure::refused(what, hint))
}

/// What the download is held to; all that can be wrong with the options is found here.
fn checked(options: &PullOptions) -> Result<Verification, Failure> {
    options.image.check_class().map_err(Failure::value("--class="))?;
    let keep = options.keep_download.as_deref().map(boolean).transpose();
    if keep.map_err(Failure::value("--keep-download="))? == Some(true) && !options.no_keep_download {
        return Err(Failure::refused(
            "--keep-download=yes: downloads are not kept",
            "spinney clone makes a machine of an image that stays as it is; --keep-partial keeps what broke off",
        ));
    }
    let given = &options.verify;
    let mode = given.verify.as_deref().map(str::parse::<Mode>).transpose();
    let digest = given.sha256.as_deref().map(str::parse::<Digest>).transpose();
    Ok(Verification {
        mode: mode.map_err(Failure::value("--verify="))?,
        sha256: digest.map_err(Failure::value("--sha256="))?,
        keys: given.key.clone(),
        ..Verification::default()
    })
}

/// `pull-tar` and `pull-raw` want of a server what importctl(1) wants, if nobody says otherwise: a signature.
fn as_importctl(verification: Verification, wanted: Option<Wanted>, url: &str) -> Verification {
    let unsaid = verification.mode.is_none() && verification.sha256.is_none();
    match wanted {
        Some(_) if unsaid && url.starts_with("http") => {
            Verification { mode: Some(Mode::Signature), ..verification }
        }
        _ => verification,
    }
}

fn pull_url(
    url: &str,
    name: Option<&str>,
    wanted: Option<Wanted>,
    verification: Verification,
    options: &PullOptions,
    transferring: &Transferring,
) -> Result<Done, Failure> {
    let store = store(options.image.image_root.as_deref())?;
    let file = naming::file_of(url);
    let default = naming::image_name(&file);
    let name = image_name(name, options.image.machine.as_deref(), &default)?;
    transferring.called(&name);
    must_be_free(&store, &name, options.image.force)?;
    let context = &transferring.context;
    context.tell(Event::Stage { what: format!("asking for {}", shown(&file)), total: None });
    let partial = options.keep_partial.then(|| store.state.join("downloads"));
    let fetching = FetchOptions { partial, ..FetchOptions::default() };
    let incoming = fetch::open(url, &verification, &fetching, context)?;
    context.tell(Event::Stage { what: format!("pulling {name}"), total: incoming.length() });
    let finish = Finish { replace: options.image.force, read_only: options.image.read_only };
    let origin = Origin { source: Some(incoming.name().to_owned()), ..Origin::new("pull") };
    let installing = InstallOptions { finish, origin: Some(origin), ..InstallOptions::default() };
    let installed = install::image(incoming, &store, &name, wanted, &installing, context)?;
    Ok(Done::installed("pulled", &installed))
}

fn pull_oci(
    text: &str,
    name: Option<&str>,
    architecture: Option<&str>,
    options: &PullOptions,
    transferring: &Transferring,
) -> Result<Done, Failure> {
    let reference = oci::Reference::parse(text).map_err(transfer::Error::from)?;
    let store = store(options.image.image_root.as_deref())?;
    let name = image_name(name, options.image.machine.as_deref(), &reference.local_name())?;
    transferring.called(&name);
    must_be_free(&store, &name, options.image.force)?;
    let replace = options.image.force;
    let source = reference.to_string();
    let asked = oci::Asked {
        reference: &reference,
        origin: text,
        source: &source,
        name: &name,
        architecture,
        replace,
        fetching: &FetchOptions::default(),
        verification: &Verification::none(),
    };
    let pulled = oci::pull(&store, &asked, &transferring.context)?;
    Ok(Done::pulled_layers(&pulled))
}

/// A file's name as it may be printed.
fn shown(file: &str) -> String {
    crate::supervisor::printable::line(file.as_bytes())
}
