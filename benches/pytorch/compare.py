"""Scoring on both sides, in turns, and what came of it. Called by benches/scoring-vs-pytorch, which has the options.

For each number of threads one process of ours (`scoring --rows`) and one of PyTorch's (worker.py) are kept open. The
samples are dealt into rounds of equal mixture; in each round both sides score the same samples, PyTorch twice, once with
plain calls and once with logits at label rows only, and it runs the released schedule on a few for three layers. Seconds are medians over rounds of seconds per needed
operation, times all operations, so that one disturbed round does not count. Both sides must agree before any ratio is
printed: losses, and every matrix's sum and greatest score.
"""

import argparse
import glob
import json
import os
import subprocess
import sys
import time
from statistics import median

import pyarrow.parquet

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHARED = {
    "fairness": "beaver_train330k_fairness_safe_1k.csv",
    "privacy": "beaver_train330k_privacy_safe_1k.csv",
    "general": "alpaca_cleaned_no_safety_train_1k.csv",
}
# PyTorch's own f32 cross entropy over 49,152 entries lies 2e-5 below what it gives in f64 on the same logits.
LOSS_TOLERANCE = 1e-4
SCORE_TOLERANCE = 1e-3


def options():
    parser = argparse.ArgumentParser(prog="scoring-vs-pytorch")
    parser.add_argument("--samples", type=int, default=None, help="rows of each of the three sets (128; 6 with --quick)")
    parser.add_argument("--threads", default="1,2", help="numbers of threads; the last one is the JSON's (1,2)")
    parser.add_argument("--rounds", type=int, default=None, help="turns that each side gets (8; 3 with --quick)")
    parser.add_argument("--quick", action="store_true", help="6 samples of each set, of which one thread gets a third")
    parser.add_argument("--work", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--bench", required=True, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    chosen.samples = chosen.samples or (6 if chosen.quick else 128)
    chosen.rounds = min(chosen.rounds or (3 if chosen.quick else 8), chosen.samples)
    chosen.threads = [int(count) for count in chosen.threads.split(",")]
    return chosen


def rows(chosen):
    """Token ids of all three sets as dean's own tokenize stage makes them, and where the rows are from."""
    shared = os.path.join(os.environ.get("DEAN_SHARED") or os.path.join(ROOT, "..", "shared"), "data")
    files = {name: os.path.join(shared, file) for name, file in SHARED.items()}
    origin = "the authors' rows"
    if not all(map(os.path.exists, files.values())):
        files = {name: os.path.join(ROOT, "data", f"{name}.csv") for name in SHARED}
        origin = f"the project's own rows, because {shared} has not the authors'"
    sources = os.environ.get("DEAN_SOURCES") or os.path.join(ROOT, "artifacts", "sources")
    settings = [f"run.store={json.dumps(os.path.join(chosen.work, 'store'))}", f"run.sources={json.dumps(sources)}"]
    for name, file in files.items():
        settings += [f"data.{name}.path={json.dumps(os.path.abspath(file))}", f"data.{name}.samples={chosen.samples}"]
    arguments = ["--config", os.path.join(ROOT, "pipeline.toml")]
    for setting in settings:
        arguments += ["--set", setting]
    dean = os.path.join(os.path.dirname(chosen.work), "release", "dean")
    subprocess.run([dean, "run", "--quiet", "--until", "tokenize", *arguments], check=True, stdout=sys.stderr)
    nodes = json.loads(subprocess.run([dean, "status", "--json", *arguments], check=True, capture_output=True).stdout)
    found = []
    for name in SHARED:
        path = next(node["outputs"]["tokens"]["path"] for node in nodes if node["node"] == f"tokenize[{name}]")
        table = pyarrow.parquet.read_table(path).to_pydict()
        found += [{"ids": ids, "response": first} for ids, first in zip(table["input_ids"], table["response_start"])]
    model = glob.glob(os.path.join(sources, "pip", "**", "SmolLM2-135M-Instruct.Q4_1.gguf"), recursive=True)
    if not model:
        raise SystemExit(f"the model is not in {sources}")
    return found, origin, model[0]


def cores_in_use(seconds=2):
    """How many cores other programs keep busy just now; 0 where the system does not tell."""

    def busy():
        with open("/proc/stat") as file:
            user, nice, system, _, _, *interrupts = map(int, file.readline().split()[1:])
        return (user + nice + system + sum(interrupts[:2])) / os.sysconf("SC_CLK_TCK")

    try:
        before = busy()
        time.sleep(seconds)
        return (busy() - before) / seconds
    except OSError:
        return 0.0


class Side:
    """A process that answers one command a line with one line of JSON; other lines are notes."""

    def __init__(self, command, threads):
        environment = dict(os.environ, RAYON_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads))
        pipe = subprocess.PIPE
        self.name = os.path.basename(command[0])
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=ROOT)
        self.ready = self.answer()

    def answer(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{self.name} ended early, with status {self.process.wait()}")

    def ask(self, command, *numbers):
        self.process.stdin.write(" ".join(map(str, (command, *numbers))) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def agree(ours, theirs, losses):
    """Ends the benchmark if the two sides did not compute the same."""
    for index, (a, b) in enumerate(zip(*losses)):
        if not abs(a - b) <= LOSS_TOLERANCE:
            raise SystemExit(f"the sides disagree: loss {index} is {a} here and {b} in PyTorch")
    if ours["scores"].keys() != theirs["scores"].keys():
        raise SystemExit("the sides disagree on which matrices are scored")
    worst = 0.0
    for name, facts in ours["scores"].items():
        for a, b in zip(facts, theirs["scores"][name]):
            b /= 2  # PyTorch added every sample twice, once in each way.
            worst = max(worst, abs(a - b) / max(abs(b), 1e-30))
    if not worst <= SCORE_TOLERANCE:
        raise SystemExit(f"the sides disagree: a matrix's scores differ by {worst:.1e}")
    return max(abs(a - b) for a, b in zip(*losses)), worst


def measure(chosen, threads, samples, indices, model, rows_file, detailed):
    ours = Side([chosen.bench, "--rows", rows_file], threads)
    theirs = Side([sys.executable, os.path.join(ROOT, "benches", "pytorch", "worker.py"), model, rows_file, str(threads)], threads)
    inputs = lambda index: len(samples[index]["ids"]) - 1
    tokens = sum(map(inputs, indices))
    mean = tokens / len(indices)
    probes = indices[:: max(1, len(indices) // 9)]
    losses = ours.ask("loss", *probes)["loss"], theirs.ask("loss", *probes)["loss"]
    layers = ours.ready["layers"]
    middle = [0, layers // 2, layers - 1]

    rounds = []
    count = min(chosen.rounds, max(1, len(indices) // 6))
    for turn in range(count):
        share = indices[turn::count]
        gemm = ours.ask("gemm", round(mean))
        a = ours.ask("add", *share)
        b = {kind: theirs.ask("add", kind, *share) for kind in ("plain", "label_rows")}
        # The samples nearest to the mean length stand for all in the released schedule.
        near = sorted(share, key=lambda index: abs(inputs(index) - mean))[: 1 if chosen.quick else 3]
        times = [theirs.ask("released", layer, *near)["seconds"] for layer in middle]
        per_token = layers * sum(times) / 3 / sum(map(inputs, near))
        turns = {"ours": a["seconds"], **{kind: time["seconds"] for kind, time in b.items()}}
        rounds.append({"gemm": gemm, "flops": a["flops"], "released": per_token, **turns})
        print(
            f"  round {turn + 1}/{count}, {threads} threads: {len(share)} samples, dean {turns['ours']:.1f} s, "
            f"PyTorch {turns['plain']:.1f} s, with logits at label rows {turns['label_rows']:.1f} s, "
            f"products {gemm['best']:.0f} GFLOP/s",
            file=sys.stderr,
        )
    end, their_end = ours.ask("finish"), theirs.ask("finish")
    difference = agree(end, their_end, losses)
    parts = ours.ask("parts", *indices[:: max(1, len(indices) // (4 if chosen.quick else 12))]) if detailed else None
    ours.close()
    theirs.close()

    flops = sum(turn["flops"] for turn in rounds)
    typical = lambda side: flops * median(turn[side] / turn["flops"] for turn in rounds)
    rate = median(turn["gemm"]["best"] for turn in rounds) * 1e9
    adding = typical("ours")
    stage = ours.ready["start_seconds"] + adding + end["seconds"] + end["ranking_seconds"]
    plain, label_rows = (typical(kind) + their_end["seconds"] for kind in ("plain", "label_rows"))
    released = tokens * median(turn["released"] for turn in rounds)
    scores = stage - end["ranking_seconds"]
    return {
        "threads": threads,
        "samples": len(indices),
        "tokens": tokens,
        "seconds": stage,
        "seconds_sum": sum(turn["ours"] for turn in rounds),
        "seconds_pytorch": plain,
        "seconds_pytorch_label_rows": label_rows,
        "seconds_released": released,
        "ratio_pytorch": plain / scores,
        "ratio_pytorch_label_rows": label_rows / scores,
        "ratio_released": released / scores,
        "gemm_gflops": rate / 1e9,
        "gemm_gflops_at_mean_length": median(turn["gemm"]["at_rows"] for turn in rounds),
        "needed_gflop": flops / 1e9,
        "gemm_fraction": flops / rate / stage,
        "peak_bytes": end["peak"],
        "peak_bytes_pytorch": their_end["peak"],
        "peak_process": [end["peak_process"], their_end["peak_process"]],
        "peak_since": [end["peak_since"], their_end["peak_since"]],
        "predicted_peak_bytes": ours.ready["predicted_peak"],
        "file_pages": [end["file_pages"], their_end["file_pages"]],
        "start": ours.ready["start_seconds"],
        "finish": end["seconds"],
        "ranking": end["ranking_seconds"],
        "pytorch": theirs.ready,
        "difference": difference,
        "parts": parts,
    }


def breakdown(result):
    """Lines on where the time of our side goes, from three passes that each do more."""
    rate = result["gemm_gflops"] * 1e9
    parts = result["parts"]
    steps = [
        ("forward pass and head", "forward", None),
        ("backward pass through the layers", "backward", "forward"),
        ("gradients of the scored matrices, |.|, sums", "all", "backward"),
    ]
    whole = parts["all"]["seconds"]
    lines = [f"    {'':44} {'share':>6} {'needed':>7} {'rate':>14} {'of products':>11}"]
    ideal = 0.0
    for title, name, before in steps:
        take = lambda key: parts[name][key] - (parts[before][key] if before else 0.0)
        seconds, flops = take("seconds"), take("flops")
        ideal += flops / rate
        reached = f"{flops / seconds / 1e9:6.0f} GFLOP/s" if seconds > 0 else "-"
        share, needed = seconds / whole, flops / rate / whole
        lines.append(f"    {title:44} {share:6.1%} {needed:7.1%} {reached:>14} {needed / share if share > 0 else 0:11.0%}")
    lines.append(f"    in all: {ideal / whole:.1%} is what the needed products take at the machine's rate, {1 - ideal / whole:.1%} the rest:")
    lines.append("    products at their own, smaller shapes, norms, gates, softmax, cross entropy, reading and writing memory")
    before, scores, ranks = result["start"], result["finish"], result["ranking"]
    lines.append(f"    besides: sums made {before:.2f} s, scores {scores:.2f} s, cut to ranks {ranks:.2f} s")
    return lines


def table(results):
    mega = lambda value: f"{value / 1e6:,.0f} MB"
    lines = [
        ("threads", lambda r: str(r["threads"])),
        ("samples, tokens", lambda r: f"{r['samples']}, {r['tokens']:,}"),
        ("dean, seconds (median round x all)", lambda r: f"{r['seconds']:.1f}"),
        ("PyTorch (a), one pass a sample", lambda r: f"{r['seconds_pytorch']:.1f}"),
        ("  with logits at label rows only, as in dean", lambda r: f"{r['seconds_pytorch_label_rows']:.1f}"),
        ("PyTorch (b), released schedule, extrapolated", lambda r: f"{r['seconds_released']:,.0f}"),
        ("ratio (a)", lambda r: f"{r['ratio_pytorch']:.2f}"),
        ("  with logits at label rows only", lambda r: f"{r['ratio_pytorch_label_rows']:.2f}"),
        ("ratio (b)", lambda r: f"{r['ratio_released']:.1f}"),
        ("needed operations, GFLOP", lambda r: f"{r['needed_gflop']:,.0f}"),
        ("machine's products, GFLOP/s", lambda r: f"{r['gemm_gflops']:.0f}"),
        ("  at the mean length", lambda r: f"{r['gemm_gflops_at_mean_length']:.0f}"),
        ("gemm_fraction", lambda r: f"{r['gemm_fraction']:.1%}"),
        ("peak memory, dean", lambda r: mega(r["peak_bytes"])),
        ("  predicted, without the program itself", lambda r: mega(r["predicted_peak_bytes"])),
        ("peak memory, PyTorch", lambda r: mega(r["peak_bytes_pytorch"])),
        ("  of it pages of files (libraries)", lambda r: mega(r["file_pages"][1])),
        ("peak with loading, dean / PyTorch", lambda r: " / ".join(map(mega, r["peak_process"]))),
    ]
    return [f"{title:46}" + "".join(f"{cell(result):>24}" for result in results) for title, cell in lines]


def main():
    chosen = options()
    samples, origin, model = rows(chosen)
    rows_file = os.path.join(chosen.work, "rows.json")
    with open(rows_file, "w") as file:
        json.dump(samples, file)
    busy = cores_in_use()
    results = []
    for threads in chosen.threads:
        # The last number of threads is the benchmark; the others are for comparison and take every fourth sample.
        last = threads == chosen.threads[-1]
        share = 1 if last else 3 if chosen.quick else 4
        indices = list(range(0, len(samples), share))
        results.append(measure(chosen, threads, samples, indices, model, rows_file, last or not chosen.quick))

    print(f"scoring of SmolLM2-135M-Instruct (dequantised), MLP matrices, f32: 3 x {chosen.samples} samples, {origin}")
    if busy > 0.3:
        print(f"NOTE: something else was running on {busy:.1f} cores; these numbers are not to be relied on")
    print(*table(results), sep="\n")
    for result in results:
        facts = result["pytorch"]
        tried = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in facts["tried"].items())
        print(f"\n{result['threads']} threads. {facts['ready']}: {facts['variant']} is fastest ({tried})")
        loss, score = result["difference"]
        print(f"    the sides agree: losses to {loss:.1e}, sums and greatest scores of each matrix to {score:.1e}")
        if result["parts"]:
            print("    where dean's time goes, measured on some of the samples:")
            print(*breakdown(result), sep="\n")
    print("\n(b) is extrapolated: timed for the first, middle and last layer on a few samples of about the mean length,")
    print(f"times layers and tokens; its logits at every row, as released. Peaks are counted from {results[-1]['peak_since'][0]} on.")
    keys = ["ratio_pytorch", "ratio_released", "gemm_fraction", "peak_bytes", "peak_bytes_pytorch"]
    more = ["threads", "samples", "seconds", "seconds_pytorch", "seconds_released", "ratio_pytorch_label_rows", "gemm_gflops"]
    print(json.dumps({key: results[-1][key] for key in keys + more}))


if __name__ == "__main__":
    main()
