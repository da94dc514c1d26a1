//! Rank tables and selection: from the scores of a matrix to the masks of a whole (p, q) grid.
//!
//! [`top`] keeps the best `cap` of one matrix, in order. A [`RankTable`] holds the tops of all matrices of a model. A [`Rule`]
//! says which sets to intersect and subtract. [`select`] evaluates it at all points at once, and returns a [`Selection`] of
//! distinct [`Mask`]s. [`plane`] says of ten thousand points how many weights they select, without making masks. Controls are
//! masks beside these.
//! Must not know: models, scores' origin, stages, the store, the file system.

mod controls;
mod draws;
mod mask;
mod plane;
mod rules;
mod scan;
mod select;
mod stability;
mod table;
mod top;

pub use controls::{ControlPoints, random as random_control, top_alone};
pub use draws::{draw_name, draw_of};
pub use mask::{Mask, SelectedPoint, Selection, masks_to_parquet};
pub use plane::{Place, plane, plane_priced};
pub use rules::{Cut, Expression, KINDS, Kind, Operand, Parsed, Rule, Setting, Threshold};
pub use select::{Point, check_k, select, warnings};
pub use stability::{MaskOverlap, TopOverlap, expected_jaccard, mask_overlap, top_overlap};
pub use table::RankTable;
pub use top::{MatrixRanks, k, top};
