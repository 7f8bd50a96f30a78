//! Waiting until something holds of a machine: that it is up, that a unit, a port, a file is there, that it is gone.
//!
//! A machine is looked at when its supervisor tells of an event, and now and then, with pauses that grow, since no init tells
//! all of this; its end is heard of at once, by the supervisor's pidfd. Whatever could be held up by the guest is done by a
//! child that can be killed.
//!
//! | file | what it owns |
//! |---|---|
//! | [`condition`] | what is waited for, as it is written |
//! | `ports` | /proc/net, parsed |
//! | `look` | one look at a machine |
//! | `bell` | when to look again |

mod bell;
pub mod condition;
mod look;
mod ports;

use std::time::{Duration, Instant};

use bell::Bell;
pub use condition::Condition;

use crate::guest::units::Answer;
use crate::machine::{Error, MachineHandle};
use crate::settings::MachineName;
use crate::sys::process::Namespaces;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Result {
    /// It holds.
    Holds,
    /// The time is over; how it was then.
    TimedOut(String),
    /// It will not hold; why.
    Failed(String),
}

/// The first pause between two looks, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// The pause where a look is cheap: a file of ours.
const QUICK_PAUSE: Duration = Duration::from_millis(20);

/// Waits until `condition` holds of the machine `name`, at most until `deadline`.
///
/// # Errors
/// When there is no such machine, or it cannot be asked for that.
pub fn wait(
    name: &MachineName,
    condition: &Condition,
    deadline: Option<Instant>,
) -> std::result::Result<Result, Error> {
    let mut pause = PAUSE.0;
    let mut first = true;
    let mut before: Option<String> = None;
    let mut bell = Bell::default();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let machine = match MachineHandle::find(name) {
            Ok(machine) => Some(machine),
            Err(Error::Starting { .. }) => None,
            Err(Error::NotRunning { .. }) if *condition == Condition::Stopped => return Ok(Result::Holds),
            Err(Error::NotRunning { .. }) if !first => {
                return Ok(Result::Failed("the machine is not running any more".to_owned()));
            }
            Err(error) => return Err(error),
        };
        let answer = match &machine {
            Some(machine) => {
                if first {
                    be_prepared(machine, condition)?;
                }
                // Before the look: what happens after it is heard of.
                bell.listen(machine, condition);
                first = false;
                look::look(machine, condition, left)?
            }
            None => Answer::NotYet("the machine is starting".to_owned()),
        };
        let why = match answer {
            Answer::Holds => return Ok(Result::Holds),
            Answer::Never(why) => return Ok(Result::Failed(why)),
            Answer::NotYet(why) => why,
        };
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            // A look that was cut short by the end says nothing new.
            return Ok(Result::TimedOut(before.unwrap_or(why)));
        }
        before = Some(why);
        let longest = match condition {
            Condition::Stopped => Duration::MAX,
            // A file of ours, and cheap to look at.
            Condition::Ready if !bell.rings() => QUICK_PAUSE,
            _ => pause,
        };
        bell.wait(machine.as_ref(), longest.min(left.unwrap_or(Duration::MAX)));
        pause = (pause * 3 / 2).min(PAUSE.1);
    }
}

/// Whoever runs programs in a machine without a user namespace runs from a sealed copy of ours: best from the beginning,
/// since it starts anew for that.
fn be_prepared(machine: &MachineHandle, condition: &Condition) -> std::result::Result<(), Error> {
    let runs_programs = matches!(condition, Condition::Unit(_) | Condition::Target(_) | Condition::Exec(_));
    if runs_programs
        && !Namespaces::from_bits_retain(machine.launch_record()?.namespaces).contains(Namespaces::NEWUSER)
    {
        crate::sys::sealed_program::execute_from_sealed_copy()
            .map_err(Error::system("run from a sealed copy of ourselves"))?;
    }
    Ok(())
}
