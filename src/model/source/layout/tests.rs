//! Which names make a model, and what is said of those that do not.

use super::*;

const INDEX: &str = Format::Safetensors.index();

/// With an index of this content.
fn layout(list: &[&str], index: Option<&str>) -> Result<Layout> {
    let names: Vec<String> = list.iter().map(|name| (*name).to_owned()).collect();
    Layout::of(Path::new("m"), &names, &mut |_| Ok(index.unwrap().into()))
}

fn names(list: &[&str], index: Option<&str>) -> Vec<String> {
    layout(list, index).unwrap().names().into_iter().map(str::to_owned).collect()
}

fn refusal(list: &[&str], index: Option<&str>) -> String {
    layout(list, index).unwrap_err().message().to_owned()
}

#[test]
fn only_files_that_a_model_is_read_from_count() {
    let single =
        ["README.md", "config.json", "consolidated.safetensors", "model.safetensors", "onnx/model.safetensors", INDEX];
    assert_eq!(names(&single, None), ["config.json", "model.safetensors"]);

    let sharded = ["a.safetensors", "b.safetensors", "config.json", "consolidated.safetensors", INDEX];
    let index = r#"{"metadata":{},"weight_map":{"x":"b.safetensors","y":"a.safetensors","z":"b.safetensors"}}"#;
    assert_eq!(names(&sharded, Some(index)), ["a.safetensors", "b.safetensors", "config.json", INDEX]);
    let shards: Vec<(PathBuf, usize)> =
        layout(&sharded, Some(index)).unwrap().shards().map(|(path, tensors)| (path, tensors.unwrap().len())).collect();
    assert_eq!(shards, [("m/a.safetensors".into(), 1), ("m/b.safetensors".into(), 2)]);
}

#[test]
fn pytorch_files_count_where_there_are_no_safetensors() {
    let single =
        ["config.json", "pytorch_model.bin", "tokenizer.model", "training_args.bin", "x.safetensors", ADDED_TOKENS];
    assert_eq!(names(&single, None), ["added_tokens.json", "config.json", "pytorch_model.bin", "tokenizer.model"]);
    let both = ["config.json", "pytorch_model.bin", "model.safetensors", "pytorch_model.bin.index.json"];
    assert_eq!(names(&both, None), ["config.json", "model.safetensors"]);
    let sharded = ["b.bin", "config.json", "optimizer.bin", "pytorch_model.bin.index.json"];
    let index = r#"{"weight_map":{"x":"b.bin"}}"#;
    assert_eq!(names(&sharded, Some(index)), ["b.bin", "config.json", "pytorch_model.bin.index.json"]);
    assert_eq!(layout(&sharded, Some(index)).unwrap().format(), Format::Pytorch);
}

#[test]
fn what_text_is_read_from_is_in_the_list_or_is_not_found() {
    let all = [COMPANIONS.as_slice(), &["model.safetensors", "vocab.json"]].concat();
    let layout = layout(&all, None).unwrap();
    assert_eq!(layout.companion(TOKENIZER), Some("m/tokenizer.json".into()));
    assert_eq!(layout.companion(ADDED_TOKENS), None, "tokenizer.json holds them");
    assert_eq!(layout.companion("vocab.json"), None, "nothing reads it");
    assert_eq!(layout.companion(PROCESSOR_TEMPLATE), None, "chat_template.jinja goes first");
    assert_eq!(layout.names().len(), COMPANIONS.len() - 2 + 1);
    // A copy takes along whatever some tool may look into.
    assert!(COMPANIONS.iter().all(|name| stands_beside(name) && is_looked_into(name)));
    let beside: Vec<&str> = layout.beside().collect();
    assert!(beside.contains(&"vocab.json") && beside.contains(&ADDED_TOKENS) && !beside.contains(&"model.safetensors"));
}

#[test]
fn a_copy_takes_along_settings_and_terms_and_no_weights() {
    for name in
        ["vocab.json", "merges.txt", "tokenizer.model.v3", "LICENSE", "NOTICE.txt", "model_card.md", "x.tiktoken"]
    {
        assert!(stands_beside(name), "{name}");
    }
    for name in [
        "model.safetensors",
        "pytorch_model.bin",
        INDEX,
        "pytorch_model.bin.index.json",
        ADAPTER,
        ".gitattributes",
        "modeling.py",
        "training_args.bin",
    ] {
        assert!(!stands_beside(name), "{name}");
    }
    let looked_into = [INDEX, "x.safetensors", "chat_template.jinja"];
    assert!(looked_into.iter().all(|name| is_looked_into(name)));
    assert!(!["pytorch_model.bin.index.json", ADAPTER, "LICENSE", "notes.md"].iter().any(|name| is_looked_into(name)));
}

#[test]
fn what_is_not_a_model_says_why() {
    insta::assert_snapshot!(refusal(&[], None), @"not a model in Hugging Face layout: no config.json; no file is there");
    insta::assert_snapshot!(refusal(&["config.json", "weights.safetensors"], None), @"no weights: none of model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json; found config.json, weights.safetensors");
    let hint = |list: &[&str]| layout(list, None).unwrap_err().hint_text().unwrap().to_owned();
    insta::assert_snapshot!(refusal(&["config.json", "model-00001-of-00002.safetensors"], None), @"shards without model.safetensors.index.json: model-00001-of-00002.safetensors is one of several files; found config.json, model-00001-of-00002.safetensors");
    insta::assert_snapshot!(hint(&["README.md", "m.Q4_0.GGUF"]), @"to use its GGUF file, name the file itself: m.Q4_0.GGUF");
    assert!(hint(&["adapter_config.json", "adapter_model.safetensors"]).contains("LoRA"));
    assert!(hint(&["adapter_config.json", "config.json", "adapter_model.safetensors"]).contains("LoRA"));
}

#[test]
fn what_git_did_not_fetch_is_told_from_what_is_broken() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("model.safetensors", ""),
        (CONFIG, "{}"),
        (TOKENIZER, "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 135\n"),
        (TOKENIZER_CONFIG, "{"),
    ] {
        files::write_atomic(&dir.path().join(name), content.as_bytes()).unwrap();
    }
    let layout = Layout::of_directory(dir.path()).unwrap();
    assert_eq!(layout.json(CONFIG).unwrap().unwrap().1, serde_json::json!({}));
    assert!(layout.json(GENERATION_CONFIG).unwrap().is_none());
    let told = |name: &str| layout.json(name).unwrap_err().message().replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(told(TOKENIZER), @"DIR/tokenizer.json is a Git LFS pointer, not the file itself");
    insta::assert_snapshot!(told(TOKENIZER_CONFIG), @"DIR/tokenizer_config.json is not JSON: EOF while parsing an object at line 1 column 1");
}

#[test]
fn a_folder_of_the_hubs_cache_points_to_its_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("snapshots").join("abc");
    files::create_dir_all(&snapshot).unwrap();
    files::write_atomic(&snapshot.join(CONFIG), b"{}").unwrap();
    let refused = Layout::of_directory(dir.path()).unwrap_err();
    assert!(refused.hint_text().unwrap().ends_with(&format!("{}", snapshot.display())), "{refused:?}");
}

#[test]
fn an_index_names_files_of_its_own_directory_and_of_its_kind() {
    let list = ["config.json", "1.safetensors", "2.safetensors", "x.bin", INDEX];
    let with = |index: &str| refusal(&list, Some(index));
    insta::assert_snapshot!(with("["), @"model.safetensors.index.json: it is not JSON: EOF while parsing a list at line 1 column 1");
    insta::assert_snapshot!(with("{}"), @"model.safetensors.index.json: weight_map is missing, empty or not a table");
    insta::assert_snapshot!(with(r#"{"weight_map": {}}"#), @"model.safetensors.index.json: weight_map is missing, empty or not a table");
    insta::assert_snapshot!(with(r#"{"weight_map": {"a": 1}}"#), @"model.safetensors.index.json: weight_map puts a into 1, which is not the name of a .safetensors file here");
    insta::assert_snapshot!(with(r#"{"weight_map": {"a": "3.safetensors"}}"#), @"model.safetensors.index.json: weight_map puts a into 3.safetensors, which is not there");
    for trick in [
        "../1.safetensors",
        "/1.safetensors",
        "x/1.safetensors",
        "x\\\\1.safetensors",
        "c:1.safetensors",
        ".safetensors",
        "1.safetensors\\u0000.safetensors",
        "x.bin",
        "",
    ] {
        let message = with(&format!(r#"{{"weight_map": {{"a": "{trick}"}}}}"#));
        assert!(message.ends_with("which is not the name of a .safetensors file here"), "{trick}: {message}");
    }
    let whole = layout(&list, Some(r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#)).unwrap();
    whole.check_held(|_| true).unwrap();
    let lost = whole.check_held(|tensor| tensor == "a").unwrap_err();
    insta::assert_snapshot!(lost.message(), @"m: model.safetensors.index.json: weight_map puts b into 2.safetensors, which does not hold it");
}

#[test]
fn settings_that_take_everything_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        files::write_atomic(&dir.path().join(name), b"{}").unwrap();
    }
    let layout = Layout::of_directory(dir.path()).unwrap();
    let read = |text: &str| {
        files::write_atomic(&dir.path().join(CONFIG), text.as_bytes()).unwrap();
        layout.json(CONFIG).map(|_| ())
    };
    for text in [
        "[".repeat(1 << 20),
        "{\"a\":".repeat(1 << 18),
        format!("[{}[]]", "[],".repeat(20 << 20)),
        "1".repeat(1 << 20),
        format!("\"{}", "\\u0041".repeat(1 << 18)),
    ] {
        let begun = std::time::Instant::now();
        let outcome = read(&text);
        // Writing the file counts too.
        assert!(begun.elapsed().as_secs() < 15);
        if let Err(error) = outcome {
            assert!(error.message().contains("config.json is not JSON: "), "{error}");
        }
    }
    assert!(read(&format!("[{}[]]", "[],".repeat(20 << 20))).unwrap_err().message().contains("of memory"));
    // The last of two values counts, as for Python.
    read("{\"a\": 1, \"a\": 2}").unwrap();
    assert_eq!(layout.json(CONFIG).unwrap().unwrap().1, serde_json::json!({"a": 2}));
}
