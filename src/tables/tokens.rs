//! The table of token ids that tokenize writes and score reads: row, input_ids, response_start.
//!
//! Must not know: text.

use bytes::Bytes;
use std::collections::BTreeSet;

use arrow::datatypes::Field;
use serde::{Deserialize, Serialize};

use super::{Row, ids, narrow, whole};
use crate::error::Result;
use crate::model::decoder::sample::Sample;

/// One calibration pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pair {
    /// The row of the data file, from 0.
    row: u32,
    input_ids: Vec<u32>,
    /// Where the response begins in the ids.
    response_start: u32,
}

impl Row for Pair {
    const TABLE: &'static str = "the table of token ids";

    fn columns() -> Vec<Field> {
        vec![whole("row"), ids("input_ids"), whole("response_start")]
    }
}

/// Calibration pairs as token ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(Vec<Pair>);

impl Tokens {
    pub fn push(&mut self, row: usize, ids: Vec<u32>, response_start: usize) -> Result<()> {
        self.0.push(Pair { row: narrow(row)?, input_ids: ids, response_start: narrow(response_start)? });
        Ok(())
    }

    /// The rows of the data file that the pairs come from, in their order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = u32> {
        self.0.iter().map(|pair| pair.row)
    }

    pub fn samples(&self) -> Vec<Sample> {
        let sample = |pair: &Pair| Sample { ids: pair.input_ids.clone(), response: pair.response_start as usize };
        self.0.iter().map(sample).collect()
    }

    /// How many pairs repeat an earlier one, token for token. They count as often as they occur.
    pub fn repeated(&self) -> usize {
        self.0.len() - self.distinct().len()
    }

    /// How many pairs occur in another table as well, token for token.
    pub fn shared(&self, other: &Self) -> usize {
        let there = other.distinct();
        self.0.iter().filter(|pair| there.contains(pair.input_ids.as_slice())).count()
    }

    fn distinct(&self) -> BTreeSet<&[u32]> {
        self.0.iter().map(|pair| pair.input_ids.as_slice()).collect()
    }

    pub fn to_parquet(&self) -> Result<Vec<u8>> {
        Pair::to_parquet(&self.0)
    }

    pub fn from_parquet(bytes: impl Into<Bytes>) -> Result<Self> {
        Pair::from_parquet(bytes).map(Self)
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
