//! Lines on a page of 100 columns: colour, wrapping, padding by what a terminal shows.

use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// No line is longer.
pub(in crate::render) const WIDTH: usize = 100;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::render) enum Style {
    Plain,
    Strong,
    Faint,
    Good,
    Doubtful,
    Bad,
    Hold,
    Wait,
}

impl Style {
    /// The parameters of the terminal's "select graphic rendition" sequence.
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Good => "1;32",
            Self::Doubtful => "1;33",
            Self::Bad => "1;31",
            Self::Hold => "34",
            Self::Wait => "31",
        }
    }
}

/// Where the report is written.
pub(in crate::render) struct Page<'o, W> {
    output: &'o mut W,
    color: bool,
}

impl<'o, W: Write> Page<'o, W> {
    pub(in crate::render) fn new(output: &'o mut W, color: bool) -> Self {
        Self { output, color }
    }

    /// A line made of pieces; spaces at its end are left out.
    pub(in crate::render) fn line(&mut self, pieces: &[(Style, &str)]) -> io::Result<()> {
        let last = pieces
            .iter()
            .rposition(|(_, text)| !text.trim_end().is_empty());
        for (place, (style, text)) in pieces.iter().enumerate() {
            match last {
                Some(last) if place < last => self.piece(*style, text)?,
                Some(last) if place == last => self.piece(*style, text.trim_end())?,
                _ => {}
            }
        }
        self.output.write_all(b"\n")
    }

    pub(in crate::render) fn blank(&mut self) -> io::Result<()> {
        self.output.write_all(b"\n")
    }

    /// The title of a part.
    pub(in crate::render) fn title(&mut self, title: &str, note: &str) -> io::Result<()> {
        self.blank()?;
        let note = format!("  {note}");
        self.line(&[(Style::Strong, title), (Style::Faint, &note)])
    }

    /// Text over as many lines as it takes; lines after the first are indented by the width of `lead`. A word that no line has room for is shortened.
    pub(in crate::render) fn wrapped(
        &mut self,
        lead: &str,
        text: &str,
        style: Style,
    ) -> io::Result<()> {
        let indent = " ".repeat(lead.width());
        let mut lead = lead;
        let mut line = String::new();
        let room = WIDTH.saturating_sub(indent.len());
        for word in words(text) {
            let word = shorten(word, room);
            if !line.is_empty() && indent.len() + line.width() + 1 + word.width() > WIDTH {
                self.line(&[(Style::Plain, lead), (style, &line)])?;
                lead = &indent;
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
        self.line(&[(Style::Plain, lead), (style, &line)])
    }

    fn piece(&mut self, style: Style, text: &str) -> io::Result<()> {
        if self.color && style != Style::Plain {
            write!(self.output, "\x1b[{}m{text}\x1b[0m", style.code())
        } else {
            self.output.write_all(text.as_bytes())
        }
    }
}

/// Cuts a text at its spaces, but not between a number and its unit.
fn words(text: &str) -> impl Iterator<Item = &str> {
    const UNITS: [&str; 7] = ["%", "ns", "µs", "ms", "s", "m", "h"];
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = rest.find(' ').unwrap_or(rest.len());
        while let Some(next) = rest.get(end + 1..) {
            let unit = next.split([' ', ',', ';', ')', ':']).next().unwrap_or("");
            if !UNITS.contains(&unit) || !rest[..end].ends_with(|last: char| last.is_ascii_digit())
            {
                break;
            }
            end += 1 + next.find(' ').unwrap_or(next.len());
        }
        let word = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or("");
        Some(word)
    })
}

/// Text padded on the right, or shortened with `…`, to so many columns.
pub(in crate::render) fn left(text: &str, width: usize) -> String {
    let mut fitted = shorten(text, width);
    fitted.extend(std::iter::repeat_n(
        ' ',
        width.saturating_sub(fitted.width()),
    ));
    fitted
}

/// Text padded on the left to so many columns.
pub(in crate::render) fn right(text: &str, width: usize) -> String {
    let mut fitted = " ".repeat(width.saturating_sub(text.width()));
    fitted.push_str(text);
    fitted
}

fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > width {
            break;
        }
        short.push(character);
    }
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_what_a_terminal_shows() {
        assert_eq!(left("ab", 4), "ab  ");
        assert_eq!(left("abcdef", 4), "abc…");
        assert_eq!(left("日本語", 5), "日本…");
        assert_eq!(right("5.10 ms", 9), "  5.10 ms");
    }

    #[test]
    fn keeps_numbers_and_units_together() {
        let words: Vec<_> = words("held 9.6 % of 2 m 05 s, then 5.10 ms").collect();
        assert_eq!(
            words,
            ["held", "9.6 %", "of", "2 m", "05 s,", "then", "5.10 ms"]
        );
    }

    #[test]
    fn wraps_at_the_width() {
        let mut output = Vec::new();
        let mut page = Page::new(&mut output, false);
        page.wrapped("rule: ", &"word ".repeat(60), Style::Bad)
            .unwrap();
        let text = String::from_utf8(output).unwrap();
        assert!(text.lines().all(|line| line.width() <= WIDTH));
        assert!(text.lines().nth(1).unwrap().starts_with("      word"));
    }
}
