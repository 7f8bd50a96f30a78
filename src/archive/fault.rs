//! Why one member of a stream could not be made, and whether the others can be all the same.

use super::error::{BadStream, Error};
use super::notes::{Notes, Reason};
use crate::sys::SysError;

/// Why one member could not be made.
pub(super) enum Fault {
    /// The rest goes on.
    Member(SysError),
    /// It does not.
    All(Error),
}

impl Fault {
    /// Notes it for the member at `path`, and goes on.
    ///
    /// # Errors
    /// Where the rest does not: for what it is, or since no other could be made either, as on a full disk.
    pub(super) fn note(self, path: &[u8], notes: &mut Notes) -> Result<(), Error> {
        match self {
            Self::Member(error) if error.ends_all() => Err(Error::system("make", path)(error)),
            Self::Member(error) => {
                notes.add_fault(Reason::Failed, path, &error);
                Ok(())
            }
            Self::All(error) => Err(error),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::All(error)
    }
}

impl From<BadStream> for Fault {
    fn from(error: BadStream) -> Self {
        Self::All(error.into())
    }
}

impl From<SysError> for Fault {
    fn from(error: SysError) -> Self {
        Self::Member(error)
    }
}
