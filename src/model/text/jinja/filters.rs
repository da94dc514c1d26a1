//! Filters that differ from the engine's, or that it lacks.
//!
//! Must not know: functions, methods, what a template is for.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

use super::source::EACH;

/// Puts them into an environment.
pub fn add(environment: &mut Environment<'static>) {
    environment.add_filter(EACH, each);
    environment.add_filter("list", |value: &Value| match value.kind() {
        ValueKind::Undefined => Ok(Value::from(Vec::<Value>::new())),
        _ => Ok::<_, Error>(Value::from(each(value)?.try_iter()?.collect::<Vec<_>>())),
    });
    environment.add_filter("int", int);
    environment.add_filter("float", |value: &Value, default: Option<f64>| {
        let default = default.unwrap_or(0.0);
        match value.as_str() {
            Some(text) => text.trim().replace('_', "").parse().unwrap_or(default),
            None => f64::try_from(value.clone()).unwrap_or(default),
        }
    });
    for name in ["escape", "e", "forceescape"] {
        let always = name == "forceescape";
        environment.add_filter(name, move |value: &Value| {
            if value.is_safe() && !always {
                value.clone()
            } else {
                Value::from_safe_string(escaped(&value.to_string()))
            }
        });
    }
    environment.add_filter("indent", indent);
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordcount", |text: &str| {
        text.split(|char: char| !char.is_alphanumeric() && char != '_').filter(|word| !word.is_empty()).count()
    });
    environment
        .add_filter("center", |text: &str, width: Option<usize>| super::methods::centred(text, width.unwrap_or(80)));
    environment.add_filter("striptags", striptags);
    environment.add_filter("urlencode", |value: &Value| urlencode(&value.to_string()));
    // it lays values out in another way than Python does
    environment.remove_filter("pprint");
    // of a table it is never an entry
    environment.add_filter("attr", |_: &Value, _: &str| Value::UNDEFINED);
}

/// The value, if it has elements or may have some.
fn each(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::None => Err(Error::new(ErrorKind::InvalidOperation, "none has no elements to go through")),
        _ => Ok(value.clone()),
    }
}

/// Python's `int`, or the default where there is no number.
fn int(value: &Value, default: Option<Value>, base: Option<u32>) -> Value {
    let default = default.unwrap_or_else(|| Value::from(0));
    #[expect(clippy::cast_possible_truncation, reason = "it is cut to a whole number, as in Python")]
    let cut = |number: f64| if number.is_finite() { Value::from(number as i128) } else { default.clone() };
    let Some(text) = value.as_str() else {
        return match value.kind() {
            ValueKind::Bool => Value::from(i64::from(value.is_true())),
            ValueKind::Number if value.is_integer() => value.clone(),
            _ => f64::try_from(value.clone()).map_or_else(|_| default.clone(), cut),
        };
    };
    let text = text.trim().replace('_', "").to_lowercase();
    let (sign, digits) = text.strip_prefix('-').map_or((1, text.as_str()), |digits| (-1, digits));
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    let marks = [("0x", 16), ("0o", 8), ("0b", 2)];
    let marked = marks.iter().find_map(|(mark, own)| Some((digits.strip_prefix(mark)?, *own)));
    let (digits, base) = match (marked, base.unwrap_or(10)) {
        (Some((digits, own)), asked) if asked == own || asked == 0 => (digits, own),
        (_, 0) => (digits, 10),
        (_, asked) => (digits, asked),
    };
    match i128::from_str_radix(digits, base.clamp(2, 36)) {
        Ok(number) => Value::from(sign * number),
        Err(_) => text.parse::<f64>().map_or(default.clone(), cut),
    }
}

/// `markupsafe.escape`.
fn escaped(text: &str) -> String {
    let signs = [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&#34;"), ('\'', "&#39;")];
    signs.iter().fold(text.to_owned(), |text, (sign, code)| text.replace(*sign, code))
}

/// Jinja2's `indent`: `width` is a number of blanks, or the text itself.
fn indent(
    text: &str,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    named: Kwargs,
) -> Result<String, Error> {
    let width = width.or(named.get::<Option<Value>>("width")?);
    let first = first.or(named.get("first")?).unwrap_or(false);
    let blank = blank.or(named.get("blank")?).unwrap_or(false);
    named.assert_all_used()?;
    let by = match width {
        None => " ".repeat(4),
        Some(width) => match width.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(width)?.min(MOST_BLANKS)),
        },
    };
    let line = |(at, line): (usize, &str)| {
        let left = at == 0 && !first || line.is_empty() && !blank && at > 0;
        if left { line.to_owned() } else { format!("{by}{line}") }
    };
    Ok(text.split('\n').enumerate().map(line).collect::<Vec<_>>().join("\n"))
}

/// More than any text is indented by.
const MOST_BLANKS: usize = 1 << 12;

/// Jinja2's `truncate`.
fn truncate(
    text: &str,
    length: Option<usize>,
    killwords: Option<bool>,
    end: Option<String>,
    leeway: Option<usize>,
) -> String {
    let (length, end) = (length.unwrap_or(255), end.unwrap_or_else(|| "...".to_owned()));
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= length.saturating_add(leeway.unwrap_or(5)) {
        return text.to_owned();
    }
    let cut: String = chars.iter().take(length.saturating_sub(end.chars().count())).collect();
    let whole = if killwords.unwrap_or(false) {
        cut.as_str()
    } else {
        cut.rsplit_once(' ').map_or(cut.as_str(), |(whole, _)| whole)
    };
    format!("{whole}{end}")
}

/// Jinja2's `striptags`: comments and tags go, and runs of blanks become one.
fn striptags(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once('<') {
        let end = if tag.starts_with("!--") { tag.split_once("-->") } else { tag.split_once('>') };
        let Some((_, after)) = end else { break };
        out.push_str(before);
        rest = after;
    }
    out.push_str(rest);
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Python's `quote`, which leaves `/` as it is.
fn urlencode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' | b'/' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
