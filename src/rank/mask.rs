//! Masks, the result of a selection, and their Parquet form.
//!
//! A mask is a set of weights. Its name is the digest of its content. So if another point, rule or file layout of the model
//! leads to the same weights, it leads to the same mask. Must not know: how it was chosen, the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, UInt32Type};
use bytes::Bytes;
use parquet::file::metadata::RowGroupMetaData;
use serde::{Deserialize, Serialize};

use crate::columns::{self, BATCH, Writer, damaged};
use crate::digest::Digest;
use crate::error::Result;

/// A set of weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    /// BLAKE3 over all entries, sorted by tensor name (as bytes) and index. Of each entry: the name's length in bytes as
    /// u64, the name, the flat index as u64; integers little-endian. The empty mask is BLAKE3 of nothing.
    pub digest: Digest,
    /// Sorted by tensor name, none empty; flat indices ascending.
    pub tensors: Vec<(String, Vec<u32>)>,
}

impl Mask {
    /// The mask of these weights. Their order, and repetitions, do not matter.
    pub fn new(tensors: impl IntoIterator<Item = (String, Vec<u32>)>) -> Self {
        let mut sets: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (tensor, mut index) in tensors {
            sets.entry(tensor).or_default().append(&mut index);
        }
        let mut hasher = blake3::Hasher::new();
        for (tensor, index) in &mut sets {
            index.sort_unstable();
            index.dedup();
            let mut bytes = Vec::new();
            for &index in &*index {
                bytes.extend_from_slice(&(tensor.len() as u64).to_le_bytes());
                bytes.extend_from_slice(tensor.as_bytes());
                bytes.extend_from_slice(&u64::from(index).to_le_bytes());
            }
            hasher.update(&bytes);
        }
        sets.retain(|_, index| !index.is_empty());
        Self { digest: Digest::finish(&hasher), tensors: sets.into_iter().collect() }
    }

    /// How many weights are in it.
    pub fn len(&self) -> u64 {
        self.tensors.iter().map(|(_, index)| index.len() as u64).sum()
    }

    /// Whether it is the base model's mask, which changes nothing.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
}

/// What a rule chose at one point.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectedPoint {
    /// `None` if the rule does not use p.
    pub p: Option<f64>,
    pub q: f64,
    pub mask: Digest,
    /// The size of the mask.
    pub weights: u64,
}

/// What a rule chose on a whole grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// The rule's canonical spelling.
    pub rule: String,
    /// The distinct masks, sorted by digest.
    pub masks: Vec<Mask>,
    /// In the order in which the points were given.
    pub points: Vec<SelectedPoint>,
}

const MASKS: &str = "the table of masks";
const POINTS: &str = "the table of points";

impl Selection {
    /// The mask of that digest.
    pub fn mask(&self, digest: &Digest) -> Option<&Mask> {
        self.masks.binary_search_by_key(digest, |mask| mask.digest).ok().and_then(|at| self.masks.get(at))
    }

    /// The table of its masks: [`masks_to_parquet`].
    pub fn masks_parquet(&self) -> Result<Vec<u8>> {
        masks_to_parquet(&self.masks)
    }

    /// Columns p (null if the rule does not use it), q, rule, mask, weights.
    pub fn points_parquet(&self) -> Result<Vec<u8>> {
        let row = |point: &SelectedPoint| PointRow {
            p: point.p,
            q: point.q,
            rule: self.rule.clone(),
            mask: point.mask.to_string(),
            weights: point.weights,
        };
        let rows: Vec<PointRow> = self.points.iter().map(row).collect();
        let mut writer = Writer::new(Vec::new(), point_fields(), None, &["rule", "mask"], &[])?;
        writer.records(&rows)?;
        writer.end_group()?;
        writer.finish()
    }

    /// The masks of a masks file alone. An empty mask has no rows, so it is not among them.
    ///
    /// # Errors
    /// Malformed Parquet, or rows that do not belong to the mask they name.
    pub fn masks_from_parquet(masks: impl Into<Bytes>) -> Result<Vec<Mask>> {
        let rows = columns::read(MASKS, masks, &mask_fields(), "", |_| Ok(BTreeMap::new()), add_mask_rows)?;
        rows.into_iter().map(|(digest, tensors)| checked(&digest, tensors)).collect()
    }

    /// One mask of a masks file, read from its own row group; none if the file does not hold it.
    ///
    /// # Errors
    /// As those of [`Selection::masks_from_parquet`].
    pub fn mask_from_parquet(masks: impl Into<Bytes>, digest: &Digest) -> Result<Option<Mask>> {
        let name = digest.to_string();
        let its_own = |group: &RowGroupMetaData| columns::may_hold(group, "mask", &name);
        let begin = |_: Option<&str>| Ok(MaskRows::new());
        let mut rows = columns::read_groups(MASKS, masks, &mask_fields(), "", its_own, begin, add_mask_rows)?;
        rows.remove(digest).map(|tensors| checked(digest, tensors)).transpose()
    }

    /// The rule and the points of a points file alone.
    ///
    /// # Errors
    /// Malformed Parquet, or a file without points.
    pub fn points_from_parquet(points: impl Into<Bytes>) -> Result<(String, Vec<SelectedPoint>)> {
        let rows: Vec<PointRow> = columns::records(POINTS, points, &point_fields())?;
        let rule = rows.first().map(|row| row.rule.clone()).ok_or_else(|| damaged(POINTS, "it has no rows"))?;
        let points = rows.into_iter().map(|row| row.point(&rule)).collect::<Result<_>>()?;
        Ok((rule, points))
    }

    /// Reads both tables back. The empty mask has no rows and is known from the points.
    ///
    /// # Errors
    /// Malformed tables, a mask whose name is not the digest of its rows, tables that do not belong together.
    pub fn from_parquet(masks: impl Into<Bytes>, points: impl Into<Bytes>) -> Result<Self> {
        let mut masks = Self::masks_from_parquet(masks)?;
        let (rule, points) = Self::points_from_parquet(points)?;
        let empty = Mask::new([]);
        if points.iter().any(|point| point.mask == empty.digest) {
            masks.push(empty);
            masks.sort_by_key(|mask| mask.digest);
        }
        let selection = Self { rule, masks, points };
        for point in &selection.points {
            if selection.mask(&point.mask).map(Mask::len) != Some(point.weights) {
                let how =
                    format!("no mask {} of {} weights is in the table of masks", point.mask.short(), point.weights);
                return Err(damaged(POINTS, how));
            }
        }
        let used: BTreeSet<Digest> = selection.points.iter().map(|point| point.mask).collect();
        match selection.masks.iter().find(|mask| !used.contains(&mask.digest)) {
            Some(mask) => Err(damaged(MASKS, format!("no point has mask {}", mask.digest.short()))),
            None => Ok(selection),
        }
    }
}

/// Columns mask, tensor, index: a row group for each mask that is not empty. The masks are distinct and sorted by digest.
///
/// # Errors
/// Fault: the table cannot be written.
pub fn masks_to_parquet(masks: &[Mask]) -> Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new(), mask_fields(), None, &["mask", "tensor"], &["index"])?;
    for mask in masks {
        let name = mask.digest.to_string();
        for (tensor, index) in &mask.tensors {
            for index in index.chunks(BATCH) {
                writer.rows(vec![
                    Arc::new(StringArray::from_iter_values(index.iter().map(|_| &name))),
                    Arc::new(StringArray::from_iter_values(index.iter().map(|_| tensor))),
                    Arc::new(UInt32Array::from(index.to_vec())),
                ])?;
            }
        }
        writer.end_group()?;
    }
    writer.finish()
}

fn mask_fields() -> Vec<Field> {
    vec![
        Field::new("mask", DataType::Utf8, false),
        Field::new("tensor", DataType::Utf8, false),
        Field::new("index", DataType::UInt32, false),
    ]
}

fn point_fields() -> Vec<Field> {
    vec![
        Field::new("p", DataType::Float64, true),
        Field::new("q", DataType::Float64, false),
        Field::new("rule", DataType::Utf8, false),
        Field::new("mask", DataType::Utf8, false),
        Field::new("weights", DataType::UInt64, false),
    ]
}

/// A mask, if its rows are those that its name says.
fn checked(digest: &Digest, tensors: BTreeMap<String, Vec<u32>>) -> Result<Mask> {
    let mask = Mask::new(tensors);
    if mask.digest == *digest {
        return Ok(mask);
    }
    Err(damaged(MASKS, format!("the rows of mask {} are those of {}", digest.short(), mask.digest.short())))
}

/// Digest to tensor to indices, still to be checked.
type MaskRows = BTreeMap<Digest, BTreeMap<String, Vec<u32>>>;

fn add_mask_rows(rows: &mut MaskRows, batch: &RecordBatch) -> Result<()> {
    let mask = columns::text(MASKS, batch, "mask")?;
    let tensor = columns::text(MASKS, batch, "tensor")?;
    let index = columns::numbers::<UInt32Type>(MASKS, batch, "index")?;
    let all: Vec<(&str, &str, u32)> = mask
        .iter()
        .flatten()
        .zip(tensor.iter().flatten())
        .zip(index)
        .map(|((mask, tensor), &i)| (mask, tensor, i))
        .collect();
    for run in all.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        let Some(&(mask, tensor, _)) = run.first() else { continue };
        let digest = mask.parse().map_err(|_| damaged(MASKS, format!("`{mask}` is not a digest")))?;
        let tensors = rows.entry(digest).or_default();
        tensors.entry(tensor.to_owned()).or_default().extend(run.iter().map(|&(.., index)| index));
    }
    Ok(())
}

/// A row of the table of points, as it is in the file.
#[derive(Serialize, Deserialize)]
struct PointRow {
    p: Option<f64>,
    q: f64,
    rule: String,
    mask: String,
    weights: u64,
}

impl PointRow {
    fn point(self, rule: &str) -> Result<SelectedPoint> {
        let Self { p, q, mask, weights, .. } = self;
        if self.rule != rule {
            return Err(damaged(POINTS, "it has more than one rule"));
        }
        if !p.iter().chain([&q]).all(|fraction| (0.0..=1.0).contains(fraction)) {
            return Err(damaged(POINTS, format!("p = {p:?}, q = {q} is not a point")));
        }
        let mask = mask.parse().map_err(|_| damaged(POINTS, format!("`{mask}` is not a digest")))?;
        Ok(SelectedPoint { p, q, mask, weights })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn selection(sets: Vec<BTreeMap<u8, BTreeSet<u32>>>) -> Selection {
        let name = |tensor: u8| format!("model.layers.{tensor}.mlp.up_proj.weight");
        let mask = |set: BTreeMap<u8, BTreeSet<u32>>| {
            Mask::new(set.into_iter().map(|(t, i)| (name(t), i.into_iter().collect())))
        };
        let all: Vec<Mask> = sets.into_iter().map(mask).collect();
        let points = all.iter().enumerate().map(|(at, mask)| SelectedPoint {
            p: (at % 3 > 0).then_some(5e-7),
            q: 1e-3 / (at + 1) as f64,
            mask: mask.digest,
            weights: mask.len(),
        });
        let (points, masks): (_, BTreeMap<_, _>) =
            (points.collect(), all.iter().map(|mask| (mask.digest, mask.clone())).collect());
        Selection { rule: "a & b".into(), masks: masks.into_values().collect(), points }
    }

    #[test]
    fn a_digest_is_what_the_documentation_says() {
        let mask = Mask::new([("b".into(), vec![7]), ("ab".into(), vec![258, 1, 1]), ("c".into(), vec![])]);
        let mut bytes = vec![];
        for (name, index) in [("ab", 1_u64), ("ab", 258), ("b", 7)] {
            bytes.extend((name.len() as u64).to_le_bytes());
            bytes.extend(name.bytes());
            bytes.extend(index.to_le_bytes());
        }
        assert_eq!(mask.digest, Digest::of(&bytes));
        assert_eq!(mask.tensors, [("ab".into(), vec![1, 258]), ("b".into(), vec![7])]);
        assert_eq!((mask.len(), mask.is_empty()), (3, false));
        let empty = Mask::new([("c".into(), vec![])]);
        assert_eq!((empty.digest, empty.len(), empty.is_empty()), (Digest::of(b""), 0, true));
    }

    proptest! {
        #[test]
        fn a_selection_survives_parquet(sets in prop::collection::vec(
            prop::collection::btree_map(0_u8..4, prop::collection::btree_set(any::<u32>(), 0..20), 0..4), 1..6,
        )) {
            let selection = selection(sets);
            let (masks, points) = (selection.masks_parquet().unwrap(), selection.points_parquet().unwrap());
            prop_assert_eq!(&masks, &selection.masks_parquet().unwrap());
            for mask in selection.masks.iter().filter(|mask| !mask.is_empty()) {
                let alone = Selection::mask_from_parquet(masks.clone(), &mask.digest).unwrap();
                prop_assert_eq!(alone.as_ref(), Some(mask));
            }
            prop_assert_eq!(Selection::mask_from_parquet(masks.clone(), &Digest::of(b"other")).unwrap(), None);
            prop_assert_eq!(Selection::from_parquet(masks, points).unwrap(), selection);
        }

        #[test]
        fn damage_is_an_error_or_harmless(at in any::<prop::sample::Index>(), flip in 1_u8.., which in any::<bool>()) {
            let good = selection(vec![BTreeMap::from([(1, BTreeSet::from([1, 2, 900]))]), BTreeMap::new()]);
            let mut files = [good.masks_parquet().unwrap(), good.points_parquet().unwrap()];
            let file = &mut files[usize::from(which)];
            let at = at.index(file.len());
            file[at] ^= flip;
            let [masks, points] = files;
            if let Ok(back) = Selection::from_parquet(masks, points) {
                prop_assert_eq!(back.masks, good.masks);
            }
        }
    }

    #[test]
    fn tables_that_do_not_belong_together_are_refused() {
        let one = selection(vec![BTreeMap::from([(1, BTreeSet::from([1]))])]);
        let other = selection(vec![BTreeMap::from([(1, BTreeSet::from([2]))])]);
        let none = selection(vec![BTreeMap::new()]);
        let read = |masks: &Selection, points: &Selection| {
            Selection::from_parquet(masks.masks_parquet().unwrap(), points.points_parquet().unwrap())
        };
        assert!(read(&one, &one).is_ok() && read(&none, &none).is_ok());
        assert!(read(&one, &other).unwrap_err().message().contains("no mask"));
        assert!(read(&one, &none).unwrap_err().message().contains("no point has mask"));
        let mut renamed = one.clone();
        renamed.masks[0].digest = Digest::of(b"other");
        assert!(read(&renamed, &renamed).unwrap_err().message().contains("are those of"));
        let nowhere = Selection { points: vec![], ..none.clone() };
        assert!(read(&none, &nowhere).unwrap_err().message().contains("no rows"));
    }
}
