//! The vocabulary of scored matrices: which linear layers a decoder has, and what Hugging Face calls their weights.
//!
//! A [`MatrixId`] names one matrix. [`Modules`] and [`Layers`] are the settings that choose some of them. Only these
//! matrices are ever scored or patched; embeddings, heads and norms have no id. Must not know: shapes, values.

mod layers;
mod modules;

use std::fmt;

pub use layers::Layers;
pub use modules::Modules;

/// A linear layer inside a decoder layer. The order is that of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projection {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

impl Projection {
    /// In the order of the forward pass.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// The names of [`Projection::ALL`], as settings spell them.
    pub const NAMES: &'static [&'static str] = &{
        let mut names = [""; 7];
        let mut at = 0;
        while at < names.len() {
            names[at] = Self::ALL[at].name();
            at += 1;
        }
        names
    };

    /// `q_proj`, `down_proj`, …: how settings and Hugging Face call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q => "q_proj",
            Self::K => "k_proj",
            Self::V => "v_proj",
            Self::O => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// The module it belongs to: `self_attn` or `mlp`.
    pub const fn module(self) -> &'static str {
        match self {
            Self::Q | Self::K | Self::V | Self::O => "self_attn",
            Self::Gate | Self::Up | Self::Down => "mlp",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|projection| projection.name() == name)
    }
}

/// The name of one scored matrix. Ids sort in the order of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MatrixId {
    /// Counted from 0.
    pub layer: usize,
    /// Which expert of a mixture it belongs to, counted from 0; `None` in a layer without experts.
    pub expert: Option<usize>,
    pub projection: Projection,
}

impl MatrixId {
    /// A matrix of a layer without experts.
    pub const fn new(layer: usize, projection: Projection) -> Self {
        Self { layer, expert: None, projection }
    }

    /// Every matrix of a decoder with `layers` layers and without experts, in order.
    pub fn all(layers: usize) -> impl Iterator<Item = Self> {
        (0..layers).flat_map(|layer| Projection::ALL.map(|projection| Self::new(layer, projection)))
    }

    /// Whether the settings `modules` and `layers` include it.
    pub fn is_in(self, modules: Modules, layers: &Layers) -> bool {
        modules.has(self.projection.name()) && layers.has(self.layer)
    }

    /// The name of its weight: `model.layers.3.mlp.down_proj.weight`, with an expert
    /// `model.layers.3.mlp.experts.5.down_proj.weight`.
    pub fn weight(self) -> String {
        format!("{self}.weight")
    }

    /// The name of its bias.
    pub fn bias(self) -> String {
        format!("{self}.bias")
    }

    /// The matrix that a weight's name belongs to. `None` for embeddings, heads and norms.
    pub fn parse(weight: &str) -> Option<Self> {
        let path = weight.strip_prefix("model.layers.")?.strip_suffix(".weight")?;
        let (path, name) = path.rsplit_once('.')?;
        let projection = Projection::of_name(name)?;
        let (layer, module) = path.split_once('.')?;
        let (module, expert) = match module.split_once(".experts.") {
            Some((module, expert)) => (module, Some(expert.parse().ok()?)),
            None => (module, None),
        };
        let id = Self { layer: layer.parse().ok()?, expert, projection };
        // `01` and `+1` parse as numbers, but no tensor has such a name.
        (module == projection.module() && id.weight() == weight).then_some(id)
    }
}

/// The name without `.weight`: `model.layers.3.mlp.down_proj`.
impl fmt::Display for MatrixId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "model.layers.{}.{}", self.layer, self.projection.module())?;
        if let Some(expert) = self.expert {
            write!(f, ".experts.{expert}")?;
        }
        write!(f, ".{}", self.projection.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_choose_matrices_by_module_and_layer() {
        for projection in Projection::ALL {
            let id = MatrixId::new(3, projection);
            for (modules, word) in [(Modules::MLP, "mlp"), (Modules::SELF_ATTN, "self_attn")] {
                assert_eq!(id.is_in(modules, &Layers::all()), projection.module() == word);
            }
            assert!(!id.is_in(Modules::ALL, &Layers::of_numbers(&[2]).unwrap()));
        }
    }

    #[test]
    fn names_survive_a_round_trip_and_nothing_else_parses() {
        for id in MatrixId::all(13).flat_map(|id| [None, Some(0), Some(127)].map(|expert| MatrixId { expert, ..id })) {
            assert_eq!(MatrixId::parse(&id.weight()), Some(id));
        }
        assert_eq!(MatrixId::new(12, Projection::Q).weight(), "model.layers.12.self_attn.q_proj.weight");
        for other in [
            "model.norm.weight",
            "model.layers.1.input_layernorm.weight",
            "model.layers.x.mlp.up_proj.weight",
            "model.layers.01.mlp.up_proj.weight",
            "model.layers.1.self_attn.up_proj.weight",
            "model.layers.1.mlp.up_proj.bias",
            "model.layers.1.mlp.experts.x.up_proj.weight",
        ] {
            assert_eq!(MatrixId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn ids_sort_as_the_forward_pass_goes() {
        let ids: Vec<MatrixId> = MatrixId::all(11).collect();
        assert!(ids.is_sorted() && ids.len() == 77);
    }
}
