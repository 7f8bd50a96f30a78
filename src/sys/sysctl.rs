//! The kernel's switches below /proc/sys/net, as paths from there: `ipv4/conf/eth0/forwarding`. They are those of the network
//! namespace that we are in.

use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use super::SysResult;
use super::files::{open_at, read_at, write_all};

const NETWORK: &str = "/proc/sys/net";

/// The value of a switch; `None` where the kernel has none of this name.
pub fn read(path: &str) -> Option<String> {
    /// A number or a few.
    const LIMIT: usize = 256;
    let text = read_at(CWD, Path::new(NETWORK).join(path), LIMIT).ok()?;
    Some(String::from_utf8_lossy(&text).trim().to_owned())
}

/// The same as a number.
pub fn number(path: &str) -> Option<u32> {
    read(path)?.parse().ok()
}

/// Sets a switch.
///
/// # Errors
/// ENOENT where there is none, EROFS where /proc/sys may not be written.
pub fn write(path: &str, value: &str) -> SysResult<()> {
    let file = open_at(CWD, Path::new(NETWORK).join(path), OFlags::WRONLY, Mode::empty())?;
    write_all(file, value.as_bytes())
}

/// How sysctl(8) takes a switch and a value. A name with a dot in it, as interfaces of VLANs have, is told by slashes.
pub fn assignment(path: &str, value: &str) -> String {
    match path.contains('.') {
        true => format!("sysctl net/{path}={value}"),
        false => format!("sysctl net.{}={value}", path.replace('/', ".")),
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn switches() {
        assert!(number("ipv4/conf/lo/forwarding").is_some());
        assert_eq!((read("ipv4/conf/no such/forwarding"), number("ipv4")), (None, None));
        assert_eq!(write("ipv4/no such", "1").unwrap_err().errno(), Errno::NOENT);
    }

    #[test]
    fn as_they_are_typed() {
        for (path, expected) in [
            ("ipv4/conf/eth0/forwarding", "sysctl net.ipv4.conf.eth0.forwarding=1"),
            ("ipv4/conf/eth0.7/forwarding", "sysctl net/ipv4/conf/eth0.7/forwarding=1"),
        ] {
            assert_eq!(assignment(path, "1"), expected);
        }
    }
}
