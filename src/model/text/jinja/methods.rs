//! Methods of Python's strings and lists that the engine's extension lacks or does otherwise.
//!
//! Must not know: filters, functions, what a template is for.

use minijinja::value::{Tuple, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat;

/// Calls a method that the engine does not know.
pub fn call(state: &mut State<'_, '_>, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let own = match (value.as_str(), value.kind()) {
        (Some(text), _) => of_string(text, method, arguments)?,
        (None, ValueKind::Seq) if method == "index" => {
            let (what,): (&Value,) = from_args(arguments)?;
            let at = value.try_iter()?.position(|item| item == *what);
            Some(Value::from(at.ok_or_else(|| missing("it is not in the list"))?))
        }
        _ => None,
    };
    match own {
        Some(value) => Ok(value),
        None => pycompat::unknown_method_callback(state, value, method, arguments),
    }
}

fn missing(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// The most that a text is filled up to.
const WIDEST: usize = 1 << 16;

fn of_string(text: &str, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "swapcase" => {
            let swap = |char: char| {
                if char.is_uppercase() { char.to_lowercase().to_string() } else { char.to_uppercase().to_string() }
            };
            text.chars().map(swap).collect::<String>().into()
        }
        "casefold" => text.to_lowercase().into(),
        "title" => title(text).into(),
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(arguments)?;
            rsplit(text, separator, most)
        }
        "splitlines" => {
            let (keep,): (Option<bool>,) = from_args(arguments)?;
            Value::from(lines(text, keep.unwrap_or(false)))
        }
        "find" | "rfind" | "index" | "rindex" => {
            let (what, from, to): (&str, Option<i64>, Option<i64>) = from_args(arguments)?;
            let (start, part) = part(text, from, to);
            let at = if method.starts_with('r') { part.rfind(what) } else { part.find(what) };
            let at = at.map(|at| start + part[..at].chars().count());
            match at {
                Some(at) => Value::from(at),
                None if method.ends_with("find") => Value::from(-1),
                None => return Err(missing("the text is not in it")),
            }
        }
        "count" => {
            let (what, from, to): (&str, Option<i64>, Option<i64>) = from_args(arguments)?;
            Value::from(part(text, from, to).1.matches(what).count())
        }
        "startswith" | "endswith" if arguments.len() > 1 => {
            let (what, from, to): (&Value, Option<i64>, Option<i64>) = from_args(arguments)?;
            let (_, part) = part(text, from, to);
            let is = |what: &str| if method == "startswith" { part.starts_with(what) } else { part.ends_with(what) };
            Value::from(match what.as_str() {
                Some(what) => is(what),
                None => what.try_iter()?.any(|what| what.as_str().is_some_and(is)),
            })
        }
        "removeprefix" => {
            let (what,): (&str,) = from_args(arguments)?;
            text.strip_prefix(what).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (what,): (&str,) = from_args(arguments)?;
            text.strip_suffix(what).unwrap_or(text).into()
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            let last = method == "rpartition";
            let parts = match if last { text.rsplit_once(separator) } else { text.split_once(separator) } {
                Some((before, after)) => [before, separator, after],
                None if last => ["", "", text],
                None => [text, "", ""],
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "zfill" => {
            let (width,): (usize,) = from_args(arguments)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            let missing = width.min(WIDEST).saturating_sub(text.chars().count());
            format!("{sign}{}{digits}", "0".repeat(missing)).into()
        }
        "center" | "ljust" | "rjust" => {
            let (width, fill): (usize, Option<&str>) = from_args(arguments)?;
            let fill = fill.unwrap_or(" ");
            let missing = width.min(WIDEST).saturating_sub(text.chars().count());
            // as CPython shares an odd one
            let left = match method {
                "center" => missing / 2 + (missing & width & 1),
                "rjust" => missing,
                _ => 0,
            };
            format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left)).into()
        }
        "expandtabs" => {
            let (width,): (Option<usize>,) = from_args(arguments)?;
            expanded(text, width.unwrap_or(8).min(WIDEST)).into()
        }
        "isdecimal" => (!text.is_empty() && text.chars().all(|char| char.is_ascii_digit())).into(),
        _ => return Ok(None),
    }))
}

/// A text in the middle of so many places.
pub fn centred(text: &str, width: usize) -> String {
    let missing = width.min(WIDEST).saturating_sub(text.chars().count());
    let left = missing / 2 + (missing & width & 1);
    format!("{}{text}{}", " ".repeat(left), " ".repeat(missing - left))
}

/// Python's slice of a text, and how many letters come before it.
fn part(text: &str, from: Option<i64>, to: Option<i64>) -> (usize, &str) {
    let length = text.chars().count();
    let place = |index: i64| {
        let index =
            if index < 0 { index.saturating_add(i64::try_from(length).unwrap_or(i64::MAX)).max(0) } else { index };
        usize::try_from(index).unwrap_or(usize::MAX).min(length)
    };
    let (from, to) = (from.map_or(0, place), to.map_or(length, place));
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    (from, text.get(byte(from)..byte(to)).unwrap_or_default())
}

/// The first of each run of letters in upper case, the others in lower case, as Python's `str.title`.
fn title(text: &str) -> String {
    let mut inside = false;
    let letter = |char: char| {
        let cased = if inside { char.to_lowercase().to_string() } else { char.to_uppercase().to_string() };
        inside = char.is_alphabetic();
        cased
    };
    text.chars().map(letter).collect()
}

fn rsplit(text: &str, separator: Option<&str>, most: Option<i64>) -> Value {
    let most = most.and_then(|most| usize::try_from(most).ok()).map_or(usize::MAX, |most| most.saturating_add(1));
    let mut parts: Vec<&str> = match separator {
        Some(separator) if !separator.is_empty() => text.rsplitn(most, separator).collect(),
        _ => {
            let mut rest = text.trim_end();
            let mut parts = Vec::new();
            while let Some((before, last)) = rest.rsplit_once(char::is_whitespace).filter(|_| parts.len() + 1 < most) {
                parts.push(last);
                rest = before.trim_end();
            }
            parts.extend((!rest.trim_start().is_empty()).then(|| rest.trim_start()));
            parts
        }
    };
    parts.reverse();
    parts.into_iter().map(Value::from).collect()
}

/// Python's lines: they end at any of the usual line ends.
fn lines(text: &str, keep: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\n', '\r']) {
        let end = if rest[at..].starts_with("\r\n") { 2 } else { 1 };
        lines.push(rest[..if keep { at + end } else { at }].to_owned());
        rest = &rest[at + end..];
    }
    lines.extend((!rest.is_empty()).then(|| rest.to_owned()));
    lines
}

fn expanded(text: &str, width: usize) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for char in text.chars() {
        if char == '\t' {
            let blanks = if width == 0 { 0 } else { width - column % width };
            out.push_str(&" ".repeat(blanks));
            column += blanks;
        } else {
            column = if char == '\n' || char == '\r' { 0 } else { column + 1 };
            out.push(char);
        }
    }
    out
}
