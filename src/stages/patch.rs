//! patch: one mask and the base weights to a list of edits that can be undone.
//!
//! A patch says, for each tensor, which flat indices get which value, and which values they had before. It has the digests of
//! the touched base tensors, so that it is never applied to another model by mistake.
//! Must not know: p, q, rules.

use serde::{Deserialize, Serialize};

use super::variant::{Variants, unknown_node, variants};
use super::{Context, Input, ModelPart, Node, Outputs, Planning, Role, Stage, model_inputs, params_of};
use crate::error::{Error, Result};
use crate::model::patch::{Action, Patch as Edits, PatchedTensor};
use crate::rank::Selection;

pub struct Patch;

/// What changes the edits.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    pub action: Action,
}

impl Stage for Patch {
    fn name(&self) -> &'static str {
        "patch"
    }

    fn version(&self) -> u32 {
        1
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        let Variants { all, unknown } = variants(planning)?;
        let params = params_of(&Params { action: planning.pipeline.patch.action })?;
        let node = |variant: &super::Variant| {
            let mut inputs = model_inputs(Role::Subject, &[ModelPart::Weights]);
            let (maker, output) = variant.made_by;
            inputs.insert(
                "mask".into(),
                Input::Part { digest: variant.mask?, node: maker.into(), output: output.into() },
            );
            let (name, turn) = (variant.node(self.name()), variant.turn);
            Some(Node { name, variant: Some(variant.clone()), params: params.clone(), inputs, turn, ..Node::default() })
        };
        Ok(all.iter().filter_map(node).chain(unknown.map(|of| unknown_node(self.name(), of))).collect())
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let params: Params = context.params()?;
        let wanted =
            context.inputs.get("mask").copied().ok_or_else(|| Error::fault("a patch was planned without a mask"))?;
        let mask = Selection::mask_from_parquet(context.read("mask")?, &wanted)?
            .ok_or_else(|| Error::fault(format!("mask {wanted} is not among the selected masks")))?;
        let checkpoint = context.checkpoint(Role::Subject)?;
        let mut patch = Edits::default();
        for (tensor, indices) in &mask.tensors {
            let values = checkpoint.tensor(tensor)?;
            let dtype = checkpoint.dtype(tensor).ok_or_else(|| Error::fault(format!("{tensor} has no type")))?;
            let Action::Zero = params.action;
            patch.tensors.push(PatchedTensor::zeroing(tensor, dtype, &values, indices)?);
        }
        Ok(vec![("patch".into(), patch.to_safetensors()?)])
    }
}
