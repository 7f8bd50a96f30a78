//! Devices of the host that a machine is given or may use, as settings name them, looked up on this host.

use std::borrow::Cow;
use std::path::Path;

use crate::host::devices::{majors, nodes};
use crate::runtime::device_filter::{DeviceKind, DeviceRule, MAKE, READ, WRITE};
use crate::runtime::plan::DeviceNode;
use crate::settings::Limits;
use crate::settings::limits::device::{DeviceAccess, DeviceGrant, Devices};

use super::error::Error;

/// The nodes that `--device=` puts into the machine's /dev.
pub(super) fn given(limits: &Limits) -> Result<Vec<DeviceNode>, Error> {
    let mut all = Vec::new();
    for DeviceGrant { path, target, access } in &limits.devices {
        let name = target.strip_prefix("/dev").unwrap_or(target);
        let found = nodes(path)
            .map_err(|source| Error::Device { device: path.to_string_lossy().into_owned(), source })?;
        all.extend(found.into_iter().map(|node| {
            let join =
                |to: &Path| if node.below == Path::new("") { to.to_path_buf() } else { to.join(&node.below) };
            DeviceNode {
                name: Cow::Owned(join(name).to_string_lossy().into_owned()),
                block: node.block,
                numbers: node.numbers,
                // The guest's root is its owner, and is to use it whatever the host's group of that device is.
                mode: node.mode | 0o600,
                host: Some(join(path)),
                access: bits(*access),
            }
        }));
    }
    Ok(all)
}

/// What `--device-allow=` lets the machine use.
pub(super) fn allowed(limits: &Limits) -> Result<Vec<DeviceRule>, Error> {
    let mut rules = Vec::new();
    for allowed in &limits.device_allow {
        let access = bits(allowed.access);
        let rule = |block, major, minor| {
            let kind = if block { DeviceKind::Block } else { DeviceKind::Character };
            DeviceRule { kind, major, minor, access }
        };
        let failed = |device: String| |source| Error::Device { device, source };
        match &allowed.devices {
            Devices::Numbers { block, major, minor } => rules.push(rule(*block, Some(*major), *minor)),
            Devices::Driver { block, name } if name == "*" => rules.push(rule(*block, None, None)),
            Devices::Driver { block, name } => {
                let majors = majors(*block, name).map_err(failed(allowed.to_string()))?;
                rules.extend(majors.into_iter().map(|major| rule(*block, Some(major), None)));
            }
            Devices::Node(path) => {
                let nodes = nodes(path).map_err(failed(path.to_string_lossy().into_owned()))?;
                rules.extend(
                    nodes.iter().map(|node| rule(node.block, Some(node.numbers.0), Some(node.numbers.1))),
                );
            }
        }
    }
    Ok(rules)
}

fn bits(access: DeviceAccess) -> u32 {
    [(access.read, READ), (access.write, WRITE), (access.make, MAKE)]
        .into_iter()
        .filter(|(has, _)| *has)
        .fold(0, |bits, (_, bit)| bits | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(given: &[&str], allowed: &[&str]) -> Limits {
        Limits {
            devices: given.iter().map(|text| text.parse().unwrap()).collect(),
            device_allow: allowed.iter().map(|text| text.parse().unwrap()).collect(),
            ..Limits::default()
        }
    }

    #[test]
    fn devices_of_this_host() {
        let nodes = given(&limits(&["/dev/null:/dev/sub/nil:r", "/dev/zero"], &[])).unwrap();
        let shown: Vec<_> = nodes.iter().map(|node| (&*node.name, node.numbers, node.access)).collect();
        assert_eq!(shown, [("sub/nil", (1, 3), READ), ("zero", (1, 5), READ | WRITE | MAKE)]);
        let rules = allowed(&limits(&[], &["/dev/null r", "char-mem w", "b 7:* m", "block-* r"])).unwrap();
        let shown: Vec<_> = rules.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["char 1:3 r", "char 1:* w", "block 7:* m", "block *:* r"]);
    }

    #[test]
    fn what_is_no_device() {
        let error = given(&limits(&["/dev/none"], &[])).unwrap_err();
        assert_eq!(error.to_string(), "no device can be given by \"/dev/none\"");
        for text in ["/dev/none rw", "char-nonsense r"] {
            assert!(allowed(&limits(&[], &[text])).is_err(), "{text}");
        }
    }
}
