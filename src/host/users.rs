//! Which ids of this host belong to somebody: passwd(5) and subuid(5).

/// A range of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First id.
    pub base: u32,
    /// Number of ids.
    pub size: u32,
}

impl IdRange {
    fn overlaps(self, other: Self) -> bool {
        let end = |range: Self| u64::from(range.base) + u64::from(range.size);
        u64::from(self.base) < end(other) && u64::from(other.base) < end(self)
    }
}

/// The ids that users, groups and subordinate ranges of this host own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdOwners {
    taken: Vec<IdRange>,
}

impl IdOwners {
    /// Reads /etc/passwd, /etc/group, /etc/subuid and /etc/subgid of this host. A file that is missing owns nothing.
    pub fn probe() -> Self {
        /// A host with as many users as this has them in LDAP, not here.
        const LIMIT: usize = 1 << 20;
        let read = |path: &str| {
            crate::sys::files::read_at(rustix::fs::CWD, path, LIMIT)
                .map(|data| String::from_utf8_lossy(&data).into_owned())
                .unwrap_or_default()
        };
        let mut owners = Self::default();
        owners.add_accounts(&read("/etc/passwd"));
        owners.add_accounts(&read("/etc/group"));
        owners.add_subordinate(&read("/etc/subuid"));
        owners.add_subordinate(&read("/etc/subgid"));
        owners
    }

    /// Whether no id of `range` belongs to anybody.
    pub fn is_free(&self, range: IdRange) -> bool {
        !self.taken.iter().any(|taken| taken.overlaps(range))
    }

    /// Adds the third fields of a passwd(5) or group(5) text.
    fn add_accounts(&mut self, text: &str) {
        let ids = text.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok());
        self.taken.extend(ids.map(|base| IdRange { base, size: 1 }));
    }

    /// Adds the ranges of a subuid(5) text.
    fn add_subordinate(&mut self, text: &str) {
        let ranges = text.lines().filter_map(|line| {
            let mut fields = line.split(':').skip(1);
            Some(IdRange { base: fields.next()?.parse().ok()?, size: fields.next()?.trim().parse().ok()? })
        });
        self.taken.extend(ranges);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_are_taken() {
        let mut owners = IdOwners::default();
        owners.add_accounts("root:x:0:0:root:/root:/bin/sh\nldap:x:700000:100::/:\nbroken\n");
        owners.add_subordinate("alice:100000:65536\nbob:not:1\n");
        let table = [
            (0, 1, false),
            (1, 65536, true),
            (655_360, 65536, false),
            (524_288, 65536, true),
            (1, 100_000, false),
        ];
        for (base, size, free) in table {
            assert_eq!(owners.is_free(IdRange { base, size }), free, "{base}:{size}");
        }
    }
}
