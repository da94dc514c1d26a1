//! README.md of an exported model: what it is made of, and what was measured.
//!
//! The form is the Hugging Face hub's model card. Must not know: where facts come from, how results are shown.

use crate::error::Result;
use crate::model::matrix::MatrixId;
use crate::model::patch::Patch;

/// A line of a card: what, and its value.
pub type Facts = Vec<(String, String)>;

/// What a card says.
pub struct Card<'a> {
    /// The base model, as a person calls it.
    pub base: &'a str,
    /// `owner/name`, where the base is from the hub.
    pub hub: Option<&'a str>,
    pub facts: Facts,
    pub patch: &'a Patch,
    /// The table of results, if there is one.
    pub results: Option<String>,
    /// What else a reader must know.
    pub notes: Vec<String>,
}

impl Card<'_> {
    /// The whole file.
    pub fn text(&self) -> Result<Vec<u8>> {
        let mut text = String::from("---\n");
        if let Some(hub) = self.hub {
            text.push_str(&format!("base_model: {hub}\n"));
        }
        text.push_str("tags:\n- dean\n---\n\n");
        text.push_str(&format!(
            "# {}, patched by dean\n\n{} weights in {} matrices of {} were changed; everything else is the base \
             model's, byte for byte where it was in safetensors files. The base model's licence and limits apply.\n",
            self.base,
            self.patch.len(),
            self.patch.tensors.len(),
            self.base
        ));
        for note in &self.notes {
            text.push_str(&format!("\n{note}\n"));
        }
        text.push_str("\n## Made of\n\n| what | value |\n| --- | --- |\n");
        for (what, value) in &self.facts {
            text.push_str(&format!("| {} | {} |\n", cell(what), cell(value)));
        }
        text.push_str("\n## Results\n\n");
        match &self.results {
            Some(results) => text.push_str(&format!("```\n{}\n```\n", results.trim_end())),
            None => text.push_str("Nothing was measured when this was exported.\n"),
        }
        text.push_str("\n## Edits\n\n| matrix | weights |\n| --- | ---: |\n");
        // A patch file has its tensors by name, where layer 10 stands before layer 2.
        let mut touched: Vec<_> = self.patch.tensors.iter().collect();
        touched.sort_by_key(|patched| MatrixId::parse(&patched.tensor));
        for patched in touched {
            text.push_str(&format!("| {} | {} |\n", cell(&patched.tensor), patched.indices.len()));
        }
        Ok(text.into_bytes())
    }
}

/// A text inside of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
