//! Which action of polkit each method takes: as systemd-importd has it.

use crate::manager::authority::Caller;
use crate::manager::context::Context;
use crate::manager::problem::Problem;

/// To make an image of what the caller has.
pub const IMPORT: &str = "org.freedesktop.import1.import";

/// To give the caller an image.
pub const EXPORT: &str = "org.freedesktop.import1.export";

/// To fetch an image from a server.
pub const PULL: &str = "org.freedesktop.import1.pull";

/// To end a transfer.
pub const CANCEL: &str = "org.freedesktop.import1.cancel";

/// Whether `caller` may do `action`.
///
/// # Errors
/// When not.
pub async fn allowed(context: &Context, caller: &Caller<'_>, action: &str) -> Result<(), Problem> {
    // polkit may ask a person, who takes time.
    let _busy = context.busy();
    caller.check(context.connection(), action, &[]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// polkit refuses what it does not know, whoever asks.
    #[test]
    fn polkit_knows_all_actions() {
        let policy = include_str!("../../../units/org.spinney.import1.policy");
        for action in [IMPORT, EXPORT, PULL, CANCEL] {
            assert!(policy.contains(&format!("<action id=\"{action}\">")), "{action}");
        }
        assert!(!policy.contains("annotate"), "systemd's may be installed too, and imply less");
    }
}
