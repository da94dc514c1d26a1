"""The PyTorch side of scoring-vs-pytorch: one process, commands on standard input, one JSON answer a line.

Nearly the protocol of `scoring --rows` (benches/scoring.rs). It knows nothing of dean: weights come from the GGUF file
through the `gguf` package, so equal losses and scores mean that both sides compute the same thing.

    python worker.py MODEL.gguf ROWS.json THREADS

What is timed is PyTorch at its best: eager mode, f32, one sample at a time; only the scored matrices require a gradient,
so autograd makes no other; no optimizer; and the fastest of four variants, tried on one sample: attention `sdpa` or
`eager`, and |grad| added after the backward pass (fused over all matrices by `torch._foreach`) or as soon as each
gradient is there (a hook, which frees it at once). The loss is taken in two ways: `plain`, the model called with labels,
as everybody does, which makes logits at every row; and `label_rows`, the model's inside called by hand so that logits
exist at label rows only, as in dean.
"""

import json
import os
import re
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from gguf import GGUFReader
from gguf.quants import dequantize
from transformers import LlamaConfig, LlamaForCausalLM

MLP = ("gate_proj", "up_proj", "down_proj")

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def load(path, attention):
    """The model of a llama GGUF file with f32 weights, as transformers' class."""
    reader = GGUFReader(path)
    field = lambda key: reader.fields[f"llama.{key}"].contents()
    heads, kv_heads = field("attention.head_count"), field("attention.head_count_kv")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    config = LlamaConfig(
        vocab_size=int(tensors["token_embd.weight"].shape[1]),
        hidden_size=field("embedding_length"),
        intermediate_size=field("feed_forward_length"),
        num_hidden_layers=field("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=field("context_length"),
        rms_norm_eps=field("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": field("rope.freq_base")},
        tie_word_embeddings="output.weight" not in tensors,
        attn_implementation=attention,
    )
    state = {}
    for name, tensor in tensors.items():
        value = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        # llama.cpp interleaves the halves that rotary embeddings turn; Hugging Face keeps them apart.
        for part, count in (("attn_q", heads), ("attn_k", kv_heads)):
            if f".{part}." in name:
                rows, columns = value.shape
                value = value.reshape(count, rows // count // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns).copy()
        layer = re.match(r"blk\.(\d+)\.(.+)\.weight$", name)
        target = f"model.layers.{layer[1]}.{NAMES[layer[2]]}" if layer else NAMES[name.removesuffix(".weight")]
        state[f"{target}.weight"] = torch.from_numpy(value)
    model = LlamaForCausalLM(config)
    missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    if unexpected or any(name != "lm_head.weight" for name in missing):
        raise SystemExit(f"the file's tensors do not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    return model.requires_grad_(False).eval()


class Accumulator:
    """Sums of |dL/dW| for the MLP matrices of all layers, one sample at a time."""

    def __init__(self, model, hooked):
        self.model, self.hooked = model, hooked
        self.names = [name for name, _ in model.named_parameters() if name.split(".")[-2] in MLP]
        self.weights = [model.get_parameter(name) for name in self.names]
        self.sums = [torch.zeros_like(weight) for weight in self.weights]
        self.handles = []
        self.attach()

    def attach(self):
        for weight, total in zip(self.weights, self.sums):
            weight.requires_grad_(True)
            if self.hooked:
                self.handles.append(weight.register_post_accumulate_grad_hook(self.hook(total)))

    def detach(self):
        for handle in self.handles:
            handle.remove()
        self.handles.clear()
        self.model.requires_grad_(False)

    @staticmethod
    def hook(total):
        def add(weight):
            total.add_(weight.grad.abs_())
            weight.grad = None

        return add

    def add(self, row, kind):
        loss = LOSSES[kind](self.model, row)
        loss.backward()
        if not self.hooked:
            grads = [weight.grad for weight in self.weights]
            torch._foreach_abs_(grads)
            torch._foreach_add_(self.sums, grads)
            for weight in self.weights:
                weight.grad = None
        return loss.item()

    def finish(self):
        """The scores: |W| times the sum, for each matrix."""
        with torch.no_grad():
            for total, weight in zip(self.sums, self.weights):
                total.mul_(weight.abs())
        return self.sums


def response_loss(model, row):
    """Mean cross entropy over the response, with logits at its rows only."""
    ids, first = row
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    return F.cross_entropy(model.lm_head(hidden[0, first - 1 :]), ids[0, first:])


def plain_loss(model, row):
    """The same with logits at every row."""
    ids, first = row
    labels = ids.clone()
    labels[:, :first] = -100
    return model(input_ids=ids, labels=labels, use_cache=False).loss


LOSSES = {"plain": plain_loss, "label_rows": response_loss}


def released(model, layer, rows):
    """Seconds of the released schedule for one layer: forward and backward of each sample for its matrices alone."""
    matrices = [getattr(model.model.layers[layer].mlp, name).weight for name in MLP]
    sums = [torch.zeros_like(weight) for weight in matrices]
    for weight in matrices:
        weight.requires_grad_(True)
    started = time.perf_counter()
    for row in rows:
        plain_loss(model, row).backward()
        for weight, total in zip(matrices, sums):
            total.add_(weight.grad.abs())
            weight.grad = None
    seconds = time.perf_counter() - started
    model.requires_grad_(False)
    return seconds


class Peak:
    """The greatest resident memory, of the whole process and of what counts as scoring."""

    def __init__(self):
        self.whole, self.scoring, self.since = 0, 0, "start"

    def forget(self):
        """Lets VmHWM begin anew, so that reading the file does not count as scoring, where the system lets us."""
        self.whole = max(self.whole, status("VmHWM"))
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
            self.since = "load"
        except OSError:
            pass

    def note(self):
        self.scoring = max(self.scoring, status("VmHWM"))

    def facts(self):
        self.note()
        whole = max(self.whole, self.scoring)
        return {"peak": self.scoring, "peak_process": whole, "peak_since": self.since, "file_pages": status("RssFile")}


def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{key}:"))


def fastest(model, row):
    """The fastest variant, (attention, hooked), tried on one sample; and the seconds of each."""
    took = {}
    for attention in ("sdpa", "eager"):
        model.set_attn_implementation(attention)
        for hooked in (False, True):
            accumulator = Accumulator(model, hooked)
            seconds = []
            for _ in range(4):
                started = time.perf_counter()
                accumulator.add(row, "plain")
                seconds.append(time.perf_counter() - started)
            accumulator.detach()
            took[(attention, hooked)] = sorted(seconds[1:])[1]
    best = min(took, key=took.get)
    model.set_attn_implementation(best[0])
    return best, took


def main():
    path, rows_file, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(threads)
    with open(rows_file) as file:
        rows = [(torch.tensor([row["ids"]]), max(row["response"], 1)) for row in json.load(file)]
    model = load(path, "sdpa")
    middle = sorted(rows, key=lambda row: row[0].shape[1])[len(rows) // 2]
    best, took = fastest(model, middle)
    title = lambda attention, hooked: f"{attention}, {'each gradient as it comes' if hooked else 'after the backward pass'}"
    peak = Peak()
    peak.forget()
    accumulator = Accumulator(model, best[1])
    answer = lambda value: print(json.dumps(value), flush=True)
    what = f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    answer({"ready": what, "variant": title(*best), "tried": {title(*key): value for key, value in took.items()}})
    for line in sys.stdin:
        command, *rest = line.split()
        if command == "loss":
            with torch.no_grad():
                answer({"loss": [response_loss(model, rows[int(index)]).item() for index in rest]})
        elif command == "add":
            kind, *indices = rest
            chosen = [rows[int(index)] for index in indices]
            started = time.perf_counter()
            for row in chosen:
                accumulator.add(row, kind)
            answer({"seconds": time.perf_counter() - started})
        elif command == "finish":
            started = time.perf_counter()
            scores = accumulator.finish()
            seconds = time.perf_counter() - started
            facts = {name: [s.sum(dtype=torch.float64).item(), s.max().item()] for name, s in zip(accumulator.names, scores)}
            answer({"seconds": seconds, "scores": facts, **peak.facts()})
        elif command == "released":
            layer, *indices = map(int, rest)
            peak.note()
            accumulator.detach()
            chosen = [rows[index] for index in indices]
            answer({"seconds": released(model, layer, chosen)})
            accumulator.attach()
            peak.forget()
        else:
            raise SystemExit(f"unknown command: {line}")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
