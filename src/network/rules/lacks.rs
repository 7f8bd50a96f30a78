//! Kernels that have not all that our rules are made of, and what that means for machines.

use rustix::io::Errno;

use super::super::nft::NftError;
use super::base::{BRIDGE, INET};

/// What a kernel lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lacks {
    /// nf_tables, or what routers do with it: no rule of ours can be made.
    Everything,
    /// nf_tables for bridges (CONFIG_NF_TABLES_BRIDGE).
    Bridges,
}

impl Lacks {
    /// What the kernel lacks that says this to the making of our tables, if that is why.
    pub(super) fn of(error: &NftError) -> Option<Self> {
        const UNKNOWN: [Errno; 4] =
            [Errno::OPNOTSUPP, Errno::AFNOSUPPORT, Errno::PROTONOSUPPORT, Errno::NOENT];
        match error {
            // No NETLINK_NETFILTER, or no netlink at all.
            NftError::Socket(error) => UNKNOWN.contains(&error.errno()).then_some(Self::Everything),
            NftError::Refused { asked, errno } => {
                let of = |table: super::super::nft::object::Table| {
                    let name = format!("{} {}", table.family, table.name);
                    ["add table", "add chain", "add set", "add map", "add a rule to"].iter().any(|made| {
                        asked.strip_prefix(made).is_some_and(|rest| rest.trim_start().starts_with(&name))
                    })
                };
                match asked.as_str() {
                    // What nfnetlink says of a subsystem that it has not (nfnetlink_rcv_msg()).
                    "ask for the generation" => (*errno == Errno::INVAL).then_some(Self::Everything),
                    _ if !UNKNOWN.contains(errno) => None,
                    _ if of(BRIDGE) => Some(Self::Bridges),
                    _ if of(INET) => Some(Self::Everything),
                    _ => None,
                }
            }
            NftError::Changed | NftError::TooLong(_) | NftError::Answer => None,
        }
    }

    /// What the user should know.
    pub(super) fn warning(self) -> &'static str {
        match self {
            Self::Everything => {
                "this kernel has no nf_tables with NAT: the machine does not reach beyond this host, and nothing keeps it from \
                 the host's services and from addresses of other machines; modprobe nf_tables nft_chain_nat nft_masq nft_fib_inet"
            }
            Self::Bridges => {
                "this kernel has no nf_tables for bridges: nothing keeps machines of a zone from addresses of one another; \
                 CONFIG_NF_TABLES_BRIDGE has it"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::SysError;

    #[test]
    fn refusals_of_kernels() {
        let socket = |errno| NftError::Socket(SysError::new("socket", "AF_NETLINK", errno));
        let refused = |asked: &str, errno| NftError::Refused { asked: asked.to_owned(), errno };
        for (error, expected) in [
            (socket(Errno::PROTONOSUPPORT), Some(Lacks::Everything)),
            (socket(Errno::PERM), None),
            (socket(Errno::NOBUFS), None),
            (refused("ask for the generation", Errno::INVAL), Some(Lacks::Everything)),
            (refused("ask for the generation", Errno::PERM), None),
            (refused("add table inet spinney", Errno::OPNOTSUPP), Some(Lacks::Everything)),
            (refused("add chain inet spinney prerouting", Errno::NOENT), Some(Lacks::Everything)),
            (refused("add a rule to inet spinney prerouting (fib)", Errno::NOENT), Some(Lacks::Everything)),
            (refused("add table bridge spinney", Errno::OPNOTSUPP), Some(Lacks::Bridges)),
            (refused("add table bridge spinney", Errno::AFNOSUPPORT), Some(Lacks::Bridges)),
            (refused("add chain bridge spinney guard", Errno::NOENT), Some(Lacks::Bridges)),
            (refused("add chain bridge spinney guard", Errno::NOMEM), None),
            (refused("add a rule to ip filter FORWARD", Errno::NOENT), None),
            (NftError::Changed, None),
        ] {
            assert_eq!(Lacks::of(&error), expected, "{error:?}");
        }
    }
}
