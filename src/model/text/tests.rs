//! Tokenisers and templates that a directory describes. `tests/interop` and `tests/outside` compare ids with those of
//! transformers and of SentencePiece.

use std::path::Path;

use super::definition::added_token;
use super::*;
use crate::files;
use crate::model::Checkpoint;

#[test]
fn special_tokens_are_added_and_skipped_on_demand() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/models/mistral");
    let text = Checkpoint::open(&model).unwrap().into_text().unwrap();
    let ids = text.encode("a", false).unwrap();
    let [id] = ids[..] else { panic!("one token: {ids:?}") };
    assert_eq!(text.encode("a", true).unwrap(), [0, id]);
    assert_eq!(text.decode(&[0, id, 1], true).unwrap(), "a");
    assert_eq!(text.decode(&[0, id, 1], false).unwrap(), "<s>a</s>");
}

/// A word-level model directory's text, with the given side files.
fn directory(tokenizer_changes: Value, settings: Value) -> Result<Text> {
    directory_with(tokenizer_changes, settings, &[])
}

/// The same with more files. The directory is gone when this returns.
fn directory_with(tokenizer_changes: Value, settings: Value, more: &[(&str, &str)]) -> Result<Text> {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in more {
        files::write_atomic(&dir.path().join(name), content.as_bytes()).unwrap();
    }
    let mut tokenizer = json!({
        "version": "1.0", "pre_tokenizer": {"type": "Whitespace"},
        "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "added_tokens": [added_token(3, "<s>", true), added_token(4, "</s>", true)],
        "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "[unk]": 2}, "unk_token": "[unk]"},
    });
    tokenizer.as_object_mut().unwrap().extend(tokenizer_changes.as_object().unwrap().clone());
    for (name, value) in [("tokenizer.json", &tokenizer), ("tokenizer_config.json", &settings)] {
        files::write_atomic(&dir.path().join(name), value.to_string().as_bytes()).unwrap();
    }
    for name in ["config.json", "model.safetensors"] {
        files::write_atomic(&dir.path().join(name), b"").unwrap();
    }
    Text::from_directory(&Layout::of_directory(dir.path()).unwrap(), &json!({"eos_token_id": [0, 1]}), 6)
}

#[test]
fn llama_classes_follow_their_switches_and_nothing_is_truncated() {
    let names = json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}});
    let with = |more: Value| {
        let mut settings = names.clone();
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        directory(json!({}), settings).unwrap()
    };
    let plain = with(json!({}));
    assert_eq!(plain.encode("a b a", true).unwrap(), [0, 1, 0]);
    assert_eq!(plain.stop_ids(), [0, 1, 4]);
    let llama = with(json!({"tokenizer_class": "LlamaTokenizer", "add_eos_token": true}));
    assert_eq!(llama.encode("a b a", true).unwrap(), [3, 0, 1, 0, 4]);
    assert_ne!(llama.digest(), plain.digest());
    let off = with(json!({"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": false}));
    assert_eq!(off.encode("a", true).unwrap(), [0]);
}

#[test]
fn templates_and_tokens_may_sit_in_tokenizer_config() {
    let settings = json!({
        "chat_template": [{"name": "rag", "template": "no"}, {"name": "default", "template": "{{ messages[0].content }}<x>"}],
        "added_tokens_decoder": {"5": {"content": "<x>", "special": true}, "3": {"content": "<s>", "special": true}},
    });
    let text = directory(json!({}), settings).unwrap();
    let chat = text.render_chat(&[Message::user("b")], false, Think::Model, "").unwrap();
    assert_eq!(text.encode(&chat, false).unwrap(), [1, 5]);
    assert_eq!(text.decode(&[1, 5], true).unwrap(), "b");
}

#[test]
fn broken_tokenizers_are_sentences() {
    let random = json!({"model": {"type": "BPE", "dropout": 0.1, "vocab": {"a": 0}, "merges": []}});
    let error = directory(random, json!({})).err().unwrap();
    assert!(error.message().ends_with("the tokeniser has a dropout of 0.1: it cuts text at random"), "{error}");
    let gap = directory(json!({}), json!({"added_tokens_decoder": {"9": {"content": "<x>"}}})).err().unwrap();
    assert!(gap.message().contains("<x>"), "{gap}");
    let beyond = json!({"added_tokens": [added_token(3, "<s>", true), added_token(4, "</s>", true),
        added_token(5, "<x>", true), added_token(6, "<y>", true)]});
    let error = directory(beyond, json!({})).unwrap().encode("a <y>", false).unwrap_err();
    assert!(error.message().contains("<y>, token 6"), "{error}");
    let model = directory(json!({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}), json!({}));
    assert!(model.err().unwrap().message().contains("the tokeniser is malformed"));
}

/// Every one ends in a text or in a sentence, soon. Without the meter some abort this process, and others never end.
#[test]
fn tokenisers_that_take_everything_are_refused() {
    let regex = |pattern: String| json!({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false}});
    let replaced = |kind: &str, pattern: Value, content: &str, times: usize| {
        let one = json!({"type": "Replace", "pattern": pattern, "content": content});
        let list = if kind == "decoder" { "decoders" } else { "normalizers" };
        json!({kind: {"type": "Sequence", list: vec![one; times]}})
    };
    let model = |model: Value| json!({ "model": model });
    let deep = |depth: usize| {
        (0..depth).fold(json!({"type": "NFC"}), |inner, _| json!({"type": "Sequence", "normalizers": [inner]}))
    };
    let many: Vec<Value> = (3..60_000).map(|id| added_token(id, &format!("<{id}>"), true)).collect();
    let broken = [
        regex("(".repeat(300_000) + "a" + &")".repeat(300_000)),
        regex("(?=".repeat(100_000) + "a" + &")".repeat(100_000)),
        regex("(?:a|".repeat(100_000) + "b" + &")".repeat(100_000)),
        regex("[".repeat(100_000)),
        regex("(a{1000}){1000}{1000}".into()),
        regex("(?:(?:(?:(?:a{200}){200}){200}){200}){200}".into()),
        regex(r"(?:\p{L}{500}){500}".into()),
        regex("a{0,4294967295}".into()),
        regex("(a+)+$".into()),
        regex("(?=(a+)+$)b".into()),
        regex(r"(a*)*\1(a*)*\1!".into()),
        regex("(?:a?){100}(?=a{100}!)".into()),
        regex("(?=a)*".into()),
        regex(String::new()),
        replaced("normalizer", json!({"String": "a"}), "aa", 60),
        replaced("normalizer", json!({"Regex": "a|"}), "aa", 60),
        replaced("normalizer", json!({"String": ""}), "aa", 60),
        replaced("decoder", json!({"String": "a"}), "aa", 60),
        replaced("normalizer", json!({"Regex": "(a+)+!"}), "", 1),
        replaced("normalizer", json!({"String": "a"}), &"a".repeat(4 << 20), 2),
        json!({"normalizer": deep(60)}),
        json!({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////////////w=="}}),
        json!({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAA="}}),
        json!({"normalizer": {"type": "Prepend", "prepend": "a".repeat(8 << 20)}}),
        json!({"added_tokens": [added_token(u32::MAX, "<x>", true)]}),
        json!({"added_tokens": many}),
        json!({"added_tokens": [added_token(3, &"(".repeat(1 << 20), true)]}),
        json!({"post_processor": {"type": "TemplateProcessing", "single": vec![json!({"SpecialToken": {"id": "x", "type_id": 0}}); 2000],
            "pair": [], "special_tokens": {"x": {"id": "x", "ids": vec![0; 2000], "tokens": vec!["x"; 2000]}}}}),
        model(json!({"type": "WordLevel", "vocab": {"a": u32::MAX}, "unk_token": "a"})),
        model(json!({"type": "Unigram", "vocab": [], "unk_id": 0})),
        model(json!({"type": "Unigram", "vocab": [["a", 1e308], ["aa", -1e308]], "unk_id": 7})),
        model(json!({"type": "Unigram", "vocab": [["a".repeat(2 << 20), 0.0], ["a", 0.0]], "unk_id": 1})),
        model(
            json!({"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "a", "continuing_subword_prefix": "a".repeat(1 << 20),
            "max_input_chars_per_word": u64::MAX}),
        ),
        model(json!({"type": "BPE", "vocab": {"a": 0, "b": 4294967295_u32}, "merges": [["a", "a"]]})),
        model(
            json!({"type": "BPE", "vocab": {"a": 0, "aa": 1}, "merges": vec![["a", "a"]; 1000], "continuing_subword_prefix": "a".repeat(9)}),
        ),
    ];
    for changes in broken {
        let shown = changes.to_string();
        let shown = &shown[..shown.floor_char_boundary(120)];
        let begun = std::time::Instant::now();
        let outcome = directory(changes.clone(), json!({})).and_then(|text| {
            let ids = text.encode(&"a".repeat(3000), true).unwrap_or_else(|_| vec![0; 3000]);
            text.decode(&ids, false).map(drop)
        });
        assert!(begun.elapsed().as_secs_f64() < 12.0, "{shown}: {:?}", begun.elapsed());
        if let Err(error) = outcome {
            assert!(error.kind() == crate::error::Kind::User, "{shown}: {error}");
        }
    }
}

fn without_place(error: &Error) -> String {
    let message = error.message();
    message
        .rsplit_once("/tokenizer")
        .or_else(|| message.rsplit_once("/chat"))
        .map_or(message, |(_, rest)| rest)
        .to_owned()
}

#[test]
fn a_template_is_named_by_the_file_that_it_is_in() {
    let fails = "{{ raise_exception('no') }}";
    let told = |settings: Value, more: &[(&str, &str)]| {
        let text = directory_with(json!({}), settings, more).unwrap();
        without_place(&text.render_chat(&[], true, Think::Model, "").unwrap_err())
    };
    let setting = json!({"chat_template": fails});
    assert_eq!(told(setting.clone(), &[]), "_config.json: chat_template, line 1: the template says: no");
    let json = setting.to_string();
    let other = [("chat_template.json", json.as_str())];
    assert_eq!(told(json!({}), &other), "_template.json: chat_template, line 1: the template says: no");
    let both = [("chat_template.jinja", fails), ("chat_template.json", "{")];
    assert_eq!(told(json!({"chat_template": "never"}), &both), "_template.jinja, line 1: the template says: no");
    let first = directory_with(json!({}), json!({"chat_template": "a"}), &other).unwrap();
    assert_eq!(
        first.render_chat(&[], true, Think::Model, "").unwrap(),
        "a",
        "transformers' tokenisers do not read the other one"
    );
}

#[test]
fn templates_without_a_default_are_listed() {
    let list = json!([{"name": "tool_use", "template": "x"}, {"name": "rag", "template": "y"}]);
    for several in [list, json!({"tool_use": "x", "rag": "y"})] {
        let text = directory(json!({}), json!({"chat_template": several})).unwrap();
        let error = text.render_chat(&[Message::user("b")], true, Think::Model, "").unwrap_err();
        let names = ["tool_use, rag", "rag, tool_use"];
        let told = names.iter().any(|names| {
            error.message().ends_with(&format!("tokenizer_config.json are named {names}, and none is the default"))
        });
        assert!(told, "{error}");
        assert!(error.hint_text().unwrap().contains("save the one that you want as a file"));
    }
    let with = directory(json!({}), json!({"chat_template": {"default": "d", "rag": "y"}})).unwrap();
    assert_eq!(with.render_chat(&[], true, Think::Model, "").unwrap(), "d");
}

#[test]
fn switches_for_both_ends_count_for_every_class() {
    let named = json!({"bos_token": "<s>", "eos_token": "</s>"});
    let with = |tokenizer: Value, more: Value| {
        let mut settings = named.clone();
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        directory(tokenizer, settings).unwrap()
    };
    let both = with(json!({}), json!({"add_bos_token": true, "add_eos_token": true}));
    assert_eq!(both.encode("a", true).unwrap(), [3, 0, 4]);
    let writes_bos = json!({"post_processor": {
        "type": "TemplateProcessing", "pair": [], "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}},
    }});
    let silent = with(writes_bos.clone(), json!({}));
    assert_eq!(silent.encode("a", true).unwrap(), [3, 0]);
    let same = with(writes_bos.clone(), json!({"add_bos_token": true}));
    assert_eq!(same.digest(), silent.digest(), "what is said twice changes no key");
    assert_eq!(with(writes_bos, json!({"add_bos_token": false})).encode("a", true).unwrap(), [0]);
}

#[test]
fn tokens_that_are_named_as_special_are_special() {
    let settings = json!({"eos_token": "b", "additional_special_tokens": ["[unk]", "<nowhere>"]});
    let text = directory(json!({}), settings).unwrap();
    assert_eq!(text.encode("ab", true).unwrap(), [0, 1], "it is cut out wherever it stands");
    assert_eq!(text.decode(&[0, 1, 2, 0], true).unwrap(), "a a");
    assert_eq!(text.decode(&[0, 1], false).unwrap(), "a b");
    // Before tokenizer_config.json listed added tokens, the map went first.
    let map = [("special_tokens_map.json", r#"{"eos_token": "a"}"#)];
    assert_eq!(directory_with(json!({}), json!({"eos_token": "b"}), &map).unwrap().stop_ids(), [0, 1]);
    let listed = json!({"eos_token": "</s>", "added_tokens_decoder": {}});
    assert_eq!(directory_with(json!({}), listed, &map).unwrap().stop_ids(), [0, 1, 4]);
}

#[test]
fn special_tokens_in_a_text_are_cut_like_any_text_where_that_is_asked_for() {
    let of = |on: bool| directory(json!({}), json!({"split_special_tokens": on})).unwrap();
    assert_eq!(of(false).encode("a <s>", false).unwrap(), [0, 3]);
    assert_eq!(of(true).encode("a <s>", false).unwrap(), [0, 2, 2, 2]);
    assert_ne!(of(true).digest(), of(false).digest());
}

#[test]
fn blanks_are_cleaned_up_where_transformers_does() {
    let vocabulary =
        json!({"model": {"type": "WordLevel", "vocab": {"a": 0, "?": 1, "[unk]": 2}, "unk_token": "[unk]"}});
    let of = |on: bool| directory(vocabulary.clone(), json!({"clean_up_tokenization_spaces": on})).unwrap();
    assert_eq!(
        (of(false).decode(&[0, 1], true).unwrap().as_str(), of(true).decode(&[0, 1], true).unwrap().as_str()),
        ("a ?", "a?")
    );
    assert_ne!(of(true).digest(), of(false).digest());
    let bpe = json!({"model": {"type": "BPE", "vocab": {"a": 0, "?": 1, "[unk]": 2}, "merges": []}});
    let of = |more: Value| directory(bpe.clone(), more).unwrap();
    let asked = of(json!({"clean_up_tokenization_spaces": true}));
    assert_eq!((asked.decode(&[0, 1], true).unwrap().as_str(), asked.digest()), ("a ?", of(json!({})).digest()));
}

#[test]
fn what_a_text_side_says_is_read_known_or_refused() {
    let quiet = json!({"tokenizer_class": "X", "model_max_length": 9, "padding_side": "left", "use_default_system_prompt": false});
    assert_eq!(directory(json!({}), quiet).unwrap().notes(), [""; 0]);
    let notes = directory_with(
        json!({}),
        json!({"new_switch": true}),
        &[("special_tokens_map.json", r#"{"new_token": "x"}"#), ("generation_config.json", r#"{"num_beams": 4}"#)],
    );
    let notes = notes.unwrap().notes().join("\n");
    for told in [
        "tokenizer_config.json says new_switch = true, which dean does not know",
        "special_tokens_map.json says new_token = \"x\", which dean does not know",
        "generation_config.json says num_beams = 4, which transformers heeds even in greedy answers",
    ] {
        assert!(notes.contains(told), "{notes}");
    }
    for (setting, value) in [
        ("auto_map", json!({"AutoTokenizer": ["t.T", null]})),
        ("do_lower_case", json!(true)),
        ("sp_model_kwargs", json!({"enable_sampling": true, "alpha": 0.1})),
    ] {
        let error = directory(json!({}), json!({setting: value})).err().unwrap();
        assert!(error.message().contains(&format!("tokenizer_config.json: {setting} is ")), "{error}");
    }
    let error = directory(json!({"new_part": 1}), json!({})).err().unwrap();
    assert!(error.message().contains("tokenizer.json says new_part = 1, which dean does not know"), "{error}");
    let drawn = json!({"model": {"type": "Unigram", "vocab": [["a", -1.0], ["b", -1.0], ["[unk]", -9.0]], "unk_id": 2, "alpha": 0.1, "nbest_size": 64}});
    let error = directory(drawn, json!({})).err().unwrap();
    assert!(error.message().ends_with("the tokeniser has an alpha of 0.1: it cuts text at random"), "{error}");
}

/// Every one ends in a sentence, soon, and in bounded memory (without the meter some of them abort this process).
#[test]
fn templates_that_never_end_or_take_everything_are_refused() {
    const LONGEST: usize = 128 << 10;
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    let doubled = |what: &str, how: &str| {
        format!(
            "{{% set ns = namespace(x={what}) %}}{{% for i in range(80) %}}{{% set ns.x = {how} %}}{{% endfor %}}{{{{ ns.x|length }}}}"
        )
    };
    let deep = |use_it: &str| {
        format!(
            "{{% set ns = namespace(x=[]) %}}{{% for i in range(99999) %}}{{% for j in range(9) %}}{{% set ns.x = [ns.x] %}}{{% endfor %}}{{% endfor %}}{use_it}"
        )
    };
    let itself = |use_it: &str| format!("{{% set ns = namespace() %}}{{% set ns.x = ns %}}{use_it}");
    let sources = [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}x".to_owned(),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".into(),
        "{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}".into(),
        doubled("'aaaaaaaa'", "ns.x ~ ns.x"),
        doubled("'aaaaaaaa'", "ns.x + ns.x"),
        doubled("'aaaaaaaa'", "[ns.x, ns.x]|join"),
        doubled("'aaaaaaaa'", "ns.x|replace('a', 'aa')"),
        doubled("'aaaaaaaa'", "ns.x.replace('a', 'aa')"),
        doubled("'aaaaaaaa'", "ns.x * 2"),
        doubled("'aaaaaaaa'", "'%s%s'|format(ns.x, ns.x)"),
        doubled("[1]", "ns.x + ns.x") + "{% for i in ns.x %}{% endfor %}",
        doubled("[1]", "ns.x + ns.x") + "{{ 2 in ns.x }}",
        doubled("[1]", "ns.x + ns.x") + "{{ ns.x|sum }}",
        doubled("[1]", "ns.x + ns.x") + "{{ ns.x|last }}",
        doubled("[1]", "(ns.x + ns.x)|list"),
        doubled("[1]", "(ns.x|map('abs')) + (ns.x|map('abs'))"),
        doubled("(messages|map('upper'))", "ns.x + ns.x") + "{{ ns.x|list|length }}",
        doubled("[1]", "[ns.x, ns.x]") + "{{ ns.x }}",
        doubled("[1]", "[ns.x, ns.x]") + "{{ ns.x|tojson }}",
        doubled("[1]", "[ns.x, ns.x]") + "{{ ns.x == ns.x }}",
        doubled("[1]", "[ns.x, ns.x]") + "{{ ns.x|string }}",
        doubled("{}", "dict(a=ns.x, b=ns.x)") + "{{ ns.x }}",
        "{{ 'a' * 1000000000 }}".into(),
        "{{ 'a' * 1000000000000000000 }}".into(),
        "{{ [1] * 1000000000 }}".into(),
        "{{ range(1000000000)|list|length }}".into(),
        "{{ 'a'.ljust(1000000000) }}".into(),
        "{{ 'a'.zfill(1000000000) }}".into(),
        "{{ 'a'.center(1000000000) }}".into(),
        "{{ 'a'|indent(1000000000) }}".into(),
        "{{ '%1000000000d'|format(1) }}".into(),
        "{{ 10 ** 10 ** 10 ** 10 }}".into(),
        "{{ ('a' * 60000)|list|map('upper')|join|length }}{{ lipsum(n=1000000000) }}".into(),
        deep(""),
        deep("{{ ns.x }}"),
        deep("{{ ns.x|string|length }}"),
        deep("{{ ns.x|tojson }}"),
        deep("{{ ns.x == [ns.x] }}"),
        deep("{{ [ns.x, ns.x]|sort }}"),
        deep("{{ [ns.x, [ns.x]]|unique|list }}"),
        itself("{{ ns }}"),
        itself("{{ ns ~ '' }}"),
        itself("{{ ns|tojson }}"),
        itself("{{ ns|string }}"),
        itself("{{ ns|pprint }}"),
        itself("{{ ns == ns }}{{ ns.x == ns }}"),
        itself("{{ [ns, ns]|sort }}"),
        itself("{{ [ns, ns]|unique|list }}"),
        itself("{{ {ns: 1} }}"),
        itself("{% set a = namespace() %}{% set a.b = ns %}{% set ns.x = a %}{{ a == ns }}"),
        itself("{% set l = [ns] %}{% set ns.x = l %}{{ l }}"),
        format!("{{{{ {} }}}}", nested("[", "1", "]", 60_000)),
        format!("{{{{ {} }}}}", nested("(", "1", ")", 60_000)),
        format!("{{{{ {} }}}}", nested("{'a':", "1", "}", 20_000)),
        nested("{% if 1 %}", "", "{% endif %}", 6_000),
        nested("{% for a in [1] %}", "", "{% endfor %}", 4_000),
        nested("{% macro m() %}", "", "{% endmacro %}", 4_000),
        format!("{{{{ {} }}}}", "9".repeat(LONGEST - 10)),
        format!("{{{{ 1.{} }}}}", "9".repeat(LONGEST - 10)),
        format!("{{{{ '{}' }}}}", "\\u0041".repeat((LONGEST - 10) / 6)),
    ];
    let message = [Message::user("a".repeat(1000))];
    for source in &sources {
        let begun = std::time::Instant::now();
        let outcome =
            ChatTemplate::new("m: chat template", source.as_str()).render(&message, &[], true, Think::Model, "");
        let shown = &source[..source.floor_char_boundary(150)];
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{shown} took {:?}", begun.elapsed());
        match outcome {
            Ok(text) => assert!(text.len() <= (1 << 20) + 4000, "{shown} made {} bytes", text.len()),
            Err(error) => assert!(error.message().starts_with("m: chat template"), "{shown}: {error}"),
        }
    }
}

#[test]
fn tags_of_thoughts_are_read_even_where_they_are_special_tokens() {
    for special in [true, false] {
        let added = json!({"added_tokens": [added_token(3, "<think>", special), added_token(4, "</think>", special),
            added_token(5, "<x>", true)], "decoder": {"type": "Fuse"}});
        let text = directory(added, json!({})).unwrap();
        assert_eq!(text.decode_answer(&[3, 0, 4, 5, 1, 5]).unwrap().replace(' ', ""), "<think>a</think>b");
        assert_eq!((text.special_id("<x>"), text.special_id("a"), text.special_id("<y>")), (Some(5), None, None));
    }
}
