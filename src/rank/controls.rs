//! Control masks: as many weights in each matrix as a mask that they stand beside, and other ones.
//!
//! If a control changes as much as the mask does, what the mask chose does not matter. One control draws weights at random, the
//! other takes the highest of one data set alone. Must not know: points, which controls are wanted, files.

use std::collections::BTreeSet;

use super::mask::Mask;
use super::table::RankTable;
use crate::choice::choices;
use crate::error::{Error, Result};

choices! {
    /// Beside which points of a grid controls stand.
    #[derive(Default)]
    ControlPoints {
        None = "none",
        /// The last one that selects a weight.
        #[default]
        Last = "last",
        All = "all",
    }
}

/// As many weights of each matrix as `beside` has, drawn evenly and without replacement. A draw depends on the seed, the mask
/// beside it and the tensor's name, so that no other matrix can change it. `table` says how many weights a matrix has.
///
/// # Errors
/// A mask with a matrix that the table does not have, or with more weights than a matrix has.
pub fn random(beside: &Mask, table: &RankTable, seed: u64) -> Result<Mask> {
    let draw = |(tensor, index): &(String, Vec<u32>)| {
        let count = index.len() as u64;
        let numel = table.matrices.iter().find(|matrix| matrix.tensor == *tensor).map(|matrix| matrix.numel);
        let numel = numel.filter(|numel| count <= *numel).ok_or_else(|| misfit(tensor))?;
        let mut numbers = Numbers::new(beside, tensor, seed);
        // Floyd's algorithm (Bentley & Floyd 1987): exactly `count` draws, and each set is equally likely.
        let mut drawn = BTreeSet::new();
        for last in numel - count..numel {
            let one = numbers.below(last + 1);
            if !drawn.insert(one) {
                drawn.insert(last);
            }
        }
        let drawn = drawn.into_iter().map(u32::try_from).collect::<Result<_, _>>();
        Ok((tensor.clone(), drawn.map_err(|_| misfit(tensor))?))
    };
    Ok(Mask::new(beside.tensors.iter().map(draw).collect::<Result<Vec<_>>>()?))
}

/// As many of each matrix' highest weights in one data set as `beside` has. None where the table holds fewer of some matrix: a
/// rule that adds sets may choose more weights than the top of one set has.
pub fn top_alone(beside: &Mask, table: &RankTable) -> Option<Mask> {
    let highest = |(tensor, index): &(String, Vec<u32>)| {
        let matrix = table.matrices.iter().find(|matrix| matrix.tensor == *tensor)?;
        Some((tensor.clone(), matrix.index.get(..index.len())?.to_vec()))
    };
    Some(Mask::new(beside.tensors.iter().map(highest).collect::<Option<Vec<_>>>()?))
}

fn misfit(tensor: &str) -> Error {
    Error::fault(format!("a mask does not fit its rank tables: {tensor} has not so many weights"))
}

/// Random numbers: the bytes of BLAKE3's output for a seed, a mask and a tensor.
struct Numbers(blake3::OutputReader);

impl Numbers {
    fn new(beside: &Mask, tensor: &str, seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("dean random control v1");
        hasher.update(&seed.to_le_bytes());
        hasher.update(beside.digest.to_string().as_bytes());
        hasher.update(tensor.as_bytes());
        Self(hasher.finalize_xof())
    }

    /// A number below `end`, each equally likely: numbers of the last, incomplete round are drawn again.
    fn below(&mut self, end: u64) -> u64 {
        loop {
            let mut bytes = [0; 8];
            self.0.fill(&mut bytes);
            let number = u64::from_le_bytes(bytes);
            if number < u64::MAX - u64::MAX % end {
                return number % end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::top;
    use super::*;

    fn table(cap: f64, sizes: &[usize]) -> RankTable {
        let matrix = |(at, size): (usize, &usize)| {
            let scores: Vec<f32> = (0..*size).map(|index| (index * 7 % size) as f32).collect();
            top(&format!("m{at}"), &scores, 1, cap).unwrap()
        };
        RankTable { cap, matrices: sizes.iter().enumerate().map(matrix).collect() }
    }

    fn mask(tensors: &[(&str, &[u32])]) -> Mask {
        Mask::new(tensors.iter().map(|(tensor, index)| ((*tensor).to_owned(), index.to_vec())))
    }

    fn counts(mask: &Mask) -> BTreeMap<&str, usize> {
        mask.tensors.iter().map(|(tensor, index)| (tensor.as_str(), index.len())).collect()
    }

    #[test]
    fn a_control_has_as_many_weights_of_each_matrix_and_a_seed_always_gives_the_same() {
        let table = table(0.5, &[100, 40, 10]);
        let beside = mask(&[("m0", &[1, 5, 9, 11]), ("m2", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])]);
        let [one, again, other] = [3, 3, 4].map(|seed| random(&beside, &table, seed).unwrap());
        assert_eq!((counts(&one), counts(&other)), (counts(&beside), counts(&beside)));
        assert_eq!(one, again);
        assert!(one.digest != other.digest && one.digest != beside.digest);
        assert_eq!(one.tensors[1].1, (0..10).collect::<Vec<u32>>(), "all of a matrix is all of it");
        // The numbers of a seed are published: another draw would be another meaning of the stage.
        assert_eq!(one.tensors[0].1, [10, 17, 26, 44]);
        assert!(random(&mask(&[("m9", &[1])]), &table, 0).is_err());
        assert!(random(&mask(&[("m2", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])]), &table, 0).is_err());
    }

    #[test]
    fn every_weight_is_equally_likely() {
        let table = table(0.5, &[20]);
        let beside = mask(&[("m0", &[0, 1, 2, 3, 4])]);
        let mut drawn = [0_u32; 20];
        for seed in 0..4000 {
            random(&beside, &table, seed).unwrap().tensors[0].1.iter().for_each(|index| drawn[*index as usize] += 1);
        }
        // Each is drawn with probability 1/4: 1000 times, and five standard deviations are 137.
        assert!(drawn.iter().all(|count| count.abs_diff(1000) < 137), "{drawn:?}");
    }

    #[test]
    fn the_top_of_one_set_is_the_beginning_of_its_ranks() {
        let table = table(0.2, &[10, 5]);
        let alone = top_alone(&mask(&[("m0", &[0, 1]), ("m1", &[4])]), &table).unwrap();
        // The scores of m0 are 7 * index mod 10, those of m1 7 * index mod 5.
        assert_eq!(alone, mask(&[("m0", &[7, 4]), ("m1", &[2])]));
        assert_eq!(top_alone(&mask(&[("m0", &[0, 1, 2])]), &table), None, "the table has two of m0");
        assert_eq!(top_alone(&mask(&[("m7", &[0])]), &table), None);
    }
}
