//! Variants: the base model, or the base plus one patch.
//!
//! The stages behind patch run once for the base and once for each distinct mask, whether the rule chose it or it is a control.
//! patch runs once for each of these masks. The base is the variant with an empty mask. Must not know: how a mask was made.

mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::{Input, ModelPart, Node, Planning, Role, controls, model_inputs};
use crate::digest::Digest;
use crate::error::Result;
use crate::naming;
use crate::rank::{ControlPoints, Mask, SelectedPoint, Selection};
use crate::tables::{Control, Row};

/// The base model or the base plus one patch.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// `base`, or the beginning of the mask's digest. Nodes are named by it.
    pub label: String,
    pub mask: Option<Digest>,
    /// Its place in the order of work, as of [`Node::turn`].
    pub turn: u32,
    /// What people call it.
    pub name: String,
    /// The p and q of every point of the grid that gives it.
    pub points: Vec<(Option<f64>, f64)>,
    /// The node and the output that hold the mask.
    pub made_by: (&'static str, &'static str),
}

/// Where the masks of the rule are.
const SELECTED: (&str, &str) = ("select", "masks");

impl Variant {
    /// The base, and those of the points that select nothing.
    pub fn base(points: &[SelectedPoint]) -> Self {
        let points = points.iter().filter(|point| point.weights == 0).map(|point| (point.p, point.q)).collect();
        let name = naming::BASE.to_owned();
        Self { label: name.clone(), mask: None, turn: 1, name, points, made_by: SELECTED }
    }

    /// The variant of a mask, and those of the points that give it.
    pub fn of_mask(mask: Digest, points: &[SelectedPoint]) -> Self {
        let points: Vec<_> = points.iter().filter(|point| point.mask == mask).map(|point| (point.p, point.q)).collect();
        let name = naming::points(points.iter().copied()).unwrap_or_else(|| mask.short());
        Self { label: mask.short(), mask: Some(mask), turn: 0, name, points, made_by: SELECTED }
    }

    /// The variant of a mask that stands beside those of the rule.
    pub fn of_control(control: &Control) -> Self {
        let made_by = (controls::NODE, controls::MASKS);
        Self { made_by, name: control.name(), ..Self::of_mask(control.mask, &[]) }
    }

    /// Whether a person means it: by its name, by one of its points, or by the beginning of its mask's digest.
    pub fn is_called(&self, text: &str) -> bool {
        let text = naming::without_mask(text);
        let is_point = naming::point_of(text)
            .is_some_and(|(p, q)| self.points.iter().any(|point| naming::is_same(*point, (p, q))));
        text == self.name
            || is_point
            || self.mask.is_some_and(|mask| text.len() >= self.label.len() && mask.to_string().starts_with(text))
    }

    /// `generate[base]`
    pub fn node(&self, stage: &str) -> String {
        format!("{stage}[{}]", self.label)
    }

    /// The reverse: stage and label of `generate[base]`.
    pub fn of_node(name: &str) -> Option<(&str, &str)> {
        name.strip_suffix(']')?.split_once('[')
    }

    /// The whole model of this variant as inputs of a node: the base's three digests, and the patch where there is one.
    pub fn model_inputs(&self) -> BTreeMap<String, Input> {
        let mut inputs = model_inputs(Role::Subject, &[ModelPart::Weights, ModelPart::Architecture, ModelPart::Text]);
        if self.mask.is_some() {
            inputs.insert("patch".into(), Input::output(&self.node("patch"), "patch"));
        }
        inputs
    }
}

/// The selection, if planning knows it already.
pub fn selection(planning: &Planning<'_>) -> Result<Option<Arc<Selection>>> {
    planning
        .parsed([("select", "masks"), ("select", "points")], |[masks, points]| Selection::from_parquet(masks, points))
}

/// The controls, if planning knows them already.
fn control_masks(planning: &Planning<'_>) -> Result<Option<Arc<Vec<Control>>>> {
    if planning.pipeline.controls.points == ControlPoints::None {
        return Ok(Some(Arc::default()));
    }
    planning.parsed([(controls::NODE, controls::TABLE)], |[table]| Control::from_parquet(table))
}

/// The base and the variants that the rule chose, in the order of their masks.
struct Selected(Vec<Variant>);

/// Names and turns are found once for a selection, and not by each stage in each plan.
fn selected(planning: &Planning<'_>) -> Result<Option<Arc<Selected>>> {
    planning.parsed([("select", "masks"), ("select", "points")], |[masks, points]| {
        let selection = Selection::from_parquet(masks, points)?;
        let turns = turns::turns(&selection);
        let variant = |mask: &Mask| {
            let after_the_base = 2 + turns.get(&mask.digest).copied().unwrap_or_default();
            Variant { turn: after_the_base, ..Variant::of_mask(mask.digest, &selection.points) }
        };
        let chosen = selection.masks.iter().filter(|mask| !mask.is_empty()).map(variant);
        Ok(Selected(std::iter::once(Variant::base(&selection.points)).chain(chosen).collect()))
    })
}

/// The variants that planning knows.
pub struct Variants {
    /// The base, then those that the rule chose, then the controls; each mask once.
    pub all: Vec<Variant>,
    /// The node that further ones wait for.
    pub unknown: Option<&'static str>,
}

/// The base and every distinct patch, as far as selection and controls are known.
pub fn variants(planning: &Planning<'_>) -> Result<Variants> {
    let Some(selected) = selected(planning)? else {
        return Ok(Variants { all: vec![Variant::base(&[])], unknown: Some("select") });
    };
    let mut all = selected.0.clone();
    let Some(controls) = control_masks(planning)? else {
        return Ok(Variants { all, unknown: Some(controls::NODE) });
    };
    // Controls come after the whole grid.
    let last = all.iter().map(|variant| variant.turn).max().unwrap_or_default();
    let mut seen: BTreeSet<Digest> = all.iter().filter_map(|variant| variant.mask).collect();
    let new = controls.iter().filter(|control| seen.insert(control.mask));
    all.extend((last + 1..).zip(new).map(|(turn, control)| Variant { turn, ..Variant::of_control(control) }));
    Ok(Variants { all, unknown: None })
}

/// The placeholder for a stage's patched variants while the node `of` is not known.
pub fn unknown_node(stage: &str, of: &str) -> Node {
    Node {
        name: format!("{stage}[…]"),
        inputs: [("patch".to_owned(), Input::Unknown { node: of.into() })].into(),
        ..Node::default()
    }
}

/// One node of a stage for the base and one for each distinct patch. While patches are not known, there is a placeholder for
/// them.
pub fn per_variant(
    planning: &Planning<'_>,
    stage: &str,
    params: &Value,
    inputs: impl Fn(&Variant) -> BTreeMap<String, Input>,
) -> Result<Vec<Node>> {
    let Variants { all, unknown } = variants(planning)?;
    let node = |variant: &Variant| Node {
        name: variant.node(stage),
        params: params.clone(),
        variant: Some(variant.clone()),
        inputs: inputs(variant),
        turn: variant.turn,
        ..Node::default()
    };
    let mut nodes: Vec<Node> = all.iter().map(node).collect();
    nodes.extend(unknown.map(|of| unknown_node(stage, of)));
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Vec<SelectedPoint> {
        let point =
            |p, q, mask: &str, weights| SelectedPoint { p: Some(p), q, mask: Digest::of(mask.as_bytes()), weights };
        vec![point(1e-7, 1e-7, "", 0), point(1e-5, 1e-5, "a", 4), point(2e-5, 1e-5, "a", 4), point(1e-5, 5e-5, "b", 9)]
    }

    #[test]
    fn variants_are_called_by_their_points_and_nodes_by_their_masks() {
        let points = points();
        let node =
            |variant: Variant| Node { name: variant.node("generate"), variant: Some(variant), ..Node::default() };
        let (base, a) = (node(Variant::base(&points)), node(Variant::of_mask(points[1].mask, &points)));
        assert_eq!((base.title(), base.called()), ("generate[base]".into(), "generate[base]".into()));
        assert_eq!(a.name, format!("generate[{}]", points[1].mask.short()));
        assert_eq!(a.title(), "generate[p=q=1e-5 +1]");
        assert_eq!(a.called(), format!("generate[p=q=1e-5 +1] ({})", points[1].mask.short()));
        let b = node(Variant::of_mask(points[3].mask, &points));
        assert_eq!(b.title(), "generate[p=1e-5 q=5e-5]");
        let unknown = unknown_node("generate", "select");
        assert_eq!((unknown.title(), unknown.called()), (unknown.name.clone(), unknown.name));
    }

    #[test]
    fn whatever_a_screen_shows_can_be_typed() {
        let points = points();
        let (base, a) = (Variant::base(&points), Variant::of_mask(points[1].mask, &points));
        let mask = points[1].mask.to_string();
        for text in ["p=q=1e-5 +1", "p=q=1e-5", "p=2e-5 q=1e-5", "1e-5,0.00001", &mask[..8], &mask[..20], &mask] {
            assert!(a.is_called(text) && !base.is_called(text), "{text}");
            let shown = Node { name: a.node("judge"), variant: Some(a.clone()), ..Node::default() };
            assert!(
                shown.is_called(&format!("judge[{text}]")) && !shown.is_called(&format!("patch[{text}]")),
                "{text}"
            );
            assert!(shown.is_called(&shown.called()) && shown.is_called(&shown.title()));
        }
        assert!(base.is_called("base") && base.is_called("p=q=1e-7") && !a.is_called("base"));
        for text in ["", "p=q=1e-6", "1e-5", &mask[..7], "a", "]"] {
            assert!(!a.is_called(text) && !base.is_called(text), "{text}");
        }
    }
}
