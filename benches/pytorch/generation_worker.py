"""The transformers side of generation-vs-transformers: one process, commands on standard input, one JSON answer a line.

    python generation_worker.py MODEL.gguf PROMPTS.json THREADS

What is timed is transformers as it is used: `generate`, greedy, f32, attention `sdpa`, prompts padded on the left to the
longest of their batch. Prompts are sorted by length first, so that little is padded.
"""

import json
import os
import sys
import time

import torch
import transformers

from worker import load


def batch(prompts):
    """Ids and mask, padded on the left."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask


@torch.no_grad()
def generated(model, prompts, size, new):
    """The new tokens of every prompt, in batches of one size."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    found = [None] * len(prompts)
    for start in range(0, len(order), size):
        some = order[start : start + size]
        ids, mask = batch([prompts[index] for index in some])
        made = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, min_new_tokens=new, max_new_tokens=new)
        for index, row in zip(some, made[:, ids.shape[1] :].tolist()):
            found[index] = row
    return found


def main():
    path, prompts_file, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    with open(prompts_file) as file:
        prompts = json.load(file)
    model = load(path, "sdpa").eval()
    # No token ends an answer, so that both sides write as many.
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    generated(model, prompts[:4], 4, 2)
    answer = lambda value: print(json.dumps(value), flush=True)
    capability = torch.backends.cpu.get_cpu_capability()
    answer({"ready": f"transformers {transformers.__version__}, torch {torch.__version__}, {capability}"})
    for line in sys.stdin:
        command, *numbers = line.split()
        if command != "generate":
            raise SystemExit(f"unknown command: {line}")
        count, new, size = map(int, numbers)
        started = time.perf_counter()
        ids = generated(model, prompts[:count], size, new)
        answer({"seconds": time.perf_counter() - started, "ids": ids})


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
