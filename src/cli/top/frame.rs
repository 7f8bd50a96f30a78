//! The picture: pure, lines of at most so many columns.

use super::sample::Row;
use super::view::{Order, View};
use crate::cli::output::Colour;
use crate::cli::output::table::fitted;
use crate::cli::output::words::size;

/// What a number that is not known shows.
const UNKNOWN: &str = "-";

/// A column of numbers: its heading, what it is sorted by, how wide it is.
const COLUMNS: [(&str, Order, usize); 8] = [
    ("CPU%", Order::Cpu, 6),
    ("MEMORY", Order::Memory, 7),
    ("LIMIT", Order::Memory, 6),
    ("READ/s", Order::Io, 7),
    ("WRITE/s", Order::Io, 7),
    ("TASKS", Order::Tasks, 5),
    ("RECV/s", Order::Network, 7),
    ("SENT/s", Order::Network, 7),
];

/// The longest state, `stopping`.
const STATE: usize = 8;

/// How much room there is, and whether in colours.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Columns.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// With colours.
    pub colour: bool,
}

fn cells(row: &Row) -> [String; 8] {
    let bytes = |number: Option<u64>| number.map_or_else(|| UNKNOWN.to_owned(), size);
    let memory = row.usage.memory;
    [
        row.cpu_percent.map_or_else(|| UNKNOWN.to_owned(), |percent| format!("{percent:.1}")),
        bytes(memory.map(|memory| memory.current)),
        bytes(memory.and_then(|memory| memory.max)),
        bytes(row.read_rate),
        bytes(row.write_rate),
        row.usage.tasks.map_or_else(|| UNKNOWN.to_owned(), |tasks| tasks.current.to_string()),
        bytes(row.receive_rate),
        bytes(row.send_rate),
    ]
}

/// The width of names: that of the longest, as far as there is room.
fn name_width(rows: &[Row], width: usize) -> usize {
    let numbers: usize = COLUMNS.iter().map(|(.., width)| width + 1).sum();
    let longest = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max("MACHINE".len());
    longest.min(width.saturating_sub(numbers + STATE + 1).max(8))
}

fn heading(name_width: usize) -> String {
    let mut line = format!("{:name_width$} {:STATE$}", "MACHINE", "STATE");
    for (heading, _, width) in COLUMNS {
        line.push_str(&format!(" {heading:>width$}"));
    }
    line
}

fn line(row: &Row, name_width: usize) -> String {
    let mut line = format!("{:name_width$} {:STATE$}", fitted(&row.name, name_width), row.state);
    for ((.., width), cell) in COLUMNS.iter().zip(cells(row)) {
        line.push_str(&format!(" {cell:>width$}"));
    }
    match row.oom_kills {
        0 => line,
        kills => format!("{line} {kills} killed for want of memory"),
    }
}

/// A table for a printer or a log.
pub fn table(rows: &[Row]) -> String {
    let width = name_width(rows, usize::MAX);
    let mut text = heading(width) + "\n";
    for row in rows {
        text += &(line(row, width) + "\n");
    }
    text
}

/// A full screen: no more lines than there are, none longer than they are wide.
pub fn picture(rows: &[Row], view: &View, room: Room) -> Vec<String> {
    let paint = |colour: Colour, text: String| if room.colour { colour.paint(&text) } else { text };
    let names = name_width(rows, room.width);
    let mut lines = vec![paint(Colour::Bold, fitted(&summary(rows, view), room.width))];
    lines.push(match (&view.to_kill, &view.message) {
        (Some(name), _) => {
            paint(Colour::Red, fitted(&format!("Kill {name}, all of it, at once? y/n"), room.width))
        }
        (None, Some(message)) => paint(Colour::Yellow, fitted(message, room.width)),
        (None, None) => paint(Colour::Grey, fitted(HELP, room.width)),
    });
    lines.push(paint(Colour::Bold, fitted(&heading(names), room.width)));
    let left = room.height.saturating_sub(lines.len());
    let cursor = view.position(rows);
    // The cursor is always in sight.
    let first = (cursor + 1).saturating_sub(left);
    for (at, row) in rows.iter().enumerate().skip(first).take(left) {
        let text = fitted(&line(row, names), room.width);
        lines.push(match (at == cursor, row.state) {
            (true, _) => format!("\x1b[7m{text:width$}\x1b[0m", width = room.width),
            (false, "paused") => paint(Colour::Grey, text),
            (false, _) if row.oom_kills > 0 => paint(Colour::Red, text),
            (false, _) => text,
        });
    }
    lines.truncate(room.height);
    lines
}

/// What can be typed.
const HELP: &str =
    "sort: c cpu, m memory, i io, p tasks, n network, N name; r reverse, space pause, k kill, q quit";

fn summary(rows: &[Row], view: &View) -> String {
    let sum = |of: fn(&Row) -> Option<u64>| rows.iter().filter_map(of).fold(0, u64::saturating_add);
    let cpu: f64 = rows.iter().filter_map(|row| row.cpu_percent).sum();
    let memory = sum(|row| row.usage.memory.map(|memory| memory.current));
    let tasks = sum(|row| row.usage.tasks.map(|tasks| tasks.current));
    let machines = match rows.len() {
        0 => return "No machines.".to_owned() + if view.paused { " Paused." } else { "" },
        1 => "1 machine".to_owned(),
        count => format!("{count} machines"),
    };
    let order = Order::ALL.iter().find(|(order, ..)| *order == view.order).map_or("", |(_, word, _)| word);
    let reverse = if view.reverse { ", reversed" } else { "" };
    let paused = if view.paused { "; paused" } else { "" };
    format!("{machines}: CPU {cpu:.1}%, memory {}, tasks {tasks}; by {order}{reverse}{paused}", size(memory))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::keys::Key;
    use super::super::sample::rows;
    use super::super::sample::tests::{sample, samples};
    use super::*;

    fn two() -> Vec<Row> {
        let start = Instant::now();
        let before = samples(start, &[sample("web", 0, 0), sample("a-rather-long-name", 0, 0)]);
        let mut small = sample("a-rather-long-name", 5000, 512);
        small.usage.memory = None;
        small.usage.network = None;
        let now = samples(start + Duration::from_secs(1), &[sample("web", 1_234_000, 48 << 20), small]);
        rows(Some(&before), &now)
    }

    const PLAIN: Room = Room { width: 100, height: 24, colour: false };

    #[test]
    fn a_table() {
        let expected = "\
MACHINE            STATE      CPU%  MEMORY  LIMIT  READ/s WRITE/s TASKS  RECV/s  SENT/s
web                ready     123.4     48M    64M     48M     96M     3     48M      0B
a-rather-long-name ready       0.5       -      -    512B      1K     3       -       -
";
        assert_eq!(table(&two()), expected);
    }

    #[test]
    fn a_screen() {
        let mut view = View::new(Order::Cpu, false);
        let lines = picture(&two(), &view, PLAIN);
        assert_eq!(lines[0], "2 machines: CPU 123.9%, memory 48M, tasks 6; by cpu");
        assert!(lines[1].starts_with("sort: c cpu, m memory"), "{}", lines[1]);
        assert!(lines[3].starts_with("\x1b[7mweb ") && lines[3].ends_with(" \x1b[0m"), "{}", lines[3]);
        assert!(lines[4].starts_with("a-rather-long-name ready"), "{}", lines[4]);
        assert_eq!(lines.len(), 5);
        view.press(Key::Letter('k'), &two());
        assert_eq!(picture(&two(), &view, PLAIN)[1], "Kill web, all of it, at once? y/n");
        view.press(Key::Letter('n'), &two());
        view.press(Key::Letter('r'), &two());
        assert_eq!(picture(&[], &view, PLAIN)[0], "No machines.");
        view.press(Key::Letter(' '), &two());
        assert!(picture(&two(), &view, PLAIN)[0].ends_with("; by cpu, reversed; paused"));
    }

    #[test]
    fn any_room_is_enough() {
        let mut view = View::new(Order::Name, false);
        view.press(Key::Down, &two());
        for (width, height) in [(100, 4), (40, 24), (8, 3), (1, 1), (0, 0)] {
            let lines = picture(&two(), &view, Room { width, height, colour: false });
            assert!(lines.len() <= height, "{width}x{height}");
            for line in lines {
                let bare = line.replace("\x1b[7m", "").replace("\x1b[0m", "");
                assert!(bare.chars().count() <= width, "{width}x{height}: {line:?}");
            }
        }
        // One line is left for machines: the one that is pointed at.
        let lines = picture(&two(), &view, Room { height: 4, ..PLAIN });
        assert!(lines[3].contains("a-rather-long-name"), "{lines:?}");
    }

    #[test]
    fn kills_are_told() {
        let mut rows = two();
        rows[0].oom_kills = 2;
        assert!(table(&rows).lines().nth(1).unwrap().ends_with("0B 2 killed for want of memory"));
    }
}
