//! Functions, tests and the form of what is put out, where they differ from the engine's.
//!
//! Must not know: filters, methods, what a template is for.

use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Enumerator, Kwargs, Object, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};

use super::source::TABLE;

/// Puts them into an environment. `date` is what the clock shows.
pub fn add(environment: &mut Environment<'static>, date: &str) {
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("the template says: {message}")))
    });
    let date = date.to_owned();
    environment.add_function("strftime_now", move |_format: String| date.clone());
    environment.add_function(TABLE, |pairs: Rest<Value>| Value::from_object(Table::of_flat(&pairs)));
    environment.add_function("dict", dict);
    environment.add_function("joiner", |separator: Option<String>| {
        let separator = separator.unwrap_or_else(|| ", ".to_owned());
        Value::from_object(Joiner { separator, used: Mutex::new(false) })
    });
    environment.add_function("cycler", |items: Rest<Value>| {
        Value::from_object(Cycler { items: items.to_vec(), at: Mutex::new(0) })
    });
    environment.add_test("iterable", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable | ValueKind::Undefined
        )
    });
    // whatever has a length and parts, as in Python
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined)
    });
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    environment.set_formatter(|out, state, value| match float(value) {
        Some(number) => out.write_str(&number).map_err(Error::from),
        None => minijinja::escape_formatter(out, state, value),
    });
}

/// A number with a fraction as Python writes it: the shortest decimal, with an exponent where that is far from 1. None for
/// everything else.
pub fn float(value: &Value) -> Option<String> {
    if value.kind() != ValueKind::Number || value.is_integer() {
        return None;
    }
    let number = f64::try_from(value.clone()).ok()?;
    if !number.is_finite() {
        return Some(
            if number.is_nan() {
                "nan"
            } else if number > 0.0 {
                "inf"
            } else {
                "-inf"
            }
            .to_owned(),
        );
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return Some(format!("{digits}e{sign}{:02}", exponent.abs()));
    }
    let plain = number.to_string();
    Some(if plain.contains('.') { plain } else { plain + ".0" })
}

/// A table whose keys keep their order, as those of Python do.
#[derive(Debug)]
struct Table(Vec<(Value, Value)>);

impl Table {
    /// Of keys and values one after the other. Of equal keys the first has the place and the last the value.
    fn of_flat(values: &[Value]) -> Self {
        let mut table = Self(Vec::new());
        for pair in values.chunks_exact(2) {
            table.set(pair[0].clone(), pair[1].clone());
        }
        table
    }

    fn set(&mut self, key: Value, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => self.0.push((key, value)),
        }
    }
}

impl Object for Table {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(key, _)| key.clone()).collect())
    }
}

/// Python's `dict`: of a table or of pairs, and of what is named.
fn dict(from: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    let mut table = Table(Vec::new());
    if let Some(from) = from.filter(|from| !from.is_undefined()) {
        let pairs = from.kind() != ValueKind::Map;
        for item in from.try_iter()? {
            let (key, value) = if pairs {
                (item.get_item_by_index(0)?, item.get_item_by_index(1)?)
            } else {
                (item.clone(), from.get_item(&item)?)
            };
            table.set(key, value);
        }
    }
    for name in named.args() {
        table.set(Value::from(name), named.get(name)?);
    }
    Ok(Value::from_object(table))
}

/// Jinja2's `joiner`: nothing at the first call, then the separator.
#[derive(Debug)]
struct Joiner {
    separator: String,
    used: Mutex<bool>,
}

impl Object for Joiner {
    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, _: &[Value]) -> Result<Value, Error> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let separator = if *used { self.separator.as_str() } else { "" };
        *used = true;
        Ok(Value::from(separator))
    }
}

/// Jinja2's `cycler`.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: Mutex<usize>,
}

impl Object for Cycler {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = *self.at.lock().unwrap_or_else(PoisonError::into_inner);
        (key.as_str() == Some("current")).then(|| self.items.get(at).cloned())?
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, _: &[Value]) -> Result<Value, Error> {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        match method {
            "next" => {
                let item = self.items.get(*at).cloned().unwrap_or_default();
                *at = (*at + 1) % self.items.len().max(1);
                Ok(item)
            }
            "reset" => {
                *at = 0;
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}
