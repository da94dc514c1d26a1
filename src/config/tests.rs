//! The room as its users see it: a file and options in, a pipeline or a sentence out.

mod guards;
mod repository;

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::error::Error;
use crate::model::source::spec::SourceKind;
use crate::model::text::prompt_template::PromptTemplate;

/// A pipeline that is complete and small.
pub(super) const SMALL: &str = "\
[model]
source = \"model.gguf\"

[data.fairness]
path = \"data/fairness.csv\"
[data.privacy]
path = \"data/privacy.csv\"
[data.general]
path = \"data/general.csv\"
";

/// Loads `text` as DIR/job/pipeline.toml with the working directory DIR; DIR is shown as such.
pub(super) fn try_load(text: &str, sets: &[&str]) -> Result<Pipeline, Error> {
    let dir = tempfile::tempdir().unwrap();
    crate::files::create_dir_all(&dir.path().join("job")).unwrap();
    crate::files::write_atomic(&dir.path().join("job/pipeline.toml"), text.as_bytes()).unwrap();
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    load(Path::new("job/pipeline.toml"), &sets, dir.path())
}

pub(super) fn with(text: &str) -> String {
    format!("{SMALL}{text}")
}

/// Message and hint of a failure.
pub(super) fn complaint(text: &str, sets: &[&str]) -> String {
    let error = try_load(text, sets).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::User, "{error}");
    format!("{error}\n{}", error.hint_text().unwrap_or("(no hint)"))
}

#[test]
fn the_defaults_are_those_of_the_schema() {
    let dir = tempfile::tempdir().unwrap();
    crate::files::write_atomic(&dir.path().join("p.toml"), SMALL.as_bytes()).unwrap();
    let document = document::Document::read(Path::new("p.toml"), &[], &[], dir.path()).unwrap();
    let pipeline = resolve::resolve(document.settings().unwrap(), &document, None).unwrap();
    let json = serde_json::to_string_pretty(&pipeline).unwrap().replace(dir.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(json, @r#"
    {
      "file": "DIR/p.toml",
      "model": {
        "source": "DIR/model.gguf",
        "dtype": "f32"
      },
      "data": {
        "fairness": {
          "path": "DIR/data/fairness.csv",
          "format": null,
          "prompt": "prompt",
          "response": "response",
          "samples": 128,
          "seed": 0,
          "skip": 0,
          "turns": "last",
          "too_long": "error"
        },
        "general": {
          "path": "DIR/data/general.csv",
          "format": null,
          "prompt": "prompt",
          "response": "response",
          "samples": 128,
          "seed": 0,
          "skip": 0,
          "turns": "last",
          "too_long": "error"
        },
        "privacy": {
          "path": "DIR/data/privacy.csv",
          "format": null,
          "prompt": "prompt",
          "response": "response",
          "samples": 128,
          "seed": 0,
          "skip": 0,
          "turns": "last",
          "too_long": "error"
        }
      },
      "tokenize": {
        "chat_template": null,
        "drop_first_response_token": false,
        "chat_date": "26 Jul 2024"
      },
      "questions": {},
      "score": {
        "method": "snip",
        "seed": 0,
        "modules": "mlp",
        "layers": "all",
        "cap": 0.001,
        "memory": "auto",
        "keep": "ranks"
      },
      "select": {
        "modules": "mlp",
        "layers": "all",
        "rule": "fairness & privacy - general",
        "points": [
          [
            5e-7,
            5e-7
          ]
        ]
      },
      "controls": {
        "points": "last",
        "random": 3
      },
      "patch": {
        "action": "zero"
      },
      "generate": {
        "kind": "model",
        "path": null,
        "max_new_tokens": 64,
        "chat_template": "model",
        "think": "model",
        "stop": [],
        "temperature": 0.0,
        "top_k": null,
        "top_p": null,
        "seed": 0
      },
      "judge": {
        "kind": "refusal",
        "source": null,
        "url": null,
        "model": null,
        "key_env": null,
        "timeout_seconds": 60,
        "at_once": 8,
        "template": null,
        "parse": "first-line"
      },
      "divergence": null,
      "perplexity": null,
      "inspect": {
        "caution": {}
      },
      "report": {
        "drop_leaked": false
      },
      "run": {
        "device": "auto",
        "store": "DIR/artifacts",
        "threads": null,
        "checkpoint_seconds": 30,
        "sources": null
      }
    }
    "#);
}

#[test]
fn unknown_names_are_placed_and_the_nearest_is_offered() {
    insta::assert_snapshot!(complaint(&with("[data.more]\npath = \"x\"\n  sampels = 3\n"), &[]), @"
    job/pipeline.toml:12:3: unknown key `sampels` in [data.more]; did you mean `samples`?
    known keys of [data.more]: path, format, prompt, response, samples, seed, skip, turns, too_long
    ");
    insta::assert_snapshot!(complaint(&with("[scoer]\ncap = 1e-3\n"), &[]), @"
    job/pipeline.toml:10:2: unknown section [scoer]; did you mean `score`?
    known sections: model, data, tokenize, questions, score, select, sweep, controls, patch, generate, judge, divergence, perplexity, inspect, report, search, run
    ");
    insta::assert_snapshot!(complaint(&with("[judge]\nmax_new_tokens = 3\n"), &[]), @"
    job/pipeline.toml:11:1: unknown key `max_new_tokens` in [judge]
    known keys of [judge]: kind, source, url, model, key_env, timeout_seconds, at_once, template, parse; elsewhere there is generate.max_new_tokens
    ");
    insta::assert_snapshot!(complaint(&format!("device = \"cpu\"\n{SMALL}"), &[]), @"
    job/pipeline.toml:1:1: unknown key `device` outside of any section
    did you mean run.device?
    ");
    insta::assert_snapshot!(complaint(&with("[data]\nsamples = 3\n"), &[]), @"
    job/pipeline.toml:11:11: `samples` stands in [data] itself
    give the section a name: [data.NAME]
    ");
    insta::assert_snapshot!(complaint(&with("[data.my-set]\npath = \"x\"\n"), &[]), @"
    job/pipeline.toml:10:7: `my-set` cannot be the name of a section
    a name is letters, digits and _, and begins with a letter, so that rules can speak of it
    ");
    insta::assert_snapshot!(complaint(&with("[score]\ncap.top = 3\n"), &[]), @"
    job/pipeline.toml:11:1: `cap` must be a number, found a table
    cap: the share of each matrix that is kept, and the limit of p and q
    ");
}

#[test]
fn the_first_mistake_of_a_file_is_reported_first() {
    let text = complaint(&with("[score]\nzzz = 1\naaa = 2\n[generate]\nb = 1\n"), &[]);
    assert!(text.starts_with("job/pipeline.toml:11:1: unknown key `zzz`"), "{text}");
}

#[test]
fn columns_count_characters() {
    let text = complaint(&with("[tokenize]\n\"chat_date\" = \"é\" # 😀\nchat_template = [\"é\", 1]\n"), &[]);
    assert!(text.starts_with("job/pipeline.toml:12:17: "), "{text}");
    let text = complaint(&with("[perplexity]\npath = \"é😀\"; window = 3"), &[]);
    assert!(text.starts_with("job/pipeline.toml:11:12: not valid TOML"), "{text}");
}

#[test]
fn wrong_types_say_what_is_expected_and_what_was_found() {
    insta::assert_snapshot!(complaint(&with("[data.more]\npath = \"x\"\nsamples = \"4\"\n"), &[]), @"
    job/pipeline.toml:12:11: `samples` must be a whole number, found a string
    samples: how many rows are drawn
    ");
    insta::assert_snapshot!(complaint(&with("[data.more]\npath = \"x\"\nsamples = 0\n"), &[]), @"
    job/pipeline.toml:12:11: `samples` must be at least 1, found 0
    samples: how many rows are drawn
    ");
    insta::assert_snapshot!(complaint(&with("[score]\nmodules = \"mpl\"\n"), &[]), @r#"
    job/pipeline.toml:11:11: `modules` must be "mlp", "self_attn" or "all", or a list of "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj" or "down_proj", found "mpl"; did you mean `mlp`?
    modules: which weights are scored
    "#);
    insta::assert_snapshot!(complaint(&with("[score]\ncap = \"1e-3\"\n"), &[]), @"
    job/pipeline.toml:11:7: `cap` must be a number, found a string
    cap: the share of each matrix that is kept, and the limit of p and q
    ");
    insta::assert_snapshot!(complaint(&with("[select]\npoints = [[1e-5, 1e-5], [1e-5, true]]\n"), &[]), @"
    job/pipeline.toml:11:32: an item of `points` must be a number, found true or false
    points: [[p, q], …] in place of the lists
    ");
    insta::assert_snapshot!(complaint(&with("[perplexity]\npath = \"x\"\nwindow = \"all\"\n"), &[]), @r#"
    job/pipeline.toml:12:10: `window` must be a whole number or "max", found "all"
    window: tokens a window, or "max": the model's context
    "#);
    insta::assert_snapshot!(complaint("model = 3\n", &[]), @"
    job/pipeline.toml:1:9: `model` must be a table, found a whole number
    write [model]
    ");
    insta::assert_snapshot!(complaint("[[model]]\nsource = \"x\"\n", &[]), @"
    job/pipeline.toml:1:1: `model` must be a table, found a list
    write [model]
    ");
    insta::assert_snapshot!(complaint(&with("[run]\ndevice = \"gpu\"\n"), &[]), @r#"
    job/pipeline.toml:11:10: `device` must be "auto", "cpu", "cuda" or "cuda:N", found "gpu"
    `dean doctor` lists the devices of this machine
    "#);
    insta::assert_snapshot!(complaint(&with("[score]\ncap = 0\n"), &[]), @"
    job/pipeline.toml:11:7: score.cap = 0.0 must be above 0 and at most 1
    it is the share of each matrix that a rank table keeps; 1e-3 serves every sweep
    ");
}

#[test]
fn syntax_errors_have_a_place() {
    insta::assert_snapshot!(complaint("[model]\nsource = model.gguf\n", &[]), @"
    job/pipeline.toml:2:10: not valid TOML: string values must be quoted, expected literal string
    strings need quotes, and every key stands in a [section]
    ");
    insta::assert_snapshot!(complaint("[model\nsource = 1\n", &[]), @"
    job/pipeline.toml:1:7: not valid TOML: unclosed table, expected `]`
    strings need quotes, and every key stands in a [section]
    ");
    insta::assert_snapshot!(complaint("[model]\nsource = \"a\"\nsource = \"b\"\n", &[]), @"
    job/pipeline.toml:3:1: not valid TOML: duplicate key
    strings need quotes, and every key stands in a [section]
    ");
    insta::assert_snapshot!(complaint("[model]\nsource = \"a", &[]), @r#"
    job/pipeline.toml:2:12: not valid TOML: invalid basic string, expected `"`
    strings need quotes, and every key stands in a [section]
    "#);
}

#[test]
fn what_must_be_there_is_missed() {
    insta::assert_snapshot!(complaint("", &[]), @"
    job/pipeline.toml: [model] needs `source`
    source: a path, `hf:owner/name@revision` or `pip:package==version/member`
    ");
    insta::assert_snapshot!(complaint("[model]\n", &[]), @"
    job/pipeline.toml:1:2: [model] needs `source`
    source: a path, `hf:owner/name@revision` or `pip:package==version/member`
    ");
    insta::assert_snapshot!(complaint(&with("[data.more]\nseed = 1\n"), &[]), @"
    job/pipeline.toml:10:7: [data.more] needs `path`
    path: a file of rows: CSV, TSV, JSON, JSON Lines or Parquet, packed or not
    ");
    insta::assert_snapshot!(complaint(&with("[perplexity]\n"), &[]), @"
    job/pipeline.toml:10:2: [perplexity] needs `path`
    path: a text file
    ");
    insta::assert_snapshot!(complaint(&with("[judge]\nkind = \"md-judge\"\n"), &[]), @r#"
    job/pipeline.toml:11:8: judge.kind = "md-judge" needs judge.source
    source = "hf:OpenSafetyLab/MD-Judge-v0.1@main", or any chat model; or url, an endpoint
    "#);
    let dir = tempfile::tempdir().unwrap();
    let error = load(Path::new("no.toml"), &[], dir.path()).unwrap_err();
    assert_eq!(error.hint_text(), Some("name the pipeline file with --config FILE"));
}

#[test]
fn paths_begin_where_they_were_typed() {
    let dir = tempfile::tempdir().unwrap();
    let job = dir.path().join("job");
    crate::files::create_dir_all(&job).unwrap();
    let text = with(
        "[tokenize]\nchat_template = \"./t.jinja\"\n[judge]\nkind = \"md-judge\"\nsource = \"judge\"\ntemplate = \"../j.txt\"\n\
         [questions.a]\npath = \"/q.csv\"\n",
    );
    crate::files::write_atomic(&job.join("p.toml"), text.as_bytes()).unwrap();
    let set = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        let document = document::Document::read(Path::new("job/p.toml"), &[], &sets, dir.path()).unwrap();
        resolve::resolve(document.settings().unwrap(), &document, None).unwrap()
    };
    let typed = set(&[]);
    assert_eq!(typed.file, job.join("p.toml"));
    assert_eq!(typed.model.source.kind, SourceKind::Path(job.join("model.gguf")));
    assert_eq!(typed.data["privacy"].path, job.join("data/privacy.csv"));
    assert_eq!(typed.questions["a"].path, PathBuf::from("/q.csv"));
    assert_eq!(typed.tokenize.chat_template, Some(PromptTemplate::File(job.join("t.jinja"))));
    assert_eq!(typed.generate.chat_template, PromptTemplate::Model);
    assert_eq!((&typed.run.store, typed.run.sources()), (&job.join("artifacts"), job.join("artifacts/sources")));
    let (source, template) = (typed.judge.model().unwrap().clone(), typed.judge.template);
    assert_eq!((source.kind, template), (SourceKind::Path(job.join("judge")), Some(job.join("../j.txt"))));

    let over = set(&["model.source=m", "data.privacy.path=x.csv", "run.store=s", "generate.chat_template=g.jinja"]);
    assert_eq!(over.model.source.kind, SourceKind::Path(dir.path().join("m")));
    assert_eq!(over.data["privacy"].path, dir.path().join("x.csv"));
    assert_eq!(over.data["fairness"].path, job.join("data/fairness.csv"));
    assert_eq!((over.run.store.clone(), over.run.sources()), (dir.path().join("s"), dir.path().join("s/sources")));
    assert_eq!(over.generate.chat_template, PromptTemplate::File(dir.path().join("g.jinja")));
}

#[test]
fn the_sources_folder_is_typed_else_of_the_environment_else_in_the_store() {
    let dir = tempfile::tempdir().unwrap();
    crate::files::write_atomic(&dir.path().join("p.toml"), SMALL.as_bytes()).unwrap();
    let sources = |sets: &[&str], variable: Option<&str>| {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        let document = document::Document::read(Path::new("p.toml"), &[], &sets, dir.path()).unwrap();
        resolve::resolve(document.settings().unwrap(), &document, variable.map(PathBuf::from)).unwrap().run.sources()
    };
    assert_eq!(sources(&["run.sources=mine"], Some("/env")), dir.path().join("mine"));
    assert_eq!(sources(&[], Some("/env")), PathBuf::from("/env"));
    assert_eq!(sources(&["run.store=/s"], None), PathBuf::from("/s/sources"));
}

#[test]
fn a_rule_speaks_of_data_sets_that_are_there() {
    let refused = |select: &str| complaint(&with(&format!("[select]\n{select}\n")), &[]);
    insta::assert_snapshot!(refused("rule = \"fairnes & privacy - general\""), @"
    job/pipeline.toml:11:8: rule `fairnes & privacy - general` names the data set `fairnes`, which is not there; did you mean `fairness`?
    data sets of this pipeline: fairness, general, privacy; add [data.fairnes] or change select.rule
    ");
    insta::assert_snapshot!(complaint("[model]\nsource = \"x\"\n", &[]), @"
    job/pipeline.toml: rule `fairness & privacy - general` names the data set `fairness`, which is not there
    data sets of this pipeline: none; add [data.fairness] or change select.rule
    ");
    let place = refused("rule = \"fairness &\"");
    assert!(place.starts_with("job/pipeline.toml:11:8: "), "{place}");
    insta::assert_snapshot!(refused("modules = \"all\""), @r#"
    job/pipeline.toml:11:11: select.modules = "all" is not within score.modules = "mlp"
    only scored weights can be selected: widen score.modules (scores are computed again) or narrow select.modules
    "#);
    insta::assert_snapshot!(refused("modules = [\"up_proj\", \"o_proj\"]"), @r#"
    job/pipeline.toml:11:11: select.modules = ["o_proj", "up_proj"] is not within score.modules = "mlp"
    only scored weights can be selected: widen score.modules (scores are computed again) or narrow select.modules
    "#);
    insta::assert_snapshot!(complaint(SMALL, &["score.layers=0..12", "select.layers=[3, 12]"]), @r#"
    --set select.layers: select.layers = [3, 12] is not within score.layers = "0..12"
    only scored weights can be selected: widen score.layers (scores are computed again) or narrow select.layers
    "#);
    insta::assert_snapshot!(complaint(SMALL, &["score.layers=[0, 5]", "select.layers=all"]), @r#"
    --set select.layers: select.layers = "all" is not within score.layers = [0, 5]
    only scored weights can be selected: widen score.layers (scores are computed again) or narrow select.layers
    "#);
    let narrowed =
        try_load(SMALL, &["score.modules=all", "score.layers=4..", "select.modules=[\"down_proj\"]"]).unwrap();
    assert_eq!(
        (narrowed.select.modules.to_string(), narrowed.select.layers),
        ("[\"down_proj\"]".into(), narrowed.score.layers)
    );
    let released = try_load(SMALL, &["select.rule=released-code"]).unwrap();
    assert_eq!(released.select.rule.to_string(), "released-code(privacy, fairness; general)");
    assert!(released.select.points[0].p.is_some());
}

#[test]
fn sources_are_placed_too() {
    insta::assert_snapshot!(complaint(SMALL, &["model.source=pip:a/b"]), @"
    --set model.source: source `pip:a/b`: the version is missing: `pip:package==version/member`
    a source is a path, `hf:owner/name@revision` or `pip:package==version/member`, each with or without `#blake3=` and the digest of its content
    ");
    insta::assert_snapshot!(complaint("[model]\nsource = \"hf:x\"\n", &[]), @"
    job/pipeline.toml:2:10: source `hf:x`: `x` is not `owner/name`
    a source is a path, `hf:owner/name@revision` or `pip:package==version/member`, each with or without `#blake3=` and the digest of its content
    ");
}

#[test]
fn jobs_that_take_everything_are_refused() {
    let fill = |piece: &str| piece.repeat((1 << 20) / piece.len() - 1);
    for text in [
        format!("a = {}", fill("[")),
        format!("a = {}", fill("{a=")),
        format!("{}a = 1", fill("a.")),
        format!("[{}a]", fill("a.")),
        fill("[[a]]\n"),
        format!("a = [{}]", fill("[],")),
        format!("a = {}", fill("9")),
        format!("[select]\nrule = \"{}a\"", fill("a&")),
        format!("[select]\nrule = \"{}\"", fill("(")),
        fill("#\n") + &fill("\n"),
        "[data.a]\npath = \"x\"\n".to_owned()
            + &(0..30_000).map(|n| format!("[data.a{n}]\npath='x'\n")).collect::<String>(),
        "\0".into(),
    ] {
        let begun = std::time::Instant::now();
        let error = try_load(&text, &[]).unwrap_err();
        let shown = &text[..text.floor_char_boundary(60)];
        assert!(begun.elapsed().as_secs() < 5, "{shown:?} took {:?}", begun.elapsed());
        assert_eq!(error.kind(), crate::error::Kind::User, "{shown:?}: {error}");
        assert!(error.message().len() < 4 << 10, "{shown:?}: a message of {} bytes", error.message().len());
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "(\\[|\\]|model|data|\\.|=|\"|\n|source|[a-z0-9 ,{}é-]){0,24}", key in "[a-z.=\\[\\]\" ]{0,16}") {
        let _ = try_load(&text, &[&key]);
        let _ = try_load(SMALL, &[&key, &text]);
    }
}
