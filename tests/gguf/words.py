#!/usr/bin/env python3
"""Cuts a text by the expressions of src/model/text/gguf_rules.rs, for its test.

    pip install tokenizers==0.23.3 && python3 words.py

Python's tokenizers uses another engine for regular expressions than dean's. The expressions are read out of the Rust file.
"""

import re
from pathlib import Path

from tokenizers import Regex, pre_tokenizers

SOURCE = (Path(__file__).parents[2] / "src/model/text/gguf_rules.rs").read_text()
NAMED = dict(re.findall(r'const (\w+): &str = r#*"(.*)"#*;', SOURCE))
TEXT = "I'LL pay $1234.50 to HelloWorld, naïve_x!!\n\n  好的 ok?  Ünder é x"
RULES = {
    "default": [r"[\p{P}\$\+<=>\^~\|]+", NAMED["GPT2"], r"\p{N}+", "[0-9][0-9][0-9]"],
    "tekken": [NAMED["TEKKEN"]],
    "seed-coder": [NAMED["SEED_CODER"]],
    "minicpm5": [r"\p{N}{1,3}", NAMED["MINICPM5"]],
    "viking": [NAMED["VIKING"], r"\p{N}"],
    "deepseek-llm": [
        r"[\r\n]", NAMED["DEEPSEEK_LETTERS"], NAMED["DEEPSEEK_SIGNS"], r"\s+$", NAMED["DEEPSEEK_HAN"], r"\p{N}+",
    ],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", NAMED["DEEPSEEK_HAN"], r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", NAMED["DEEPSEEK_V3_HAN"], NAMED["DEEPSEEK_V3"]],
    "llama-bpe": [NAMED["LLAMA3"]],
    "qwen2": [NAMED["QWEN2"]],
}  # fmt: skip

for name, expressions in RULES.items():
    cut = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(one), "isolated") for one in expressions])
    words = [word.replace("\n", "⏎") for word, _ in cut.pre_tokenize_str(TEXT)]
    print(f'("{name}", "{"|".join(words)}"),')
