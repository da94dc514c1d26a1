"""Generation on both sides, in turns, and what came of it. Called by benches/generation-vs-transformers, which has the
options.

One process of ours (`generation --prompts`), one of transformers' (generation_worker.py) and one of llama.cpp's
(llama_cpp_worker.py, where the package xllamacpp is there) are kept open, and take turns. All must write the same tokens before
any ratio is printed; as their last bits differ, a few answers may part.
"""

import argparse
import glob
import importlib.util
import json
import os
import subprocess
import sys

import pyarrow.parquet

from compare import ROOT, Side, cores_in_use

# Of all tokens, those before the first that differs between the sides.
AGREEMENT = 0.8
# Weights that the two variants lack. The first is about what p = q = 1e-5 selects.
FEW, MANY = 100, 1300
# Tokens that all prompts of MD-Judge v0.1 begin with, and of a short question and its answer.
HEAD, TAIL = 720, 80


def options():
    parser = argparse.ArgumentParser(prog="generation-vs-transformers")
    parser.add_argument("--prompts", type=int, default=None, help="how many of the project's questions (96; 32 with --quick)")
    parser.add_argument("--tokens", type=int, default=None, help="new tokens of each answer (64; 32 with --quick)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of both sides (all)")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--work", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--bench", required=True, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    chosen.prompts = chosen.prompts or (32 if chosen.quick else 96)
    chosen.tokens = chosen.tokens or (32 if chosen.quick else 64)
    return chosen


def prompts(chosen):
    """Ids of the project's questions as dean's own generate stage makes them, and the model's file."""
    sources = os.environ.get("DEAN_SOURCES") or os.path.join(ROOT, "artifacts", "sources")
    settings = [
        f"run.store={json.dumps(os.path.join(chosen.work, 'store'))}",
        f"run.sources={json.dumps(sources)}",
        "generate.max_new_tokens=1",
        # Nothing is scored for this.
        'score.method="random"',
        'controls.points="none"',
        "select.points=[[1e-5,1e-5]]",
        "data.fairness.samples=2",
        "data.privacy.samples=2",
        "data.general.samples=2",
    ]
    arguments = ["--config", os.path.join(ROOT, "pipeline.toml")]
    for setting in settings:
        arguments += ["--set", setting]
    dean = os.path.join(os.path.dirname(chosen.work), "release", "dean")
    subprocess.run([dean, "run", "--quiet", "--until", "generate", *arguments], check=True, stdout=sys.stderr)
    nodes = json.loads(subprocess.run([dean, "status", "--json", *arguments], check=True, capture_output=True).stdout)
    path = next(node["outputs"]["answers"]["path"] for node in nodes if node["node"] == "generate[base]")
    found = pyarrow.parquet.read_table(path).column("prompt_ids").to_pylist()
    model = glob.glob(os.path.join(sources, "pip", "**", "SmolLM2-135M-Instruct.Q4_1.gguf"), recursive=True)
    if not model:
        raise SystemExit(f"the model is not in {sources}")
    # Of both sets alike.
    return found[:: max(1, len(found) // chosen.prompts)][: chosen.prompts], model[0]


def agreement(ours, theirs):
    """The share of tokens that come before the first difference."""
    same = total = 0
    for one, other in zip(ours, theirs):
        total += len(one)
        same += next((index for index, pair in enumerate(zip(one, other)) if pair[0] != pair[1]), len(one))
    return same / total


def main():
    chosen = options()
    ids, model = prompts(chosen)
    prompts_file = os.path.join(chosen.work, "prompts.json")
    with open(prompts_file, "w") as file:
        json.dump(ids, file)
    busy = cores_in_use()
    ours = Side([chosen.bench, "--prompts", prompts_file], chosen.threads)
    worker = os.path.join(ROOT, "benches", "pytorch", "generation_worker.py")
    theirs = Side([sys.executable, worker, model, prompts_file, str(chosen.threads)], chosen.threads)
    llama_cpp = None
    if importlib.util.find_spec("xllamacpp"):
        worker = os.path.join(ROOT, "benches", "pytorch", "llama_cpp_worker.py")
        llama_cpp = Side([sys.executable, worker, model, prompts_file, str(chosen.threads), chosen.work], chosen.threads)
    count, new = len(ids), chosen.tokens

    seconds, batches, slots = [], {}, {}
    for size in sorted({size for size in (16, 48, 96) if size < count} | {count}):
        a, b = ours.ask("generate", count, new), theirs.ask("generate", count, new, size)
        seconds.append(a["seconds"])
        batches[size] = b["seconds"]
        print(f"  dean {a['seconds']:.1f} s, transformers in batches of {size} {b['seconds']:.1f} s", file=sys.stderr)
        if llama_cpp:
            c = llama_cpp.ask("generate", count, new, size)
            slots[size] = c["seconds"]
            print(f"  llama.cpp with {size} slots {c['seconds']:.1f} s", file=sys.stderr)
    same = agreement(a["ids"], b["ids"])
    if llama_cpp:
        same = min(same, agreement(a["ids"], c["ids"]))
        llama_cpp.close()
    if same < AGREEMENT:
        raise SystemExit(f"the sides disagree: only {same:.0%} of the tokens come before the first that differs")
    alone = ours.ask("generate", 1, new)["seconds"], theirs.ask("generate", 1, new, 1)["seconds"]
    theirs.close()
    rate = ours.ask("rate")["gflops"]
    drafts = {weights: ours.ask("drafts", count, new, weights) for weights in (FEW, MANY)}
    heads = ours.ask("heads", 96 if chosen.quick else 192, HEAD, TAIL)
    few_alone = ours.ask("drafts", 1, new, FEW)
    ours.close()

    best = min(seconds)
    size, fastest = min(batches.items(), key=lambda pair: pair[1])
    speedup = lambda drafted: drafted["without"] / drafted["with"]
    print(f"generation by SmolLM2-135M-Instruct (dequantised), f32, {chosen.threads} threads, {theirs.ready['ready']}")
    print(f"{count} prompts of {sum(map(len, ids)) / count:.0f} tokens, {new} new tokens each; reading of prompts included")
    if busy > 0.3:
        print(f"NOTE: something else was running on {busy:.1f} cores; these numbers are not to be relied on")
    print(f"dean          {count * new / best:8.0f} tokens/s; one prompt alone {new / alone[0]:.0f}")
    print(f"transformers  {count * new / fastest:8.0f} tokens/s in batches of {size}, its best; one prompt alone {new / alone[1]:.0f}")
    if slots:
        slot, quickest = min(slots.items(), key=lambda pair: pair[1])
        print(f"llama.cpp     {count * new / quickest:8.0f} tokens/s with {slot} slots, its best")
    print(f"{same:.1%} of the tokens come before the first that differs between the sides")
    print(f"needed products take {a['needed'] / rate / 1e9 / best:.1%} of the time at the machine's {rate:.0f} GFLOP/s")
    for weights, drafted in drafts.items():
        print(
            f"without {weights} weights {drafted['changed']} of {count} answers change; with the base's answers as drafts "
            f"{speedup(drafted):.2f} times as fast, {drafted['right']} of {drafted['read']} tokens read of drafts were right"
        )
    print(f"one answer alone, without {FEW} weights: {speedup(few_alone):.2f} times as fast")
    print(
        f"prompts of {HEAD} tokens that all begin with, and {TAIL} others: {1e3 * heads['shared']:.0f} ms each, "
        f"{heads['own'] / heads['shared']:.1f} times as fast as without sharing"
    )
    result = {
        "tokens_per_second": count * new / best,
        "ratio_transformers": fastest / best,
        "ratio_llama_cpp": min(slots.values()) / best if slots else None,
        "draft_speedup": speedup(drafts[FEW]),
        "prefix_speedup": heads["own"] / heads["shared"],
        "fraction_of_products": a["needed"] / rate / 1e9 / best,
        "draft_speedup_damaged": speedup(drafts[MANY]),
        "draft_speedup_alone": speedup(few_alone),
        "ratio_transformers_alone": alone[1] / alone[0],
        "threads": chosen.threads,
        "busy_cores": round(busy, 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
