//! Who wants to hear which events, and in which form.

use serde_json::{Map, Value};

use super::Happening;
use crate::varlink::service::object;

/// The form of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Form {
    /// `time`, `event`, `data`.
    Spinney,
    /// `event` and `data`, as `io.systemd.MachineInstance.SubscribeEvents` has it.
    MachineInstance,
}

/// What a client subscribed to.
#[derive(Debug)]
pub(in super::super) struct Subscription {
    form: Form,
    /// Names of events; all without.
    names: Option<Vec<String>>,
}

impl Subscription {
    /// One to the events of these names, or all.
    pub(in super::super) fn new(form: Form, names: Option<Vec<String>>) -> Self {
        Self { form, names }
    }

    /// The reply that tells `happening`, if it is to be told.
    pub(in super::super) fn results(&self, happening: &Happening) -> Option<Map<String, Value>> {
        let name = happening.event.name();
        if self.names.as_ref().is_some_and(|names| !names.iter().any(|wanted| wanted == name)) {
            return None;
        }
        let mut results = object(serde_json::to_value(happening).ok()?);
        if self.form == Form::MachineInstance {
            results.shift_remove("time");
        }
        Some(results)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::supervisor::machine_event::MachineEvent;

    #[test]
    fn forms_and_filters() {
        let paused = Happening { time: 7, event: MachineEvent::Paused };
        let only = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let rows = [
            (Form::Spinney, None, Some(json!({"time": 7, "event": "paused"}))),
            (Form::MachineInstance, None, Some(json!({"event": "paused"}))),
            (Form::MachineInstance, only(&["ready", "paused"]), Some(json!({"event": "paused"}))),
            (Form::Spinney, only(&["ready"]), None),
            (Form::Spinney, only(&[]), None),
        ];
        for (form, names, expected) in rows {
            let subscription = Subscription::new(form, names);
            assert_eq!(subscription.results(&paused).map(Value::Object), expected, "{subscription:?}");
        }
    }
}
