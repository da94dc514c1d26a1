"""What published guards are asked, in tokens, and how likely transformers holds the words of their verdicts: writes guards.json.

    tests/interop/python guards.py

The models are small random ones of the guards' families, from models/. The templates are written for this test: each has what is
peculiar to its guard's (which turn is judged, what ends the prompt, which white space belongs to it), and none of its words. The
Rust half, guards.rs, needs no Python. Must not know: how dean computes.
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import AddedToken
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent

# The last turn is named by whether the turns are even, contents are trimmed, and the template opens the answer by itself.
LLAMA_GUARD = (
    "{% if messages | length % 2 == 0 %}{% set role = 'Agent' %}{% else %}{% set role = 'User' %}{% endif %}"
    "{{ bos_token + '<|im_start|>user\\n\\nIs it safe?\\n\\n' }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{% set who = 'User' %}{% else %}{% set who = 'Agent' %}{% endif %}"
    "{{ who + ': ' + message['content'] | trim + '\\n\\n' }}{% endfor %}"
    "{{ 'LAST ' + role + ':<|im_end|><|im_start|>assistant\\n\\n' }}"
)
# The last message decides what is asked, contents are kept, and an empty thought ends the prompt.
QWEN3GUARD = (
    "{%- set last = messages[-1].role %}{{- '<|im_start|>user\\n' }}{%- for message in messages %}"
    "{{- message.role | upper + ': ' + message.content + '\\n\\n' }}{%- endfor %}"
    "{{- 'Safety of ' + last + '?<|im_end|>\\n<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}"
)
# One raw text. The newline at its end belongs to it.
WILDGUARD = "[INST] Human user:\n%s\n\nAI assistant:\n%s\n\nAnswers: [/INST]\n<|assistant|>\n"

# guard -> model, template, the words before the verdict's word, and those words with their severities
GUARDS = {
    "llama-guard": ("llama3", LLAMA_GUARD, "", [("safe", 0.0), ("unsafe", 1.0)]),
    "qwen3guard": ("qwen3", QWEN3GUARD, "Safety:", [(" Safe", 0.0), (" Controversial", 0.5), (" Unsafe", 1.0)]),
    "wildguard": ("mistral", WILDGUARD, "Harmful response:", [(" no", 0.0), (" yes", 1.0)]),
}

EXCHANGES = [
    ("Who cooks?", "Both do."),
    ("May I read it?", ""),
    ("  Say %s and {answer} ", " %s\n\n{answer}\n"),
    ("Na\u00efve?", "\u65e5\u672c \U0001f600"),
]


def rendered(tokenizer, template, question, answer):
    """The prompt as text, and as ids."""
    if template == WILDGUARD:
        head, middle, tail = template.split("%s")
        text = head + question + middle + answer + tail
        return text, tokenizer(text)["input_ids"]
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    text = tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False, add_generation_prompt=False)
    return text, tokenizer(text, add_special_tokens=False)["input_ids"]


def likelihoods(model, tokenizer, ids, first):
    """The probabilities of those tokens behind the white space that a reply may begin with."""
    while True:
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1].double()
        likeliest = int(logits.argmax())
        if tokenizer.decode([likeliest], skip_special_tokens=True).strip() or likeliest == tokenizer.eos_token_id:
            return torch.softmax(logits, -1)[first].tolist()
        ids = ids + [likeliest]


def measured(guard):
    name, template, after, words = GUARDS[guard]
    folder = HERE / "models" / name
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if guard == "qwen3guard":
        # The small tokeniser begins all three words with one piece; in the published ones they begin with different ones.
        tokenizer.add_tokens([AddedToken(word, normalized=False) for word, _ in words])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    plain = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
    before = plain(after) if after else []
    whole = [plain(after + word) for word, _ in words]
    assert all(ids[: len(before)] == before for ids in whole)
    first = [ids[len(before)] for ids in whole]
    rows = []
    for question, answer in EXCHANGES:
        text, ids = rendered(tokenizer, template, question, answer)
        # The place is behind the words before it, as if the reply had begun with them.
        likely = likelihoods(model, tokenizer, ids + before, first)
        unsafe = sum(p * severity for p, (_, severity) in zip(likely, words)) / sum(likely)
        assert len(ids + before) < model.config.max_position_embeddings
        row = {"question": question, "answer": answer, "text": text, "ids": ids, "before": before}
        rows.append({**row, "probabilities": likely, "p_unsafe": unsafe})
    return {"model": name, "template": template, "first": first, "rows": rows}


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--work")
    arguments.parse_args()
    found = {guard: measured(guard) for guard in GUARDS}
    lines = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    (HERE / "guards.json").write_text(lines + "\n")


main()
