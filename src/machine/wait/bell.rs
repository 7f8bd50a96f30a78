//! When to look at a machine again.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::Condition;
use crate::machine::MachineHandle;
use crate::machine::control::Control;
use crate::machine::event_stream::{EventStream, Heard};
use crate::sys::timeout::timeout;

/// How long a supervisor may take to let us listen; without it we look more often.
const PATIENCE: Duration = Duration::from_millis(500);

/// However many events there are: no more looks than this.
const LEAST: Duration = Duration::from_millis(10);

/// The longest sleep where there is no machine yet to listen to.
const STARTING: Duration = Duration::from_millis(10);

/// What tells of a machine.
#[derive(Debug, Default)]
pub(super) struct Bell {
    events: Option<EventStream>,
    asked: bool,
}

impl Bell {
    /// Begins to listen to the machine's events, where they matter and we may.
    pub(super) fn listen(&mut self, machine: &MachineHandle, condition: &Condition) {
        let matters = matches!(condition, Condition::Ready | Condition::Unit(_) | Condition::Target(_));
        if matters && !self.asked {
            self.asked = true;
            // Only its owner and root may, and the state is there for all.
            self.events = Control::connect_within(machine, PATIENCE).and_then(Control::subscribe).ok();
        }
    }

    /// Whether events are heard.
    pub(super) fn rings(&self) -> bool {
        self.events.is_some()
    }

    /// Waits for so long, or until the machine's next event, or its end.
    pub(super) fn wait(&mut self, machine: Option<&MachineHandle>, pause: Duration) {
        match machine.map(MachineHandle::supervisor) {
            Some(Ok(supervisor)) => {
                let mut polled = vec![PollFd::new(&supervisor, PollFlags::IN)];
                polled.extend(self.events.iter().map(|events| PollFd::new(events, PollFlags::IN)));
                // Interrupted or not, the machine is looked at next.
                let _ = poll(&mut polled, Some(&timeout(pause)));
                let rang = polled.get(1).is_some_and(|events| !events.revents().is_empty());
                if rang {
                    self.hear_all();
                    std::thread::sleep(LEAST.min(pause));
                }
            }
            Some(Err(_)) => {}
            None => std::thread::sleep(pause.min(STARTING)),
        }
    }

    fn hear_all(&mut self) {
        loop {
            match self.events.as_mut().map(|events| events.next(Some(Duration::ZERO))) {
                Some(Ok(Heard::Event(_))) => {}
                Some(Ok(Heard::Nothing)) | None => return,
                Some(Ok(Heard::End) | Err(_)) => self.events = None,
            }
        }
    }
}
