//! How the machines are looked at: in which order, from where, which one is pointed at, what is being asked.

use std::cmp::Ordering;

use super::keys::Key;
use super::sample::Row;

/// What machines are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Order {
    Name,
    Cpu,
    Memory,
    Io,
    Tasks,
    Network,
}

impl Order {
    /// Words and keys.
    pub const ALL: [(Self, &'static str, char); 6] = [
        (Self::Name, "name", 'N'),
        (Self::Cpu, "cpu", 'c'),
        (Self::Memory, "memory", 'm'),
        (Self::Io, "io", 'i'),
        (Self::Tasks, "tasks", 'p'),
        (Self::Network, "network", 'n'),
    ];

    /// All words.
    pub const WORDS: [&'static str; 6] = ["name", "cpu", "memory", "io", "tasks", "network"];

    /// The order of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == word).map(|(order, ..)| *order)
    }

    fn from_letter(letter: char) -> Option<Self> {
        Self::ALL.iter().find(|(.., known)| *known == letter).map(|(order, ..)| *order)
    }

    /// Who uses most comes first; names as in a dictionary. What is not known comes last.
    fn compare(self, one: &Row, other: &Row) -> Ordering {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
        };
        let memory = |row: &Row| row.usage.memory.map(|memory| memory.current);
        let tasks = |row: &Row| row.usage.tasks.map(|tasks| tasks.current);
        let io = |row: &Row| sum(row.read_rate, row.write_rate);
        let network = |row: &Row| sum(row.receive_rate, row.send_rate);
        match self {
            Self::Name => Ordering::Equal,
            Self::Cpu => {
                let cpu = |row: &Row| row.cpu_percent.unwrap_or(-1.0);
                cpu(other).total_cmp(&cpu(one))
            }
            Self::Memory => memory(other).cmp(&memory(one)),
            Self::Io => io(other).cmp(&io(one)),
            Self::Tasks => tasks(other).cmp(&tasks(one)),
            Self::Network => network(other).cmp(&network(one)),
        }
    }
}

/// The view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// What is sorted by.
    pub order: Order,
    /// The other way round.
    pub reverse: bool,
    /// Numbers stay as they are.
    pub paused: bool,
    /// The machine that is pointed at.
    pub cursor: Option<String>,
    /// The machine that is about to be killed, if the user says yes.
    pub to_kill: Option<String>,
    /// What came of the last key.
    pub message: Option<String>,
}

/// What a key asks for, beyond a change of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Nothing.
    Nothing,
    /// To end.
    Quit,
    /// To give the terminal back for a while.
    Suspend,
    /// To end this machine.
    Kill(String),
}

impl View {
    /// A view sorted by `order`.
    pub fn new(order: Order, reverse: bool) -> Self {
        Self { order, reverse, paused: false, cursor: None, to_kill: None, message: None }
    }

    /// Puts rows in order: by the key, those that are equal by name.
    pub fn sort(&self, rows: &mut [Row]) {
        rows.sort_by(|one, other| {
            let order = self.order.compare(one, other).then_with(|| one.name.cmp(&other.name));
            if self.reverse { order.reverse() } else { order }
        });
    }

    /// Changes the view by a key. `rows` are as they are shown.
    pub fn press(&mut self, key: Key, rows: &[Row]) -> Wish {
        self.message = None;
        if let Some(name) = self.to_kill.take() {
            return match key {
                Key::Letter('y' | 'Y') => Wish::Kill(name),
                Key::Interrupt => Wish::Quit,
                _ => {
                    self.message = Some(format!("{name} is left alone"));
                    Wish::Nothing
                }
            };
        }
        match key {
            Key::Letter('q') | Key::Interrupt => return Wish::Quit,
            Key::Suspend => return Wish::Suspend,
            Key::Letter(' ') => self.paused = !self.paused,
            Key::Letter('r') => self.reverse = !self.reverse,
            Key::Letter('k') => match self.pointed_at(rows) {
                Some(row) => self.to_kill = Some(row.name.clone()),
                None => self.message = Some("there is no machine to kill".to_owned()),
            },
            Key::Letter(letter) => {
                if let Some(order) = Order::from_letter(letter) {
                    self.order = order;
                }
            }
            Key::Up => self.step(rows, |at| at.saturating_sub(1)),
            Key::Down => self.step(rows, |at| at + 1),
            Key::Redraw | Key::Escape => {}
        }
        Wish::Nothing
    }

    /// Where the cursor is among `rows`: at the machine that it was put on, or else at the first.
    pub fn position(&self, rows: &[Row]) -> usize {
        let at = self.cursor.as_ref().and_then(|name| rows.iter().position(|row| row.name == *name));
        at.unwrap_or(0)
    }

    fn pointed_at<'a>(&self, rows: &'a [Row]) -> Option<&'a Row> {
        rows.get(self.position(rows))
    }

    fn step(&mut self, rows: &[Row], step: impl Fn(usize) -> usize) {
        let at = step(self.position(rows)).min(rows.len().saturating_sub(1));
        self.cursor = rows.get(at).map(|row| row.name.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::sample::rows;
    use super::super::sample::tests::{sample, samples};
    use super::*;

    /// a uses most CPU, b most of all else.
    fn two() -> Vec<Row> {
        let start = Instant::now();
        let before = samples(start, &[sample("a", 0, 0), sample("b", 0, 0)]);
        let now = samples(start + Duration::from_secs(1), &[sample("a", 900_000, 10), sample("b", 1, 20)]);
        rows(Some(&before), &now)
    }

    #[test]
    fn orders() {
        for (letter, reverse, expected) in [
            ('c', false, "ab"),
            ('c', true, "ba"),
            ('m', false, "ba"),
            ('i', false, "ba"),
            ('n', false, "ba"),
            ('p', false, "ab"),
            ('N', true, "ba"),
        ] {
            let mut view = View::new(Order::Name, reverse);
            assert_eq!(view.press(Key::Letter(letter), &[]), Wish::Nothing);
            let mut rows = two();
            view.sort(&mut rows);
            let names: String = rows.iter().map(|row| row.name.as_str()).collect();
            assert_eq!(names, expected, "{letter} {reverse}");
        }
        assert_eq!(Order::ALL.map(|(_, word, _)| word), Order::WORDS);
    }

    #[test]
    fn a_kill_is_asked_for_twice() {
        let rows = two();
        let mut view = View::new(Order::Name, false);
        view.press(Key::Down, &rows);
        assert_eq!(view.press(Key::Letter('k'), &rows), Wish::Nothing);
        assert_eq!(view.to_kill.as_deref(), Some("b"));
        assert_eq!(view.press(Key::Letter('q'), &rows), Wish::Nothing);
        assert_eq!((view.to_kill.as_deref(), view.message.as_deref()), (None, Some("b is left alone")));
        view.press(Key::Letter('k'), &rows);
        assert_eq!(view.press(Key::Letter('y'), &rows), Wish::Kill("b".to_owned()));
        assert_eq!(view.press(Key::Letter('y'), &rows), Wish::Nothing);
        assert_eq!(view.press(Key::Letter('k'), &[]), Wish::Nothing);
        assert_eq!(view.to_kill, None);
    }

    #[test]
    fn the_cursor_stays_with_its_machine() {
        let mut rows = two();
        let mut view = View::new(Order::Name, false);
        for (key, expected) in [(Key::Up, 0), (Key::Down, 1), (Key::Down, 1), (Key::Up, 0), (Key::Down, 1)] {
            view.press(key, &rows);
            assert_eq!(view.position(&rows), expected, "{key:?}");
        }
        rows.reverse();
        assert_eq!(view.position(&rows), 0);
        assert_eq!(view.position(&rows[1..]), 0);
        assert_eq!(
            (view.press(Key::Interrupt, &rows), view.press(Key::Suspend, &rows)),
            (Wish::Quit, Wish::Suspend)
        );
        view.press(Key::Letter(' '), &rows);
        assert!(view.paused);
    }
}
