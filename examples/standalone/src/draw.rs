//! Tables and bars as text, and the screen on which they are drawn again and again.
//!
//! What makes text takes the width to fill as an argument, so that it draws the same wherever it runs.

use bytesize::ByteSize;
use console::{Alignment, Term, measure_text_width, pad_str, truncate_str};
use kvcore::api::Result;

/// What a text without a terminal is made for.
const COLUMNS: usize = 80;

/// The least and the most columns of a bar.
const BAR: (usize, usize) = (8, 40);

/// What fills a cell in part, by eighths from one on.
const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// How many columns there are: as `COLUMNS` says, or the terminal that stdout is, or 80.
pub fn columns() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let measured = || Term::stdout().size_checked().map(|(_rows, columns)| columns.into());
    said.filter(|columns| *columns > 0).or_else(measured).unwrap_or(COLUMNS)
}

/// How many columns a bar gets where `taken` of `columns` are taken.
pub fn room(columns: usize, taken: usize) -> usize {
    columns.saturating_sub(taken).clamp(BAR.0, BAR.1)
}

/// A bar of so many columns, full at `scale`. A value that is not 0 is always to be seen. A mark stands
/// in the column in which a bar of its value would end, so that a bar of that very value ends with it.
pub fn bar(value: u64, mark: Option<u64>, scale: u64, columns: usize) -> String {
    let (scale, wide) = (u128::from(scale.max(1)), columns as u128);
    let least = u128::from(value > 0);
    let eighths = (u128::from(value) * wide * 8 / scale).max(least).min(wide * 8);
    let end = |mark| (u128::from(mark) * wide).div_ceil(scale).max(1).min(wide);
    let at = mark.and_then(|mark: u64| end(mark).checked_sub(1));
    let cell = |column: u128| match (eighths - (column * 8).min(eighths)).min(8) {
        _ if at == Some(column) => '│',
        0 => ' ',
        part => usize::try_from(part - 1).ok().and_then(|n| EIGHTHS.get(n)).copied().unwrap_or('█'),
    };
    (0..wide).map(cell).collect()
}

/// A bar of what is done, on a ground that shows what there is to do.
pub fn progress(done: u64, all: u64, columns: usize) -> String {
    bar(done, None, all, columns).replace(' ', "░")
}

/// A number of bytes for people.
pub fn bytes(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// Rows under a heading, each column as wide as it must be.
pub fn table<const N: usize>(
    heading: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    lines(heading, rows).map(|line| line + "\n").collect()
}

/// The lines of a table; the first is the heading.
pub fn lines<const N: usize>(
    heading: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> impl Iterator<Item = String> {
    let rows: Vec<_> = std::iter::once(heading.map(String::from)).chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = measure_text_width(cell).max(*width);
        }
    }
    rows.into_iter().map(move |row| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| pad(cell, width)).collect();
        cells.join("  ").trim_end().to_owned()
    })
}

/// A text and as many blanks as it lacks columns.
pub fn pad(text: &str, columns: usize) -> String {
    pad_str(text, columns, Alignment::Left, None).into_owned()
}

/// The part of a terminal below the command line: what is drawn on it takes the place of what was.
pub struct Screen {
    terminal: Term,
    /// Lines drawn last.
    lines: usize,
}

impl Screen {
    /// The one that stdout is, if it is a terminal.
    pub fn stdout() -> Option<Screen> {
        let terminal = Term::buffered_stdout();
        terminal.is_term().then_some(Screen { terminal, lines: 0 })
    }

    /// Draws a text in the place of the one before. What does not fit is left out: a line that the
    /// terminal wraps or scrolls away could not be drawn over.
    ///
    /// # Errors
    /// `Internal` if the terminal is gone.
    pub fn draw(&mut self, text: &str) -> Result<()> {
        let (rows, columns) = self.terminal.size();
        let shown: Vec<_> = text
            .lines()
            .take(usize::from(rows).saturating_sub(1))
            .map(|line| truncate_str(line, columns.into(), ""))
            .collect();
        self.terminal.clear_last_lines(self.lines)?;
        for line in &shown {
            self.terminal.write_line(line)?;
        }
        self.terminal.flush()?;
        self.lines = shown.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_by_eighths_and_is_never_empty_for_something() {
        let drawn = [0, 1, 4, 8, 9, 12, 16, 99].map(|value| bar(value, None, 16, 2));
        assert_eq!(drawn, ["  ", "▏ ", "▌ ", "█ ", "█▏", "█▌", "██", "██"]);
        assert_eq!(bar(1, None, u64::MAX, 3), "▏  ");
        assert_eq!(bar(u64::MAX, None, u64::MAX, 3), "███");
        assert_eq!(bar(0, None, 0, 3), "   ");
        assert_eq!(bar(5, Some(5), 10, 0), "");
    }

    #[test]
    fn a_mark_is_met_missed_or_passed() {
        let drawn = [4, 6, 8, 10].map(|value| bar(value, Some(8), 10, 10));
        assert_eq!(drawn, ["████   │  ", "██████ │  ", "███████│  ", "███████│██"]);
        assert_eq!(bar(0, Some(0), 10, 4), "│   ");
        assert_eq!(bar(0, Some(10), 10, 4), "   │");
    }

    #[test]
    fn progress_shows_what_is_left() {
        assert_eq!(progress(3, 8, 8), "███░░░░░");
        assert_eq!(progress(0, 0, 4), "░░░░");
    }

    #[test]
    fn a_bar_takes_what_is_left_within_reason() {
        assert_eq!([room(80, 75), room(80, 60), room(300, 60)], [8, 20, 40]);
        assert_eq!(room(10, 60), 8);
    }

    #[test]
    fn columns_are_counted_as_terminals_count_them() {
        let rows = [["北京".to_owned(), "1".to_owned()], ["rack-1".to_owned(), String::new()]];
        assert_eq!(table(["ZONE", "N"], rows), "ZONE    N\n北京    1\nrack-1\n");
    }
}
