//! The room as its users see it: bytes of a file in, rows and turns or a sentence out.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, LargeStringArray, ListArray, RecordBatch, StringArray, StringViewArray,
    StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::containers::CONTAINERS;
use super::layouts::LAYOUTS;
use super::*;
use crate::error::{Error, Result};

fn rows_of(name: &str, content: &[u8], wanted: &[Wanted]) -> Result<Vec<Row>> {
    let bytes = Bytes::copy_from_slice(content);
    read_rows(&bytes, glance(Path::new(name), &bytes)?.format, wanted)
}

/// The texts of some columns.
fn read(name: &str, content: &[u8], columns: &[&str]) -> Result<Vec<Vec<String>>> {
    let wanted: Vec<Wanted> = columns.iter().map(|name| Wanted::text(*name)).collect();
    let text = |cell: Value| cell.as_str().unwrap().to_owned();
    Ok(rows_of(name, content, &wanted)?.into_iter().map(|row| row.cells.into_iter().map(text).collect()).collect())
}

fn told(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{} | {hint}", error.message()),
        None => error.message().to_owned(),
    }
}

fn message(name: &str, content: &[u8], columns: &[&str]) -> String {
    told(&read(name, content, columns).unwrap_err())
}

fn places(name: &str, content: &[u8]) -> Vec<String> {
    let rows = rows_of(name, content, &[Wanted::any("a")]).unwrap();
    rows.iter().map(|row| row.place.to_string()).collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A Parquet file of text columns, of a kind of strings each, in row groups of three rows.
fn parquet(names: &[&str], rows: &[Vec<String>], compression: Compression) -> Vec<u8> {
    let kinds: [fn(Vec<&str>) -> ArrayRef; 4] = [
        |texts| Arc::new(StringArray::from(texts)),
        |texts| Arc::new(LargeStringArray::from(texts)),
        |texts| Arc::new(StringViewArray::from(texts)),
        |texts| Arc::new(DictionaryArray::<Int32Type>::from_iter(texts)),
    ];
    let column = |(at, name): (usize, &&str)| {
        let texts = rows.iter().map(|row| row[at].as_str()).collect();
        ((*name).to_owned(), kinds[at % kinds.len()](texts))
    };
    written(RecordBatch::try_from_iter(names.iter().enumerate().map(column)).unwrap(), compression)
}

fn written(batch: RecordBatch, compression: Compression) -> Vec<u8> {
    let properties =
        WriterProperties::builder().set_compression(compression).set_max_row_group_row_count(Some(3)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// A Parquet file with a column `messages` as the Hub has them: lists of structs.
fn conversations(rows: &[Vec<(&str, &str)>]) -> Vec<u8> {
    let turns: Vec<(&str, &str)> = rows.iter().flatten().copied().collect();
    let text = |texts: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
    let fields =
        Fields::from(vec![Field::new("content", DataType::Utf8, true), Field::new("role", DataType::Utf8, true)]);
    let columns =
        vec![text(turns.iter().map(|turn| turn.1).collect()), text(turns.iter().map(|turn| turn.0).collect())];
    let structs = StructArray::new(fields.clone(), columns, None);
    let item = Arc::new(Field::new("item", DataType::Struct(fields), true));
    let list = ListArray::new(item, OffsetBuffer::from_lengths(rows.iter().map(Vec::len)), Arc::new(structs), None);
    let schema = Schema::new(vec![Field::new("messages", list.data_type().clone(), true)]);
    written(RecordBatch::try_new(Arc::new(schema), vec![Arc::new(list)]).unwrap(), Compression::SNAPPY)
}

#[test]
fn csv_as_spreadsheets_write_it() {
    let content = "\u{feff}id,response,prompt\r\n1,\"a, \"\"b\"\"\",\"two\r\nlines\"\r\n\r\n2,c,d é\r\n";
    assert_eq!(
        read("x.csv", content.as_bytes(), &["prompt", "response"]).unwrap(),
        [["two\r\nlines", "a, \"b\""], ["d é", "c"]]
    );
    assert_eq!(read("x.csv", b"a,b\n6\"\" pipe,\"x\" \"y\n", &["a"]).unwrap(), [["6\"\" pipe"]]);
    assert_eq!(read("x.CSV", b"a\nlast line without end", &["a"]).unwrap(), [["last line without end"]]);
    assert_eq!(
        read("x.csv", b"a,b\n\"5\"\" pipe\",1\n6\" pipe,\"\"\n", &["a", "b"]).unwrap(),
        [["5\" pipe", "1"], ["6\" pipe", ""]]
    );
    assert_eq!(read("x.tsv", b"a\tb\n1, 2\t\"x\ty\"\n", &["b", "a"]).unwrap(), [["x\ty", "1, 2"]]);
}

#[test]
fn json_as_programs_write_it() {
    let content = "\u{feff}{\"prompt\": \"a\\nb\", \"n\": 1}\r\n\r\n{\"n\": null, \"prompt\": \"\"}";
    assert_eq!(read("x.jsonl", content.as_bytes(), &["prompt"]).unwrap(), [["a\nb"], [""]]);
    assert_eq!(read("x.jsonl", b"{\"a\":\"1\"}", &["a", "a"]).unwrap(), [["1", "1"]]);
    for (name, content) in [
        ("x.json", &b" [\n {\"a\": \"1\"},\n {\"b\": [1, \"x\"], \"a\": \"2\"}\n]\n"[..]),
        ("x.jsonl", b"[{\"a\": \"1\"}, {\"a\": \"2\"}]"),
        ("x.json", b"{\"version\": 2, \"tags\": [\"t\"], \"data\": [{\"a\": \"1\"}, {\"a\": \"2\"}], \"more\": {}}"),
        ("x.json", b"{\"a\": \"1\"}\n{\"a\": \"2\"}\n"),
        ("rows", b"[{\"a\": \"1\"}, {\"a\": \"2\"}]"),
    ] {
        assert_eq!(read(name, content, &["a"]).unwrap(), [["1"], ["2"]], "{name}");
    }
    assert_eq!(read("x.json", b"{\"a\": \"1\"}", &["a"]).unwrap(), [["1"]]);
}

#[test]
fn parquet_as_the_hub_has_it() {
    let rows: Vec<Vec<String>> =
        (0..10).map(|row| (0..4).map(|column| format!("é {row} {column} {}", "x".repeat(row * 9))).collect()).collect();
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
        Compression::LZ4,
    ] {
        let file = parquet(&["a", "b", "c", "d"], &rows, compression);
        assert_eq!(read("x.parquet", &file, &["a", "b", "c", "d"]).unwrap(), rows, "{compression}");
        assert_eq!(read("x.csv", &file, &["d"]).unwrap()[9], [rows[9][3].clone()]);
    }
    let file = conversations(&[vec![("user", "a"), ("assistant", "b")], vec![], vec![("user", "c")]]);
    let found = rows_of("0000.parquet", &file, &[Wanted::any("messages"), Wanted::maybe("system")]).unwrap();
    let cells: Vec<Value> = found.into_iter().map(|row| Value::Array(row.cells)).collect();
    assert_eq!(
        json!(cells),
        json!([
            [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], null],
            [[], null],
            [[{"role": "user", "content": "c"}], null],
        ])
    );
}

#[test]
fn a_place_is_where_a_person_finds_the_row() {
    assert_eq!(places("x.csv", b"a,b\n1,\"2\n3\"\n\n4,5\r\n6,7"), ["line 2", "line 5", "line 6"]);
    assert_eq!(places("x.jsonl", b"\n{\"a\":1}\n\n{\"a\":2}"), ["line 2", "line 4"]);
    assert_eq!(places("x.json", b"[{\"a\":1},\n {\n\"a\":2}]"), ["item [0], line 1", "item [1], line 2"]);
    assert_eq!(places("x.json", b"{\"rows\":\n[{\"a\":1},\n {\"a\":2}]}"), ["item [0], line 2", "item [1], line 3"]);
    let file = parquet(&["a"], &vec![vec!["x".to_owned()]; 4], Compression::SNAPPY);
    assert_eq!(places("x.parquet", &file)[3], "row 3 (counted from 0)");
}

#[test]
fn a_missing_column_names_the_nearest() {
    insta::assert_snapshot!(message("x.csv", b"question,label\na,b\n", &["questions"]), @"line 1: no column `questions`; found `question`, `label` | did you mean `question`? The pipeline file says which column is read");
    insta::assert_snapshot!(message("x.csv", b"a,b\n1,2\n", &["prompt"]), @"line 1: no column `prompt`; found `a`, `b` | name one of these in the pipeline file, or rename the column in the data");
    insta::assert_snapshot!(message("x.jsonl", b"{\"Prompt\":\"\"}\n", &["prompt"]), @"line 1: no field `prompt`; found `Prompt` | did you mean `Prompt`? The pipeline file says which field is read");
    let file = parquet(&["prompts"], &[vec!["x".to_owned()]], Compression::SNAPPY);
    insta::assert_snapshot!(message("x.parquet", &file, &["prompt"]), @"no column `prompt`; found `prompts` | did you mean `prompts`? The pipeline file says which column is read");
}

#[test]
fn other_separators_are_called_by_their_names() {
    insta::assert_snapshot!(message("x.csv", b"prompt;response\na;b, c\n", &["prompt", "response"]), @r#"line 1: the columns are separated by semicolons, not by commas | save it with commas (spreadsheets call it "CSV UTF-8"), or: python3 -c 'import pandas; pandas.read_csv("OLD", sep=";").to_csv("NEW", index=False)'"#);
    insta::assert_snapshot!(message("x.csv", b"\"prompt\";\"response\"\r\n1;2\r\n", &["prompt"]), @r#"line 1: the columns are separated by semicolons, not by commas | save it with commas (spreadsheets call it "CSV UTF-8"), or: python3 -c 'import pandas; pandas.read_csv("OLD", sep=";").to_csv("NEW", index=False)'"#);
    insta::assert_snapshot!(message("x.csv", b"sep=;\nprompt;response\n", &["prompt"]), @r#"line 1: the columns are separated by semicolons, not by commas | save it with commas (spreadsheets call it "CSV UTF-8"), or: python3 -c 'import pandas; pandas.read_csv("OLD", sep=";").to_csv("NEW", index=False)'"#);
    insta::assert_snapshot!(message("x.csv", b"prompt\tresponse\na\tb\n", &["prompt"]), @"line 1: the columns are separated by tabs, not by commas | rename the file so that it ends in .tsv");
    insta::assert_snapshot!(message("x.tsv", b"prompt,response\na,b\n", &["prompt"]), @"line 1: the columns are separated by commas, not by tabs | rename the file so that it ends in .csv");
    insta::assert_snapshot!(message("x.csv", b"a|prompt\na|b\n", &["prompt"]), @r#"line 1: the columns are separated by bars, not by commas | save it with commas (spreadsheets call it "CSV UTF-8"), or: python3 -c 'import pandas; pandas.read_csv("OLD", sep="|").to_csv("NEW", index=False)'"#);
}

#[test]
fn malformed_csv_names_the_line() {
    insta::assert_snapshot!(message("x.csv", b"a,b\n\"1\n1\",2\n3\n", &["a"]), @"line 4: 1 value, but line 1 names 2 columns | put a value that holds a comma, a quote or a line break in double quotes");
    insta::assert_snapshot!(message("x.csv", b"a\n1\n\"2\n3\n4\n", &["a"]), @r#"line 3: a quote is opened and never closed | close it, or write a quote inside a value twice: """#);
    insta::assert_snapshot!(message("x.csv", b"a,a\n1,2\n", &["a"]), @"line 1: two columns are called `a` | rename one of them, so that it is clear which is meant");
    insta::assert_snapshot!(message("x.csv", b"a\n1\n\xff\n", &["a"]), @r#"line 3: not UTF-8 text, but probably Latin-1 or Windows-1252 (byte 0xff) | save the file as UTF-8 (spreadsheets call it "CSV UTF-8"), or: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW"#);
}

#[test]
fn lines_are_counted_the_same_with_crlf() {
    assert!(message("x.csv", b"a,b\r\n1,2\r\n3\r\n", &["a"]).starts_with("line 3: 1 value,"));
    assert!(message("x.csv", b"a\r\n1\r\n\"2\r\n", &["a"]).starts_with("line 3: a quote"));
    assert!(message("x.csv", b"a,b\r\n1,2\r\n1,\"2\"\"\r\n3,4\r\n", &["a"]).starts_with("line 3: a quote"));
}

#[test]
fn malformed_json_names_the_line() {
    insta::assert_snapshot!(message("x.jsonl", b"{\"a\":\"1\"}\n{\"a\":\n", &["a"]), @"line 2, column 5: not JSON: EOF while parsing a value | a .jsonl file holds one complete JSON object on every line");
    insta::assert_snapshot!(message("x.jsonl", b"\n{\"a\":1}\n", &["a"]), @"line 2: field `a` is a number, not text | write text there, leave the row out, or name another field in the pipeline file");
    insta::assert_snapshot!(message("x.jsonl", b"{\"a\":\"1\"}\n[]\n", &["a"]), @r#"line 2: a list where an object is expected | a row is a JSON object, like {"prompt": "…", "response": "…"}"#);
    insta::assert_snapshot!(message("x.json", b"[{\"a\":\"1\"},\n {\"a\": tru}]", &["a"]), @"line 2, column 11: not JSON: expected ident | a .json file holds one list of JSON objects, or one object a line; was it fetched whole?");
    insta::assert_snapshot!(message("x.json", b"[{\"a\":\"1\"}\n {\"a\":\"2\"}]", &["a"]), @"line 2: not JSON: expected `]` | a .json file holds one list of JSON objects, or one object a line; was it fetched whole?");
    insta::assert_snapshot!(message("x.json", b"[{\"a\":\"1\"},\n", &["a"]), @"line 2: not JSON: the text ends too early | a .json file holds one list of JSON objects, or one object a line; was it fetched whole?");
    insta::assert_snapshot!(message("x.json", b"[{\"a\":\"1\"}] x", &["a"]), @"line 1: not JSON: more text behind the end of the list | a .json file holds one list of JSON objects, or one object a line; was it fetched whole?");
    insta::assert_snapshot!(message("x.json", b"{\"train\": [{\"a\":\"1\"}], \"test\": [{\"a\":\"1\"}]}", &["a"]), @"the object has 2 lists of objects: `train`, `test` | write the one that is meant into a file of its own");
    insta::assert_snapshot!(message("x.json", b"{\"a\": [\"1\", \"2\"]}", &["a"]), @"line 1: field `a` is a list, not text | write text there, leave the row out, or name another field in the pipeline file");
    insta::assert_snapshot!(message("x.json", b"a,b\n1,2\n", &["a"]), @"line 1, column 1: not JSON: expected value | a .jsonl file holds one complete JSON object on every line");
}

#[test]
fn malformed_parquet_is_a_sentence() {
    let file = parquet(&["a"], &[vec!["x".to_owned()]], Compression::SNAPPY);
    insta::assert_snapshot!(message("x.parquet", &file[..file.len() - 9], &["a"]), @"not readable as Parquet: Invalid Parquet file. Corrupt footer | the file is damaged or was not fetched whole: fetch it again");
    insta::assert_snapshot!(message("x.parquet", b"a,b\n1,2\n", &["a"]), @"this is not a Parquet file | its name ends as such a file's; name it as what it is, or fetch it again");
    let numbers: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![1]));
    let numbers = written(RecordBatch::try_from_iter([("a", numbers)]).unwrap(), Compression::SNAPPY);
    insta::assert_snapshot!(message("x.parquet", &numbers, &["a"]), @"row 0 (counted from 0): column `a` is a number, not text | write text there, leave the row out, or name another column in the pipeline file");
    let gap: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None]));
    let gap = written(RecordBatch::try_from_iter([("a", gap)]).unwrap(), Compression::SNAPPY);
    insta::assert_snapshot!(message("x.parquet", &gap, &["a"]), @"row 1 (counted from 0): column `a` is null, not text | write text there, leave the row out, or name another column in the pipeline file");
}

/// Runs of one value take a few bytes, whatever they stand for.
#[test]
fn parquet_that_expands_to_too_much_is_refused() {
    let text = "x".repeat(1 << 20);
    let runs = DictionaryArray::<Int32Type>::from_iter(std::iter::repeat_n(text.as_str(), 1500));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_page_size_limit(4 << 20)
        .build();
    let batch = RecordBatch::try_from_iter([("a", Arc::new(runs) as ArrayRef)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    let file = writer.into_inner().unwrap();
    assert!(file.len() < 1 << 20, "{}", file.len());
    let bytes = Bytes::from(file);
    let mut seen = 0;
    let format = glance(Path::new("x.parquet"), &bytes).unwrap().format;
    let error = format
        .rows(&bytes, &[Wanted::text("a")], &mut |_| {
            seen += 1;
            Ok(())
        })
        .unwrap_err();
    assert!(error.message().ends_with("unpacks to more than 1.0 GiB, the most that is taken from one file"), "{error}");
    assert_eq!(seen, 1024);
}

/// A megabyte of empty objects takes hundreds as rows, and a few bytes of runs stand for millions of rows.
#[test]
fn rows_that_take_far_more_memory_than_their_file_are_refused() {
    let objects = format!("{{\"a\": [{}{{\"b\": 1}}]}}\n", "{\"b\": 1}, ".repeat(800_000));
    let nulls: ArrayRef = Arc::new(StringArray::from(vec![""; 8_000_000]));
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let batch = RecordBatch::try_from_iter([("a", nulls)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    let empty = writer.into_inner().unwrap();
    assert!(empty.len() < 100_000);
    for (name, content) in [("x.jsonl", gzip(objects.as_bytes())), ("x.parquet", empty)] {
        let error = rows_of(name, &content, &[Wanted::any("a")]).unwrap_err();
        assert!(error.message().starts_with("the rows cannot be read: it takes more than "), "{name}: {error}");
        assert!(error.hint_text().unwrap().contains("a smaller part"), "{name}");
    }
}

#[test]
fn what_is_no_data_file_is_called_by_its_name() {
    insta::assert_snapshot!(message("x.csv", b"<!DOCTYPE html>\n<html>", &["a"]), @r#"this is an HTML page, not a data file | the address led to a page about the file: fetch the file itself (on the Hugging Face Hub `resolve` in place of `blob`, on GitHub "Raw")"#);
    insta::assert_snapshot!(message("x.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", &["a"]), @"this is a Git LFS pointer, not the file itself | fetch the file with `git lfs pull`");
    insta::assert_snapshot!(message("x.csv", b"\xff\xfea\0,\0b\0\n\0", &["a"]), @r#"this is UTF-16 text, not UTF-8 | save it as UTF-8 (spreadsheets call it "CSV UTF-8"), or: iconv -f UTF-16 -t UTF-8 OLD > NEW"#);
    insta::assert_snapshot!(message("x.csv", b"prompt,response\nM\xfcller,Ja\n", &["prompt"]), @r#"line 2: not UTF-8 text, but probably Latin-1 or Windows-1252 (byte 0xfc) | save the file as UTF-8 (spreadsheets call it "CSV UTF-8"), or: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW"#);
    insta::assert_snapshot!(message("x.xlsx", b"PK\x03\x04..xl/workbook.xml", &["a"]), @r#"x.xlsx: this is an Excel workbook | save the sheet as "CSV UTF-8""#);
    insta::assert_snapshot!(message("notes.txt", b"Hello.", &["a"]), @"notes.txt is no data file, by its name and content | names of data files end in .csv, .json, .jsonl, .ndjson, .parquet, .pq, .tsv, .tab, each also with .gz or .zst behind it");
    insta::assert_snapshot!(message("x.csv.gz", &gzip(b"a,b\n1,2\n")[..20], &["a"]), @"it cannot be unpacked with gzip: it ends too early | the file is damaged or was not fetched whole: fetch it again");
}

#[test]
fn empty_files_are_errors() {
    insta::assert_snapshot!(message("x.csv", b"", &["a"]), @"there are no rows | give a file with at least one row, or take the data set out of the pipeline file");
    let none = parquet(&["a"], &[], Compression::SNAPPY);
    for (name, content) in [
        ("x.csv", &b"a,b\n"[..]),
        ("x.jsonl", b"\n\n"),
        ("x.json", b"[]"),
        ("x.json", b""),
        ("x.csv.gz", &gzip(b"")),
        ("x.parquet", &none),
    ] {
        assert!(message(name, content, &["a"]).starts_with("there are no rows"), "{name}");
    }
}

#[test]
fn each_member_of_a_registry_is_one_file_and_one_line() {
    let listed = |room: &str, beside: &[&str]| {
        let room = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/data").join(room);
        let stem = |path: &std::path::PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
        let found = crate::files::list(&room).unwrap();
        found.iter().map(stem).filter(|stem| stem != "mod" && !beside.contains(&stem.as_str())).collect::<Vec<_>>()
    };
    assert!(listed("containers", &[]).iter().eq(CONTAINERS.iter().map(|container| container.name())));
    let mut layouts: Vec<&str> = LAYOUTS.iter().map(|layout| layout.name()).collect();
    layouts.sort_unstable();
    assert_eq!(listed("layouts", &["tests", "turns"]), layouts);
}

/// The same rows in every container.
fn containers(names: &[&str], rows: &[Vec<String>]) -> Vec<(&'static str, Vec<u8>)> {
    let delimited = |delimiter: u8| {
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
        writer.write_record(names).unwrap();
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        writer.into_inner().unwrap()
    };
    let object = |row: &Vec<String>| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .zip(row.iter().map(|text| json!(text)))
            .collect::<serde_json::Map<_, _>>()
    };
    let objects: Vec<Value> = rows.iter().map(|row| object(row).into()).collect();
    let lines: String = objects.iter().map(|object| format!("{object}\n")).collect();
    let table = parquet(names, rows, Compression::ZSTD(ZstdLevel::default()));
    vec![
        ("x.csv", delimited(b',')),
        ("x.tsv", delimited(b'\t')),
        ("x.jsonl", lines.clone().into_bytes()),
        ("x.json", serde_json::to_vec_pretty(&objects).unwrap()),
        ("y.json", json!({"n": 1, "rows": objects}).to_string().into_bytes()),
        ("x.parquet", table.clone()),
        ("x.csv.gz", gzip(&delimited(b','))),
        ("x.jsonl.zst", zstd::encode_all(lines.as_bytes(), 0).unwrap()),
        ("x.parquet.gz", gzip(&table)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equal_rows_are_read_from_every_container(
        cells in prop::collection::vec(("[a\",;\t\r\n é😀]{1,6}", "[a\",;\t\r\n é😀]{0,6}"), 1..9)
    ) {
        let rows: Vec<Vec<String>> = cells.into_iter().map(|(x, y)| vec![x, y]).collect();
        for (name, bytes) in containers(&["x", "y"], &rows) {
            prop_assert_eq!(&read(name, &bytes, &["x", "y"]).unwrap(), &rows, "{}", name);
        }
    }

    #[test]
    fn no_bytes_panic(content: Vec<u8>, name in "x\\.(csv|tsv|json|jsonl|parquet)(\\.gz|\\.zst)?") {
        let _ = read(&name, &content, &["a"]);
    }
}

/// Files that are right but for a few bytes: whatever they say, it is a sentence, and soon.
#[test]
fn damaged_files_end_in_rows_or_a_sentence() {
    let rows: Vec<Vec<String>> = (0..9).map(|row| vec![format!("x {row}"), "é".repeat(row)]).collect();
    let mut files = containers(&["x", "y"], &rows);
    files.push(("z.parquet", conversations(&[vec![("user", "a"), ("assistant", "b")], vec![("user", "c")]])));
    let wanted = [Wanted::maybe("x"), Wanted::maybe("messages")];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for round in 0..2000 {
        let (name, bytes) = &files[round % files.len()];
        let mut bytes = bytes.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes[at] ^= 1 << random(8),
                2 => bytes.truncate(at + 1),
                _ => bytes[at] = [0xff, 0x7f, 0x80, 0x00][random(4)],
            }
        }
        let _ = rows_of(name, &bytes, &wanted);
    }
}
