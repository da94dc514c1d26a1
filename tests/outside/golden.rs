//! What the golden tests share: reading numbers, ids and samples.
//!
//! Must not know: any model.

use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::ArrowPrimitiveType;
use dean::choice::Choice;
use dean::data::{Wanted, read_rows};
use dean::model::decoder::sample::Sample;
use dean::model::text::Text;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// How close the numbers came, for whoever runs the tests.
pub fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "outside: {text}");
}

pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&dean::files::read(path).unwrap()).unwrap()
}

pub fn parquet(path: &Path) -> Vec<RecordBatch> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(dean::files::open(path).unwrap()).unwrap();
    builder.build().unwrap().map(Result::unwrap).collect()
}

pub fn column<T: ArrowPrimitiveType>(batches: &[RecordBatch], name: &str) -> Vec<T::Native> {
    batches.iter().flat_map(|batch| batch.column_by_name(name).unwrap().as_primitive::<T>().values().to_vec()).collect()
}

pub fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

/// Some columns of a CSV file.
pub fn texts(file: &Path, columns: &[&str]) -> Vec<Vec<String>> {
    let wanted: Vec<Wanted> = columns.iter().map(|name| Wanted::text(*name)).collect();
    let bytes = dean::files::read(file).unwrap().into();
    let rows = read_rows(&bytes, Choice::of("csv").unwrap(), &wanted).unwrap();
    rows.iter().map(|row| row.cells.iter().map(|cell| cell.as_str().unwrap().to_owned()).collect()).collect()
}

/// Prompt and response of some rows of a data file, tokenised as the goldens were:
/// `tok(prompt) ++ tok(response)[1:]`, the released code's way.
pub fn samples(text: &Text, file: &Path, rows: &[usize]) -> Vec<Sample> {
    let table = texts(file, &["prompt", "response"]);
    rows.iter()
        .map(|row| {
            let mut ids = text.encode(&table[*row][0], true).unwrap();
            let response = ids.len();
            ids.extend(&text.encode(&table[*row][1], true).unwrap()[1..]);
            Sample { ids, response }
        })
        .collect()
}
