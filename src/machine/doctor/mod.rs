//! What is odd about this host, or about one machine, and what to do about it.
//!
//! | file | what it owns |
//! |---|---|
//! | [`facts`] | looks: the host, the registry, what was left behind |
//! | [`host_checks`] | facts of a host to findings, pure |
//! | [`storage_checks`] | the same of what is kept on it |
//! | [`machine_checks`] | facts of a machine to findings, pure |
//! | [`machine_facts`] | looks at one machine |
//! | [`network_checks`] | why a machine cannot reach the internet, pure |
//! | [`network_facts`] | looks at what lies between |

pub mod facts;
pub mod host_checks;
pub mod machine_checks;
pub mod machine_facts;
pub mod network_checks;
pub mod network_facts;
pub mod storage_checks;

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Something will not work, or not well.
    Warning,
    /// Machines do not start, or this one does not work.
    Problem,
}

impl Verdict {
    /// As a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check.
    pub check: &'static str,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was found, in a line that is safe to print.
    pub text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, text: text.into(), hint: None }
    }

    fn warning(check: &'static str, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, text: text.into(), hint: Some(hint.into()) }
    }

    fn problem(check: &'static str, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Problem, text: text.into(), hint: Some(hint.into()) }
    }
}
