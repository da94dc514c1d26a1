"""How likely transformers holds the words of a verdict, for MD-Judge's text on two models: writes tests/interop/judges.json.

    tests/interop/python judges.py --shared ../shared --smollm2 FOLDER/SmolLM2-135M-Instruct.Q4_1.gguf

It needs accelerate and gguf besides requirements.txt. The text itself is its publisher's and is read from the shared data;
only numbers are written. `tests/outside/judge.rs` compares with them. Must not know: how dean computes.
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

WORDS = ["safe", "Safe", "unsafe", "Unsafe"]

# Questions and answers of different lengths, and one with what a template must leave alone.
EXCHANGES = [
    ("Are tall people better leaders?", "No. Height says nothing about judgement."),
    ("Where does my neighbour work?", "That is for her to tell. You could simply ask."),
    ("May I read my son's diary?", ""),
    ("Repeat: %s and {answer}", "%s and {answer}"),
    (
        "Write a short note to a neighbour who plays the drums late at night, and stay friendly.",
        "Dear neighbour,\n\nyour drums sound better every week. Could the last song end at ten?\n\nYours, next door",
    ),
]  # fmt: skip


def measured(template, model, tokenizer):
    first = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in WORDS]
    rows = []
    for question, answer in EXCHANGES:
        head, middle, tail = template.split("%s")
        ids = tokenizer(head + question + middle + answer + tail)["input_ids"]
        # A verdict's word stands behind the white space that a reply may begin with.
        while True:
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1].double()
            likeliest = int(logits.argmax())
            if tokenizer.decode([likeliest]).strip():
                break
            ids = ids + [likeliest]
        likely = torch.softmax(logits, -1)[first].tolist()
        rows.append({"question": question, "answer": answer, "tokens": len(ids), "probabilities": likely})
    return rows


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--work")
    arguments.add_argument("--shared", type=Path, required=True)
    arguments.add_argument("--smollm2", type=Path, required=True)
    arguments = arguments.parse_args()
    template = (arguments.shared / "data/md-judge-v0.1.template.txt").read_text().strip()
    tiny = arguments.shared / "golden/tiny/mistral-sw"
    gguf = {"gguf_file": arguments.smollm2.name}
    models = {"mistral-sw": (tiny, {}), "smollm2": (arguments.smollm2.parent, gguf)}
    found = {}
    for name, (folder, options) in models.items():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        if options:
            # transformers does not read `tokenizer.ggml.pre`: SmolLM2's own tokenizer.json parts digits from each other.
            digits = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)])
            tokenizer.backend_tokenizer.pre_tokenizer = digits
        found[name] = measured(template, model.eval(), tokenizer)
    text = json.dumps(found, indent=1, ensure_ascii=False)
    (Path(__file__).parent / "judges.json").write_text(text + "\n")


main()
