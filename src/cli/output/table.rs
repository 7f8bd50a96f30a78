//! Tables without borders: a heading in capitals, columns as wide as what is in them, as machinectl(1) prints them.
//!
//! Pure: a table becomes text, which [`super::Output`] prints. On a terminal that is too narrow the widest columns give way
//! and end with `…`; where a program reads, nothing is cut.

use unicode_width::UnicodeWidthChar;

use super::Colour;

/// Between two columns.
const GAP: usize = 1;

/// No column is cut below this.
const NARROWEST: usize = 8;

/// Stands for what was cut away.
const CUT: char = '…';

/// What a cell without text shows.
const NOTHING: &str = "-";

/// How a table is rendered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// With its heading.
    pub heading: bool,
    /// With colours.
    pub colour: bool,
    /// Columns of the terminal; `None` where nothing is to be cut.
    pub width: Option<usize>,
}

/// One cell: text, which must be safe to print, and a colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl Cell {
    /// Text in a colour.
    pub fn new(text: impl Into<String>, colour: Option<Colour>) -> Self {
        Self { text: text.into(), colour }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, None)
    }
}

/// A table in the making.
#[derive(Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table. A heading that begins with `>` is of a column of numbers, which are aligned to the right.
    pub fn new(headings: &[&'static str]) -> Self {
        Self {
            right: headings.iter().map(|heading| heading.starts_with('>')).collect(),
            headings: headings.iter().map(|heading| heading.trim_start_matches('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, a cell for each heading.
    pub fn add(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.headings.len());
        self.rows.push(row);
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, a line a row.
    pub fn render(&self, look: Look) -> String {
        let heading: Vec<Cell> = self.headings.iter().map(|heading| Cell::from(*heading)).collect();
        let rows: Vec<&[Cell]> = look
            .heading
            .then_some(heading.as_slice())
            .into_iter()
            .chain(self.rows.iter().map(Vec::as_slice))
            .collect();
        let widths = self.widths(&rows, look.width);
        let mut text = String::new();
        for row in rows {
            let start = text.len();
            let cells = row.iter().zip(&widths).zip(&self.right);
            for (place, ((cell, width), right)) in cells.enumerate() {
                if place > 0 {
                    text.extend(std::iter::repeat_n(' ', GAP));
                }
                add_cell(&mut text, cell, *width, *right, look.colour);
            }
            text.truncate(start + text[start..].trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }

    /// The width of each column: what its cells need, or less where they do not all fit.
    fn widths(&self, rows: &[&[Cell]], width: Option<usize>) -> Vec<usize> {
        let mut widths = vec![0; self.headings.len()];
        for row in rows {
            for (cell, widest) in row.iter().zip(widths.iter_mut()) {
                *widest = (*widest).max(columns(shown(cell)));
            }
        }
        let Some(available) = width else { return widths };
        let gaps = GAP * self.headings.len().saturating_sub(1);
        let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(available);
        while excess > 0 {
            // Names come first, and are to be read in full while something else can give way.
            let (first, others) = widths.split_at_mut(1);
            let widest = others.iter_mut().filter(|width| **width > NARROWEST).max();
            let Some(width) = widest.or(first.first_mut().filter(|width| **width > NARROWEST)) else { break };
            *width -= 1;
            excess -= 1;
        }
        widths
    }
}

fn shown(cell: &Cell) -> &str {
    if cell.text.is_empty() { NOTHING } else { &cell.text }
}

fn add_cell(text: &mut String, cell: &Cell, width: usize, right: bool, colour: bool) {
    let content = fitted(shown(cell), width);
    let padding = width.saturating_sub(columns(&content));
    if right {
        text.extend(std::iter::repeat_n(' ', padding));
    }
    match cell.colour.filter(|_| colour) {
        Some(colour) => text.push_str(&colour.paint(&content)),
        None => text.push_str(&content),
    }
    if !right {
        text.extend(std::iter::repeat_n(' ', padding));
    }
}

/// How many columns of a terminal `text` takes.
fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// `text`, or as much of its start as fits, and a sign that it goes on.
pub fn fitted(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        // One column is the sign's.
        if used >= width {
            break;
        }
        kept.push(c);
    }
    kept.push(CUT);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machines() -> Table {
        let mut table = Table::new(&["NAME", "STATE", ">TASKS", "OS"]);
        table.add(vec![
            "web".into(),
            Cell::new("ready", Some(Colour::Green)),
            "9".into(),
            "Debian 13".into(),
        ]);
        table.add(vec!["database-1".into(), "booting".into(), "120".into(), "".into()]);
        table.add(vec!["日本".into(), "ready".into(), "".into(), "Ubuntu".into()]);
        table
    }

    #[test]
    fn tables() {
        let rows = [
            (
                Look { heading: true, ..Look::default() },
                "NAME       STATE   TASKS OS\n\
                 web        ready       9 Debian 13\n\
                 database-1 booting   120 -\n\
                 日本       ready       - Ubuntu\n",
            ),
            (
                Look { colour: true, ..Look::default() },
                "web        \x1b[32mready\x1b[0m     9 Debian 13\n\
                 database-1 booting 120 -\n\
                 日本       ready     - Ubuntu\n",
            ),
            (
                Look { heading: true, width: Some(33), ..Look::default() },
                "NAME       STATE   TASKS OS\n\
                 web        ready       9 Debian …\n\
                 database-1 booting   120 -\n\
                 日本       ready       - Ubuntu\n",
            ),
            // Eight columns each are kept, even where there is no room for them.
            (
                Look { heading: true, width: Some(3), ..Look::default() },
                "NAME     STATE   TASKS OS\n\
                 web      ready       9 Debian …\n\
                 databas… booting   120 -\n\
                 日本     ready       - Ubuntu\n",
            ),
        ];
        for (look, expected) in rows {
            assert_eq!(machines().render(look), expected, "{look:?}");
        }
    }

    #[test]
    fn texts_that_fit() {
        for (text, width, expected) in
            [("", 3, ""), ("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 5, "日本…"), ("日本語", 4, "日…")]
        {
            assert_eq!(fitted(text, width), expected, "{text} in {width}");
        }
    }
}
