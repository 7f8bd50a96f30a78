//! `spinney logs`, the parts of it.
//!
//! | file | what it owns |
//! |---|---|
//! | [`moment`] | points in time as people write them |
//! | [`request`] | what was asked for, typed |
//! | [`render`] | an entry as text |
//! | [`sink`] | where that goes |
//! | [`follow`] | waiting for what comes next |
//! | [`journal`] | showing and following a journal |
//! | [`text`] | showing and following lines of text |

pub mod follow;
pub mod journal;
pub mod moment;
pub mod render;
pub mod request;
pub mod sink;
pub mod text;
