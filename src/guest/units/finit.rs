//! finit's initctl(8), which prints the state of one service as JSON.

use super::Answer;

pub(super) fn read(status: i32, output: &str) -> Answer {
    /// EX_UNAVAILABLE of sysexits.h: initctl knows no such service.
    const UNAVAILABLE: i32 = 69;
    let state = serde_json::from_str::<serde_json::Value>(output)
        .ok()
        .and_then(|value| value.get("status")?.as_str().map(str::to_owned));
    match state.as_deref() {
        Some("running" | "done") => Answer::Holds,
        Some("crashed" | "failed" | "missing") => Answer::never("the service has failed"),
        Some(other) => Answer::NotYet(format!("the service is {other}")),
        None if status == UNAVAILABLE => Answer::never("there is no such service"),
        None => Answer::not_yet("finit does not answer"),
    }
}
