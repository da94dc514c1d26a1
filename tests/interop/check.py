#!/usr/bin/env python3
"""Makes every model and golden again, compares them with the committed ones, and runs the Rust tests that read those.

Called by `run`, which has the options. Must not know: how a golden is made (make.py), what dean computes.
"""

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = dict(os.environ)  # for what is called here: make.py changes its own

import make
import numpy as np
from safetensors.numpy import load_file
from variants import VARIANTS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# What kernels for another machine may change; weights and ids may not change at all.
RELATIVE = 1e-6


class Differs(Exception):
    """A sentence: where, and what."""


def same_json(here, there, place):
    """Ids, texts and structure exactly; numbers with a fraction to RELATIVE."""
    if isinstance(here, float) and isinstance(there, float):
        if abs(here - there) > RELATIVE * max(abs(here), abs(there)):
            raise Differs(f"{place} is {there}, committed is {here}")
    elif type(here) is not type(there):
        raise Differs(f"{place} is {there!r:.60}, committed is {here!r:.60}")
    elif isinstance(here, dict):
        if list(here) != list(there):
            raise Differs(f"{place} has the keys {list(there)}, committed has {list(here)}")
        for key in here:
            same_json(here[key], there[key], f"{place}.{key}")
    elif isinstance(here, list):
        if len(here) != len(there):
            raise Differs(f"{place} has {len(there)} entries, committed has {len(here)}")
        for at, (one, other) in enumerate(zip(here, there)):
            same_json(one, other, f"{place}[{at}]")
    elif here != there:
        raise Differs(f"{place} is {there!r:.60}, committed is {here!r:.60}")


def same_tensors(here, there, place):
    """Relative to each number and, for sums that nearly cancel, to the largest number beside it."""
    here, there = load_file(here), load_file(there)
    if here.keys() != there.keys():
        raise Differs(f"{place} holds other tensors: {sorted(here.keys() ^ there.keys())}")
    for name, old in here.items():
        new = there[name]
        if old.shape != new.shape:
            raise Differs(f"{place}: {name} has the shape {new.shape}, committed is {old.shape}")
        apart = np.abs(old - new) - RELATIVE * (np.abs(old) + np.abs(old).max())
        # written so that a NaN differs
        if not (apart <= 0).all():
            at = int(np.argmax(np.nan_to_num(apart, nan=np.inf)))
            raise Differs(f"{place}: {name}[{at}] is {new.flat[at]}, committed is {old.flat[at]}")


def same_model(here, there):
    """How many files were compared."""
    listed = lambda folder: sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if listed(here) != listed(there):
        raise Differs(f"made {listed(there)}, committed are {listed(here)}")
    for name in listed(here):
        old, new = here / name, there / name
        if not name.startswith("golden"):
            if old.read_bytes() != new.read_bytes():
                raise Differs(f"{name} has other bytes")
        elif name.endswith(".json"):
            same_json(json.loads(old.read_text()), json.loads(new.read_text()), name)
        else:
            same_tensors(old, new, name)
    return len(listed(here))


def remade(name, scratch):
    """What is different when a model is made again, or None and what was compared."""
    try:
        files = same_model(HERE / "models" / name, make.make(name, scratch))
        return None, f"{files} files made again"
    except Differs as differs:
        return str(differs), ""
    except Exception as error:  # whatever PyTorch raises, the other models are still to be looked at
        return f"cannot be made: {type(error).__name__}: {error}", ""


def rust_tests(names):
    """Runs the tests; of each model, or of the test itself where it is of none, a list of (test, passed) and notes."""
    filters = [f"{module(name)}::" for name in names] if names != list(VARIANTS) else []
    command = ["cargo", "test", "--release", "--test", "interop", "--", *filters]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    results, notes = {}, {}
    for test, outcome in re.findall(r"^test (\S+) \.\.\. (\S+)$", done.stdout, re.MULTILINE):
        owner, _, rest = test.rpartition("::")
        results.setdefault(owner or rest, []).append((rest, outcome == "ok"))
    for name, note in re.findall(r"^interop: (\S+): (.*)$", done.stderr, re.MULTILINE):
        notes.setdefault(name, []).append(note)
    passed = all(ok for tests in results.values() for _, ok in tests)
    if not results or passed != (done.returncode == 0):
        print(done.stderr, file=sys.stderr)
        raise Differs(f"`{' '.join(command)}` ended with {done.returncode}")
    if not passed:
        print(done.stdout, file=sys.stderr)
    return results, notes


def module(name):
    """The name of a model's Rust module."""
    return re.sub(r"\W", "_", name)


def export_checks(work):
    """The numbers that export.py ends with: what transformers and others make of exported models."""
    build = ["cargo", "build", "--release", "--quiet"]
    dean = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release" / "dean"
    if subprocess.run(build, cwd=ROOT, env=ENVIRONMENT).returncode != 0:
        print("FAILED export: dean cannot be built")
        return 0, 1
    command = [sys.executable, HERE / "export.py", "--dean", dean, "--work", work / "export"]
    last = ""
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as done:
        # as they come, but for the last one, whose numbers are added to ours
        for line in done.stdout:
            if last:
                print(last, flush=True)
            last = line.rstrip()
    numbers = re.fullmatch(r"(\d+) passed, (\d+) failed", last)
    passed, failed = (int(number) for number in numbers.groups()) if numbers else (0, 0)
    if not numbers or (done.returncode != 0 and failed == 0):
        print(f"FAILED export: export.py ended with {done.returncode} and the line {last!r}")
        failed += 1
    return passed, failed


def check_versions():
    """Other versions may write other bytes: better said before than wondered at after."""
    for package, wanted in re.findall(r"^(\w+)==(\S+)$", (HERE / "requirements.txt").read_text(), re.MULTILINE):
        found = importlib.metadata.version(package).partition("+")[0]
        if found != wanted:
            print(f"note: {package} is {found}; the committed files were made with {wanted}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(prog="tests/interop/run", description=__doc__)
    parser.add_argument("--family", metavar="NAME", help="a family or a model of tests/interop/models; all without it")
    parser.add_argument("--work", type=Path, required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = [name for name, variant in VARIANTS.items() if args.family in (None, name, variant["family"])]
    if not names:
        known = dict.fromkeys([*(variant["family"] for variant in VARIANTS.values()), *VARIANTS])
        parser.error(f"there is no family {args.family}; there are {', '.join(known)}")
    check_versions()
    make.quiet()

    lines = {}  # what was looked at -> why it failed, what it was
    scratch = args.work / "models"
    shutil.rmtree(scratch, ignore_errors=True)
    for name in names:
        why, what = remade(name, scratch)
        lines[name] = ([why] if why else [], [what] if what else [])
    try:
        results, notes = rust_tests(names)
        for name in names:
            tests = results.pop(module(name), [])
            failed = [f"the test {test} failed" for test, ok in tests if not ok] or ([] if tests else ["it has no test"])
            lines[name][0].extend(failed)
            lines[name][1].extend([f"{len(tests)} tests", *sorted(notes.get(name, []))])
        for owner, tests in results.items():
            lines[owner] = ([f"the test {test} failed" for test, ok in tests if not ok], [])
    except Differs as differs:
        for why, _ in lines.values():
            why.append(str(differs))

    for name, (why, what) in lines.items():
        print(f"FAILED {name}: {'; '.join(why)}" if why else f"ok {name} {'; '.join(what)}".rstrip(), flush=True)
    failed = sum(bool(why) for why, _ in lines.values())
    passed = len(lines) - failed
    if args.family is None and (HERE / "export.py").exists():
        more = export_checks(args.work)
        passed, failed = passed + more[0], failed + more[1]
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
