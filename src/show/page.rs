//! A pair as a person reads it: the question, both answers with the words in which they differ, and what the judges say.
//!
//! Must not know: where a pair comes from, the terminal, colours.

use unicode_width::UnicodeWidthStr;

use super::lines::{Atom, Ink, Line, Style, atoms, lines, painted, remark};
use super::pairs::{Opinion, Pair, Said};
use super::words::{Word, marked};
use crate::tables::End;

/// How pairs are shown.
#[derive(Clone, Copy)]
pub struct Page<'a> {
    /// Columns of the terminal.
    pub width: usize,
    /// Whether thoughts are shown, or only that there are some.
    pub thoughts: bool,
    pub ink: Ink<'a>,
}

/// Labels that are longer stand on a line of their own.
const LONGEST_LABEL: usize = 16;
/// So much is shown of what a judging model wrote.
const EVIDENCE: usize = 60;

const REMOVED: [&str; 2] = ["[-", "-]"];
const ADDED: [&str; 2] = ["{+", "+}"];

/// A label and what stands behind it.
type Row = (String, Vec<Atom>);

impl Page<'_> {
    /// A pair, number `number` of `of` from 1, in lines without an end of line behind the last.
    pub fn show(&self, pair: &Pair, number: usize, of: usize) -> String {
        let mut rows = vec![("question".to_owned(), self.plain(&pair.question))];
        match &pair.after {
            None => rows.extend(self.alone("answer", &pair.before)),
            Some(after) if after.answer == pair.before.answer => {
                // Thoughts may differ where answers do not.
                rows.extend(self.thought(&pair.before));
                rows.extend(self.thought(after).filter(|_| after.thought != pair.before.thought));
                let same = remark("(both say the same)", Style::Faint, self.ink);
                rows.push(("answer".into(), [self.answer(&pair.before, None), same].concat()));
            }
            Some(after) => rows.extend(self.both(&pair.before, after)),
        }
        rows.extend(self.verdicts(pair));
        let mut shown = vec![self.heading(pair, number, of)];
        let label = rows.iter().map(|(label, _)| label.width()).filter(|wide| *wide <= LONGEST_LABEL).max();
        let label = label.unwrap_or_default() + 2;
        rows.into_iter().for_each(|row| shown.extend(self.row(row, label)));
        shown.join("\n")
    }

    /// The set, the row, what is remarkable, and a rule to the end of the line.
    fn heading(&self, pair: &Pair, number: usize, of: usize) -> String {
        let remarks = [(pair.is_changed(), "changed"), (!pair.flipped().is_empty(), "flipped"), (pair.is_cut(), "cut")];
        let remarks: Vec<&str> = remarks.into_iter().filter(|(holds, _)| *holds).map(|(_, remark)| remark).collect();
        let colon = if remarks.is_empty() { "" } else { ": " };
        let place = format!("{}, row {}{colon}{}", (self.ink.visible)(&pair.set), pair.row, remarks.join(", "));
        let count = format!("{number} of {of}");
        let rule = self.width.saturating_sub(place.width() + count.width() + 2);
        (self.ink.paint)(Style::Heading, &format!("{place} {} {count}", "─".repeat(rule)))
    }

    fn row(&self, (label, atoms): Row, column: usize) -> Vec<String> {
        let fits = label.width() + 2 <= column;
        let lines = lines(&atoms, self.width.saturating_sub(column).max(20));
        let mut shown = Vec::new();
        let paint = |label: &str| (self.ink.paint)(Style::Label, label);
        if !fits {
            shown.push(paint(&label));
        }
        for (number, line) in lines.iter().enumerate() {
            let name = if number == 0 && fits { label.as_str() } else { "" };
            shown.push(self.line(name, line, column));
        }
        shown
    }

    fn line(&self, label: &str, line: &Line, column: usize) -> String {
        if label.is_empty() && line.is_empty() {
            return String::new();
        }
        let fill = " ".repeat(column.saturating_sub(label.width()));
        let label = if label.is_empty() { String::new() } else { (self.ink.paint)(Style::Label, label) };
        format!("{label}{fill}{}", painted(line, self.ink))
    }

    fn alone(&self, label: &str, said: &Said) -> Vec<Row> {
        self.thought(said).into_iter().chain([(label.to_owned(), self.answer(said, None))]).collect()
    }

    fn both(&self, before: &Said, after: &Said) -> Vec<Row> {
        let (old, new) = marked(&before.answer, &after.answer);
        let same = !old.iter().chain(&new).any(|word| word.changed);
        let mut rows: Vec<Row> = self.thought(before).into_iter().collect();
        rows.push(("before".into(), self.answer(before, Some((&old, Style::Removed, REMOVED)))));
        rows.extend(self.thought(after));
        let mut atoms = self.answer(after, Some((&new, Style::Added, ADDED)));
        if same {
            atoms.extend(remark("(only white space differs)", Style::Faint, self.ink));
        }
        rows.push(("after".into(), atoms));
        rows
    }

    /// An answer, or that there is none, and how it ends where that matters.
    fn answer(&self, said: &Said, marks: Option<(&[Word<'_>], Style, [&str; 2])>) -> Vec<Atom> {
        let mut shown = match marks {
            _ if said.answer.trim().is_empty() => remark("(empty)", Style::Faint, self.ink),
            Some((words, style, marks)) => atoms(words, style, marks, self.ink),
            None => self.plain(&said.answer),
        };
        let end = match said.stop {
            End::Length => "(cut at the limit of new tokens)",
            End::Thought => "(it ended inside its thought)",
            End::Eos | End::Text => "",
        };
        shown.extend(remark(end, Style::Faint, self.ink));
        shown
    }

    fn thought(&self, said: &Said) -> Option<Row> {
        let thought = said.thought.as_deref()?;
        let shown = if self.thoughts {
            self.plain(thought)
        } else {
            let words = thought.split_whitespace().count();
            let many = if words == 1 { "1 word".to_owned() } else { format!("{words} words") };
            remark(&format!("({many}; --thoughts shows what it thought)"), Style::Faint, self.ink)
        };
        Some(("thought".into(), shown))
    }

    fn plain(&self, text: &str) -> Vec<Atom> {
        let (words, _) = marked(text, text);
        atoms(&words, Style::Plain, ["", ""], self.ink)
    }

    /// A row for each judge.
    fn verdicts(&self, pair: &Pair) -> Vec<Row> {
        let flipped: Vec<&str> = pair.flipped().into_iter().map(|(judge, ..)| judge).collect();
        let of = |said: &Said, judge: &str| said.verdicts.iter().find(|opinion| opinion.judge == judge).cloned();
        let mut judges: Vec<&String> = pair.before.verdicts.iter().map(|opinion| &opinion.judge).collect();
        judges.extend(pair.after.iter().flat_map(|after| &after.verdicts).map(|opinion| &opinion.judge));
        judges.sort();
        judges.dedup();
        let row = |judge: &String| {
            let style = if flipped.contains(&judge.as_str()) { Style::Loud } else { Style::Plain };
            let mut shown = self.opinion(of(&pair.before, judge).as_ref(), style);
            if let Some(after) = &pair.after {
                shown.extend(remark("->", style, self.ink));
                shown.extend(self.opinion(of(after, judge).as_ref(), style));
            }
            ((self.ink.visible)(judge).into_owned(), shown)
        };
        judges.into_iter().map(row).collect()
    }

    fn opinion(&self, opinion: Option<&Opinion>, style: Style) -> Vec<Atom> {
        let Some(opinion) = opinion else { return remark("not judged", Style::Faint, self.ink) };
        let mut evidence: Vec<String> = opinion.category.iter().cloned().collect();
        let raw = opinion.raw.split_whitespace().collect::<Vec<_>>().join(" ");
        if !raw.is_empty() && raw != opinion.verdict.name() {
            evidence.push(format!("\"{}\"", shortened(&raw)));
        }
        evidence.extend(opinion.score.map(|score| format!("P(unsafe) {score:.2}")));
        let mut shown = remark(opinion.verdict.name(), style, self.ink);
        if !evidence.is_empty() {
            shown.extend(remark(&format!("({})", evidence.join(", ")), Style::Faint, self.ink));
        }
        shown
    }
}

/// The beginning of a text that is long.
fn shortened(text: &str) -> String {
    let short: String = text.chars().take(EVIDENCE).collect();
    if short.len() < text.len() { format!("{}…", short.trim_end()) } else { short }
}

#[cfg(test)]
mod tests;
