//! Facts of what is kept on a host to findings: images, room, and what belongs to nobody. Pure.

use super::Finding;
use super::facts::{IMAGES, Leavings};
use crate::host::{Permissions, Place};

/// Room below which a file system is as good as full, and below which it soon will be: a booted distribution writes some
/// ten megabytes, and /run, which is memory, holds two megabytes a machine at most.
const ROOM: [(&str, u64, u64); 3] =
    [(IMAGES, 64 << 20, 1 << 30), ("/var/lib/spinney", 64 << 20, 1 << 30), ("/run", 4 << 20, 32 << 20)];

/// Who may do what with the images.
pub(super) fn images(machines: Option<Permissions>) -> Finding {
    let check = "images";
    match machines {
        None => Finding::ok(check, format!("{IMAGES} is not there yet")),
        Some(Permissions { uid: 0, mode }) if mode & 0o077 == 0 => {
            Finding::ok(check, format!("{IMAGES} is root's alone"))
        }
        Some(Permissions { uid: 0, mode }) if mode & 0o022 == 0 => Finding::warning(
            check,
            format!("{IMAGES} has mode {mode:04o}: users of this host reach set-uid programs of images"),
            format!("chmod 0700 {IMAGES}"),
        ),
        Some(Permissions { uid, mode }) => Finding::problem(
            check,
            format!("others than root can change {IMAGES} (owner {uid}, mode {mode:04o})"),
            format!("chown root:root {IMAGES} && chmod 0700 {IMAGES}"),
        ),
    }
}

/// Whether a file system has room for more.
pub(super) fn room(place: &Place) -> Finding {
    let check = "room";
    let path = place.path.display();
    if place.read_only {
        return Finding::problem(
            check,
            format!("{path} cannot be written: its file system is mounted read-only"),
            format!("mount -o remount,rw {}", place.existing.display()),
        );
    }
    let (_, full, low) = ROOM
        .into_iter()
        .find(|(path, ..)| place.path == std::path::Path::new(path))
        .unwrap_or(("", 64 << 20, 1 << 30));
    let left = match place.free >> 20 {
        mebibytes if mebibytes < 10 << 10 => format!("{mebibytes} MiB"),
        mebibytes => format!("{} GiB", mebibytes >> 10),
    };
    let free = format!("{path} ({}) has {left} left", place.kind);
    // A small file system is not full because it is small.
    let low = low.min(place.size / 10);
    if place.free < full.min(place.size / 50) {
        Finding::problem(check, free, "remove what is not needed any more")
    } else if place.free < low {
        Finding::warning(check, free, "remove what is not needed any more")
    } else if place.inodes > 0 && place.free_inodes < place.inodes / 100 {
        Finding::warning(
            check,
            format!("{path} ({}) has {} inodes left", place.kind, place.free_inodes),
            "remove small files that are not needed any more",
        )
    } else {
        Finding::ok(check, free)
    }
}

/// What belongs to no machine that runs.
pub(super) fn leavings(left: &Leavings) -> Vec<Finding> {
    let rows: [(&'static str, &[String], &str, &str, &str); 6] = [
        (
            "leavings",
            &left.records,
            "nothing is left behind",
            "killed supervisors left things behind:",
            "spinney gc removes them",
        ),
        (
            "records",
            &left.unreadable,
            "all can be read",
            "records that cannot be read:",
            "another version of spinney may have made them",
        ),
        (
            "scratch",
            &left.scratch,
            "none is nobody's",
            "directories of no machine in /var/lib/spinney/scratch:",
            "they hold throw-away layers; rm -r them",
        ),
        (
            "stray-cgroups",
            &left.cgroups,
            "none is nobody's",
            "empty cgroups of no machine:",
            "find CGROUP -depth -type d -exec rmdir {} + removes one",
        ),
        (
            "id-locks",
            &left.locks,
            "none is nobody's",
            "lock files in /run/systemd/nspawn-uid that nobody holds:",
            "they do no harm, and can be removed",
        ),
        (
            "ids",
            &left.overlaps,
            "no machine has somebody else's",
            "machines with ids that users of this host own (subuid(5)):",
            "run them with --private-users=pick",
        ),
    ];
    rows.into_iter()
        .map(|(check, names, clean, text, hint)| match names {
            [] => Finding::ok(check, clean),
            names => Finding::warning(check, format!("{text} {}", some_of(names)), hint),
        })
        .collect()
}

/// The first few, and how many more.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let first = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => first,
        Some(more) => format!("{first} and {more} more"),
    }
}
