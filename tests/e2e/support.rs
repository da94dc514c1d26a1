//! A project in a temporary directory (tiny model, small data, pipeline.toml, a store beside it) and
//! the program run on it.
//!
//! Must not know: what any test wants to prove.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use dean::digest::Digest;
use dean_testing::Random;
use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Rows of each calibration file.
pub const ROWS: usize = 12;
/// Questions: more than one batch of 96.
pub const QUESTIONS: usize = 130;

/// p and q are chosen for matrices of 384 weights: the first two points keep the same numbers of them
/// (1 and 19), so they share a mask; the third is another one.
const PIPELINE: &str = r#"[model]
source = "model"

[data.fairness]
path = "data/fairness.csv"
samples = 8

[data.privacy]
path = "data/privacy.csv"
samples = 8

[data.general]
path = "data/general.csv"
samples = 8

[questions.fairness]
path = "data/questions.csv"

[score]
cap = 0.05

[select]
points = [[0.003, 0.05], [0.004, 0.05], [0.006, 0.03]]

[generate]
max_new_tokens = 6

[perplexity]
path = "data/text.txt"
window = 64
limit = 2

[run]
device = "cpu"
store = "../store"

[controls]
points = "none"
"#;

const SUBJECTS: [&str; 13] = [
    "the baker",
    "a nurse",
    "my neighbour",
    "the new teacher",
    "an old sailor",
    "our gardener",
    "the engineer",
    "a young clerk",
    "the driver",
    "his landlord",
    "the pianist",
    "a tailor",
    "the mayor",
];
const DEEDS: [&str; 11] = [
    "asks for advice",
    "keeps a diary",
    "moved to the coast",
    "lost a key",
    "wrote a letter",
    "was paid late",
    "missed the train",
    "planted a tree",
    "sold a boat",
    "speaks two languages",
    "shared a meal",
];

/// A project directory with its store beside it, both gone when this is dropped.
pub struct Project {
    root: TempDir,
    /// The directory that holds pipeline.toml.
    pub dir: PathBuf,
    pub store: PathBuf,
}

impl Project {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        // The real path, so that messages can be compared with it where /tmp is a link.
        let base = fs::canonicalize(root.path()).unwrap();
        let (dir, store) = (base.join("project"), base.join("store"));
        fs::create_dir_all(dir.join("data")).unwrap();
        write_model(&dir.join("model"), 2, INNER);
        for (salt, name) in ["fairness", "privacy", "general"].into_iter().enumerate() {
            fs::write(dir.join(format!("data/{name}.csv")), pairs(name, salt, ROWS)).unwrap();
        }
        fs::write(dir.join("data/questions.csv"), questions(QUESTIONS)).unwrap();
        fs::write(dir.join("data/text.txt"), text()).unwrap();
        fs::write(dir.join("pipeline.toml"), PIPELINE).unwrap();
        Self { root, dir, store }
    }

    /// A place beside the project, in the same temporary directory.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.with_file_name(name)
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Replaces a text in pipeline.toml that must be there.
    pub fn edit(&self, from: &str, to: &str) {
        let file = self.dir.join("pipeline.toml");
        let before = fs::read_to_string(&file).unwrap();
        assert!(before.contains(from), "pipeline.toml has no {from:?}");
        fs::write(file, before.replacen(from, to, 1)).unwrap();
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::write(self.dir.join(path), content).unwrap();
    }

    /// Another model in the place of the first: so many layers, so wide inside.
    pub fn model(&self, layers: usize, inner: usize) {
        write_model(&self.dir.join("model"), layers, inner);
    }

    /// Changes one setting of the model's config.json.
    pub fn configure(&self, key: &str, value: Value) {
        let file = self.dir.join("model/config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        config[key] = value;
        fs::write(file, config.to_string()).unwrap();
    }

    pub fn dean(&self, arguments: &[&str]) -> Command {
        dean_in(&self.dir, arguments)
    }

    /// Runs the program, which must succeed, and returns standard output and standard error.
    pub fn ok(&self, arguments: &[&str]) -> (String, String) {
        succeed(self.dean(arguments), arguments)
    }

    /// The JSON that a command that must succeed writes.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let (answer, _) = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&answer).unwrap_or_else(|cause| panic!("{arguments:?} wrote no JSON ({cause}): {answer}"))
    }

    /// The nodes that a run computes, in order.
    pub fn computes(&self, arguments: &[&str]) -> Vec<String> {
        let summary = self.json(&[&["run"], arguments].concat());
        let nodes = summary["computed"].as_array().unwrap().iter();
        nodes.map(|node| node["node"].as_str().unwrap().to_owned()).collect()
    }

    /// `dean status --json` by node.
    pub fn status(&self, arguments: &[&str]) -> BTreeMap<String, Value> {
        by_node(&self.json(&[&["status"], arguments].concat()))
    }

    /// Starts the program and leaves it to the caller.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.dean(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// What a user sees when the program refuses: exit code 1, no panic, nothing half-written. The
    /// message from `error:` on, with this project's directory as `[project]`.
    pub fn refused(&self, arguments: &[&str]) -> String {
        self.refusal(self.dean(arguments), arguments)
    }

    /// [`Self::refused`] of a command that was prepared.
    pub fn refusal(&self, mut command: Command, arguments: &[&str]) -> String {
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?} ended with {:?}: {said}", output.status);
        assert!(!said.contains("panicked") && !said.contains("fault of dean"), "{arguments:?}: {said}");
        assert_sound(&self.store);
        assert_tidy(&self.store);
        let start = said.find("error:").unwrap_or_else(|| panic!("{arguments:?} gave no error: {said}"));
        self.plain(&said[start..])
    }

    /// A message without what changes from run to run.
    pub fn plain(&self, message: &str) -> String {
        let place = |path: &Path| path.display().to_string();
        let message = message.replace(&format!("{}/../store", place(&self.dir)), "[store]");
        let message = message.replace(&place(&self.dir), "[project]").replace(&place(&self.store), "[store]");
        message.replace(&place(self.dir.parent().unwrap()), "[root]").trim_end().to_owned()
    }
}

/// The program in a directory, without settings of the machine that the tests run on.
pub fn dean_in(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dean"));
    command.args(arguments).current_dir(dir).env("NO_COLOR", "1");
    for name in ["COLUMNS", "DEAN_LOG", "DEAN_SOURCES", "RUST_BACKTRACE", "HF_ENDPOINT"] {
        command.env_remove(name);
    }
    command
}

pub fn succeed(mut command: Command, arguments: &[&str]) -> (String, String) {
    finished(&command.stdin(Stdio::null()).output().unwrap(), arguments)
}

/// Standard output and standard error of a program that must have succeeded.
pub fn finished(output: &Output, arguments: &[&str]) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (answer, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?} ended with {:?}:\n{said}", output.status);
    (answer, said)
}

pub fn by_node(rows: &Value) -> BTreeMap<String, Value> {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| (row["node"].as_str().unwrap().to_owned(), row.clone())).collect()
}

/// Every state of a status, or that of the nodes of some stages.
pub fn states(status: &BTreeMap<String, Value>, stages: &[&str]) -> BTreeSet<String> {
    let chosen = status.values().filter(|row| stages.is_empty() || stages.contains(&row["stage"].as_str().unwrap()));
    chosen.map(|row| row["state"].as_str().unwrap().to_owned()).collect()
}

/// Every file below a directory, by its relative path.
pub fn files_below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(place) = open.pop() {
        let Ok(entries) = fs::read_dir(&place) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), bytes);
            }
        }
    }
    found
}

/// No half-written artifact: every blob is what its name says, every record is whole and its blobs are there.
pub fn assert_sound(store: &Path) {
    for (path, bytes) in files_below(&store.join("blobs")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(Digest::of(&bytes).to_string(), name, "a blob that is not what its name says");
    }
    for (path, bytes) in files_below(&store.join("records")) {
        let record: Value =
            serde_json::from_slice(&bytes).unwrap_or_else(|cause| panic!("record {}: {cause}", path.display()));
        for output in record["outputs"].as_object().unwrap().values() {
            let digest = output["digest"].as_str().unwrap();
            let blob = store.join("blobs").join(&digest[..2]).join(digest);
            assert_eq!(fs::metadata(&blob).unwrap().len(), output["bytes"].as_u64().unwrap(), "{}", path.display());
        }
    }
}

/// Nothing that was being written or computed was left; only `kill -9` leaves anything, for `gc`.
pub fn assert_tidy(store: &Path) {
    for place in ["tmp", "claims", "live"] {
        let left: Vec<PathBuf> = files_below(&store.join(place)).into_keys().collect();
        assert!(left.is_empty(), "left in {place}: {left:?}");
    }
}

/// Copies a directory tree.
pub fn copy_tree(from: &Path, to: &Path) {
    for (path, bytes) in files_below(from) {
        let target = to.join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, bytes).unwrap();
    }
}

/// A CSV file of prompts and responses, no two alike.
pub fn pairs(name: &str, salt: usize, rows: usize) -> String {
    let mut csv = String::from("prompt,response\n");
    for row in 0..rows {
        let (who, what) = (SUBJECTS[(row * 5 + salt) % 13], DEEDS[(row * 3 + salt * 4) % 11]);
        csv.push_str(&format!(
            "\"{name} {row}: {who} {what}. What now?\",\"Well, {who} {}.\"\n",
            DEEDS[(row + salt) % 11]
        ));
    }
    csv
}

pub fn questions(rows: usize) -> String {
    let mut csv = String::from("questions\n");
    for row in 0..rows {
        csv.push_str(&format!(
            "\"{row}. Why did {} say that {} {}?\"\n",
            SUBJECTS[row % 13],
            SUBJECTS[(row / 13 + 1) % 13],
            DEEDS[row % 11]
        ));
    }
    csv
}

fn text() -> String {
    (0..8).map(|row| format!("{} {}. ", SUBJECTS[row * 3 % 13], DEEDS[row * 5 % 11])).collect()
}

const INNER: usize = 24;

/// A small Llama in Hugging Face layout: random weights, one token a byte, and two special tokens.
fn write_model(dir: &Path, layers: usize, inner: usize) {
    fs::create_dir_all(dir).unwrap();
    let config = dean_testing::config(json!({
        "vocab_size": 258, "intermediate_size": inner, "num_hidden_layers": layers, "max_position_embeddings": 256,
        "bos_token_id": 256, "eos_token_id": 257, "torch_dtype": "float32",
    }));
    let template = "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n\
        {% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}";
    let settings = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|start|>", "eos_token": "<|end|>",
        "chat_template": template,
    });
    for (name, content) in [
        ("config.json", &config),
        ("generation_config.json", &json!({ "eos_token_id": 257 })),
        ("tokenizer.json", &dean_testing::byte_level(&["<|start|>", "<|end|>"])),
        ("tokenizer_config.json", &settings),
    ] {
        fs::write(dir.join(name), content.to_string()).unwrap();
    }
    let mut random = Random(7);
    let weights = dean_testing::safetensors(&dean_testing::tensors(&config), Dtype::F32, |name, _| {
        let centre = if name.contains("norm") { 1.0 } else { 0.0 };
        centre + 0.4 * random.uniform()
    });
    fs::write(dir.join("model.safetensors"), weights).unwrap();
}
