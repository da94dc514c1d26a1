//! How byte-level BPE cuts a text into words before it merges, by the name that a GGUF header gives (`tokenizer.ggml.pre`).
//!
//! The names are llama.cpp's (`llama-vocab.cpp`), of the models whose decoders are supported. What a name means is what the
//! tokenizer.json of those models says; `default` means what llama.cpp does. Must not know: vocabularies, merges.

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// One cut. Every match becomes a word of its own, and so does what lies between.
enum Step {
    /// Each digit alone.
    Digits,
    Regex(&'static str),
}

/// What the tokenizer.json of the models with one of these names says.
pub(super) struct Rule {
    names: &'static [&'static str],
    /// One after the other.
    steps: &'static [Step],
    /// Whether GPT-2's own expression, which is built into the byte-level step, comes last.
    gpt2: bool,
    pub nfc: bool,
    /// A word that is a token is taken whole (`ignore_merges`).
    pub whole_words: bool,
    /// Whether a file that is silent about `add_bos_token` wants one.
    pub bos: bool,
}

/// A rule with one expression and without further ado.
const fn of(names: &'static [&'static str], steps: &'static [Step]) -> Rule {
    Rule { names, steps, gpt2: false, nfc: false, whole_words: false, bos: false }
}

use Step::{Digits, Regex};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED_CODER: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const MINICPM5: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const VIKING: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
/// Letters that have a case, by DeepSeek's own list.
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const DEEPSEEK_SIGNS: &str = r"\s?[!-/:-~！-／：-～‘-‟　-。]+";
const DEEPSEEK_HAN: &str = r"[一-龥ࠀ-一가-퟿]+";
const DEEPSEEK_V3_HAN: &str = r"[一-龥぀-ゟ゠-ヿ]+";
const DEEPSEEK_V3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

const RULES: &[Rule] = &[
    Rule { gpt2: true, ..of(&["gpt-2", "phi-2", "a.x-4.0", "mellum", "exaone4", "trillion"], &[]) },
    // signs first, and numbers in threes last
    of(&["default"], &[Regex(r"[\p{P}\$\+<=>\^~\|]+"), Regex(GPT2), Regex(r"\p{N}+"), Regex("[0-9][0-9][0-9]")]),
    Rule { gpt2: true, ..of(&["smollm", "minerva-7b"], &[Digits]) },
    Rule { nfc: true, ..of(&["qwen2", "deepseek-r1-qwen"], &[Regex(QWEN2)]) },
    of(&["megrez"], &[Regex(QWEN2)]),
    Rule {
        whole_words: true,
        bos: true,
        ..of(&["llama-bpe", "llama3", "llama-v3", "falcon3", "midm-2.0", "pixtral"], &[Regex(LLAMA3)])
    },
    of(&["smaug-bpe"], &[Regex(LLAMA3)]),
    Rule { whole_words: true, bos: true, ..of(&["tekken"], &[Regex(TEKKEN)]) },
    of(&["seed-coder"], &[Regex(SEED_CODER)]),
    Rule { whole_words: true, ..of(&["minicpm5"], &[Regex(r"\p{N}{1,3}"), Regex(MINICPM5)]) },
    of(&["viking"], &[Regex(VIKING), Regex(r"\p{N}")]),
    of(
        &["deepseek-llm"],
        &[
            Regex(r"[\r\n]"),
            Regex(DEEPSEEK_LETTERS),
            Regex(DEEPSEEK_SIGNS),
            Regex(r"\s+$"),
            Regex(DEEPSEEK_HAN),
            Regex(r"\p{N}+"),
        ],
    ),
    of(
        &["deepseek-coder"],
        &[Regex(r"[\r\n]"), Regex(r"\s?\p{L}+"), Regex(r"\s?\p{P}+"), Regex(DEEPSEEK_HAN), Regex(r"\p{N}")],
    ),
    of(&["deepseek-v3"], &[Regex(r"\p{N}{1,3}"), Regex(DEEPSEEK_V3_HAN), Regex(DEEPSEEK_V3)]),
];

/// The rule of a name.
///
/// # Errors
/// User: there is no name, or none that is known. A guess would give other ids than the model was trained on.
pub(super) fn find(name: Option<&str>) -> Result<&'static Rule> {
    RULES.iter().find(|rule| name.is_some_and(|name| rule.names.contains(&name))).ok_or_else(|| {
        let Some(name) = name else {
            return Error::user("the header has no tokenizer.ggml.pre, which says how text is cut into words")
                .hint("convert the model again with a newer llama.cpp, or use its Hugging Face directory");
        };
        let known: Vec<&str> = RULES.iter().flat_map(|rule| rule.names).copied().collect();
        Error::user(format!("tokenizer.ggml.pre is {name}, a splitting rule that is not supported"))
            .hint(format!("supported are {}; the model's Hugging Face directory would work", known.join(", ")))
    })
}

impl Rule {
    /// tokenizer.json's `pre_tokenizer`.
    pub fn pre_tokenizer(&self) -> Value {
        let byte_level =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": self.gpt2});
        let step = |step: &Step| match step {
            Digits => json!({"type": "Digits", "individual_digits": true}),
            Regex(regex) => {
                json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
            }
        };
        let mut steps: Vec<Value> = self.steps.iter().map(step).collect();
        if steps.is_empty() {
            return byte_level;
        }
        steps.push(byte_level);
        json!({"type": "Sequence", "pretokenizers": steps})
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::tokenizer::PreTokenizer;
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizerWrapper};

    use super::*;

    /// What `tests/gguf/words.py` makes of the same expressions with the library's other engine for them, which is the one that
    /// transformers uses. `⏎` is the end of a line.
    const CUT: &[(&str, &str)] = &[
        ("default", "I|'|LL| pay| |$|123|4|.|50| to| HelloWorld|,| naïve|_|x|!!|⏎⏎ | 好的| ok|?| | Ünder| é| x"),
        ("tekken", "I|'LL| pay| $|1|2|3|4|.|5|0| to| Hello|World|,| naïve|_x|!!⏎⏎| | 好的| ok|?| | Ünder| é| x"),
        ("seed-coder", "I|'LL| pay| $|1|2|3|4|.|5|0| to| HelloWorld|,| naïve|_x|!!|⏎⏎| | 好的| ok|?| | Ünder| é| x"),
        ("minicpm5", "I|'LL| pay| $|123|4|.|50| to| HelloWorld|,| naïve|_x|!!⏎⏎| | 好的| ok|?| | Ünder| é| x"),
        ("viking", "I'LL| pay| $|1|2|3|4|.|5|0| to| HelloWorld|,| naïve_x|!!⏎⏎ | 好的| ok|? | Ünder| é| x"),
        (
            "deepseek-llm",
            "I|'|LL| pay| $|1234|.|50| to| HelloWorld|,| na|ï|ve|_|x|!!|⏎|⏎|  |好的| ok|?| | Ü|nder| é| x",
        ),
        (
            "deepseek-coder",
            "I|'|LL| pay| $|1|2|3|4|.|5|0| to| HelloWorld|,| naïve|_|x|!!|⏎|⏎| | |好的| ok|?| | Ünder| é| x",
        ),
        ("deepseek-v3", "I|'LL| pay| $|123|4|.|50| to| HelloWorld|,| naïve|_x|!!⏎⏎|  |好的| ok|?| | Ünder| é| x"),
        ("llama-bpe", "I|'LL| pay| $|123|4|.|50| to| HelloWorld|,| naïve|_x|!!⏎⏎| | 好的| ok|?| | Ünder| é| x"),
        ("qwen2", "I|'LL| pay| $|1|2|3|4|.|5|0| to| HelloWorld|,| naïve|_x|!!⏎⏎| | 好的| ok|?| | Ünder| é| x"),
    ];

    #[test]
    fn each_rule_cuts_where_transformers_would() {
        let text = CUT[0].1.replace('|', "").replace('⏎', "\n");
        for (name, cut) in CUT {
            let pre_tokenizer = find(Some(name)).unwrap().pre_tokenizer();
            let pre_tokenizer: PreTokenizerWrapper = serde_json::from_value(pre_tokenizer).unwrap();
            let mut words = PreTokenizedString::from(text.as_str());
            pre_tokenizer.pre_tokenize(&mut words).unwrap();
            let words = words.get_splits(OffsetReferential::Original, OffsetType::Byte);
            let words: Vec<String> =
                words.into_iter().map(|(_, (from, to), _)| text[from..to].replace('\n', "⏎")).collect();
            assert_eq!(words.join("|"), *cut, "{name}");
        }
    }

    #[test]
    fn every_rule_can_be_read_and_no_name_is_there_twice() {
        let mut names: Vec<&str> = RULES.iter().flat_map(|rule| rule.names).copied().collect();
        for rule in RULES {
            let read: Result<PreTokenizerWrapper, _> = serde_json::from_value(rule.pre_tokenizer());
            read.unwrap_or_else(|error| panic!("{:?}: {error}", rule.names));
        }
        names.sort_unstable();
        assert!(names.windows(2).all(|two| two[0] != two[1]), "{names:?}");
        assert!(find(Some("chatglm-bpe")).is_err() && find(None).is_err());
    }
}
