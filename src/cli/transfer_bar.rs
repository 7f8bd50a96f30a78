//! Bytes on their way, as a bar on a terminal: how many, how fast.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on stderr; none where that is no terminal, or where we are to be quiet.
#[derive(Debug)]
pub struct TransferBar(Option<ProgressBar>);

impl TransferBar {
    /// Shows what is done to `what`.
    pub fn new(what: String, quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        // No ticker: it would be a thread, and a process that forks may have none.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) =
            ProgressStyle::with_template("{msg}  {binary_bytes}  {binary_bytes_per_sec}  {elapsed}")
        {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self(Some(bar))
    }

    /// `count` more bytes.
    pub fn moved(&self, count: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(count);
        }
    }

    /// Takes it away.
    pub fn finish(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

/// A number of bytes for people: `512 B`, `1.5 KiB`, `12 MiB`.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}
