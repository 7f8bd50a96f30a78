//! The `status` action of a script in /etc/init.d (LSB Core, "Init Script Actions").

use super::Answer;

pub(super) fn read(status: i32) -> Answer {
    match status {
        0 => Answer::Holds,
        1 | 2 => Answer::never("the service is dead, and its pid or lock file is there"),
        3 => Answer::not_yet("the service is not running"),
        126 | 127 => Answer::never("there is no such service"),
        other => Answer::NotYet(format!("its script answers {other}")),
    }
}
