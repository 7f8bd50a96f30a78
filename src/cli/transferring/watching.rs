//! How far a transfer is: a bar on a terminal, lines of JSON, or nothing.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::output::Output;
use crate::transfer::{Event, Watcher};

/// How often a bar is drawn, a second.
const DRAWN: u8 = 10;

/// How often a program is told.
const TOLD: Duration = Duration::from_millis(500);

/// With a known end.
const KNOWN: &str =
    "{msg} {wide_bar:.cyan/blue} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta}";

/// Without.
const UNKNOWN: &str = "{msg}  {binary_bytes}  {binary_bytes_per_sec}  {elapsed}";

/// Where nothing is counted.
const BARE: &str = "{msg}  {elapsed}";

/// How it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A bar on stderr.
    Bar,
    /// Lines of JSON on stdout.
    Json,
    /// Notes alone.
    Nothing,
}

impl Style {
    /// A bar where somebody sees it.
    pub fn fitting() -> Self {
        if std::io::stderr().is_terminal() { Self::Bar } else { Self::Nothing }
    }
}

/// Shows how far a transfer is.
#[derive(Debug)]
pub struct Watching(Arc<Shown>);

struct Shown {
    output: Output,
    style: Style,
    bar: ProgressBar,
    told: Mutex<Told>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("style", &self.style).finish_non_exhaustive()
    }
}

/// What a program was told last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    stage: String,
    total: Option<u64>,
    moved: u64,
    when: Option<Instant>,
}

impl Watching {
    /// Shows it by `style`.
    pub fn new(output: Output, style: Style) -> Self {
        let bar = match style {
            Style::Bar => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(DRAWN));
                bar.set_style(styled(BARE));
                bar
            }
            Style::Json | Style::Nothing => ProgressBar::hidden(),
        };
        let told = Told { stage: String::new(), total: None, moved: 0, when: None };
        Self(Arc::new(Shown { output, style, bar, told: Mutex::new(told) }))
    }

    /// Who is to be told.
    pub fn watcher(&self) -> Arc<dyn Watcher> {
        Arc::clone(&self.0) as Arc<dyn Watcher>
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.0.bar.finish_and_clear();
    }
}

fn styled(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

impl Watcher for Shown {
    fn take(&self, event: Event) {
        match self.style {
            Style::Bar => self.draw(event),
            Style::Json => self.tell(event),
            Style::Nothing => {
                if let Event::Note(text) = event {
                    self.output.warning(&text);
                }
            }
        }
    }
}

impl Shown {
    fn draw(&self, event: Event) {
        match event {
            Event::Stage { what, total } => {
                self.bar.reset();
                match total {
                    Some(total) => {
                        self.bar.set_length(total);
                        self.bar.set_style(styled(KNOWN));
                    }
                    None => {
                        self.bar.unset_length();
                        self.bar.set_style(styled(BARE));
                    }
                }
                self.bar.set_message(what);
                // Some stages move nothing for a while: the clock shows that we live.
                self.bar.enable_steady_tick(Duration::from_millis(200));
            }
            Event::Moved(count) => {
                if self.bar.length().is_none() && self.bar.position() == 0 {
                    self.bar.set_style(styled(UNKNOWN));
                }
                self.bar.inc(count);
            }
            Event::Note(text) => self.bar.suspend(|| self.output.warning(&text)),
        }
    }

    fn tell(&self, event: Event) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = told.line(event, Instant::now()) {
            print_line(self.output, &line);
        }
    }
}

/// Prints one line of JSON on stdout, also where that is a terminal.
pub(super) fn print_line(output: Output, line: &Value) {
    output.stream(format!("{line}\n").as_bytes());
}

impl Told {
    /// What a program is told of `event`, if it is now.
    fn line(&mut self, event: Event, now: Instant) -> Option<Value> {
        match event {
            Event::Stage { what, total } => {
                *self = Self { stage: what, total, moved: 0, when: Some(now) };
                Some(json!({ "event": "stage", "stage": self.stage, "total": self.total }))
            }
            Event::Moved(count) => {
                self.moved += count;
                if self.when.is_some_and(|when| now.duration_since(when) < TOLD)
                    && Some(self.moved) != self.total
                {
                    return None;
                }
                self.when = Some(now);
                Some(
                    json!({ "event": "progress", "stage": self.stage, "moved": self.moved, "total": self.total }),
                )
            }
            Event::Note(text) => Some(json!({ "event": "note", "text": text })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_sound() {
        for template in [KNOWN, UNKNOWN, BARE] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn programs_are_told_now_and_then() {
        let mut told = Told { stage: String::new(), total: None, moved: 0, when: None };
        let begun = Instant::now();
        let rows = [
            (0, Event::Stage { what: "pulling a".to_owned(), total: Some(100) }, Some("stage")),
            (100, Event::Moved(10), None),
            (600, Event::Moved(10), Some("progress")),
            (700, Event::Moved(10), None),
            (710, Event::Note("slow".to_owned()), Some("note")),
            (720, Event::Moved(70), Some("progress")),
        ];
        for (after, event, expected) in rows {
            let line = told.line(event, begun + Duration::from_millis(after));
            assert_eq!(
                line.as_ref().map(|line| line["event"].as_str().unwrap()),
                expected,
                "{after}: {line:?}"
            );
        }
        assert_eq!(told.moved, 100);
    }
}
