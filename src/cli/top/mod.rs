//! `spinney top` in its parts. Pure but for [`sample`], which looks, and [`screen`], which has the terminal.
//!
//! | file | what it owns |
//! |---|---|
//! | [`sample`] | what machines use at one moment, and between two |
//! | [`keys`] | what was typed |
//! | [`view`] | how it is looked at: order, cursor, pause, question |
//! | [`frame`] | the picture: rows and a view become text |
//! | [`screen`] | the terminal, and how it was before |

pub mod frame;
pub mod keys;
pub mod sample;
pub mod screen;
pub mod view;
