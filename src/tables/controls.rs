//! The table of controls: which masks stand beside which, and how they were chosen.
//!
//! Columns: mask, of (the mask that it stands beside), kind (random or top), seed (of a random one), data (the set whose top it
//! is), weights. Must not know: how a control is drawn, what is done with it.

use arrow::datatypes::{DataType, Field};
use serde::{Deserialize, Serialize};

use super::{Row, text};
use crate::choice::choices;
use crate::digest::Digest;

choices! {
    /// How the weights of a control were chosen.
    ControlKind {
        /// Drawn at random.
        Random = "random",
        /// The highest of one data set alone.
        Top = "top",
    }
}

/// One control beside one mask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    pub mask: Digest,
    pub of: Digest,
    pub kind: ControlKind,
    pub seed: Option<u64>,
    pub data: Option<String>,
    pub weights: u64,
}

impl Control {
    /// `random 2`, `top of privacy`
    pub fn name(&self) -> String {
        match (self.kind, self.seed, &self.data) {
            (ControlKind::Random, Some(seed), _) => format!("random {seed}"),
            (ControlKind::Top, _, Some(data)) => format!("top of {data}"),
            (kind, ..) => kind.to_string(),
        }
    }
}

impl Row for Control {
    const TABLE: &'static str = "the table of controls";

    fn columns() -> Vec<Field> {
        vec![
            text("mask"),
            text("of"),
            text("kind"),
            Field::new("seed", DataType::UInt64, true),
            text("data").with_nullable(true),
            Field::new("weights", DataType::UInt64, false),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_survive_the_file() {
        let control = |kind, seed, data: Option<&str>| Control {
            mask: Digest::of(b"control"),
            of: Digest::of(b"mask"),
            kind,
            seed,
            data: data.map(str::to_owned),
            weights: 1459,
        };
        let controls = [control(ControlKind::Random, Some(2), None), control(ControlKind::Top, None, Some("privacy"))];
        assert_eq!(Control::from_parquet(Control::to_parquet(&controls).unwrap()).unwrap(), controls);
        assert_eq!(Control::from_parquet(Control::to_parquet(&[]).unwrap()).unwrap(), []);
    }
}
