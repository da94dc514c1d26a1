//! What a page is made of: facts, tables and statistics, all of them read already.
//!
//! Must not know: where any of it lies, how it is shown.

use crate::digest::Digest;
use crate::rank::Mask;
use crate::report::Report;
use crate::report::joined::Joined;
use crate::show::Pair;

/// Everything that a page shows.
#[derive(Default)]
pub struct Given {
    /// What the page is called: the job's name for people.
    pub title: String,
    pub report: Option<Report>,
    /// What is not there yet, in one sentence; none of a finished report.
    pub missing: Option<String>,
    /// What variants said, the ones that matter most first. Unchanged answers may be among them.
    pub answers: Vec<Answers>,
    /// Where the masks of the grid lie.
    pub places: Vec<Places>,
    /// The same job over several draws, if this is a sweep.
    pub joined: Vec<Joined>,
    /// The commands that make the results and this page again.
    pub commands: Vec<String>,
}

/// What one variant said beside the base.
pub struct Answers {
    /// What people call the variant.
    pub name: String,
    pub pairs: Vec<Pair>,
}

/// How many weights of each matrix a mask holds.
pub struct Places {
    pub mask: Digest,
    /// The name of the matrix's weight, and how many of its entries.
    pub tensors: Vec<(String, u64)>,
}

impl Places {
    pub fn of(mask: &Mask) -> Self {
        let count = |(tensor, index): &(String, Vec<u32>)| (tensor.clone(), index.len() as u64);
        Self { mask: mask.digest, tensors: mask.tensors.iter().map(count).collect() }
    }
}
