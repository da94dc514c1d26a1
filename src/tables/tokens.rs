//! The table of token ids that tokenize writes and score reads: row, input_ids, response_start.
//!
//! Must not know: text.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::datatypes::UInt32Type;

use super::{Table, id_lists, write};
use crate::error::{Error, Result};
use crate::model::decoder::backward::Sample;

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

    /// How many pairs repeat an earlier one, token for token. They count as often as they occur.
    pub fn repeated(&self) -> usize {
        self.ids.len() - self.ids.iter().collect::<BTreeSet<_>>().len()
    }

    /// How many pairs occur in another table as well, token for token.
    pub fn shared(&self, other: &Self) -> usize {
        let there: BTreeSet<&Vec<u32>> = other.ids.iter().collect();
        self.ids.iter().filter(|ids| there.contains(ids)).count()
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
    fn pairs_that_occur_twice_are_counted() {
        let table = |pairs: &[&[u32]]| {
            let mut tokens = Tokens::default();
            pairs.iter().enumerate().for_each(|(row, ids)| tokens.push(row, ids.to_vec(), 1).unwrap());
            tokens
        };
        let (one, other) = (table(&[&[1, 2], &[3, 4], &[1, 2], &[1, 2]]), table(&[&[1, 2, 3], &[1, 2]]));
        assert_eq!((one.repeated(), other.repeated(), Tokens::default().repeated()), (2, 0, 0));
        assert_eq!((one.shared(&other), other.shared(&one)), (3, 1));
    }

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
