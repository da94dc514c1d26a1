//! Byte-pair tokenisers as tokenizer.json has them.

use serde_json::{Map, Value, json};

/// A vocabulary without merges, and tokens beside it that stand for themselves.
pub fn bpe(vocabulary: Map<String, Value>, special: &[(u32, &str)], byte_level: bool) -> Value {
    let added: Vec<Value> = special
        .iter()
        .map(|(id, content)| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect();
    let bytes = byte_level
        .then(|| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true }));
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": added, "pre_tokenizer": bytes, "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": [],
        },
    })
}

/// A token for each byte, in GPT-2's printable alphabet, and special tokens from 256 on.
pub fn byte_level(special: &[&str]) -> Value {
    let mut shifted = 256_u32;
    let letters = (0..=255_u32).map(|byte| {
        let printable = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
        let letter = if printable {
            byte
        } else {
            shifted += 1;
            shifted - 1
        };
        (char::from_u32(letter).expect("a letter of the alphabet").to_string(), json!(byte))
    });
    let special: Vec<(u32, &str)> = (256..).zip(special.iter().copied()).collect();
    bpe(letters.collect(), &special, true)
}
