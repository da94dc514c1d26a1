//! The table of token ids that tokenize writes and score reads: row, input_ids, response_start.
//!
//! Must not know: text.

use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::datatypes::UInt32Type;

use super::{Table, id_lists, write};
use crate::error::{Error, Result};
use crate::model::backward::Sample;

/// Calibration pairs as token ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The row of the data file, from 0.
    rows: Vec<u32>,
    ids: Vec<Vec<u32>>,
    /// Where the response begins in the ids.
    starts: Vec<u32>,
}

fn narrow(value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::user("a data file has more than four billion rows"))
}

impl Tokens {
    pub fn push(&mut self, row: usize, ids: Vec<u32>, response_start: usize) -> Result<()> {
        self.rows.push(narrow(row)?);
        self.starts.push(narrow(response_start)?);
        self.ids.push(ids);
        Ok(())
    }

    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    pub fn samples(&self) -> Vec<Sample> {
        let pairs = self.ids.iter().zip(&self.starts);
        pairs.map(|(ids, start)| Sample { ids: ids.clone(), response: *start as usize }).collect()
    }

    pub fn to_parquet(&self) -> Result<Vec<u8>> {
        write(
            vec![
                ("row", Arc::new(UInt32Array::from(self.rows.clone()))),
                ("input_ids", id_lists(self.ids.iter().map(Vec::as_slice))),
                ("response_start", Arc::new(UInt32Array::from(self.starts.clone()))),
            ],
            &[],
        )
    }

    pub fn from_parquet(bytes: Vec<u8>) -> Result<Self> {
        let table = Table::read(bytes, "tokens")?;
        Ok(Self {
            rows: table.whole_numbers::<UInt32Type>("row")?,
            ids: table.lists::<UInt32Type>("input_ids")?,
            starts: table.whole_numbers::<UInt32Type>("response_start")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_file_and_give_the_same_bytes_again() {
        let mut tokens = Tokens::default();
        tokens.push(7, vec![1, 2, 3], 1).unwrap();
        tokens.push(2, vec![4, 5], 0).unwrap();
        let bytes = tokens.to_parquet().unwrap();
        assert_eq!(bytes, tokens.to_parquet().unwrap());
        assert_eq!(Tokens::from_parquet(bytes).unwrap(), tokens);
        assert!(Tokens::from_parquet(b"nonsense".to_vec()).is_err());
    }
}
