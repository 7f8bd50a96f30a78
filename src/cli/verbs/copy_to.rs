//! `spinney copy-to`

use crate::cli::copying::{CopyArguments, perform};
use crate::machine::copy::Direction;

const RULES: &str = "\
DST follows cp(1): in a directory that exists the copies keep their names, else DST is the name of the one copy, and the \
directory it is in must exist. With several SRC, DST must be a directory. Without DST it is the path of SRC itself, in the machine. \
A directory is copied with all below it; one that exists at the destination stays as it is and is filled. SRC/. is what is in SRC; \
SRC/ follows a link. Files that exist are not replaced without --force, and links below DST never followed.

Kept are permissions, times, numbers of owners (ID n of the host is ID n in the machine), links, hard links, holes, ACLs, \
user.* attributes and file capabilities. Sockets and device nodes are left out, and told of.

A SRC of '-' is a tar stream on stdin, uncompressed, unpacked in the directory DST.

Examples:
  spinney copy-to web ./site /srv             /srv/site in the machine
  spinney copy-to web /etc/hosts --force      the same path there
  tar -c site | spinney copy-to web - /srv

Exit status: 0 when all was copied, 125 otherwise.";

/// Copy files into a running machine
#[derive(Debug, clap::Args)]
#[command(override_usage = "spinney copy-to [OPTIONS] <NAME> <SRC>... [DST]", after_help = RULES)]
pub struct CopyToArguments {
    #[command(flatten)]
    copy: CopyArguments,
}

/// Runs the verb, gives the exit status.
pub fn copy_to(arguments: &CopyToArguments) -> u8 {
    perform(&arguments.copy, Direction::In, true)
}
