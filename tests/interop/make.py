#!/usr/bin/env python3
"""Makes the small random models of tests/interop/models and, with transformers, the numbers in their golden/ folders.

    make.py --out DIR [NAME…]

Nothing is taken from dean: sets are selected here, from the scores, by the definitions. The same versions of the
packages give the same bytes of the models; of the numbers, to what f32 leaves open between machines.
Must not know: Rust.
"""

import os

# Before NumPy and PyTorch look at the machine: kernels that do not depend on its instruction set, in one thread.
os.environ.update(MKL_CBWR="COMPATIBLE", ATEN_CPU_CAPABILITY="default", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")

import argparse
import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import torch
import transformers
from exact import Doubled
from safetensors.torch import save_file
from texts import CASES, PROMPTS, ROWS, TEMPLATES
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from variants import COMMON, VARIANTS

SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
NEW_TOKENS = 24
# A gap between the two highest logits below which a correct port may choose the other token.
NEAR_TIE = 1e-3
POINTS = [(0.01, 0.01), (0.05, 0.05), (0.01, 0.1), (0.1, 0.05)]  # (p, q)


GEMMA_SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"]


def training_texts():
    """What both tokenisers learn their merges from."""
    return [text for rows in ROWS.values() for row in rows for text in row] + PROMPTS


def pieces_of_text(variant):
    """Gemma's kind: pieces with ▁ for a space, bytes for what no piece has, a few merges."""
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=100, limit_alphabet=60, show_progress=False)
    learner.train_from_iterator(training_texts(), trainer)
    learnt = json.loads(learner.to_str())["model"]
    whole = ["\n", "\n\n", "▁▁"]
    octets = [f"<0x{octet:02X}>" for octet in range(256)]
    pieces = GEMMA_SPECIAL + whole + octets + sorted(learnt["vocab"], key=learnt["vocab"].get)
    merges = [("\n", "\n"), ("▁", "▁"), *map(tuple, learnt["merges"])]
    tokenizer = transformers.GemmaTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=merges, add_bos_token=variant["bos"],
        additional_special_tokens=GEMMA_SPECIAL[5:], model_max_length=128,
    )  # fmt: skip
    return tokenizer


def byte_level(variant):
    """Byte-level BPE with a few merges. Only whether there is a BOS depends on the variant."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=COMMON["vocab_size"],
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_texts(), trainer)
    assert tokenizer.get_vocab_size() == COMMON["vocab_size"]
    if variant.get("bos"):
        template = {"single": "<s> $A", "pair": "<s> $A <s> $B", "special_tokens": [("<s>", 0)]}
        tokenizer.post_processor = processors.TemplateProcessing(**template)
    eos = "<|im_end|>" if variant.get("eos", [1])[0] == 3 else "</s>"
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token=eos, pad_token="</s>", model_max_length=128
    )


def tokenizer_of(variant):
    """One of the two kinds, with the variant's chat template."""
    tokenizer = pieces_of_text(variant) if variant.get("gemma") else byte_level(variant)
    chat = variant.get("chat")
    tokenizer.chat_template = TEMPLATES[chat] if chat else None
    return tokenizer


def norm_scale(name, added):
    """How large a norm of Gemma leaves its input: what a layer adds is larger than what comes in, queries and keys too."""
    if "post_" in name:
        return 1.0 + added
    return 1.5 if "q_norm" in name or "k_norm" in name else 1.0


def draw(model, seed):
    """Weights at which attention looks at some tokens more than at others and logits differ by a few units."""
    hidden = model.config.hidden_size
    # Gemma multiplies by one more than it stores
    above_one = model.config.model_type.startswith("gemma")
    # a tied head would only repeat its input, if the layers did not add more than they do elsewhere
    added = 3 if model.config.tie_word_embeddings else 1
    for name, parameter in model.named_parameters():
        # a stream of its own for each tensor, so that one more tensor changes no other
        numbers = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(parameter.shape)
        if name.endswith("bias"):
            numbers *= 0.3
        elif "norm" in name:
            numbers = norm_scale(name, added) * (1 + 0.2 * numbers) - 1 if above_one else 1 + 0.2 * numbers
        elif "embed_tokens" in name or "lm_head" in name:
            numbers *= 2.5 / hidden**0.5
        elif "q_proj" in name or "k_proj" in name or "gate_proj" in name:
            numbers *= 1.4 / parameter.shape[1] ** 0.5
        else:
            numbers *= (1 if "v_proj" in name or "up_proj" in name else added) / parameter.shape[1] ** 0.5
        parameter.data = torch.from_numpy(numbers.astype(np.float32))


def old_spelling(path):
    """Rewrites config.json as transformers 4 did."""
    config = json.loads(path.read_text())
    scaling = config.pop("rope_parameters")
    by_kind = "full_attention" in scaling
    if by_kind:
        config["rope_local_base_freq"] = scaling["sliding_attention"]["rope_theta"]
        scaling = scaling["full_attention"]
    config["rope_theta"] = scaling.pop("rope_theta")
    kind = scaling.pop("rope_type")
    # before Llama 3.1 the key was called type
    named = {"rope_type" if kind == "llama3" or by_kind else "type": kind}
    config["rope_scaling"] = None if kind == "default" else {**scaling, **named}
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.42.0"
    config.pop("layer_types", None)
    config.pop("_sliding_window_pattern", None)
    path.write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n")


def make_model(name, folder):
    """The directory, as `save_pretrained` writes it, and the tokeniser."""
    variant = VARIANTS[name]
    kind = transformers.CONFIG_MAPPING[variant["family"]]
    config = kind(**{**COMMON, "pad_token_id": 1, **variant["config"]})
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    draw(model, zlib.crc32(name.encode()))
    if "eos" in variant:
        model.generation_config.eos_token_id = variant["eos"]
    for key, value in variant.get("generation", {}).items():
        setattr(model.generation_config, key, value)
    shard = {"max_shard_size": variant["shard"]} if "shard" in variant else {}
    model.save_pretrained(folder, **shard)
    tokenizer_of(variant).save_pretrained(folder)
    if variant.get("old"):
        old_spelling(folder / "config.json")


def matrices(model, layers=None):
    """Name and parameter of every linear inside the decoder layers, or inside those that are listed."""
    listed = lambda name: layers is None or int(name.split(".")[2]) in layers
    inside = lambda name: (".self_attn." in name or ".mlp." in name) and listed(name)
    linear = lambda name: name.endswith("_proj.weight")
    return [(name, weight) for name, weight in model.named_parameters() if inside(name) and linear(name)]


def score(model, tokenizer, rows, layers=None):
    """SNIP: Σ over samples of |W · dL/dW|, and what the samples are and lose."""
    weights = matrices(model, layers)
    model.requires_grad_(False)
    for _, weight in weights:
        weight.requires_grad_()
    sums = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights}
    found = {"prompt": [], "response": [], "inp": [], "tar": [], "losses": []}
    for prompt, response in rows:
        before = tokenizer(prompt).input_ids
        after = tokenizer(response, add_special_tokens=False).input_ids
        ids, labels = before + after, [-100] * len(before) + after
        model.zero_grad()
        logits = model(torch.tensor([ids])).logits[0]
        # the mean over the response's tokens, each predicted from what is before it
        loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(labels[1:]), ignore_index=-100)
        loss.backward()
        for name, weight in weights:
            sums[name] += (weight.detach() * weight.grad).abs()
        for key, value in zip(found, (prompt, response, ids, labels, loss.item())):
            found[key].append(value)
    scores = {name: value.float() for name, value in sums.items()}
    found["score_sum"] = {name: value.double().sum().item() for name, value in scores.items()}
    return scores, found


def top(scores, fraction):
    """The floor(fraction · N) highest, ties by lower index, and the scores at the cut and just below it."""
    flat = scores.flatten().numpy()
    order = np.argsort(-flat, kind="stable")
    k = int(fraction * flat.size)
    return order[:k], [float(flat[order[k - 1]]), float(flat[order[k]])] if k else None


def paper(fairness, privacy, general):
    """(top_q(fairness) & top_q(privacy)) - top_p(general)"""
    return sorted(set(fairness.tolist()) & set(privacy.tolist()) - set(general.tolist()))


def released(fairness, privacy, general):
    """What the released code zeroes: two masks over two *different* ascending index lists are ANDed by position."""
    one, two, general = np.sort(privacy), np.sort(fairness), np.array(general)
    keep = ~np.isin(one, general) & ~np.isin(two, general)
    return one[keep].tolist()


def select(scores, points):
    """By point and matrix: both sets, and how wide each cut is."""
    result = []
    for p, q in points:
        sets, cuts = {}, {}
        for name in scores["fairness"]:
            tops = {data: top(scores[data][name], p if data == "general" else q) for data in scores}
            chosen = {data: indices for data, (indices, _) in tops.items()}
            sets[name] = {"true": paper(**chosen), "ref": released(**chosen)}
            cuts[name] = {data: cut for data, (_, cut) in tops.items()}
        result.append({"p": p, "q": q, "sets": sets, "cuts": cuts})
    return result


def answer(model, tokenizer, prompt, mode):
    """What transformers generates greedily, and where its choice was a close one."""
    if mode == "chat":
        messages = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False).input_ids
    else:
        ids = tokenizer(prompt).input_ids
    room = min(NEW_TOKENS, model.config.max_position_embeddings - len(ids))
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    given = torch.tensor([ids])
    out = model.generate(
        given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=room,
        output_scores=True, return_dict_in_generate=True,
    )  # fmt: skip
    new = out.sequences[0, len(ids) :].tolist()
    highest = [scores[0].topk(2).values for scores in out.scores]
    ties = [at for at, (first, second) in enumerate(highest) if first - second < NEAR_TIE]
    return {
        "mode": mode, "prompt": prompt, "prompt_ids": ids, "gen_ids": new, "stopped": new[-1] in ends,
        "text": tokenizer.decode(new, skip_special_tokens=True), "near_tie_positions": ties,
    }  # fmt: skip


def make_golden(name, folder):
    """What transformers makes of the directory as it lies there."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    modes = ["raw", "chat"] if VARIANTS[name].get("chat") else ["raw"]
    # one far longer than any window, to the end of the context where it is near; and a short one
    context = model.config.max_position_embeddings
    length = context if context < 100 else 40
    numbers = np.random.default_rng(zlib.crc32(name.encode()) + 1)
    sequences = [numbers.integers(0, model.config.vocab_size, size).tolist() for size in (length, 5)]
    write_golden(name, folder / "golden", model, tokenizer, sequences, modes)


def far(found, exact):
    """How far the numbers of a matrix lie from the exact ones: on the whole, and the one that lies farthest, relative to
    itself and a hundredth of the largest."""
    apart = (found - exact).abs()
    farthest = (apart / (exact + exact.max() / 100)).max()
    return [(apart.norm() / exact.norm()).item(), farthest.item()]


def differing(one, other):
    """How many weights two selections of the same points do not share, and how many they have."""
    pairs = [(set(a["sets"][name][rule]), set(b["sets"][name][rule]))
             for a, b in zip(one, other) for name in a["sets"] for rule in a["sets"][name]]  # fmt: skip
    return [sum(len(a ^ b) for a, b in pairs), sum(len(b) for _, b in pairs)]


def write_golden(
    name, folder, model, tokenizer, sequences, modes, *, cases=CASES, points=POINTS, layers=None, last=0, exact=False
):
    """All numbers of a model. Of one too large for that: the scores of some layers, the logits of the last positions.

    Where f32 alone moves scores by more than a port may, losses, scores and sets can be `exact`: those of f64, with how far
    transformers' own f32 lies from them. The model is f64 afterwards.
    """
    model.eval()
    folder.mkdir()

    def scored():
        found = {data: score(model, tokenizer, rows, layers) for data, rows in ROWS.items()}
        return {data: scores for data, (scores, _) in found.items()}, {data: rest for data, (_, rest) in found.items()}

    scores, datasets = scored()
    with torch.no_grad():
        generations = [answer(model, tokenizer, prompt, mode) for mode in modes for prompt in PROMPTS]
        logits = [model(torch.tensor([ids]), logits_to_keep=last).logits[0] for ids in sequences]
    selections, rounding = select(scores, points), {}
    if exact:
        rounded, chosen = scores, selections
        model.double()
        with Doubled():
            scores, datasets = scored()
        selections = select(scores, points)
        matrices_of = {matrix: far(rounded["fairness"][matrix], value) for matrix, value in scores["fairness"].items()}
        rounding = {"rounding": {"scores": matrices_of, "sets": differing(chosen, selections)}}
    truth = {
        "name": name,
        "sequences": sequences,
        "tokenizer": [{"text": text, "ids": tokenizer(text).input_ids} for text in cases],
        "datasets": datasets,
        "generations": generations,
        "selections": selections,
        **rounding,
        **({"layers": sorted(layers), "last": last} if layers else {}),
    }
    write_json(folder / "golden.json", truth)
    save_file({f"logits_{at}": value.contiguous() for at, value in enumerate(logits)}, folder / "logits.safetensors")
    save_file({matrix: value.float() for matrix, value in scores["fairness"].items()}, folder / "scores_fairness.safetensors")


def write_json(path, value):
    """A line for each entry of the two outer levels: short, and a change can be seen in a diff."""
    brief = lambda inner: json.dumps(inner, ensure_ascii=False, separators=(",", ":"))
    lines = []
    for key, inner in value.items():
        if isinstance(inner, dict):
            body = ",\n".join(f"  {brief(k)}: {brief(v)}" for k, v in inner.items())
            lines.append(f" {brief(key)}: {{\n{body}\n }}")
        elif isinstance(inner, list):
            body = ",\n".join(f"  {brief(v)}" for v in inner)
            lines.append(f" {brief(key)}: [\n{body}\n ]")
        else:
            lines.append(f" {brief(key)}: {brief(inner)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def make(name, out):
    """One model with its golden, in a folder of its name."""
    folder = Path(out) / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make_model(name, folder)
    make_golden(name, folder)
    return folder


def quiet():
    """No warnings about how small the models are, no progress bars."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="the folder that gets a folder for each model")
    parser.add_argument("names", nargs="*", metavar="NAME", help="all of them unless named")
    args = parser.parse_args()
    quiet()
    for name in args.names or VARIANTS:
        print(make(name, args.out))


if __name__ == "__main__":
    main()
