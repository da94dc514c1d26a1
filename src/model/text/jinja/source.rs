//! A template as it is handed to the engine. Where the engine reads something else into a construct than Jinja2 does, and has no
//! hook for it, the template is rewritten before it is parsed:
//!
//! | construct | becomes | because |
//! | --- | --- | --- |
//! | `{% generation %}` and its end | `{% with %}` and its end | transformers' marks of what the assistant says mean nothing when text is made, but variables set between them are gone after them |
//! | `{'b': 1, 'a': 2}` | `__table('b', 1, 'a', 2)` | tables keep their order |
//! | `{% for x in e %}` | `{% for x in (e)\|__each %}` | none has no elements, not even none of them |
//! | `{% raw %}` at the end of a line | the same with one more line | the line's end is part of the text |
//! | any line end | `\n` | so it is in Jinja2 |
//!
//! What is not understood is left as it is: the engine says what is wrong with it. Must not know: what functions and filters do.

/// The function that makes a table.
pub const TABLE: &str = "__table";
/// The filter that refuses what has no elements.
pub const EACH: &str = "__each";

/// The template that renders in the engine as this one does in Jinja2.
pub fn prepared(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len() + source.len() / 8);
    let mut rest = source.as_str();
    while let Some(start) = rest.find('{').map(|at| at + next_mark(&rest[at..])).filter(|at| *at < rest.len()) {
        let (text, tag) = rest.split_at(start);
        out.push_str(text);
        let (mark, inside) = tag.split_at(2);
        rest = match mark {
            "{#" => copy(&mut out, tag, inside.find("#}").map(|at| at + 4)),
            "{{" => match expression(inside, "}}") {
                Some((rewritten, after)) => {
                    out.extend([mark, &rewritten, "}}"]);
                    after
                }
                None => copy(&mut out, tag, None),
            },
            _ => block(&mut out, tag),
        };
    }
    out + rest
}

/// How far it is to the next mark of a tag; beyond the end if there is none.
fn next_mark(text: &str) -> usize {
    ["{{", "{%", "{#"].iter().filter_map(|mark| text.find(mark)).min().unwrap_or(text.len())
}

/// Copies so much of a tag, or all of it, and returns what follows.
fn copy<'t>(out: &mut String, tag: &'t str, length: Option<usize>) -> &'t str {
    let (copied, rest) = tag.split_at(length.unwrap_or(tag.len()));
    out.push_str(copied);
    rest
}

/// Rewrites a block tag, and returns what follows.
fn block<'t>(out: &mut String, tag: &'t str) -> &'t str {
    let Some((inside, after)) = expression(&tag[2..], "%}") else { return copy(out, tag, None) };
    let sign = |char: char| char.is_whitespace() || "+-".contains(char);
    let words = inside.trim_matches(sign);
    let word = words.split(|char: char| !char.is_alphanumeric() && char != '_').next().unwrap_or_default();
    let inside = match word {
        "generation" if words == word => inside.replacen(word, "with", 1),
        "endgeneration" if words == word => inside.replacen(word, "endwith", 1),
        "for" => each(&inside).unwrap_or(inside),
        "raw" if words == word => {
            out.extend(["{%", &inside, "%}"]);
            if after.starts_with('\n') && !inside.ends_with('-') {
                out.push('\n');
            }
            return copy(out, after, end_of_raw(after));
        }
        _ => inside,
    };
    out.extend(["{%", &inside, "%}"]);
    after
}

/// Where the tag `{% endraw %}` begins.
fn end_of_raw(text: &str) -> Option<usize> {
    let is_end = |at: &usize| {
        let inside = text[at + 2..].trim_start_matches(['-', '+']).trim_start();
        inside
            .strip_prefix("endraw")
            .is_some_and(|rest| rest.trim_start().trim_start_matches(['-', '+']).starts_with("%}"))
    };
    text.match_indices("{%").map(|(at, _)| at).find(is_end)
}

/// An expression with its tables as calls, up to the end of its tag, and what follows the end. None if it does not end.
fn expression<'t>(text: &'t str, end: &str) -> Option<(String, &'t str)> {
    let mut out = String::new();
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(char) = text[at..].chars().next() {
        if open.is_empty() && text[at..].starts_with(end) {
            return Some((out, &text[at + end.len()..]));
        }
        let length = if char == '"' || char == '\'' { string(&text[at..])? } else { char.len_utf8() };
        let piece = &text[at..at + length];
        match char {
            '(' | '[' => open.push(char),
            '{' => open.push(char),
            ')' | ']' | '}' => drop(open.pop()?),
            _ => {}
        }
        match (char, open.last()) {
            ('{', _) => out.extend([TABLE, "("]),
            ('}', _) => out.push(')'),
            (':', Some('{')) => out.push(','),
            _ => out.push_str(piece),
        }
        at += length;
    }
    None
}

/// The length of the text literal that begins here. None if it does not end.
fn string(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => drop(chars.next()),
            _ if char == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// `for TARGET in ITERABLE`, and perhaps `if CONDITION` or `recursive`, with the iterable looked at first.
fn each(inside: &str) -> Option<String> {
    let (start, iterable) = keyword(inside, 0, &["in"])?;
    let end = keyword(inside, iterable, &["if", "recursive"])
        .map_or_else(|| inside.trim_end().trim_end_matches(['-', '+']).len().max(iterable), |(start, _)| start);
    if inside[iterable..end].trim().is_empty() {
        return None;
    }
    let (before, rest) = (&inside[..start], &inside[end..]);
    Some(format!("{before}in ({})|{EACH} {rest}", &inside[iterable..end]))
}

/// The first of these words that stands outside of brackets and text literals: where it begins and ends.
fn keyword(text: &str, from: usize, words: &[&str]) -> Option<(usize, usize)> {
    let (mut depth, mut at, mut before) = (0_usize, from, ' ');
    while let Some(char) = text[at..].chars().next() {
        let is_part = |char: char| char.is_alphanumeric() || char == '_' || char == '.';
        if depth == 0 && !is_part(before) {
            let found = words.iter().find(|word| {
                text[at..]
                    .strip_prefix(**word)
                    .is_some_and(|rest| !rest.starts_with(|next| is_part(next) || next == '='))
            });
            if let Some(word) = found {
                return Some((at, at + word.len()));
            }
        }
        match char {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += if char == '"' || char == '\'' { string(&text[at..])? } else { char.len_utf8() };
        before = char;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_rewritten() {
        for (template, expected) in [
            ("a {{ b }} {# {'a': 1} #}\n{% if x %}{% endif %}", "a {{ b }} {# {'a': 1} #}\n{% if x %}{% endif %}"),
            ("a { b } {c", "a { b } {c"),
            ("{{ {'a': {}, \"}}\": x[1:2]} }}", "{{ __table('a', __table(), \"}}\", x[1:2]) }}"),
            ("{%- set x = {'a': 1} -%}", "{%- set x = __table('a', 1) -%}"),
            ("{%- generation -%}x{%endgeneration%}", "{%- with -%}x{%endwith%}"),
            ("{{ '{% generation %}' }}{% set generation = 1 %}", "{{ '{% generation %}' }}{% set generation = 1 %}"),
            ("{% for a, b in x.y[':'] if a in b %}", "{% for a, b in ( x.y[':'] )|__each if a in b %}"),
            ("{% for inner in x -%}", "{% for inner in ( x )|__each -%}"),
            ("{% for a in b recursive %}", "{% for a in ( b )|__each recursive %}"),
            ("{% for %}{% for a %}{% for a in %}", "{% for %}{% for a %}{% for a in %}"),
            (
                "{% raw %}\n{{ {1: 2} }}{%- endraw %}{{ {1: 2} }}",
                "{% raw %}\n\n{{ {1: 2} }}{%- endraw %}{{ __table(1, 2) }}",
            ),
            ("a\r\nb\rc", "a\nb\nc"),
            ("{{ 'é' ~ {'ü': 'ß'} }}", "{{ 'é' ~ __table('ü', 'ß') }}"),
            ("{{ {'a': 1 }}", "{{ {'a': 1 }}"),
            ("{{ 'a }}", "{{ 'a }}"),
            ("{% raw %}x", "{% raw %}x"),
        ] {
            assert_eq!(prepared(template), expected);
        }
    }
}
