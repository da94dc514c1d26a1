//! What is tried for each row of the key table, and for its footnotes.
//!
//! Must not know: how a change is made, what the table says of it.

/// What is changed to try one row.
pub enum Change {
    /// `--set` options.
    Set(&'static [&'static str]),
    /// A section's name, and the options that make the pipeline whole again.
    Rename(&'static str, &'static str, &'static [&'static str]),
    /// Other bytes in an output of a stage, and then everything counts that changes behind that stage.
    Output(&'static str, &'static str),
    /// Other ranks: another mask. Select itself is left out, its input is the cause.
    Mask,
    /// Another points table with the same mask. Select itself is left out, its setting is the cause.
    Points,
    /// Nothing: there is only one such value yet, so the parameter of this name is looked for.
    Named(&'static str),
}

use Change::{Mask, Named, Output, Points, Rename, Set};

const MD_JUDGE: &str = "judge.kind=\"md-judge\"";
const HTTP: &str = "judge.kind=\"http\"";
const URL: &str = "judge.url=\"http://localhost/v1\"";
const MODEL: &str = "judge.model=\"one\"";
const OWN_FILE: &str = "judge.template=\"judge.txt\"";
const FROM_FILE: &str = "generate.kind=\"file\"";
const GIVEN: &str = "generate.path=\"given.jsonl\"";
const LISTED: &str = "questions.fairness.tune=\"rows.csv\"";
const DRAWN: &str = "generate.temperature=0.7";
const DRESSED: &str = "tokenize.chat_template=\"model\"";

/// One case a row: its name, the options that hold before and after, and the change.
pub const CASES: &[(&str, &[&str], Change)] = &[
    ("model.source", &[], Set(&["model.source=\"sharded\""])),
    ("model.dtype", &[MD_JUDGE], Named("dtype")),
    ("data.NAME", &[], Rename("[data.fairness]", "[data.f]", &["select.rule=\"f & privacy - general\""])),
    ("data.NAME.path", &[], Set(&["data.fairness.path=\"copy.csv\""])),
    ("ending of data.NAME.path", &[], Set(&["data.fairness.path=\"copy.jsonl\""])),
    ("bytes of data.NAME.path", &[], Set(&["data.fairness.path=\"other.csv\""])),
    ("data.NAME.prompt", &[], Set(&["data.fairness.prompt=\"x\""])),
    ("data.NAME.response", &[], Set(&["data.fairness.response=\"x\""])),
    ("data.NAME.samples", &[], Set(&["data.fairness.samples=2"])),
    ("data.NAME.seed", &[], Set(&["data.fairness.seed=2"])),
    ("data.NAME.format", &[], Set(&["data.fairness.format=\"messages\""])),
    ("data.NAME.turns", &[], Set(&["data.fairness.turns=\"every\""])),
    ("data.NAME.too_long", &[], Set(&["data.fairness.too_long=\"skip\""])),
    ("data.NAME.skip", &["data.fairness.samples=1"], Set(&["data.fairness.skip=1"])),
    ("tokenize.chat_template", &[], Set(&["tokenize.chat_template=\"model\""])),
    (
        "bytes of the file tokenize.chat_template",
        &["tokenize.chat_template=\"a.jinja\""],
        Set(&["tokenize.chat_template=\"b.jinja\""]),
    ),
    ("tokenize.drop_first_response_token", &[], Set(&["tokenize.drop_first_response_token=true"])),
    ("tokenize.chat_date", &[DRESSED, MD_JUDGE], Set(&["tokenize.chat_date=\"1 Jan 2026\""])),
    ("questions.NAME", &[], Rename("[questions.fairness]", "[questions.f]", &[])),
    ("questions.NAME.path", &[], Set(&["questions.fairness.path=\"copy.csv\""])),
    ("ending of questions.NAME.path", &[], Set(&["questions.fairness.path=\"copy.jsonl\""])),
    ("bytes of questions.NAME.path", &[], Set(&["questions.fairness.path=\"other.csv\""])),
    ("questions.NAME.column", &[], Set(&["questions.fairness.column=\"x\""])),
    ("questions.NAME.only", &[], Set(&["questions.fairness.only=[\"prompt\", \"How are you?\"]"])),
    ("questions.NAME.limit", &[], Set(&["questions.fairness.limit=3"])),
    ("questions.NAME.tune", &[], Set(&["questions.fairness.tune=0.3"])),
    ("ending of questions.NAME.tune", &[LISTED], Set(&["questions.fairness.tune=\"copy.jsonl\""])),
    ("bytes of the file questions.NAME.tune", &[LISTED], Set(&["questions.fairness.tune=\"other.csv\""])),
    ("questions.NAME.goal", &[], Set(&["questions.fairness.goal=\"less\""])),
    ("score.method", &[], Set(&["score.method=\"wanda\""])),
    ("score.seed", &["score.method=\"random\""], Set(&["score.seed=7"])),
    ("score.modules", &[], Set(&["score.modules=\"self_attn\""])),
    ("score.layers", &[], Set(&["score.layers=\"0..1\""])),
    ("score.cap", &[], Set(&["score.cap=0.4"])),
    ("score.memory", &[], Set(&["score.memory=\"8 GiB\""])),
    ("score.keep", &[], Set(&["score.keep=\"full\""])),
    ("select.modules", &["score.modules=\"all\""], Set(&["select.modules=\"self_attn\""])),
    ("select.layers", &[], Set(&["select.layers=[1]"])),
    ("select.rule", &[], Set(&["select.rule=\"privacy & fairness - general\""])),
    (
        "the number of draws in select.rule",
        &["select.rule=\"stable(fairness, 2 of 3) & privacy - general\""],
        Set(&["select.rule=\"stable(fairness, 2 of 4) & privacy - general\""]),
    ),
    ("select.p", &["select.p=[0.125]", "select.q=[0.25]"], Set(&["select.p=[0.0625]"])),
    ("select.q", &["select.p=[0.125]", "select.q=[0.25]"], Set(&["select.q=[0.3]"])),
    ("select.points", &[], Set(&["select.points=[[0.125, 0.25], [0.125, 0.3]]"])),
    ("sweep.KEY", &[], Set(&["sweep.score.method=[\"wanda\"]"])),
    ("sweep.zip", &["sweep.score.method=[\"wanda\"]"], Set(&["sweep.zip=true"])),
    ("controls.points", &[], Set(&["controls.points=\"all\""])),
    ("controls.random", &[], Set(&["controls.random=1"])),
    ("patch.action", &[], Named("action")),
    ("generate.kind", &[GIVEN], Set(&[FROM_FILE])),
    ("generate.path", &[FROM_FILE, GIVEN], Set(&["generate.path=\"given-copy.jsonl\""])),
    ("ending of generate.path", &[FROM_FILE, GIVEN], Set(&["generate.path=\"given.csv\""])),
    ("bytes of generate.path", &[FROM_FILE, GIVEN], Set(&["generate.path=\"given-other.jsonl\""])),
    ("generate.max_new_tokens", &[], Set(&["generate.max_new_tokens=7"])),
    ("generate.chat_template", &["generate.chat_template=\"none\""], Set(&["generate.chat_template=\"model\""])),
    (
        "bytes of the file generate.chat_template",
        &["generate.chat_template=\"a.jinja\""],
        Set(&["generate.chat_template=\"b.jinja\""]),
    ),
    ("generate.think", &[], Set(&["generate.think=\"off\""])),
    ("generate.stop", &[], Set(&["generate.stop=[\"User:\"]"])),
    ("generate.temperature", &[], Set(&[DRAWN])),
    ("generate.top_k", &[DRAWN], Set(&["generate.top_k=40"])),
    ("generate.top_p", &[DRAWN], Set(&["generate.top_p=0.9"])),
    ("generate.seed", &[DRAWN], Set(&["generate.seed=7"])),
    ("judge.kind", &[], Set(&[MD_JUDGE])),
    ("judge.source", &[MD_JUDGE], Set(&["judge.source=\"sharded\""])),
    ("judge.url", &[HTTP, URL, MODEL], Set(&["judge.url=\"http://localhost/v2\""])),
    ("judge.model", &[HTTP, URL, MODEL], Set(&["judge.model=\"other\""])),
    ("judge.key_env", &[HTTP, URL, MODEL], Set(&["judge.key_env=\"A_KEY\""])),
    ("judge.timeout_seconds", &[HTTP, URL, MODEL], Set(&["judge.timeout_seconds=7"])),
    ("judge.at_once", &[HTTP, URL, MODEL], Set(&["judge.at_once=7"])),
    ("judge.template", &[MD_JUDGE], Set(&[OWN_FILE])),
    ("bytes of the file judge.template", &[MD_JUDGE, OWN_FILE], Set(&["judge.template=\"a.jinja\""])),
    ("judge.parse", &[MD_JUDGE], Set(&["judge.parse=\"released-code\""])),
    ("the refusal judge's phrases", &[], Named("phrases")),
    ("the controls of judges", &[], Named("controls")),
    ("the judge template that comes with dean", &[MD_JUDGE], Named("template")),
    ("divergence.questions", &[], Set(&["divergence.questions=\"fairness\""])),
    ("divergence.tokens", &[], Set(&["divergence.tokens=3"])),
    ("the base's states", &[], Output("divergence", "states")),
    ("outcomes of divergence", &[], Output("divergence", "outcomes")),
    ("perplexity.path", &[], Set(&["perplexity.path=\"copy.csv\""])),
    ("bytes of perplexity.path", &[], Set(&["perplexity.path=\"other.csv\""])),
    ("perplexity.window", &[], Set(&["perplexity.window=16"])),
    ("perplexity.join", &[], Set(&["perplexity.join=\"wikitext-rows\""])),
    ("perplexity.limit", &[], Set(&["perplexity.limit=1"])),
    ("inspect.caution", &[], Set(&["inspect.caution={fairness=[\"no\"]}"])),
    ("the cautionary phrases that come with dean", &[], Named("caution")),
    ("report.drop_leaked", &[], Set(&["report.drop_leaked=true"])),
    ("search.maximise", &[], Set(&["search.maximise=[\"fairness\"]"])),
    ("search.within", &[], Set(&["search.within={perplexity=1.05}"])),
    ("search.points", &[], Set(&["search.points=5"])),
    ("search.budget", &[], Set(&["search.budget=\"3h\""])),
    ("search.p", &[], Set(&["search.p=[0.125]"])),
    ("search.q", &[], Set(&["search.q=[0.125]"])),
    ("run.device", &[], Set(&["run.device=\"cpu\""])),
    ("run.store", &[], Set(&["run.store=\"elsewhere\""])),
    ("run.threads", &[], Set(&["run.threads=1"])),
    ("run.checkpoint_seconds", &[], Set(&["run.checkpoint_seconds=0"])),
    ("run.sources", &[], Set(&["run.sources=\"elsewhere\""])),
    ("the model's weights", &[], Set(&["model.source=\"weights\""])),
    ("the model's architecture", &[], Set(&["model.source=\"architecture\""])),
    ("the model's text", &[], Set(&["model.source=\"text\""])),
    ("the judge model's weights", &[MD_JUDGE], Set(&["judge.source=\"weights\""])),
    ("the judge model's architecture", &[MD_JUDGE], Set(&["judge.source=\"architecture\""])),
    ("the judge model's text", &[MD_JUDGE], Set(&["judge.source=\"text\""])),
    ("token ids", &[], Output("tokenize", "tokens")),
    ("calibration prompts", &[], Output("tokenize", "prompts")),
    ("a rank table", &[], Output("score", "ranks")),
    ("full scores", &["score.keep=\"full\""], Output("score", "scores")),
    ("a mask's digest", &[], Mask),
    ("the points table", &[], Points),
    ("a patch", &[], Output("patch", "patch")),
    ("answers", &[], Output("generate", "answers")),
    ("verdicts", &[], Output("judge", "verdicts")),
    ("outcomes of inspect", &[], Output("inspect", "outcomes")),
    ("outcomes of judge", &[], Output("judge", "outcomes")),
    ("outcomes of perplexity", &[], Output("perplexity", "outcomes")),
];

/// The footnotes: two ways to write a job that must have all keys in common.
pub const EXCEPTIONS: &[(&str, &[&str], &[&str])] = &[
    (
        "default",
        &[],
        &[
            "tokenize.drop_first_response_token=false",
            "score.keep=\"ranks\"",
            "score.layers=\"all\"",
            "data.privacy.skip=0",
            "data.privacy.turns=\"last\"",
            "data.privacy.too_long=\"error\"",
            "report.drop_leaked=false",
        ],
    ),
    (
        "date",
        &["generate.chat_template=\"none\""],
        &["generate.chat_template=\"none\"", "tokenize.chat_date=\"1 Jan 2026\""],
    ),
    ("layout", &[], &["data.privacy.format=\"pairs\""]),
    (
        "layout",
        &["data.privacy.path=\"chat.jsonl\""],
        &["data.privacy.path=\"chat.jsonl\"", "data.privacy.format=\"messages\""],
    ),
    ("file", &[], &["tokenize.chat_template=\"none\""]),
    (
        "file",
        &["data.privacy.path=\"chat.jsonl\"", "data.general.path=\"chat.jsonl\"", "data.fairness.path=\"chat.jsonl\""],
        &[
            "data.privacy.path=\"chat.jsonl\"",
            "data.general.path=\"chat.jsonl\"",
            "data.fairness.path=\"chat.jsonl\"",
            DRESSED,
        ],
    ),
    ("drawn", &[], &["score.seed=7"]),
    ("default", &[], &["generate.think=\"model\"", "generate.stop=[]", "generate.temperature=0"]),
    ("default", &[DRAWN], &[DRAWN, "generate.top_p=1"]),
    ("given", &[], &[GIVEN]),
    ("given", &[FROM_FILE, GIVEN], &[FROM_FILE, GIVEN, DRAWN, "generate.stop=[\"User:\"]"]),
    ("greedy", &[], &["generate.top_k=40", "generate.top_p=0.9", "generate.seed=7"]),
    ("asked", &[], &["judge.source=\"weights\"", "judge.parse=\"released-code\"", OWN_FILE]),
    ("file", &[MD_JUDGE, OWN_FILE], &[MD_JUDGE, "judge.template=\"judge-copy.txt\""]),
    ("file", &["tokenize.chat_template=\"a.jinja\""], &["tokenize.chat_template=\"a-copy.jinja\""]),
    ("rule", &[], &["select.rule=\"(fairness&privacy)-general\""]),
    ("rule", &[], &["select.rule=\"stable(fairness, 1 of 1) & privacy - general\""]),
    ("grid", &["select.points=[[0.125, 0.25]]"], &["select.p=[0.125]", "select.q=[0.25]"]),
    (
        "grid",
        &["select.points=[[0.125, 0.25], [0.1, 0.25]]"],
        &["select.points=[[0.1, 25e-2], [0.125, 0.250], [1e-1, 0.25]]"],
    ),
    ("modules", &[], &["select.modules=\"mlp\""]),
    ("modules", &[], &["score.modules=[\"up_proj\", \"down_proj\", \"gate_proj\"]"]),
    ("layers", &[], &["score.layers=\"0..\"", "select.layers=\"all\""]),
    ("layers", &["score.layers=\"..2\""], &["score.layers=[1, 0, 1]"]),
];
