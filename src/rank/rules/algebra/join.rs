//! The weights of one matrix with their ranks in every list, and the sizes that the tops of a grid have.
//!
//! Must not know: rules, data sets.

use super::super::{Cut, Setting};

/// The rank of a weight that a table does not hold. It is below every cut, since a matrix has at most `u32::MAX` weights.
pub(super) const ABSENT: u32 = u32::MAX;

/// The smallest and the largest tops of a grid.
pub(super) struct Bounds {
    pub lowest: Cut,
    pub highest: Cut,
}

impl Bounds {
    pub fn of(cuts: &[Cut]) -> Self {
        let fold =
            |setting, better: fn(u64, u64) -> u64| cuts.iter().map(|cut| cut.of(setting)).reduce(better).unwrap_or(0);
        Self {
            lowest: Cut { p: fold(Setting::P, u64::min), q: fold(Setting::Q, u64::min) },
            highest: Cut { p: fold(Setting::P, u64::max), q: fold(Setting::Q, u64::max) },
        }
    }

    pub fn side(&self, adds: bool) -> &Cut {
        if adds { &self.highest } else { &self.lowest }
    }
}

/// The weights of one matrix that are in any of the lists, ascending, each with its rank in every list.
pub(super) struct Join {
    index: Vec<u32>,
    /// One row of `slots` ranks for each index.
    ranks: Vec<u32>,
    slots: usize,
}

impl Join {
    pub fn of(lists: Vec<&[u32]>) -> Self {
        let slots = lists.len().max(1);
        let mut index: Vec<u32> = lists.iter().flat_map(|list| list.iter().copied()).collect();
        index.sort_unstable();
        index.dedup();
        let mut ranks = vec![ABSENT; index.len() * slots];
        for (slot, list) in lists.iter().enumerate() {
            for (rank, wanted) in list.iter().enumerate() {
                if let Some(place) = index.binary_search(wanted).ok().and_then(|at| ranks.get_mut(at * slots + slot)) {
                    *place = rank as u32;
                }
            }
        }
        Self { index, ranks, slots }
    }

    pub fn rows(&self) -> impl Iterator<Item = (u32, &[u32])> {
        self.index.iter().copied().zip(self.ranks.chunks_exact(self.slots))
    }

    pub fn retain(&mut self, keep: impl Fn(&[u32]) -> bool) {
        let (mut index, mut ranks) = (vec![], vec![]);
        for (at, row) in self.rows().filter(|(_, row)| keep(row)) {
            index.push(at);
            ranks.extend_from_slice(row);
        }
        (self.index, self.ranks) = (index, ranks);
    }

    pub fn filter(&self, keep: impl Fn(&[u32]) -> bool) -> Vec<u32> {
        self.rows().filter(|(_, row)| keep(row)).map(|(index, _)| index).collect()
    }
}
