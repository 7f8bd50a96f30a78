//! Problems as errors that all interfaces have in common.

use crate::manager::problem::{Kind, Problem};
use crate::varlink::Fault;

/// A problem that the interface has no name of its own for.
pub(super) fn common(problem: Problem) -> Fault {
    match problem.kind {
        Kind::AccessDenied => Fault::new("org.varlink.service.PermissionDenied"),
        Kind::AuthorizationRequired => Fault::new("io.systemd.InteractiveAuthenticationRequired"),
        Kind::InvalidArgument => Fault::invalid_parameter(&problem.text),
        Kind::ReadOnly => system(libc::EROFS, "EROFS", problem),
        Kind::Busy => system(libc::EBUSY, "EBUSY", problem),
        Kind::ImageExists => system(libc::EEXIST, "EEXIST", problem),
        _ => system(libc::EIO, "EIO", problem),
    }
}

/// As sd-varlink tells errors of the system, with the words that it has no place for.
fn system(errno: i32, name: &str, problem: Problem) -> Fault {
    Fault::new("io.systemd.System").with("errno", errno).with("errnoName", name).with("message", problem.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let table = [
            (Kind::AccessDenied, "org.varlink.service.PermissionDenied", None),
            (Kind::AuthorizationRequired, "io.systemd.InteractiveAuthenticationRequired", None),
            (Kind::InvalidArgument, "org.varlink.service.InvalidParameter", None),
            (Kind::Busy, "io.systemd.System", Some("EBUSY")),
            (Kind::ImageExists, "io.systemd.System", Some("EEXIST")),
            (Kind::ReadOnly, "io.systemd.System", Some("EROFS")),
            (Kind::Failed, "io.systemd.System", Some("EIO")),
        ];
        for (kind, name, errno) in table {
            let fault = common(Problem::new(kind, "x"));
            let said = fault.parameters.get("errnoName").and_then(serde_json::Value::as_str);
            assert_eq!((fault.name.as_str(), said), (name, errno), "{kind:?}");
        }
    }
}
