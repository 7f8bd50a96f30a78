//! Why a verb of transfers gives up.

use std::error::Error as StdError;

use crate::cli::refusal::Message;
use crate::image::Error as ImageError;
use crate::settings::ValueError;
use crate::transfer::Error;

/// Why a verb gives up.
#[derive(Debug)]
pub enum Failure {
    /// The transfer failed.
    Transfer(Error),
    /// It was not asked for well.
    Refused {
        /// What is wrong.
        message: Message,
        /// The right way.
        hint: String,
    },
}

impl Failure {
    /// A wrong command line.
    pub fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { message: Message::new(message.into()), hint: hint.into() }
    }

    /// A value of `option` that is refused.
    pub fn value(option: &str) -> impl FnOnce(ValueError) -> Self {
        move |error| Self::refused(format!("{option}{error}"), error.hint())
    }

    /// It as an error to print.
    pub fn error(&self) -> &(dyn StdError + 'static) {
        match self {
            Self::Transfer(error) => error,
            Self::Refused { message, .. } => message,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Transfer(error) => error.hint(),
            Self::Refused { hint, .. } => Some(hint.clone()),
        }
    }

    /// Whether the user did not want it any more.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Transfer(Error::Cancelled))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Transfer(error)
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self::Transfer(error.into())
    }
}
