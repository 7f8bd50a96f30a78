//! `spinney copy-from`

use crate::cli::copying::{CopyArguments, perform};
use crate::machine::copy::Direction;

const RULES: &str = "\
DST follows cp(1), as with copy-to: in a directory that exists the copies keep their names, else DST is the name of the one copy. \
Without DST it is the path of SRC itself, on the host. SRC/. is what is in SRC; SRC/ follows a link, in the machine.

Kept are permissions, times, numbers of owners (ID n in the machine is ID n of the host), links, hard links, holes, ACLs and \
user.* attributes. Set-user-ID and set-group-ID bits and file capabilities are taken off, since the machine's root could make a program \
that is root on the host: --keep-setid keeps them. Sockets and device nodes are left out, and told of.

A DST of '-' is a tar stream (pax) on stdout.

Examples:
  spinney copy-from web /var/log/nginx .      ./nginx
  spinney copy-from web /etc/. etc-of-web     what is in /etc
  spinney copy-from web /srv - | zstd > srv.tar.zst

Exit status: 0 when all was copied, 125 otherwise.";

/// Copy files out of a running machine
#[derive(Debug, clap::Args)]
#[command(override_usage = "spinney copy-from [OPTIONS] <NAME> <SRC>... [DST]", after_help = RULES)]
pub struct CopyFromArguments {
    #[command(flatten)]
    copy: CopyArguments,

    /// Keep set-user-ID and set-group-ID bits and file capabilities: for machines that you trust
    #[arg(long)]
    keep_setid: bool,
}

/// Runs the verb, gives the exit status.
pub fn copy_from(arguments: &CopyFromArguments) -> u8 {
    perform(&arguments.copy, Direction::Out, arguments.keep_setid)
}
