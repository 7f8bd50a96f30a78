//! The two processes of a copy, and the stream between them.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::destination::Destination;
use super::sources::{self, Meaning, OpenSource};
use super::{Copied, CopyRequest, Direction, is_stream};
use crate::archive::{self, PackOptions, Packer, Place, Sink, Source, UnpackOptions, Unpacker, Watch};
use crate::machine::enter::join;
use crate::machine::error::Error;
use crate::machine::handle::Leader;
use crate::machine::helper::{Failure, Helper, Teller};
use crate::supervisor::launch_record::LaunchRecord;
use crate::sys::SysResult;
use crate::sys::in_root::Root;
use crate::sys::open_files::OpenFiles;
use crate::sys::pipe::{do_not_block, pipe};
use crate::sys::signal::{SignalFd, SignalSet};

/// As much as pipes may hold by default (/proc/sys/fs/pipe-max-size).
const PIPE: usize = 1 << 20;

/// How often a child tells how far it is.
const TELL: Duration = Duration::from_millis(100);

/// How a side ended; what it did counts even if it failed.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Report {
    copied: Copied,
    failure: Option<Failure>,
    /// It failed because the stream ended: the other side knows why.
    broken_off: bool,
}

impl Report {
    fn new(copied: Copied, error: Option<archive::Error>) -> Self {
        use archive::{BadStream, Error};
        let broken_off =
            matches!(error, Some(Error::Gone | Error::Stream(BadStream::Truncated | BadStream::NotTar)));
        let failure = error.map(|error| Failure::of(&error, error.hint()));
        Self { copied, failure, broken_off }
    }
}

/// What a child needs to get into the machine.
struct Way {
    leader: Leader,
    record: LaunchRecord,
}

impl Way {
    /// Goes in; gives the guest's root, and our open files as the host knows them.
    fn enter(&self) -> Result<(Root, OpenFiles), Failure> {
        let enter = || -> SysResult<(Root, OpenFiles)> {
            let open_files = OpenFiles::of_this_process()?;
            join(&self.leader, &self.record)?;
            Ok((Root::open("/")?, open_files))
        };
        enter().map_err(Error::system("enter the machine")).map_err(Failure::from)
    }
}

/// Copies as asked.
pub(super) fn transfer(request: &CopyRequest<'_>, moved: &mut dyn FnMut(u64)) -> Result<Copied, Error> {
    let record = request.machine.launch_record()?;
    let way = Way { leader: request.machine.leader()?, record };
    let signals = SignalSet::of(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]);
    let before = signals.block().map_err(Error::system("block signals"))?;
    let signals = SignalFd::open(&signals).map_err(Error::system("open a signalfd"))?;
    let watch = Watch { cancel: Some(signals.as_fd()), patience: request.options.patience };
    let from_stdin = request.sources.iter().any(|source| is_stream(source));
    let to_stdout = request.destination.as_deref().is_some_and(is_stream);
    let result = match request.direction {
        Direction::In if from_stdin => unpack_stdin(request, &way, watch, moved),
        Direction::In => pack_here(request, &way, watch, moved),
        Direction::Out if to_stdout => pack_to_stdout(request, &way, watch, moved),
        Direction::Out => unpack_here(request, &way, watch, moved),
    };
    // A signal that we have acted on is not to end us twice.
    while signals.read().is_ok_and(|signal| signal.is_some()) {}
    before.set_mask().map_err(Error::system("unblock signals"))?;
    result
}

/// The host packs, the child unpacks in the guest.
fn pack_here(
    request: &CopyRequest<'_>,
    way: &Way,
    watch: Watch<'_>,
    moved: &mut dyn FnMut(u64),
) -> Result<Copied, Error> {
    let sources = open_sources(&host_root()?, request).map_err(Error::Helper)?;
    let open_files = OpenFiles::of_this_process().map_err(Error::system("open /proc/self/fd"))?;
    let destination = destination(request);
    let (theirs, ours) = pipe(PIPE).map_err(Error::system("make a pipe"))?;
    do_not_block(&ours).map_err(Error::system("make a pipe"))?;
    let unpack = |stream: Option<OwnedFd>, teller: &Teller| {
        let (root, _) = way.enter()?;
        let place = destination.open(&root)?;
        unpack(request, stream, place, Watch { cancel: Some(teller.cancel()), patience: None }, &mut |_| {})
    };
    let (helper, ours) = start(Some((theirs, ours)), unpack)?;
    let packed = pack(request, ours, sources, open_files, watch, moved);
    settle(packed, helper, watch, moved, false)
}

/// The child packs in the guest, the host unpacks.
fn unpack_here(
    request: &CopyRequest<'_>,
    way: &Way,
    watch: Watch<'_>,
    moved: &mut dyn FnMut(u64),
) -> Result<Copied, Error> {
    let place = destination(request).open(&host_root()?).map_err(Error::Helper)?;
    let (ours, theirs) = pipe(PIPE).map_err(Error::system("make a pipe"))?;
    do_not_block(&ours).map_err(Error::system("make a pipe"))?;
    let pack = |stream: Option<OwnedFd>, _: &Teller| {
        let (root, open_files) = way.enter()?;
        let sources = open_sources(&root, request)?;
        pack(request, stream, sources, open_files, Watch::default(), &mut |_| {})
    };
    let (helper, ours) = start(Some((theirs, ours)), pack)?;
    let unpacked = unpack(request, ours, place, watch, moved);
    settle(unpacked, helper, watch, moved, true)
}

/// The child unpacks what comes on stdin.
fn unpack_stdin(
    request: &CopyRequest<'_>,
    way: &Way,
    watch: Watch<'_>,
    moved: &mut dyn FnMut(u64),
) -> Result<Copied, Error> {
    let destination = destination(request);
    let stdin = duplicate(rustix::stdio::stdin())?;
    let unpack = |_: Option<OwnedFd>, teller: &Teller| {
        let (root, _) = way.enter()?;
        let place = destination.open(&root)?;
        let watch = Watch { cancel: Some(teller.cancel()), patience: None };
        unpack(request, Some(stdin), place, watch, &mut slowly(teller))
    };
    let (helper, _) = start(None, unpack)?;
    // Who writes to stdin may take all the time in the world.
    alone(helper, Watch { patience: None, ..watch }, moved)
}

/// The child packs to stdout.
fn pack_to_stdout(
    request: &CopyRequest<'_>,
    way: &Way,
    watch: Watch<'_>,
    moved: &mut dyn FnMut(u64),
) -> Result<Copied, Error> {
    let stdout = duplicate(rustix::stdio::stdout())?;
    let pack = |_: Option<OwnedFd>, teller: &Teller| {
        let (root, open_files) = way.enter()?;
        let sources = open_sources(&root, request)?;
        pack(request, Some(stdout), sources, open_files, Watch::default(), &mut slowly(teller))
    };
    let (helper, _) = start(None, pack)?;
    alone(helper, Watch { patience: None, ..watch }, moved)
}

fn start(
    ends: Option<(OwnedFd, OwnedFd)>,
    work: impl FnOnce(Option<OwnedFd>, &Teller) -> Result<Report, Failure>,
) -> Result<(Helper, Option<OwnedFd>), Error> {
    Helper::start(ends, work).map_err(Error::system("start a process for the machine"))
}

/// Packs `sources` into `stream`.
fn pack(
    request: &CopyRequest<'_>,
    stream: Option<OwnedFd>,
    sources: Vec<OpenSource>,
    open_files: OpenFiles,
    watch: Watch<'_>,
    moved: &mut dyn FnMut(u64),
) -> Result<Report, Failure> {
    let stream = stream.ok_or_else(no_stream)?;
    let options = PackOptions {
        // Of what stays a stream: who unpacks it on the host need not know whose it is.
        drop_privileges: request.direction == Direction::Out && !request.options.keep_privileges,
        one_file_system: request.options.one_file_system,
        ..PackOptions::default()
    };
    let mut packer = Packer::new(Sink::new(stream, watch, Box::new(moved)), open_files, options);
    let packed = sources.into_iter().try_for_each(|source| packer.add(&source.name, source.place));
    Ok(match packed.and_then(|()| packer.finish()) {
        Ok((counts, notes)) => Report::new(Copied { counts, notes }, None),
        Err(error) => Report::new(Copied::default(), Some(error)),
    })
}

/// Unpacks `stream` at `place`.
fn unpack(
    request: &CopyRequest<'_>,
    stream: Option<OwnedFd>,
    place: Place,
    watch: Watch<'_>,
    moved: &mut dyn FnMut(u64),
) -> Result<Report, Failure> {
    let source = Source::new(stream.ok_or_else(no_stream)?, watch, Box::new(moved));
    let options = UnpackOptions {
        replace: request.options.replace,
        drop_privileges: request.direction == Direction::Out && !request.options.keep_privileges,
        owner: request.options.owner,
    };
    let (counts, notes, result) = Unpacker::new(source, place, options).run();
    Ok(Report::new(Copied { counts, notes }, result.err()))
}

/// What two sides came to. The one that failed first knows why; the other only sees the stream end.
fn settle(
    ours: Result<Report, Failure>,
    mut helper: Helper,
    watch: Watch<'_>,
    moved: &mut dyn FnMut(u64),
    unpacked_here: bool,
) -> Result<Copied, Error> {
    let ours = ours.map_err(Error::Helper)?;
    let own_end = ours.failure.is_some() && !ours.broken_off;
    let theirs = if own_end {
        // Its report counts only for what it has made; who only reads has nothing to clean up.
        let report = if unpacked_here { None } else { helper.stop::<Report>() };
        report.unwrap_or_else(|| Report::new(Copied::default(), None))
    } else {
        match helper.report::<Report>(watch, moved) {
            Ok(report) => report,
            Err(error) => {
                helper.stop::<Report>();
                return Err(error);
            }
        }
    };
    let counts = if unpacked_here { ours.copied.counts } else { theirs.copied.counts };
    let mut notes = ours.copied.notes;
    notes.merge(theirs.copied.notes);
    let copied = Copied { counts, notes };
    let failure = match (ours.failure, theirs.failure) {
        (Some(ours), _) if own_end => Some(ours),
        (Some(_), Some(theirs)) => Some(theirs),
        (ours, theirs) => ours.or(theirs),
    };
    match failure {
        Some(failure) => Err(Error::Copy { failure, copied: Box::new(copied) }),
        None => Ok(copied),
    }
}

/// What the child came to, which has done all.
fn alone(mut helper: Helper, watch: Watch<'_>, moved: &mut dyn FnMut(u64)) -> Result<Copied, Error> {
    let report = match helper.report::<Report>(watch, moved) {
        Ok(report) => report,
        Err(error @ Error::Archive(_)) => {
            let copied = helper.stop::<Report>().map(|report| report.copied).unwrap_or_default();
            let failure = Failure::of(&error, error.hint());
            return Err(Error::Copy { failure, copied: Box::new(copied) });
        }
        Err(error) => return Err(error),
    };
    match report.failure {
        Some(failure) => Err(Error::Copy { failure, copied: Box::new(report.copied) }),
        None => Ok(report.copied),
    }
}

fn no_stream() -> Failure {
    Failure::new("there is no stream", None)
}

fn host_root() -> Result<Root, Error> {
    Root::open("/").map_err(Error::system("open /"))
}

fn open_sources(root: &Root, request: &CopyRequest<'_>) -> Result<Vec<OpenSource>, Failure> {
    sources::open(root, &request.sources)
}

fn destination(request: &CopyRequest<'_>) -> Destination {
    let source = request.sources.first().map(PathBuf::as_path).unwrap_or(Path::new("/"));
    Destination {
        path: request.destination.clone().unwrap_or_else(|| source.to_owned()),
        exact: request.destination.is_none(),
        many: request.sources.len() > 1,
        contents: !is_stream(source)
            && sources::meaning(source) == Meaning::Contents
            && request.sources.len() == 1,
        stream: is_stream(source),
    }
}

fn duplicate(fd: impl AsFd) -> Result<OwnedFd, Error> {
    let duplicated = rustix::io::fcntl_dupfd_cloexec(&fd, 3);
    crate::sys::sys("fcntl", duplicated, || "F_DUPFD_CLOEXEC".to_owned())
        .map_err(Error::system("use the stream"))
}

/// Tells of bytes now and then.
fn slowly(teller: &Teller) -> impl FnMut(u64) {
    let (mut sum, mut told) = (0, Instant::now());
    move |count| {
        sum += count;
        if told.elapsed() >= TELL {
            teller.moved(sum);
            (sum, told) = (0, Instant::now());
        }
    }
}
