//! What is pinned of an artifact, whatever its form: everything but floating-point numbers to the byte, and those numbers
//! by their sums.
//!
//! The last bits of a matrix product depend on the processor (AVX2 and AVX-512 add in another order), so a digest of
//! floats would hold on one machine only. Sums are compared within [`TOLERANCE`] of the sum of sizes: other kernels stay
//! a hundred times below it, and what changes a meaning (another cut, a mean for a sum, a sample more) far above. One
//! sum goes by position, so that an exchanged order is seen.
//!
//! Must not know: any stage, any column.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use dean::digest::Digest;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const TOLERANCE: f64 = 1e-4;

/// Two are equal if the exact part is, and the numbers are nearly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// parquet, safetensors, json.
    form: String,
    /// The digest of the file, or of all in it but the numbers.
    exact: Digest,
    /// By column or place; those of tensors together.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    numbers: BTreeMap<String, Sums>,
}

/// A list of numbers in brief.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Sums {
    count: u64,
    sum: f64,
    /// Of the absolute values.
    size: f64,
    /// Each number times its position's weight, between 1 and 2.
    placed: f64,
}

impl Sums {
    /// With as many digits as a person may want to compare.
    fn rounded(self) -> Self {
        let round = |number: f64| format!("{number:.8e}").parse().unwrap();
        Self { sum: round(self.sum), size: round(self.size), placed: round(self.placed), ..self }
    }

    fn add(&mut self, number: f64) {
        // Multiples of the golden ratio lie evenly, and no two weights are equal.
        let weight = 1.0 + (self.count as f64 * 0.618_033_988_749_894_9).fract();
        self.count += 1;
        self.sum += number;
        self.size += number.abs();
        self.placed += weight * number;
    }
}

impl PartialEq for Sums {
    fn eq(&self, other: &Self) -> bool {
        let slack = TOLERANCE * self.size.max(other.size);
        let near = |a: f64, b: f64| (a - b).abs() <= slack;
        self.count == other.count
            && near(self.sum, other.sum)
            && near(self.size, other.size)
            && near(self.placed, other.placed)
    }
}

/// The exact part as text, and the numbers.
#[derive(Default)]
struct Reading {
    exact: String,
    numbers: BTreeMap<String, Sums>,
}

impl Facts {
    pub fn of(bytes: &[u8]) -> Self {
        let (form, reading) = if bytes.starts_with(b"PAR1") {
            ("parquet", parquet(bytes))
        } else if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
            let mut reading = Reading::default();
            json(&value, "", &mut reading);
            ("json", reading)
        } else {
            ("safetensors", tensors(bytes))
        };
        let exact = if reading.numbers.is_empty() { Digest::of(bytes) } else { Digest::of(reading.exact.as_bytes()) };
        let numbers = reading.numbers.into_iter().map(|(place, sums)| (place, sums.rounded())).collect();
        Self { form: form.into(), exact, numbers }
    }

    /// What is not equal, for a person.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        if (&self.form, self.exact) != (&now.form, now.exact) {
            lines.push("what is not a floating-point number differs".to_owned());
        }
        for name in self.numbers.keys().chain(now.numbers.keys().filter(|name| !self.numbers.contains_key(*name))) {
            match (self.numbers.get(name), now.numbers.get(name)) {
                (Some(old), Some(new)) if old == new => {}
                (old, new) => lines.push(format!("{name} was {old:?} and is {new:?}")),
            }
        }
        lines
    }
}

impl Reading {
    fn line(&mut self, text: &str) {
        self.exact.push_str(text);
        self.exact.push('\n');
    }

    fn number(&mut self, place: &str, number: f64) {
        self.numbers.entry(place.to_owned()).or_default().add(number);
    }
}

/// The schema, each column value by value, and what lies in the metadata; but for Arrow's copy of the schema, which
/// its versions write differently.
fn parquet(bytes: &[u8]) -> Reading {
    let mut reading = Reading::default();
    let file = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes.to_vec())).unwrap();
    for field in file.schema().fields() {
        reading.line(&format!("{}: {}, {}", field.name(), field.data_type(), field.is_nullable()));
    }
    for pair in file.metadata().file_metadata().key_value_metadata().into_iter().flatten() {
        if pair.key != "ARROW:schema" {
            let text = pair.value.clone().unwrap_or_default();
            json(&serde_json::from_str(&text).unwrap_or(Value::String(text)), &pair.key, &mut reading);
        }
    }
    for batch in file.build().unwrap().map(Result::unwrap) {
        for (field, values) in batch.schema().fields().iter().zip(batch.columns()) {
            column(field.name(), values, &mut reading);
        }
    }
    reading
}

fn column(name: &str, values: &ArrayRef, reading: &mut Reading) {
    let floats: Option<Vec<Option<f64>>> = match values.data_type() {
        DataType::Float32 => Some(values.as_primitive::<Float32Type>().iter().map(|x| x.map(f64::from)).collect()),
        DataType::Float64 => Some(values.as_primitive::<Float64Type>().iter().collect()),
        _ => None,
    };
    if let Some(floats) = floats {
        for number in floats {
            match number {
                Some(number) => reading.number(name, number),
                None => reading.line(&format!("{name}: none")),
            }
        }
        return;
    }
    let options = FormatOptions::default().with_null("none");
    let text = ArrayFormatter::try_new(values, &options).unwrap();
    (0..values.len()).for_each(|row| reading.line(&format!("{name}: {}", text.value(row))));
}

/// Every value with its place; the numbers of one list share theirs.
fn json(value: &Value, place: &str, reading: &mut Reading) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| json(value, &format!("{place}.{name}"), reading))
        }
        Value::Array(items) => {
            reading.line(&format!("{place}: {} items", items.len()));
            items.iter().for_each(|item| json(item, &format!("{place}[]"), reading));
        }
        Value::Number(number) if number.is_f64() => reading.number(place, number.as_f64().unwrap()),
        other => reading.line(&format!("{place}: {other}")),
    }
}

fn tensors(bytes: &[u8]) -> Reading {
    let mut reading = Reading::default();
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    for (key, text) in header.metadata().iter().flatten().collect::<BTreeMap<_, _>>() {
        json(&serde_json::from_str(text).unwrap_or(Value::String(text.clone())), key, &mut reading);
    }
    let file = SafeTensors::deserialize(bytes).unwrap();
    for (name, tensor) in file.tensors().into_iter().collect::<BTreeMap<_, _>>() {
        reading.line(&format!("{name}: {:?} {:?}", tensor.dtype(), tensor.shape()));
        if tensor.dtype() == Dtype::F32 {
            let values = tensor.data().as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value));
            values.for_each(|value| reading.number("values", f64::from(value)));
        } else {
            reading.line(&Digest::of(tensor.data()).to_string());
        }
    }
    reading
}

#[test]
fn other_kernels_change_no_facts_and_other_numbers_do() {
    let facts = |numbers: &[f64], word: &str| Facts::of(serde_json::json!([numbers, word]).to_string().as_bytes());
    let numbers = [0.5, 0.25, -0.75, 0.125, 3.5];
    let then = facts(&numbers, "word");
    assert_eq!(then, facts(&numbers.map(|number| number * (1.0 + 1e-6)), "word"));
    assert_eq!(then.differences(&facts(&numbers, "word")), Vec::<String>::new());
    for other in [
        facts(&numbers, "words"),
        facts(&numbers[..4], "word"),
        facts(&numbers.map(|number| number * 1.001), "word"),
        facts(&[0.25, 0.5, -0.75, 0.125, 3.5], "word"),
        facts(&[0.5, 0.25, 0.75, 0.125, 3.5], "word"),
    ] {
        assert_ne!(then, other);
        assert!(!then.differences(&other).is_empty(), "{other:?}");
    }
}
