//! Words in lines of a width, each with a style. Ends of lines and indentation of a text stay; other white space is one space.
//!
//! Widths are columns of a terminal: Chinese takes two, an accent none. Must not know: what the text is, colours.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::words::Word;

/// What a part of a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    /// Words that only the text before has.
    Removed,
    /// Words that only the text after has.
    Added,
    /// What stands in front of a text.
    Label,
    Heading,
    /// What a reader may pass over.
    Faint,
    /// What a reader looks for.
    Loud,
}

/// What a terminal makes of a text.
#[derive(Clone, Copy)]
pub struct Ink<'a> {
    /// Writes characters out that it would obey.
    pub visible: &'a dyn Fn(&str) -> Cow<'_, str>,
    pub paint: &'a dyn Fn(Style, &str) -> String,
}

/// A word as it is shown, and what is in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Atom {
    pub gap: Gap,
    pub text: String,
    pub style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    None,
    Space,
    /// A new line: whether an empty one comes first, and the spaces it begins with.
    Line {
        blank: bool,
        indent: usize,
    },
}

/// A line: parts with their styles.
pub type Line = Vec<(Style, String)>;

/// No text is indented deeper, so that there is room for it.
const DEEPEST: usize = 8;

impl Gap {
    fn of(gap: &str) -> Self {
        match gap.rsplit_once('\n') {
            Some((before, indent)) => {
                let indent: usize = indent.chars().map(|char| if char == '\t' { 4 } else { 1 }).sum();
                Self::Line { blank: before.contains('\n'), indent: indent.min(DEEPEST) }
            }
            None if gap.is_empty() => Self::None,
            None => Self::Space,
        }
    }
}

/// Words with marks around each run of those that are changed, such as `[-` and `-]`. The marks say without colour what
/// the style says with it.
pub fn atoms(words: &[Word<'_>], style: Style, [open, close]: [&str; 2], ink: Ink<'_>) -> Vec<Atom> {
    let is_changed = |place: Option<usize>| place.and_then(|place| words.get(place)).is_some_and(|word| word.changed);
    let atom = |(place, word): (usize, &Word<'_>)| {
        let mut text = (ink.visible)(word.text).into_owned();
        if word.changed && !is_changed(place.checked_sub(1)) {
            text.insert_str(0, open);
        }
        if word.changed && !is_changed(place.checked_add(1)) {
            text.push_str(close);
        }
        let style = if word.changed { style } else { Style::Plain };
        Atom { gap: Gap::of(word.gap), text, style }
    };
    words.iter().enumerate().map(atom).collect()
}

/// A remark in a style, word by word.
pub fn remark(text: &str, style: Style, ink: Ink<'_>) -> Vec<Atom> {
    let atom = |word: &str| Atom { gap: Gap::Space, text: (ink.visible)(word).into_owned(), style };
    text.split_whitespace().map(atom).collect()
}

/// Lines of at most `width` columns. A word that is wider is divided.
pub fn lines(atoms: &[Atom], width: usize) -> Vec<Line> {
    let width = width.max(1);
    let mut lines: Vec<Line> = vec![Line::new()];
    let mut used = 0;
    let mut rest = atoms;
    while let Some(first) = rest.first() {
        // What is not parted by white space stays together.
        let glued = rest.iter().skip(1).take_while(|atom| atom.gap == Gap::None).count();
        let (chunk, others) = rest.split_at(glued.saturating_add(1).min(rest.len()));
        rest = others;
        let wide: usize = chunk.iter().map(|atom| atom.text.width()).sum();
        let is_first = lines.len() == 1 && used == 0;
        match first.gap {
            Gap::Line { blank, indent } if !is_first => {
                if blank {
                    lines.push(Line::new());
                }
                lines.push(Line::new());
                used = indent.min(width / 2);
                push(&mut lines, Style::Plain, &" ".repeat(used));
            }
            _ if used > 0 && used + 1 + wide > width => {
                lines.push(Line::new());
                used = 0;
            }
            Gap::Space if used > 0 => {
                let last = lines.last().and_then(|line| line.last()).map(|(style, _)| *style);
                let style = last.filter(|last| *last == first.style).unwrap_or(Style::Plain);
                push(&mut lines, style, " ");
                used += 1;
            }
            Gap::None | Gap::Space | Gap::Line { .. } => {}
        }
        for atom in chunk {
            used = place(&mut lines, atom, used, width);
        }
    }
    lines
}

/// Puts an atom down, in several lines where it must be. Returns the columns that are used of the last one.
fn place(lines: &mut Vec<Line>, atom: &Atom, mut used: usize, width: usize) -> usize {
    let mut part = String::new();
    for char in atom.text.chars() {
        let wide = char.width().unwrap_or(0);
        if used + wide > width && used > 0 {
            push(lines, atom.style, &part);
            part.clear();
            lines.push(Line::new());
            used = 0;
        }
        part.push(char);
        used += wide;
    }
    push(lines, atom.style, &part);
    used
}

fn push(lines: &mut [Line], style: Style, text: &str) {
    let Some(line) = lines.last_mut().filter(|_| !text.is_empty()) else { return };
    match line.last_mut() {
        Some((last, before)) if *last == style => before.push_str(text),
        _ => line.push((style, text.to_owned())),
    }
}

/// A line for the terminal.
pub fn painted(line: &[(Style, String)], ink: Ink<'_>) -> String {
    line.iter().map(|(style, text)| (ink.paint)(*style, text)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::words::marked;
    use super::*;

    const BARE: Ink<'static> =
        Ink { visible: &|text| Cow::Owned(text.replace('\u{1b}', "\\x1b")), paint: &|_, text| text.to_owned() };

    fn wrapped(text: &str, width: usize) -> Vec<String> {
        let (words, _) = marked(text, text);
        let atoms = atoms(&words, Style::Removed, ["[-", "-]"], BARE);
        lines(&atoms, width).iter().map(|line| painted(line, BARE)).collect()
    }

    #[test]
    fn lines_fit_and_keep_the_texts_own_ends() {
        assert_eq!(wrapped("one two  three, four", 9), ["one two", "three,", "four"]);
        assert_eq!(wrapped("a\n  b\n\n\nc", 9), ["a", "  b", "", "c"]);
        assert_eq!(wrapped("incomprehensibility!", 8), ["incompre", "hensibil", "ity!"]);
        assert_eq!(wrapped("漢字漢字漢", 5), ["漢字", "漢字", "漢"], "two columns each");
        assert_eq!(wrapped("e\u{301}e\u{301}e\u{301}", 3), ["e\u{301}e\u{301}e\u{301}"], "an accent takes no room");
        assert_eq!(wrapped("\u{1b}[2J", 20), ["\\x1b[2J"]);
        assert_eq!(wrapped("", 9), [""]);
        assert_eq!(wrapped("ab", 0), ["a", "b"]);
    }

    #[test]
    fn no_line_is_wider_than_it_may_be() {
        let text = "He said: \"I don't know, (really)\" — and\n\n\tleft… 漢字 incomprehensibilities\n  - one\n  - two";
        for width in 2..40 {
            for line in wrapped(text, width) {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn runs_of_changed_words_are_marked_and_styled() {
        let (before, after) = marked("I can not help you today", "I will help you, yes");
        let shown = |words: &[Word<'_>], style, marks| {
            let names: Ink<'_> = Ink {
                paint: &|style, text| if style == Style::Plain { text.to_owned() } else { format!("<{text}>") },
                ..BARE
            };
            let lines = lines(&atoms(words, style, marks, names), 12);
            lines.iter().map(|line| painted(line, names)).collect::<Vec<_>>()
        };
        assert_eq!(shown(&before, Style::Removed, ["[-", "-]"]), ["I <[-can>", "<not-]> help", "you", "<[-today-]>"]);
        assert_eq!(shown(&after, Style::Added, ["{+", "+}"]), ["I <{+will+}>", "help you<{+,>", "<yes+}>"]);
    }
}
