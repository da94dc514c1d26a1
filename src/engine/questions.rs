//! What stages say about their nodes before anything is computed: whether they can run, and what that will take.
//!
//! Must not know: any particular stage, how a plan is made.

use std::collections::{BTreeSet, HashSet};

use super::inputs::roles;
use super::plan::{Plan, Planned, State};
use super::planner::Planner;
use crate::error::Result;
use crate::model::source::spec::SourceKind;
use crate::stages::{Forecast, Input, Node, Preview, Role};

impl Planner<'_> {
    /// Asks the stages of missing nodes whether they can do their work, before anything is computed. Returns warnings for a
    /// person. A node whose model is not on this machine yet is not asked.
    ///
    /// # Errors
    /// The error of the first of the `wanted` nodes that cannot be computed, also because its model is nowhere to be had.
    pub fn check(&self, plan: &Plan, wanted: &dyn Fn(&Planned) -> bool) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        // Variants that differ only in their patch are asked once.
        let mut answered = HashSet::new();
        for planned in &plan.nodes {
            let node = &planned.node;
            if node.inputs.values().any(|input| matches!(input, Input::Unknown { .. })) {
                continue;
            }
            let outside = node.inputs.iter().filter(|(_, input)| matches!(input, Input::File(_) | Input::Model { .. }));
            let question =
                (planned.stage.name(), node.params.to_string(), format!("{:?}", outside.collect::<Vec<_>>()));
            if planned.state == State::Hit {
                answered.insert(question);
                continue;
            }
            if wanted(planned) {
                roles(node).into_iter().try_for_each(|role| self.inputs.sources.can_be_had(role))?;
            }
            if wanted(planned) && self.has_models_of(node)? {
                if answered.insert(question) {
                    warnings.extend(self.ask(plan, planned, |preview| planned.stage.check(preview))?);
                }
                self.forecast(plan, planned)?;
            }
        }
        warnings.extend(self.notes(plan, wanted)?);
        Ok(warnings)
    }

    /// What a person should know of the models of the `wanted` nodes, as far as they are on this machine: where a folder of a
    /// cache led, and what is in a model that a node still has to read and is used in another way than its files say, or not at all.
    fn notes(&self, plan: &Plan, wanted: &dyn Fn(&Planned) -> bool) -> Result<Vec<String>> {
        let wanted = || plan.nodes.iter().filter(|planned| wanted(planned));
        let all: BTreeSet<Role> = wanted().flat_map(|planned| roles(&planned.node)).collect();
        let missing = wanted().filter(|planned| planned.state != State::Hit);
        let missing: BTreeSet<Role> = missing.flat_map(|planned| roles(&planned.node)).collect();
        let mut notes = Vec::new();
        for role in all {
            let Some(path) = self.inputs.sources.located(role)? else { continue };
            if let SourceKind::Path(given) = &self.inputs.sources.source(role)?.kind
                && *given != path
            {
                let (given, path) = (given.display(), path.display());
                notes.push(format!("{given} is a folder of the Hugging Face cache; the model in {path} is used"));
            }
            if missing.contains(&role) {
                notes.extend(self.inputs.models.checkpoint(&path)?.notes());
            }
        }
        let mut told = HashSet::new();
        notes.retain(|note| told.insert(note.clone()));
        Ok(notes)
    }

    /// What a missing node will take, as far as that is known now.
    ///
    /// # Errors
    /// If it takes more than it may have.
    pub fn forecast(&self, plan: &Plan, planned: &Planned) -> Result<Option<Forecast>> {
        if planned.state == State::Hit || !self.has_models_of(&planned.node)? {
            return Ok(None);
        }
        self.ask(plan, planned, |preview| planned.stage.forecast(preview))
    }

    /// How much a missing node does, in its stage's own unit, as far as that is known now.
    pub(super) fn work(&self, plan: &Plan, planned: &Planned) -> Result<Option<f64>> {
        if !self.has_models_of(&planned.node)? {
            return Ok(None);
        }
        self.ask(plan, planned, |preview| planned.stage.work(preview))
    }

    fn ask<R>(&self, plan: &Plan, planned: &Planned, question: impl Fn(&Preview<'_>) -> Result<R>) -> Result<R> {
        let node = &planned.node;
        let digest = |name: &str| planned.manifest.as_ref().and_then(|manifest| manifest.inputs.get(name));
        let known = |name: &str| match node.inputs.get(name) {
            Some(Input::Output { node, output }) => self.inputs.output(plan, node, output),
            _ => Ok(None),
        };
        let called = node.called();
        let preview = Preview {
            node: &called,
            params: &node.params,
            unkeyed: &node.unkeyed,
            file: &|name| self.inputs.file(node, name, digest(name)),
            known: &known,
            models: self.inputs.models,
            model_path: &|role| self.inputs.sources.located(role),
        };
        question(&preview).map_err(|error| error.within(&called))
    }

    fn has_models_of(&self, node: &Node) -> Result<bool> {
        for role in roles(node) {
            if self.inputs.sources.located(role)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
