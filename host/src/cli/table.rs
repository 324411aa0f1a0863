//! Tables that fit the terminal: no lines, one row of text per row, the columns that
//! can spare it are cut.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row};

use super::error::Result;
use super::human::shorten;
use super::output::{Output, Paint, clean};

/// Rows under headings.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<TableRow>,
}

/// A column: its heading, its side, and what it does where the terminal is narrow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    head: &'static str,
    side: CellAlignment,
    fit: Fit,
}

/// What a column does where the terminal is narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// Stays whole: ids, names, numbers.
    Whole,
    /// Is cut.
    Cut,
    /// Is left out, the last one first.
    Spare,
}

struct TableRow {
    cells: Vec<Shown>,
    note: Option<Shown>,
}

/// A cell: its text and how it is painted.
pub(crate) struct Shown {
    text: String,
    tone: Tone,
}

/// How a cell is painted where colours are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// A name.
    Bold,
    /// Of less interest.
    Dim,
    /// Went well.
    Good,
    /// Wants a look.
    Warn,
    /// Failed.
    Bad,
}

impl Shown {
    /// A cell of this tone.
    pub(crate) fn toned(text: impl ToString, tone: Tone) -> Self {
        Self { text: clean(&text.to_string()), tone }
    }

    /// What is not there.
    pub(crate) fn none() -> Self {
        Self::toned("-", Tone::Dim)
    }

    /// The text, or that there is none.
    pub(crate) fn maybe(text: Option<impl ToString>) -> Self {
        text.map_or_else(Self::none, Self::from)
    }
}

impl<T: ToString> From<T> for Shown {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

impl Column {
    /// Texts that are never cut.
    pub(crate) const fn text(head: &'static str) -> Self {
        Self { head, side: CellAlignment::Left, fit: Fit::Whole }
    }

    /// Numbers, which lean to the right.
    pub(crate) const fn number(head: &'static str) -> Self {
        Self { head, side: CellAlignment::Right, fit: Fit::Whole }
    }

    /// The same column, cut where the terminal is narrow.
    pub(crate) const fn cut(self) -> Self {
        Self { fit: Fit::Cut, ..self }
    }

    /// The same column, left out where the terminal is narrow.
    pub(crate) const fn spare(self) -> Self {
        Self { fit: Fit::Spare, ..self }
    }
}

/// Columns between two columns of the table.
const GAP: usize = 2;
/// What is left of a column that is cut, at least.
const CUT_COLUMNS_MIN: usize = 12;

impl Table {
    /// A table with these columns and no rows.
    pub(crate) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row with a cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Shown>) {
        self.rows.push(TableRow { cells: cells.into_iter().collect(), note: None });
    }

    /// Adds a row and a line of its own below it.
    pub(crate) fn row_with(&mut self, cells: impl IntoIterator<Item = Shown>, note: Option<Shown>) {
        self.rows.push(TableRow { cells: cells.into_iter().collect(), note });
    }

    /// Prints it to standard output. Where that is a terminal, nothing is wider.
    pub(crate) fn print(self, out: &mut Output) -> Result<()> {
        for line in self.lines(out.width, out.paint) {
            out.line(line)?;
        }
        out.flush()
    }

    fn lines(mut self, width: Option<u16>, paint: Paint) -> Vec<String> {
        if let Some(width) = width {
            self.leave_out(width.into());
        }
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.force_no_tty().set_truncation_indicator("…");
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        if paint.on {
            table.enforce_styling();
        }
        let cell = |text: &str, column: &Column, how| tone(Cell::new(text).set_alignment(column.side), how);
        table.set_header(one_line(self.columns.iter().map(|column| cell(column.head, column, Tone::Dim))));
        for row in &self.rows {
            let cells = row.cells.iter().zip(&self.columns);
            table.add_row(one_line(cells.map(|(shown, column)| cell(&shown.text, column, shown.tone))));
        }
        let last = self.columns.len().saturating_sub(1);
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if index == last { 0 } else { GAP as u16 }));
            if self.columns[index].fit == Fit::Whole {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let mut lines = table.lines().map(|line| line.trim_end().to_owned());
        let mut out: Vec<String> = lines.next().into_iter().collect();
        for (line, row) in lines.zip(self.rows) {
            out.push(line);
            if let Some(note) = row.note {
                let columns_max = width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(GAP));
                let text = shorten(&note.text, columns_max);
                out.push(format!("  {}", paint.toned(text, note.tone)));
            }
        }
        out
    }

    /// Leaves out spare columns, then those that would be cut, until the rest fits.
    fn leave_out(&mut self, width: usize) {
        loop {
            let needed: usize = (0..self.columns.len()).map(|index| self.column_width(index) + GAP).sum();
            let last = |fit| self.columns.iter().rposition(|column| column.fit == fit);
            match last(Fit::Spare).or_else(|| last(Fit::Cut)) {
                Some(index) if needed > width + GAP => {
                    self.columns.remove(index);
                    for row in &mut self.rows {
                        row.cells.remove(index);
                    }
                }
                _ => return,
            }
        }
    }

    fn column_width(&self, index: usize) -> usize {
        let column = &self.columns[index];
        let cells = self.rows.iter().map(|row| row.cells[index].text.chars().count());
        let content = cells.max().unwrap_or(0).max(column.head.chars().count());
        if column.fit == Fit::Cut { content.min(CUT_COLUMNS_MIN) } else { content }
    }
}

fn one_line(cells: impl Iterator<Item = Cell>) -> Row {
    let mut row: Row = cells.collect::<Vec<_>>().into();
    row.max_height(1);
    row
}

fn tone(cell: Cell, tone: Tone) -> Cell {
    use comfy_table::{Attribute, Color};
    match tone {
        Tone::Plain => cell,
        Tone::Bold => cell.add_attribute(Attribute::Bold),
        Tone::Dim => cell.add_attribute(Attribute::Dim),
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Warn => cell.fg(Color::DarkYellow),
        Tone::Bad => cell.fg(Color::DarkRed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: Paint = Paint { on: false };

    fn table() -> Table {
        let mut table = Table::new([
            Column::text("NAME"),
            Column::number("RUNS"),
            Column::text("OWNER").spare(),
            Column::text("MESSAGE").cut(),
        ]);
        table.row(["a".into(), 12.into(), Shown::none(), "short".into()]);
        let long = "KeyError: 'profile' was not found in a rather long message \x1b[2J of the guest";
        let note = Shown::toned("the second line of this row is cut too", Tone::Dim);
        let cells = [Shown::toned("sms-on-profile", Tone::Bold), 3.into(), "somebody".into(), long.into()];
        table.row_with(cells, Some(note));
        table
    }

    #[test]
    fn a_terminal_is_never_exceeded_and_ids_stay_whole() {
        for width in [22, 36, 40, 60, 80, 100] {
            let lines = table().lines(Some(width), OFF);
            assert_eq!(lines.len(), 4);
            assert!(lines.iter().all(|line| line.chars().count() <= width.into()), "{lines:#?}");
            assert!(lines[2].contains("sms-on-profile"), "{lines:#?}");
        }
        insta::assert_snapshot!(table().lines(Some(38), OFF).join("\n"), @r"
        NAME            RUNS  MESSAGE
        a                 12  short
        sms-on-profile     3  KeyError:…
          the second line of this row is cut …
        ");
        insta::assert_snapshot!(table().lines(Some(70), OFF).join("\n"), @r"
        NAME            RUNS  OWNER     MESSAGE
        a                 12  -         short
        sms-on-profile     3  somebody  KeyError: 'profile' was not found in …
          the second line of this row is cut too
        ");
    }

    #[test]
    fn a_pipe_gets_everything() {
        let wide = table().lines(None, OFF);
        assert!(wide[2].ends_with("\\u{1b}[2J of the guest"), "{wide:#?}");
        assert!(wide[0].contains("OWNER"));
    }

    #[test]
    fn colours_are_there_only_when_asked_for() {
        assert!(!table().lines(Some(60), OFF).concat().contains('\u{1b}'));
        assert!(table().lines(Some(60), Paint { on: true }).concat().contains("\u{1b}["));
    }
}
