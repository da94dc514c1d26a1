"""Makes the SentencePiece models of this folder and the ids that transformers has for them.

Run it here, in an environment with transformers 4.57, sentencepiece and protobuf: the last transformers whose
LlamaConverter turns a tokenizer.model into a fast tokeniser. The models are trained as Llama's was.
"""

import io
import json
import pathlib
import tempfile

import sentencepiece
from transformers import LlamaTokenizerFast

HERE = pathlib.Path(__file__).parent
WORDS = "the cat sat on a mat while rain fell over seven small towns and people ran home to read letters by lamp light".split()
TEXT = [" ".join(WORDS[(i * k + k) % len(WORDS)] for i in range(9)) for k in range(1, 60)]
TEXT += ["Hello world, hello there!", "if (x == 10) { return y - 2; }", "das Mädchen isst Käse", "1 22 333 4444"] * 5
CASES = [
    "", " ", "  ", "   ", "\n", "\t", "the cat sat", " the cat sat", "  the cat  sat ", "the\ncat\n\nsat\n", "the\tcat\r\nsat",
    "Hello world!", "naïve Käse Mädchen", "日本語 text", "🙂", "a🙂b 👩‍👩‍👧", "\u0000\u0001\u007f", "▁the▁cat", " ▁ ",
    "<s>", "<s>the cat</s>", "</s> the cat", "<s> the cat </s><s>", "<unk>", "the <unk> cat", "<0x0A>", "<|user|>the cat",
    "the<|user|> <|user|>cat", "<|system|> the cat", "1234 5 67", "thethethe", "e\u0301 \u00e9 \ufb01", "\u200b\u00a0 \u3000",
    "the <|end|> cat", "<|end|>", "if (x == 10) {\n    return y;\n}",
]


def train(kind, size):
    # Into memory: a model remembers the path that it was written to.
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT), model_writer=model, model_type=kind, vocab_size=size, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, pad_id=-1,
        allow_whitespace_only_pieces=True, user_defined_symbols=["<|user|>"], control_symbols=["<|system|>"],
        character_coverage=0.99, minloglevel=2, num_threads=1,
    )
    return model.getvalue()


def golden(model, settings):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "tokenizer.model").write_bytes(model)
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer", **settings}))
        tokenizer = LlamaTokenizerFast.from_pretrained(folder)
        cases = []
        for text in CASES:
            ids = tokenizer.encode(text)
            decoded = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
            cases.append({"text": text, "ids": ids, "decoded": decoded})
    return {"settings": settings, "cases": cases}


def settings(end):
    """What tokenizer_config.json may say; `end` is the first id that the model has no piece for."""
    tokens = [(0, "<unk>"), (1, "<s>"), (2, "</s>"), (end, "<|end|>")]
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    decoder = {str(id): {"content": text, **plain} for id, text in tokens}
    return [
        {},
        {"legacy": False},
        {"legacy": True, "add_bos_token": False, "add_eos_token": True},
        {"legacy": False, "added_tokens_decoder": decoder},
    ]



for kind, size in [("bpe", 380), ("unigram", 320)]:
    model = train(kind, size)
    (HERE / f"{kind}.model").write_bytes(model)
    lines = [json.dumps(golden(model, chosen)) for chosen in settings(size)]
    (HERE / f"{kind}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
