//! The seven linear layers of a decoder layer, and how Hugging Face names their weights.
//!
//! Only these are ever scored or patched. Must not know: shapes, values.

use crate::config::{Layers, Modules};

/// A linear layer inside a decoder layer.
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

    /// `self_attn.q_proj`, `mlp.down_proj`, …
    pub const fn path(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// The module it belongs to: `self_attn` or `mlp`.
    pub const fn module(self) -> &'static str {
        match self {
            Self::Q | Self::K | Self::V | Self::O => "self_attn",
            Self::Gate | Self::Up | Self::Down => "mlp",
        }
    }

    /// `q_proj`, `down_proj`, …: how settings call it.
    pub fn name(self) -> &'static str {
        self.path().split_once('.').map_or(self.path(), |(_, name)| name)
    }

    /// Whether the settings `modules` and `layers` include it in a layer.
    pub fn is_in(self, layer: usize, modules: Modules, layers: &Layers) -> bool {
        modules.has(self.name()) && layers.has(layer)
    }

    /// The name of its weight: `model.layers.3.mlp.down_proj.weight`.
    pub fn tensor(self, layer: usize) -> String {
        format!("model.layers.{layer}.{}.weight", self.path())
    }

    /// The name of its bias.
    pub fn bias(self, layer: usize) -> String {
        format!("model.layers.{layer}.{}.bias", self.path())
    }

    /// The layer and the projection that a weight's name speaks of; none for embeddings, heads and norms.
    pub fn parse(tensor: &str) -> Option<(usize, Self)> {
        let (layer, path) = tensor.strip_prefix("model.layers.")?.strip_suffix(".weight")?.split_once('.')?;
        let projection = Self::ALL.into_iter().find(|projection| projection.path() == path)?;
        Some((layer.parse().ok()?, projection))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_know_the_same_names() {
        assert!(
            Projection::ALL.iter().map(|projection| projection.name()).eq(crate::config::PROJECTIONS.iter().copied())
        );
        for projection in Projection::ALL {
            for (modules, word) in [(Modules::MLP, "mlp"), (Modules::SELF_ATTN, "self_attn")] {
                assert_eq!(projection.is_in(3, modules, &Layers::all()), projection.module() == word);
            }
            assert!(!projection.is_in(3, Modules::ALL, &Layers::of_numbers(&[2]).unwrap()));
        }
    }

    #[test]
    fn names_survive_a_round_trip_and_nothing_else_parses() {
        for projection in Projection::ALL {
            assert_eq!(Projection::parse(&projection.tensor(12)), Some((12, projection)));
        }
        for other in ["model.norm.weight", "model.layers.1.input_layernorm.weight", "model.layers.x.mlp.up_proj.weight"]
        {
            assert_eq!(Projection::parse(other), None);
        }
    }
}
