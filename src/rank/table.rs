//! The rank table of one data set: the top of every matrix, and its Parquet form.
//!
//! A table is one file, with a row group for each matrix that has rows. Its columns are tensor, index, score and rank. The rest
//! is JSON under `dean.rank` in the file's metadata:
//! * cap, as text, so that reading it gives the same bits;
//! * for each matrix, in the model's order: numel, the number of rows, the score at the cut, the best score below it, and the
//!   number of ties. Scores are JSON numbers, because every f32 is an f64.
//!
//! Must not know: rules, where scores come from, the store.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{Float32Array, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Float32Type, UInt32Type};
use bytes::Bytes;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::top::{MatrixRanks, k};
use crate::columns::{self, BATCH, Writer, damaged};
use crate::error::{Error, Result};

const WHAT: &str = "the rank table";
const KEY: &str = "dean.rank";

/// The top `cap` of each matrix for one data set.
#[derive(Clone, Debug, PartialEq)]
pub struct RankTable {
    /// The part of each matrix that the table holds, 0 to 1 (the setting `score.cap`).
    pub cap: f64,
    /// In the model's order.
    pub matrices: Vec<MatrixRanks>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    cap: String,
    matrices: Vec<MatrixHeader>,
}

#[derive(Serialize, Deserialize)]
struct MatrixHeader {
    tensor: String,
    numel: u64,
    rows_kept: u64,
    cut: Option<f64>,
    next: Option<f64>,
    ties: u64,
}

impl RankTable {
    /// The same table gives the same bytes.
    ///
    /// # Errors
    /// A table that breaks its own promises (order, length, bounds) is a fault of ours.
    pub fn to_parquet(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes what [`RankTable::to_parquet`] gives, a matrix at a time.
    ///
    /// # Errors
    /// The same, and what keeps `out` from being written.
    pub fn write(&self, out: impl Write + Send) -> Result<()> {
        self.check().map_err(|how| Error::fault(format!("a rank table was put together wrongly: {how}")))?;
        let header = Header { cap: self.cap.to_string(), matrices: self.matrices.iter().map(header_of).collect() };
        let header = serde_json::to_string(&header)
            .map_err(|cause| Error::fault(format!("a rank table's header could not be written: {cause}")))?;
        let mut writer = Writer::new(out, fields(), Some((KEY, header)), &["tensor"], &["rank"])?;
        let mut rank = Vec::with_capacity(BATCH);
        for matrix in &self.matrices {
            let mut done = 0_u32;
            for (index, score) in matrix.index.chunks(BATCH).zip(matrix.score.chunks(BATCH)) {
                rank.clear();
                rank.extend((done..).take(index.len()));
                done += index.len() as u32;
                writer.rows(vec![
                    Arc::new(StringArray::from_iter_values(index.iter().map(|_| &matrix.tensor))),
                    Arc::new(UInt32Array::from(index.to_vec())),
                    Arc::new(Float32Array::from(score.to_vec())),
                    Arc::new(UInt32Array::from(rank.clone())),
                ])?;
            }
            writer.end_group()?;
        }
        writer.finish().map(|_| ())
    }

    /// Reads what [`RankTable::to_parquet`] wrote. Nothing is trusted: order, lengths, bounds and the header are checked
    /// against each other.
    ///
    /// # Errors
    /// Anything that is not such a file.
    pub fn from_parquet(bytes: impl Into<Bytes>) -> Result<Self> {
        let begin = |text: Option<&str>| {
            let text = text.ok_or_else(|| damaged(WHAT, format!("its metadata has no `{KEY}`")))?;
            let header: Header = serde_json::from_str(text)
                .map_err(|cause| damaged(WHAT, format!("its metadata `{KEY}` cannot be read: {cause}")))?;
            Filling::new(header)
        };
        let filling = columns::read(WHAT, bytes, &fields(), KEY, begin, |filling, batch| filling.add(batch))?;
        filling.finish()
    }

    /// Checks everything that the rest of the room relies on.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.cap) {
            return Err(format!("cap is {}, not from 0 to 1", self.cap));
        }
        let mut names = BTreeSet::new();
        for matrix in &self.matrices {
            if !names.insert(&matrix.tensor) {
                return Err(format!("{} occurs twice", matrix.tensor));
            }
        }
        let check =
            |matrix: &MatrixRanks| check_matrix(matrix, self.cap).err().map(|how| format!("{}: {how}", matrix.tensor));
        self.matrices.par_iter().find_map_first(check).map_or(Ok(()), Err)
    }
}

fn fields() -> Vec<Field> {
    vec![
        Field::new("tensor", DataType::Utf8, false),
        Field::new("index", DataType::UInt32, false),
        Field::new("score", DataType::Float32, false),
        Field::new("rank", DataType::UInt32, false),
    ]
}

fn header_of(matrix: &MatrixRanks) -> MatrixHeader {
    MatrixHeader {
        tensor: matrix.tensor.clone(),
        numel: matrix.numel,
        rows_kept: matrix.index.len() as u64,
        cut: matrix.cut().map(f64::from),
        next: matrix.next.map(f64::from),
        ties: matrix.ties,
    }
}

fn check_matrix(matrix: &MatrixRanks, cap: f64) -> Result<(), String> {
    let MatrixRanks { numel, index, score, next, ties, .. } = matrix;
    let rows = index.len() as u64;
    if *numel > u64::from(u32::MAX) {
        return Err(format!("{numel} weights are more than an u32 can index"));
    }
    if rows != k(cap, *numel) || score.len() != index.len() {
        return Err(format!("{rows} entries of {numel}, not {}", k(cap, *numel)));
    }
    if index.iter().any(|&index| u64::from(index) >= *numel) {
        return Err(format!("an index is not below {numel}"));
    }
    if score.iter().chain(next).any(|score| !score.is_finite() || score.is_sign_negative()) {
        return Err("a score is not a finite number from 0 up".into());
    }
    let entries = || score.iter().zip(index);
    if entries().zip(entries().skip(1)).any(|((s, i), (t, j))| s < t || s == t && i >= j) {
        return Err("entries are not in the order of score and index".into());
    }
    let mut sorted = index.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("an index occurs twice".into());
    }
    let inside = score.iter().rev().take_while(|score| Some(**score) == matrix.cut()).count() as u64;
    // Ties outside the table are exactly those that make the next score equal to the cut.
    let ties_fit = if rows > 0 && *next == matrix.cut() {
        (inside + 1..=inside + (numel - rows)).contains(ties)
    } else {
        *ties == inside
    };
    let next_fits = next.is_some() == (rows < *numel) && matrix.cut().zip(*next).is_none_or(|(cut, next)| next <= cut);
    if !(ties_fit && next_fits) {
        return Err(format!("the scores around the cut do not fit ({:?}, then {next:?}, {ties} ties)", matrix.cut()));
    }
    Ok(())
}

/// A table being filled row by row; a matrix without rows is only in the header.
struct Filling {
    table: RankTable,
    /// `rows_kept` and `cut` of each matrix, as promised by the header.
    promised: Vec<(u64, Option<f32>)>,
    /// The matrix that the next row belongs to, unless it is full.
    at: usize,
}

impl Filling {
    fn new(header: Header) -> Result<Self> {
        let cap = header.cap.parse().map_err(|_| damaged(WHAT, format!("its cap is `{}`", header.cap)))?;
        // Scores were widened from f32 and come back by narrowing.
        let narrow = |score: Option<f64>| score.map(|score| score as f32);
        let promised = header.matrices.iter().map(|matrix| (matrix.rows_kept, narrow(matrix.cut))).collect();
        let matrices = header.matrices.into_iter().map(|matrix| MatrixRanks {
            tensor: matrix.tensor,
            numel: matrix.numel,
            index: vec![],
            score: vec![],
            next: narrow(matrix.next),
            ties: matrix.ties,
        });
        Ok(Self { table: RankTable { cap, matrices: matrices.collect() }, promised, at: 0 })
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let tensor = columns::text(WHAT, batch, "tensor")?;
        let index = columns::numbers::<UInt32Type>(WHAT, batch, "index")?;
        let score = columns::numbers::<Float32Type>(WHAT, batch, "score")?;
        let rank = columns::numbers::<UInt32Type>(WHAT, batch, "rank")?;
        for (((tensor, &index), &score), &rank) in tensor.iter().flatten().zip(index).zip(score).zip(rank) {
            while self.promised.get(self.at).is_some_and(|(rows, _)| self.rows_at(self.at) == *rows) {
                self.at += 1;
            }
            let rows = self.rows_at(self.at);
            let matrix = self.table.matrices.get_mut(self.at);
            let Some(matrix) = matrix.filter(|matrix| matrix.tensor == tensor && u64::from(rank) == rows) else {
                return Err(damaged(WHAT, format!("row {rank} of {tensor} is not where its header puts it")));
            };
            matrix.index.push(index);
            matrix.score.push(score);
        }
        Ok(())
    }

    fn rows_at(&self, at: usize) -> u64 {
        self.table.matrices.get(at).map_or(0, |matrix| matrix.index.len() as u64)
    }

    fn finish(self) -> Result<RankTable> {
        for (matrix, promised) in self.table.matrices.iter().zip(&self.promised) {
            if (matrix.index.len() as u64, matrix.cut()) != *promised {
                return Err(damaged(WHAT, format!("the rows of {} are not what its header says", matrix.tensor)));
            }
        }
        self.table.check().map_err(|how| damaged(WHAT, how))?;
        Ok(self.table)
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use proptest::prelude::*;

    use super::super::top;
    use super::*;

    fn table(sizes: &[usize], cap: f64, seed: u64) -> RankTable {
        let score = |n: usize| ((n as u64 + seed) * 2_654_435_761 % 97) as f32 * 0.013;
        let one = |(at, &size): (usize, &usize)| {
            let scores: Vec<f32> = (0..size).map(|n| score(n + at)).collect();
            top(&format!("model.layers.{at}.w.weight"), &scores, 1, cap).unwrap()
        };
        RankTable { cap, matrices: sizes.iter().enumerate().map(one).collect() }
    }

    proptest! {
        #[test]
        fn a_table_survives_parquet_bit_by_bit(
            sizes in prop::collection::vec(0_usize..300, 0..6),
            cap in prop_oneof![Just(0.0), Just(1.0), Just(1e-3), 0.0_f64..1.0],
            seed in 0_u64..1000,
        ) {
            let table = table(&sizes, cap, seed);
            let bytes = table.to_parquet().unwrap();
            prop_assert_eq!(&bytes, &table.clone().to_parquet().unwrap());
            let back = RankTable::from_parquet(bytes).unwrap();
            prop_assert_eq!(back.cap.to_bits(), cap.to_bits());
            prop_assert_eq!(back, table);
        }

        #[test]
        fn damage_is_an_error_or_harmless_and_never_a_panic(at in any::<prop::sample::Index>(), flip in 1_u8.., cut in any::<bool>()) {
            let table = table(&[200, 3, 50], 0.3, 1);
            let mut bytes = table.to_parquet().unwrap();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
            // A flipped bit of a statistic or of the page's padding changes nothing that is read; a score's low bit may pass.
            if let Ok(back) = RankTable::from_parquet(bytes) {
                prop_assert!(back.check().is_ok());
            }
        }
    }

    #[test]
    fn the_file_has_a_row_group_per_matrix_with_rows_and_our_name() {
        let bytes = table(&[100, 1, 80_000], 0.9, 3).to_parquet().unwrap();
        let path = tempfile::tempdir().unwrap();
        let path = path.path().join("ranks.parquet");
        crate::files::write_atomic(&path, &bytes).unwrap();
        let reader = SerializedFileReader::new(crate::files::open(&path).unwrap()).unwrap();
        let rows: Vec<i64> = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
        assert_eq!(rows, [90, 72_000]);
        let file = reader.metadata().file_metadata();
        assert_eq!(file.created_by(), Some("dean"));
        let header = file.key_value_metadata().unwrap().iter().find(|pair| pair.key == KEY).unwrap();
        let header: serde_json::Value = serde_json::from_str(header.value.as_ref().unwrap()).unwrap();
        assert_eq!(header["matrices"][1]["rows_kept"], 0);
        assert_eq!(header["cap"], "0.9");
    }

    #[test]
    fn broken_promises_are_faults_when_written() {
        let good = table(&[20], 0.5, 1);
        let breaks: [fn(&mut MatrixRanks); 8] = [
            |matrix| matrix.index.swap(0, 1),
            |matrix| matrix.score[0] = f32::NAN,
            |matrix| matrix.index[0] = 20,
            |matrix| matrix.index[0] = matrix.index[5],
            |matrix| matrix.index.truncate(9),
            |matrix| matrix.ties += 1,
            |matrix| matrix.next = None,
            |matrix| matrix.next = Some(9.0),
        ];
        assert!(good.to_parquet().is_ok());
        for (at, spoil) in breaks.iter().enumerate() {
            let mut bad = good.clone();
            spoil(&mut bad.matrices[0]);
            // Swapping or doubling two indices alone keeps the scores' order unless they tie.
            if at == 0 {
                bad.matrices[0].score[1] = bad.matrices[0].score[0];
                bad.matrices[0].index[0] = bad.matrices[0].index[1] + 1;
            }
            assert_eq!(bad.to_parquet().unwrap_err().kind(), crate::error::Kind::Fault, "break {at}");
        }
    }

    #[test]
    fn other_files_are_refused_with_a_sentence() {
        let message = |bytes: &[u8]| RankTable::from_parquet(bytes.to_vec()).unwrap_err().message().to_owned();
        assert!(message(b"").starts_with("the rank table cannot be used"));
        assert!(message(b"PAR1PAR1").starts_with("the rank table cannot be used"));
        let mut other =
            Writer::new(Vec::new(), vec![Field::new("a", DataType::UInt32, false)], None, &[], &[]).unwrap();
        other.rows(vec![Arc::new(UInt32Array::from(vec![1]))]).unwrap();
        insta::assert_snapshot!(message(&other.finish().unwrap()), @"the rank table cannot be used: its columns are (a: UInt32), not (tensor: Utf8, index: UInt32, score: Float32, rank: UInt32)");
        let empty = Writer::new(Vec::new(), fields(), None, &[], &[]).unwrap().finish().unwrap();
        insta::assert_snapshot!(message(&empty), @"the rank table cannot be used: its metadata has no `dean.rank`");
    }
}
