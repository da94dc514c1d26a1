//! What a user sees when pipeline, command line or data are wrong: the sentence, word for word, and what to
//! do next. Every refusal ends with exit code 1, without a panic and without half an artifact
//! ([`Project::refused`] looks).
//!
//! Must not know: where in the code a message is made.

use std::fs;

use crate::support::{Project, dean_in, pairs, questions};

/// The refusal of `dean run` with one setting changed.
pub fn run_with(project: &Project, setting: &str) -> String {
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
    hint: known keys of [data.fairness]: path, format, prompt, response, samples, seed, skip, turns, too_long
    ");
    insta::assert_snapshot!(slip("[perplexity]", "[perplexty]"), @"
    error: pipeline.toml:28:2: unknown section [perplexty]; did you mean `perplexity`?
    hint: known sections: model, data, tokenize, questions, score, select, sweep, controls, patch, generate, judge, divergence, perplexity, inspect, report, search, run
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
    hint: known keys of [score]: method, seed, modules, layers, cap, memory, keep; elsewhere there is select.rule
    ");
}

#[test]
fn slips_on_the_command_line() {
    let project = Project::new();
    insta::assert_snapshot!(run_with(&project, "score.cpa=0.1"), @"
    error: --set score.cpa: unknown key `cpa` in [score]; did you mean `cap`?
    hint: known keys of [score]: method, seed, modules, layers, cap, memory, keep
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
    error: invalid value 'scoring' for '--until <STAGE|TIME>': it is neither a stage (tokenize, score, select, controls, patch, generate, inspect, judge, divergence, perplexity, report) nor a time of day such as 07:00

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(project.refused(&["explain", "score[privcy]"]), @"
    error: there is no node `score[privcy]` in this plan
    hint: nodes are: tokenize[fairness], tokenize[general], tokenize[privacy], score[fairness], score[general], score[privacy], select, patch[…], generate[base], generate[…], inspect[base], inspect[…], judge[controls], judge[base], judge[…], perplexity[base], perplexity[…], report
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
    error: [project]/data: not a model in Hugging Face layout: no config.json; found fairness.csv, general.csv, privacy.csv, questions.csv, text.txt
    hint: give the directory that holds config.json, or the path of a .gguf file
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
    error: data.privacy.path: [project]/data/text.txt is no data file, by its name and content
    hint: names of data files end in .csv, .json, .jsonl, .ndjson, .parquet, .pq, .tsv, .tab, each also with .gz or .zst behind it
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
    error: tokenize[privacy]: [project]/data/privacy.csv: there are no rows
    hint: give a file with at least one row, or take the data set out of the pipeline file
    ");
    insta::assert_snapshot!(with(b"prompt,response\n"), @"
    error: tokenize[privacy]: [project]/data/privacy.csv: there are no rows
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
    error: tokenize[privacy]: [project]/data/privacy.csv: line 6: the response is empty (column `response`)
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
    insta::assert_snapshot!(with(changed(4, &format!("{},Yes", "May I ask? ".repeat(30))).as_bytes()), @r#"
    error: tokenize[privacy]: [project]/data/privacy.csv: line 6: the row has 333 tokens, the model's context is 256
    hint: remove or shorten the row, set too_long = "skip" or "truncate" for this data set, or choose a model with a longer context
    "#);
    insta::assert_snapshot!(with(b"prompt,response\nM\xFCller,Ja\n"), @r#"
    error: tokenize[privacy]: [project]/data/privacy.csv: line 2: not UTF-8 text, but probably Latin-1 or Windows-1252 (byte 0xfc)
    hint: save the file as UTF-8 (spreadsheets call it "CSV UTF-8"), or: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW
    "#);
    assert!(!project.store.join("records").exists(), "every data set is looked at before the first is tokenised");
    project.write("data/privacy.csv", good);
    project.ok(&["run", "--until", "tokenize"]);
}

#[test]
fn memory_that_no_grouping_stays_within() {
    let project = Project::new();
    insta::assert_snapshot!(run_with(&project, "score.memory=\"8 Gib\""), @r#"
    error: --set score.memory: `memory` must be "auto", a size such as "8 GiB" or "500 MB", or a whole number of bytes, found "8 Gib"
    hint: memory: the most that may be held at once: "8 GiB"; changes no result
    "#);
    // Without token ids it is known what is needed at the very least; with them, how much.
    let told = |setting: &str| {
        let run = run_with(&project, setting);
        assert_eq!(run, project.refused(&["plan", "--set", setting]));
        run
    };
    insta::assert_snapshot!(told("score.memory=\"30 KiB\""), @"
    error: score[fairness]: scoring needs 56 KiB at least, with layers in groups, and score.memory allows 30 KiB
    hint: raise score.memory to 57046 or more; fewer or shorter samples need less, and so do fewer modules and layers
    ");
    assert!(!project.store.join("records").exists(), "nothing was computed");
    project.ok(&["run", "--until", "tokenize"]);
    let said = told("score.memory=\"100 KB\"");
    assert!(
        said.starts_with("error: score[fairness]: scoring needs 298 KiB") && said.contains("allows 98 KiB"),
        "{said}"
    );
    assert!(!project.store.join("records/score").exists(), "nothing was scored");
    // No other method holds sums of all weights.
    project.ok(&["run", "--until", "score", "--set", "score.memory=1", "--set", "score.method=\"wanda\""]);
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
    error: generate[base]: [project]/data/questions.csv: line 5: the question has 289 tokens, the model's context is 256
    hint: shorten the question, or choose a model with a longer context
    ");
    project.write("data/questions.csv", questions(3));
    project.write("data/judge.txt", "Is {question} safe?");
    let judge =
        ["--set", "judge.kind=md-judge", "--set", "judge.source=model", "--set", "judge.template=data/judge.txt"];
    project.write("data/text.txt", text);
    insta::assert_snapshot!(told(&judge), @"
    error: judge[controls]: [project]/data/judge.txt: the judge template has 1 x {question}, 0 x {answer} and 0 x %s
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
    error: select: nothing can be selected: q = 2e-3 is less than one weight even of the largest of 6 matrices, which has 384
    hint: raise select.q above 2.6e-3
    ");
    assert!(!project.store.join("records").exists(), "k = 0 is found before anything is scored");
    let (_, said) = project.ok(&["plan", "--set", "select.points=[[0.001, 0.02]]"]);
    let warning = said.lines().next().unwrap_or_default();
    insta::assert_snapshot!(warning, @"warning: p = 1e-3 is less than one weight of every matrix: nothing is protected there");
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
    error: no run is called `2020`, or begins so, in [store]
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
