//! Data as people have it: the containers, chat data, rows that are too long, and what is told about files that are no data.
//!
//! Must not know: how files are read.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, LargeStringArray, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, UInt32Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::support::Project;

const ROWS: usize = 50;

/// Prompt and response of each row.
fn texts() -> Vec<(String, String)> {
    let row = |row| (format!("Prompt {row}, \"why\"?\nÉ;\t"), format!("Response {}.", "of a row ".repeat(row % 7)));
    (0..ROWS).map(row).collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// A Parquet file with one column of conversations, as the Hub has them.
fn conversations(column: &str, rows: &[Vec<(&str, &str)>]) -> Vec<u8> {
    let turns: Vec<(&str, &str)> = rows.iter().flatten().copied().collect();
    let text = |texts: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
    let field = |name: &str| Field::new(name, DataType::Utf8, true);
    let fields = Fields::from(vec![field("content"), field("role")]);
    let columns =
        vec![text(turns.iter().map(|turn| turn.1).collect()), text(turns.iter().map(|turn| turn.0).collect())];
    let item = Arc::new(Field::new("item", DataType::Struct(fields.clone()), true));
    let lengths = OffsetBuffer::from_lengths(rows.iter().map(Vec::len));
    let list = ListArray::new(item, lengths, Arc::new(StructArray::new(fields, columns, None)), None);
    parquet(vec![(column, Arc::new(list))])
}

/// A row of token ids, as the text of its prompt and of its response. The model has a token a byte, and two marks.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    row: u32,
    prompt: String,
    response: String,
}

/// What `tokenize[privacy]` made, with one file in the place of the project's.
fn samples(project: &Project, name: &str, content: &[u8], settings: &[&str]) -> Vec<Sample> {
    tokenized(project, name, content, settings).0
}

/// The same, and what was said meanwhile.
fn tokenized(project: &Project, name: &str, content: &[u8], settings: &[&str]) -> (Vec<Sample>, String) {
    project.write(&format!("data/{name}"), content);
    let path = format!("data.privacy.path=data/{name}");
    let sets: Vec<&str> =
        std::iter::once(path.as_str()).chain(settings.iter().copied()).flat_map(|set| ["--set", set]).collect();
    let (_, said) = project.ok(&[&["run", "--until", "tokenize"], &sets[..]].concat());
    let status = project.status(&sets);
    let file = status["tokenize[privacy]"]["outputs"]["tokens"]["path"].as_str().unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap().build().unwrap();
    let mut found = Vec::new();
    for batch in reader.map(Result::unwrap) {
        let numbers = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<UInt32Type>().values().to_vec();
        let (rows, starts) = (numbers("row"), numbers("response_start"));
        for at in 0..batch.num_rows() {
            let ids = batch.column_by_name("input_ids").unwrap().as_list::<i32>().value(at);
            let ids = ids.as_primitive::<UInt32Type>().values().to_vec();
            let (prompt, response) = ids.split_at(starts[at] as usize);
            found.push(Sample { row: rows[at], prompt: text(prompt), response: text(response) });
        }
    }
    (found, said)
}

fn text(ids: &[u32]) -> String {
    let bytes = ids.iter().flat_map(|id| match id {
        256 => b"<|start|>".to_vec(),
        257 => b"<|end|>".to_vec(),
        byte => vec![u8::try_from(*byte).unwrap()],
    });
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

fn by_row(samples: Vec<Sample>) -> BTreeMap<u32, (String, String)> {
    samples.into_iter().map(|sample| (sample.row, (sample.prompt, sample.response))).collect()
}

#[test]
fn equal_rows_give_equal_token_ids_from_every_container() {
    let project = Project::new();
    let rows = texts();
    let delimited = |delimiter: char| {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let row =
            |(prompt, response): &(String, String)| format!("{}{delimiter}{}\r\n", quoted(response), quoted(prompt));
        format!("response{delimiter}prompt\r\n{}", rows.iter().map(row).collect::<String>()).into_bytes()
    };
    let objects: Vec<Value> =
        rows.iter().map(|(prompt, response)| json!({"prompt": prompt, "response": response, "n": 1})).collect();
    let lines = objects.iter().map(|object| format!("{object}\n")).collect::<String>().into_bytes();
    let table = parquet(vec![
        ("prompt", Arc::new(LargeStringArray::from_iter_values(rows.iter().map(|row| &row.0)))),
        ("response", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1)))),
    ]);
    let set = ["data.privacy.samples=20", "data.privacy.seed=3", "data.privacy.skip=2"];
    let expected = samples(&project, "x.csv", &delimited(','), &set);
    assert_eq!(expected.len(), 20);
    for sample in &expected {
        assert_eq!((&sample.prompt, &sample.response), (&rows[sample.row as usize].0, &rows[sample.row as usize].1));
    }
    for (name, content) in [
        ("x.tsv", delimited('\t')),
        ("x.jsonl", lines.clone()),
        ("x.json", serde_json::to_vec_pretty(&objects).unwrap()),
        ("y.json", json!({"version": 1, "data": objects}).to_string().into_bytes()),
        ("x.parquet", table.clone()),
        ("x.csv.gz", gzip(&delimited(','))),
        ("x.jsonl.zst", zstd::encode_all(&lines[..], 0).unwrap()),
        ("x.parquet.zst", zstd::encode_all(&table[..], 0).unwrap()),
        ("no-ending", table),
    ] {
        assert_eq!(samples(&project, name, &content, &set), expected, "{name}");
    }
}

/// Three conversations: of one question, of a system turn and two questions, and of one that ends with a question.
fn chats() -> Vec<Vec<(&'static str, &'static str)>> {
    vec![
        vec![("user", "Hi"), ("assistant", "Hello.")],
        vec![("system", "Be kind."), ("user", "A?"), ("assistant", "B."), ("user", "C?"), ("assistant", "D.")],
        vec![("user", "E?"), ("assistant", "F."), ("user", "G?")],
    ]
}

#[test]
fn conversations_are_dressed_by_the_template() {
    let project = Project::new();
    let turn = |(role, content): &(&str, &str)| format!("<|start|>{role}\n{content}<|end|>\n");
    let dressed = |turns: &[(&str, &str)]| turns.iter().map(turn).collect::<String>() + "<|start|>assistant\n";
    let chats = chats();
    let expected: BTreeMap<u32, (String, String)> = BTreeMap::from([
        (0, (dressed(&chats[0][..1]), "Hello.".to_owned())),
        (1, (dressed(&chats[1][..4]), "D.".to_owned())),
        (2, (dressed(&chats[2][..1]), "F.".to_owned())),
    ]);
    let three = ["data.privacy.samples=3"];
    let list = |role: &str, content: &str, names: fn(&str) -> &str| -> Vec<Value> {
        let turns =
            |chat: &Vec<(&str, &str)>| chat.iter().map(|turn| json!({role: names(turn.0), content: turn.1})).collect();
        chats.iter().map(turns).collect()
    };
    let openai = list("role", "content", |role| role);
    let sharegpt = list("from", "value", |role| match role {
        "user" => "human",
        "assistant" => "gpt",
        other => other,
    });
    let lines = |rows: Vec<Value>| rows.iter().map(|row| format!("{row}\n")).collect::<String>().into_bytes();
    let csv: String = openai.iter().map(|turns| format!("\"{}\"\n", turns.to_string().replace('"', "\"\""))).collect();
    let messages = lines(openai.iter().map(|turns| json!({"prompt": "Hi", "messages": turns})).collect());
    for (name, content) in [
        ("m.jsonl", messages.clone()),
        ("m.parquet", conversations("messages", &chats)),
        ("c.parquet", conversations("conversations", &chats)),
        (
            "s.json",
            json!(sharegpt.iter().map(|turns| json!({"conversations": turns})).collect::<Vec<_>>())
                .to_string()
                .into_bytes(),
        ),
        ("m.csv", format!("messages\n{csv}").into_bytes()),
    ] {
        assert_eq!(by_row(samples(&project, name, &content, &three)), expected, "{name}");
    }
    let named = ["data.privacy.samples=3", "data.privacy.format=messages", "data.privacy.prompt=dialog"];
    assert_eq!(by_row(samples(&project, "d.parquet", &conversations("dialog", &chats), &named)), expected);

    // Every turn of the assistant, each with all that was said before.
    let every = samples(&project, "m.jsonl", &messages, &["data.privacy.samples=3", "data.privacy.turns=every"]);
    assert_eq!(every.len(), 4);
    let second: Vec<&Sample> = every.iter().filter(|sample| sample.row == 1).collect();
    assert_eq!((&second[0].prompt, &*second[0].response), (&dressed(&chats[1][..2]), "B."));
    assert_eq!((&second[1].prompt, &*second[1].response), (&dressed(&chats[1][..4]), "D."));

    // A conversation of one question is what the pair is under the same template, and bare if it is to be.
    let one = lines(vec![json!({"messages": openai[0]})]);
    let pair = b"prompt,response\nHi,Hello.\n";
    let set = ["data.privacy.samples=1", "tokenize.chat_template=model"];
    assert_eq!(samples(&project, "one.jsonl", &one, &set), samples(&project, "one.csv", pair, &set));
    let bare = ["data.privacy.samples=1", "tokenize.chat_template=none"];
    assert_eq!(samples(&project, "one.jsonl", &one, &bare), samples(&project, "one.csv", pair, &bare[..1]));
}

#[test]
fn instructions_are_pairs() {
    let project = Project::new();
    let alpaca = b"instruction,input,output\nAdd.,1 and 2,3\nGreet.,,Hello.\n";
    let found = by_row(samples(&project, "alpaca.csv", alpaca, &["data.privacy.samples=2"]));
    assert_eq!(found[&0], ("Add.\n1 and 2".to_owned(), "3".to_owned()));
    assert_eq!(found[&1], ("Greet.".to_owned(), "Hello.".to_owned()));
    let completion = br#"[{"prompt": "Greet.", "completion": "Hello."}]"#;
    let found = samples(&project, "completion.json", completion, &["data.privacy.samples=1"]);
    assert_eq!((&*found[0].prompt, &*found[0].response), ("Greet.", "Hello."));
}

#[test]
fn rows_longer_than_the_context_are_cut_or_passed_over() {
    let project = Project::new();
    let mut rows = String::from("prompt,response\n");
    for row in 0..10 {
        let words = if row % 3 == 0 { 40 } else { 2 };
        rows.push_str(&format!("Prompt {row},{}\n", format!("answer {row} ").repeat(words)));
    }
    let all = ["data.privacy.samples=6", "data.privacy.too_long=truncate"];
    let (cut, said) = tokenized(&project, "long.csv", rows.as_bytes(), &all);
    let long = cut.iter().filter(|sample| sample.row % 3 == 0).count();
    assert!(long > 1 && cut.len() == 6);
    for sample in &cut {
        assert_eq!(sample.prompt.len() + sample.response.len() == 256, sample.row % 3 == 0, "{sample:?}");
    }
    assert!(
        said.contains(&format!("each of {long} rows that are longer than the model's context was cut at its end")),
        "{said}"
    );

    let skip = |settings: &[&str]| {
        let settings = [&["data.privacy.too_long=skip"], settings].concat();
        let (samples, said) = tokenized(&project, "long.csv", rows.as_bytes(), &settings);
        (samples.iter().map(|sample| sample.row).collect::<Vec<_>>(), said)
    };
    let (rows, said) = skip(&["data.privacy.samples=6"]);
    assert!(rows.len() == 6 && rows.iter().all(|row| row % 3 != 0), "{rows:?}");
    assert!(said.contains("rows that are longer than the model's context was passed over"), "{said}");
    // What is passed over does not count, so that two parts of the order have no row in common.
    let first = skip(&["data.privacy.samples=3"]).0;
    let second = skip(&["data.privacy.samples=3", "data.privacy.skip=3"]).0;
    assert_eq!([first, second].concat(), rows);
    let refused = |set: &str| {
        project.refused(&[
            "run",
            "--set",
            "data.privacy.path=data/long.csv",
            "--set",
            "data.privacy.samples=7",
            "--set",
            set,
        ])
    };
    insta::assert_snapshot!(refused("data.privacy.too_long=skip"), @"
    error: tokenize[privacy]: 7 samples were asked for, but the file has 10 rows, of which 4 are longer than the model's context
    hint: lower `samples` of this data set, or give it more rows
    ");
    insta::assert_snapshot!(refused("data.privacy.too_long=error"), @r#"
    error: tokenize[privacy]: [project]/data/long.csv: line 8: the row has 368 tokens, the model's context is 256
    hint: remove or shorten the row, set too_long = "skip" or "truncate" for this data set, or choose a model with a longer context
    "#);
    insta::assert_snapshot!(refused("data.privacy.too_long=drop"), @r#"
    error: --set data.privacy.too_long: `too_long` must be "error", "truncate" or "skip", found "drop"
    hint: too_long: what becomes of a row that is longer than the model's context
    "#);
}

#[test]
fn questions_may_be_conversations() {
    let project = Project::new();
    let turns = [("system", "Be kind."), ("user", "A?"), ("assistant", "B."), ("user", "C?"), ("assistant", "D.")];
    project.write("data/q.parquet", conversations("messages", &[turns.to_vec()]));
    let set = ["--set", "questions.fairness.path=data/q.parquet", "--set", "questions.fairness.column=messages"];
    project.ok(&[&["run", "--until", "generate"], &set[..]].concat());
    let status = project.status(&set);
    let file = status["generate[base]"]["outputs"]["answers"]["path"].as_str().unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap().build().unwrap();
    let batch = reader.map(Result::unwrap).next().unwrap();
    let ids = batch.column_by_name("prompt_ids").unwrap().as_list::<i32>().value(0);
    assert_eq!(
        text(ids.as_primitive::<UInt32Type>().values()),
        "<|start|>system\nBe kind.<|end|>\n<|start|>user\nA?<|end|>\n<|start|>assistant\nB.<|end|>\n<|start|>user\nC?<|end|>\n<|start|>assistant\n"
    );
    assert_eq!(batch.column_by_name("question").unwrap().as_string::<i32>().value(0), "C?");
}

#[test]
fn what_cannot_be_used_is_told_with_its_place() {
    let project = Project::new();
    let with = |name: &str, content: &[u8], settings: &[&str]| {
        project.write(&format!("data/{name}"), content);
        let path = format!("data.privacy.path=data/{name}");
        let sets = std::iter::once(path.as_str()).chain(settings.iter().copied()).chain(["data.privacy.samples=1"]);
        let sets: Vec<&str> = sets.flat_map(|set| ["--set", set]).collect();
        let run = project.refused(&[&["run"], &sets[..]].concat());
        assert_eq!(run, project.refused(&[&["plan"], &sets[..]].concat()));
        run
    };
    let file = |name: &str, content: &[u8]| with(name, content, &[]);
    insta::assert_snapshot!(file("x.csv", b"prompt;response\nIs A bad?;No.\n"), @r#"
    error: tokenize[privacy]: [project]/data/x.csv: line 1: the columns are separated by semicolons, not by commas
    hint: save it with commas (spreadsheets call it "CSV UTF-8"), or: python3 -c 'import pandas; pandas.read_csv("OLD", sep=";").to_csv("NEW", index=False)'
    "#);
    insta::assert_snapshot!(file("x.csv", b"<!DOCTYPE html>\n<html><body>404</body></html>"), @r#"
    error: tokenize[privacy]: [project]/data/x.csv: this is an HTML page, not a data file
    hint: the address led to a page about the file: fetch the file itself (on the Hugging Face Hub `resolve` in place of `blob`, on GitHub "Raw")
    "#);
    insta::assert_snapshot!(file("x.jsonl", b"\n\n<html>\n"), @r#"
    error: tokenize[privacy]: [project]/data/x.jsonl: this is an HTML page, not a data file
    hint: the address led to a page about the file: fetch the file itself (on the Hugging Face Hub `resolve` in place of `blob`, on GitHub "Raw")
    "#);
    insta::assert_snapshot!(file("x.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 135\n"), @"
    error: tokenize[privacy]: [project]/data/x.parquet: this is a Git LFS pointer, not the file itself
    hint: fetch the file with `git lfs pull`
    ");
    insta::assert_snapshot!(file("x.csv", &"\u{feff}prompt,response\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()), @r#"
    error: tokenize[privacy]: [project]/data/x.csv: this is UTF-16 text, not UTF-8
    hint: save it as UTF-8 (spreadsheets call it "CSV UTF-8"), or: iconv -f UTF-16 -t UTF-8 OLD > NEW
    "#);
    insta::assert_snapshot!(file("x.json", br#"{"error": "Entry not found"}"#), @"
    error: tokenize[privacy]: [project]/data/x.json: line 1: no field `prompt`; found `error`
    hint: name one of these in the pipeline file, or rename the field in the data
    ");
    insta::assert_snapshot!(file("x.json.gz", b"[]"), @"
    error: tokenize[privacy]: [project]/data/x.json.gz: there are no rows
    hint: give a file with at least one row, or take the data set out of the pipeline file
    ");
    insta::assert_snapshot!(file("x.csv.gz", &gzip(b"prompt,response\na,b\n")[..24]), @"
    error: tokenize[privacy]: [project]/data/x.csv.gz: it cannot be unpacked with gzip: it ends too early
    hint: the file is damaged or was not fetched whole: fetch it again
    ");
    insta::assert_snapshot!(file("x.json", b"[{\"prompt\": \"a\", \"response\": \"b\"},\n {\"prompt\": \"a\", \"response\": 3}]"), @"
    error: tokenize[privacy]: [project]/data/x.json: item [1], line 2: field `response` is a number, not text
    hint: write text there, leave the row out, or name another field in the pipeline file
    ");
    insta::assert_snapshot!(file("x.jsonl", br#"{"messages": [{"role": "user", "content": "a"}]}"#), @"
    error: tokenize[privacy]: [project]/data/x.jsonl: line 1: there is no response: no turn is the assistant's
    hint: every row needs a response; remove the row or complete it
    ");
    insta::assert_snapshot!(file("x.jsonl", br#"{"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]}"#), @"
    error: tokenize[privacy]: [project]/data/x.jsonl: line 1: turn 2: `tool` speaks, who is neither system, user nor assistant
    hint: leave such rows out of the data: only turns of text by system, user and assistant are read
    ");
    insta::assert_snapshot!(file("x.parquet", &conversations("messages", &[vec![("assistant", "")]])), @"
    error: tokenize[privacy]: [project]/data/x.parquet: row 0 (counted from 0): the response is empty (column `messages`)
    hint: every calibration pair needs a response; remove the row or fill it in
    ");
    insta::assert_snapshot!(with("x.jsonl", br#"{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#, &["tokenize.chat_template=none"]), @r#"
    error: tokenize[privacy]: [project]/data/x.jsonl: line 1: before the response there is system, user, and prompts are not dressed
    hint: only a chat template can write a conversation: set tokenize.chat_template = "model", or to a template file
    "#);
    insta::assert_snapshot!(with("x.jsonl", br#"{"prompt": "a", "response": "b"}"#, &["data.privacy.format=messages"]), @"
    error: tokenize[privacy]: [project]/data/x.jsonl: line 1: no field `messages`; found `prompt`, `response`
    hint: name one of these in the pipeline file, or rename the field in the data
    ");
    insta::assert_snapshot!(with("x.jsonl", br#"{"prompt": "a", "response": "b"}"#, &["data.privacy.format=chatml"]), @r#"
    error: --set data.privacy.format: `format` must be "messages", "sharegpt", "alpaca" or "pairs", found "chatml"
    hint: format: how columns make a conversation; found by their names unless it is set
    "#);
    assert!(!project.store.join("records").exists());

    // A model without a template cannot be spoken to in turns.
    let settings = project.dir.join("model/tokenizer_config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&settings).unwrap()).unwrap();
    config.as_object_mut().unwrap().remove("chat_template");
    std::fs::write(&settings, config.to_string()).unwrap();
    insta::assert_snapshot!(file("x.parquet", &conversations("messages", &chats())), @"
    error: tokenize[privacy]: [project]/data/x.parquet: row 2 (counted from 0): this model has no chat template, and only one can write a conversation
    hint: set tokenize.chat_template to a template file, or choose a model that has one
    ");
}

#[test]
fn a_small_file_that_unpacks_to_very_much_is_refused() {
    let project = Project::new();
    let zeros = vec![0; 1 << 20];
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    (0..1100).for_each(|_| encoder.write_all(&zeros).unwrap());
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    project.write("data/privacy.csv.zst", bomb);
    insta::assert_snapshot!(project.refused(&["run", "--set", "data.privacy.path=data/privacy.csv.zst"]), @"
    error: tokenize[privacy]: [project]/data/privacy.csv.zst: it unpacks to more than 1.0 GiB, the most that is taken from one file
    hint: give a smaller part of the data, or check where the file comes from: a small file that unpacks to so much is often an attack
    ");
}
