"""dean search, Optuna's samplers and chance over one table of what every point gives; benches/search starts it."""

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import warnings
from pathlib import Path

import optuna

SIDE = 10
LIMITS = [["perplexity", 1.05], ["kl", 0.1]]
OBJECTIVES = ["fairness", "privacy"]
BUDGET = 25
GOAL = 0.95


def shares():
    return [float(f"{1e-6 * 100 ** (at / (SIDE - 1)):.2e}") for at in range(SIDE)]


def measured(dean, work):
    """The table of the project's job, from the store; computes what is missing."""
    grid = json.dumps(shares())
    sets = ["--set", f"select.p={grid}", "--set", f"select.q={grid}", "--set", 'controls.points="none"']
    subprocess.run([dean, "run", "--quiet", "--json", *sets], check=True, stdout=subprocess.DEVNULL)
    told = json.loads(subprocess.run([dean, "report", "--json", *sets], check=True, capture_output=True).stdout)
    report = told.get("report", told)
    points = json.loads(subprocess.run([dean, "grid", "--json", *sets], check=True, capture_output=True).stdout)
    variants = {(p["p"], p["q"]): v for v in report["variants"] for p in v["points"]}
    rows = []
    for point in sorted(points, key=lambda point: (point["q"], point["p"])):
        outcomes = variants[(point["p"], point["q"])]["outcomes"] if point["weights"] else []

        def one(test):
            return next((found for found in outcomes if test(found)), None)

        nll = one(lambda found: found["measure"] == "nll")
        kl = one(lambda found: found["measure"] == "kl")
        gains = []
        for name in OBJECTIVES:
            found = one(lambda found: found["set"] == name and found["measure"].endswith("/safe"))
            paired = (found or {}).get("paired") or {"change": 0.0, "interval": [0.0, 0.0]}
            lower, upper = paired["interval"]
            gains.append({"value": paired["change"], "lower": lower, "upper": upper})
        empty = not point["weights"]
        cheap = [1.0 if empty else nll.get("ratio"), 0.0 if empty else kl and kl["value"]]
        rows.append({"weights": point["weights"], "mask": point["mask"] or "", "cheap": cheap, "gains": gains})
    return {"ps": shares(), "qs": shares(), "limits": LIMITS, "points": rows}


def simulated(seed):
    """Two hills of gain that differ in place, damage that grows with q, and the noise of 100 questions each."""
    draw = random.Random(seed)
    spots = [(int(SIDE * draw.random() ** 0.3), int(SIDE * draw.random() ** 0.6)) for _ in range(3000)]
    hills = [(draw.uniform(0.2, 0.8), draw.uniform(0.4, 0.9)) for _ in OBJECTIVES]
    rows, seen = [], {}
    for row in range(SIDE):
        for column in range(SIDE):
            mask = frozenset(at for at, spot in enumerate(spots) if spot[0] <= row and spot[1] >= column)
            if mask not in seen:
                x, y = column / (SIDE - 1), row / (SIDE - 1)
                damage = 0.12 * y**4 * (1.2 - x)
                gains = []
                for a, b in hills:
                    true = 0.25 * math.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.18) if mask else 0.0
                    value = true + draw.gauss(0, 0.02) if mask else 0.0
                    gains.append({"value": value, "lower": value - 0.08, "upper": value + 0.08})
                cheap = [math.exp(damage * draw.uniform(0.8, 1.2)), damage * draw.uniform(0.7, 1.3)]
                seen[mask] = {"weights": len(mask), "mask": str(len(seen)), "cheap": cheap, "gains": gains}
            rows.append(seen[mask])
    return {"ps": shares(), "qs": shares(), "limits": LIMITS, "points": rows}


def over(table, place):
    """How far each limit is exceeded; at most 0 where it holds."""
    found = table["points"][place]["cheap"]
    return [math.inf if value is None else value - limit for value, (_, limit) in zip(found, table["limits"])]


def gains(table, place):
    return [gain["value"] for gain in table["points"][place]["gains"]]


def hypervolume(table, places):
    """The area above no gain that the allowed ones of these places command."""
    allowed = [gains(table, place) for place in places if max(over(table, place)) <= 0]
    inside = sorted((one for one in allowed if min(one) > 0), reverse=True)
    area, height = 0.0, 0.0
    for x, y in inside:
        if y > height:
            area += x * (y - height)
            height = y
    return area


def needed(table, order, truth):
    """How many distinct points reach the goal, and the share that the budget reaches."""
    distinct, masks = [], set()
    for place in order:
        mask = table["points"][place]["mask"]
        if mask not in masks:
            masks.add(mask)
            distinct.append(place)
    shares = [hypervolume(table, distinct[: count + 1]) / truth for count in range(len(distinct))]
    points = next((count + 1 for count, share in enumerate(shares) if share >= GOAL), len(table["points"]))
    return points, shares[min(BUDGET, len(shares)) - 1]


def sampled(table, sampler, most):
    """The places that a sampler of Optuna asks for, in order."""
    order = []

    def objective(trial):
        row, column = trial.suggest_int("q", 0, SIDE - 1), trial.suggest_int("p", 0, SIDE - 1)
        place = row * SIDE + column
        order.append(place)
        trial.set_user_attr("over", [min(value, 1e3) for value in over(table, place)])
        return gains(table, place)

    study = optuna.create_study(directions=["maximize"] * len(OBJECTIVES), sampler=sampler)
    study.optimize(objective, n_trials=most)
    return order


def constraints(trial):
    return trial.user_attrs["over"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--dean", required=True)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--simulate", type=int)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--most", type=int, default=100)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.most = 3, 40
        args.simulate = 0 if args.simulate is None else args.simulate
    warnings.filterwarnings("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    file = args.table or args.work / ("table.json" if args.simulate is None else f"simulated-{args.simulate}.json")
    if args.simulate is not None:
        file.write_text(json.dumps(simulated(args.simulate)))
    elif not file.exists():
        file.write_text(json.dumps(measured(args.dean, args.work)))
    table = json.loads(file.read_text())
    truth = hypervolume(table, range(len(table["points"])))
    if truth <= 0:
        sys.exit("no point within the limits gains anything: there is nothing to search in this table")

    order = json.loads(subprocess.run([args.bench, str(file), str(args.most)], check=True, capture_output=True).stdout)
    points, fraction = needed(table, order, truth)
    print(f"dean search: {points} points for {GOAL:.0%}; {fraction:.1%} in {BUDGET}")
    makers = {
        "TPE": lambda seed: optuna.samplers.TPESampler(seed=seed, constraints_func=constraints),
        "GP": lambda seed: optuna.samplers.GPSampler(seed=seed, constraints_func=constraints),
    }
    medians = {}
    for name, maker in makers.items():
        found = [needed(table, sampled(table, maker(seed), args.most), truth) for seed in range(args.seeds)]
        medians[name] = statistics.median(points for points, _ in found)
        share = statistics.median(share for _, share in found)
        print(f"Optuna {optuna.__version__} {name}: {medians[name]:g} points; {share:.1%} in {BUDGET}")
    orders = [random.Random(seed).sample(range(len(table["points"])), len(table["points"])) for seed in range(args.seeds)]
    found = [needed(table, order, truth) for order in orders]
    chance = statistics.median(points for points, _ in found)
    print(f"chance: {chance:g} points; {statistics.median(share for _, share in found):.1%} in {BUDGET}")
    told = {
        "hypervolume_fraction": round(fraction, 4),
        "points": points,
        "points_optuna": min(medians.values()),
        "points_random": chance,
    }
    print(json.dumps({**told, "points_tpe": medians["TPE"], "points_gp": medians["GP"], "simulated": args.simulate is not None}))


if __name__ == "__main__":
    main()
