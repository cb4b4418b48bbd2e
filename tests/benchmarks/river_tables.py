"""Tables of what `river_matrix.py` has kept: errors by tuner, the bars, the ablation, the order of tuners, isotropy.

    python tests/benchmarks/river_tables.py runs/river-matrix --modes 8

A prediction that ends before its run does counts as missed in every share.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from eosmodel.experiment import load_river
from eosmodel.studies.validated import TUNERS
from eosmodel.theory.complementarity import symmetric_basis

QUANTITIES = {"sharpness": "λ", "stepsize": "η", "center_loss": "L̄"}
NEAR = 0.05
"""Distance of a run's copy up to which the run is predictable; as in `validate`."""
VARIANTS = ("", ", isotropic", ", diagonal", ", fixed springs", ", free flow alone")
STARTS = ("0", "20", "60")
KINDS = (*(f"{first}{variant}" for variant in VARIANTS for first in STARTS), "20, no springs")


def cells(folder, modes):
    """(network, seed, tuner) -> numbers."""
    order = {name: i for i, name in enumerate(TUNERS)}
    found = {}
    for file in folder.glob(f"*/*_{modes}.json"):
        seed, tuner = file.stem.removesuffix(f"_{modes}").split("_", 1)
        if tuner in order:
            found[file.parent.name, int(seed), tuner] = json.loads(file.read_text())
    return dict(sorted(found.items(), key=lambda item: (item[0][0], order[item[0][2]], item[0][1])))


def predictable(numbers):
    return numbers["apart"] <= NEAR


def error(variant, name):
    """The median error; infinite for a prediction that ends before the run."""
    return variant[name] if variant and variant["whole"] and name in variant else np.inf


def by_tuner(found, kinds=STARTS):
    """By network, medians over seeds of the predictions that reach the end, and how many do; c counts chaotic runs."""
    for network in dict.fromkeys(network for network, _, _ in found):
        seeds = ", ".join(str(seed) for seed in dict.fromkeys(seed for net, seed, _ in found if net == network))
        print(f"\n| {network} ({seeds}) | from $w_0$ | " + " | ".join(f"from {kind}" for kind in kinds[1:]) + " |")
        print("|" + " --- |" * (len(kinds) + 1))
        for tuner in dict.fromkeys(tuner for net, _, tuner in found if net == network):
            runs = [numbers for (net, _, rule), numbers in found.items() if (net, rule) == (network, tuner)]
            chaotic = sum(not predictable(numbers) for numbers in runs)
            line = [tuner + (f", {chaotic}c" if chaotic else "")]
            for kind in kinds:
                whole = [n["variants"][kind] for n in runs if n["variants"][kind] and n["variants"][kind]["whole"]]
                text = " / ".join(f"{np.median([v[name] for v in whole]):.3f}" for name in QUANTITIES) if whole else "–"
                line.append(text + (f" ({len(whole)} of {len(runs)})" if len(whole) < len(runs) else ""))
            print("| " + " | ".join(line) + " |")


def bars(found, kinds=KINDS):
    """Over predictable runs: the share with each median error, and all three, within a bound."""
    asked = [numbers for numbers in found.values() if predictable(numbers)]
    print(f"\n{len(asked)} of {len(found)} runs are predictable")
    if not asked:
        return
    print("| from | reach the end | " + " | ".join(f"{s} ≤ 0.10, ≤ 0.05" for s in (*QUANTITIES.values(), "all")) + " |")
    print("|" + " --- |" * (len(QUANTITIES) + 3))
    for kind in kinds:
        variants = [numbers["variants"].get(kind) for numbers in asked]
        errors = np.array([[error(variant, name) for name in QUANTITIES] for variant in variants])
        columns = [*errors.T, errors.max(axis=1)]
        told = [f"{np.mean(column <= 0.1):.0%}, {np.mean(column <= 0.05):.0%}" for column in columns]
        print(f"| {kind} | {np.isfinite(errors[:, 0]).mean():.0%} | " + " | ".join(told) + " |")


def beside(found, folder):
    """The bars of other theories, from the initial weights, over the runs that have been asked for them."""
    files = {(network, seed, tuner): folder / network / f"{seed}_{tuner}_beside.json" for network, seed, tuner in found}
    others = {key: json.loads(file.read_text()) for key, file in files.items() if file.exists()}
    specs = list(dict.fromkeys(spec for numbers in others.values() for spec in numbers))
    told = {
        key: {
            "apart": found[key]["apart"],
            "variants": {f"river from {first}": found[key]["variants"][first] for first in ("0", "20")} | numbers,
        }
        for key, numbers in others.items()
        if numbers.keys() == set(specs)
    }
    if told:
        print("\nother theories, from the initial weights:", end="")
        bars(told, ("river from 0", "river from 20", *specs))


def coverage(found, kind):
    """How often ln λ of a predictable run is within the uncertainty that the theory gives."""
    told = [numbers["variants"][kind] for numbers in found.values() if predictable(numbers)]
    values = [variant["coverage"] for variant in told if variant and "coverage" in variant]
    if values:
        most = np.mean(np.asarray(values) >= 0.9)
        print(f"\nuncertainty of λ from {kind}: holds at {np.mean(values):.0%} of steps, at 90 % in {most:.0%} of runs")


def chaotic(found, kind):
    """Means of chaotic runs, of which no step can be predicted."""
    asked = [numbers["variants"][kind] for numbers in found.values() if not predictable(numbers)]
    whole = [variant for variant in asked if variant and variant["whole"]]
    print(f"\nchaotic runs, from {kind}: {len(whole)} of {len(asked)} are predicted to the end; within 15 % are")
    for name, symbol in (("mean_sharpness", "mean λ"), ("flow_time", "Ση")):
        print(f"  {symbol}: {sum(abs(v[name]) <= np.log(1.15) for v in whole)} of {len(asked)}")


def orders(found, kind):
    """Spearman's correlation of the predicted and the true final loss at the centre, by network."""
    values = []
    for network, seed in dict.fromkeys((network, seed) for network, seed, _ in found):
        pairs = [
            (numbers["variants"][kind]["final_center"], numbers["final_center"])
            for (net, of, _), numbers in found.items()
            if (net, of) == (network, seed) and numbers["variants"][kind]
        ]
        known = [pair for pair in pairs if pair[0] is not None and np.isfinite(pair).all()]
        value = spearmanr(*zip(*known, strict=True)).statistic if len(known) > 2 else np.nan
        values.append(value)
        missed = [true for told, true in pairs if told is None]
        below = sum(true < min(pair[1] for pair in known) for true in missed) if known else 0
        print(
            f"  {network} {seed}: {value:.2f} over {len(known)} of {len(pairs)}; "
            f"{below} of the other {len(missed)} end lower than all of these"
        )
    middle = np.nanmedian(values) if np.isfinite(values).any() else np.nan
    print(f"order of final losses, from {kind}: Spearman {middle:.2f} in the median network")


def resting(found):
    """Where constant steps rest: ηλ over the last 300 steps of the run and of the predictions from step 20."""
    kinds = ("20", "20, diagonal")
    print("\n| constant, mean ηλ | run | " + " | ".join(kinds) + " |\n| --- |" + " --- |" * (len(kinds) + 1))
    for (network, seed, tuner), numbers in found.items():
        if tuner == "constant" and "late_edge" in numbers:
            told = (numbers["variants"][kind]["late_edge"] for kind in kinds)
            print(f"| {network} {seed} | {numbers['late_edge']:.3f} | " + " | ".join(f"{v:.3f}" for v in told) + " |")


def costs(folder, found, modes):
    """Seconds of a river against runs of the same flow time."""
    for file in sorted(folder.glob(f"*/*_river_{modes}.json")):
        river = load_river(file.with_suffix(".nc"))
        seconds, seed = json.loads(file.read_text())["seconds"], int(file.stem.split("_")[0])
        of_runs = {
            tuner: numbers["seconds"] * float(river.length) / numbers["sigma"]
            for (network, of, tuner), numbers in found.items()
            if (network, of) == (file.parent.name, seed) and tuner in ("constant", "armijo")
        }
        told = ", ".join(f"{tuner} {value:.1f}" for tuner, value in of_runs.items())
        print(f"  {file.parent.name} {seed}: river {seconds:.0f} s (compiling included); runs of its flow time {told}")


def isotropy(folder, modes):
    """‖∇H_ii‖² against 2‖∇H_ij‖² + ∇H_ii·∇H_jj, equal where the tensor of products is isotropic, along each river."""
    basis = symmetric_basis(modes)
    for file in sorted(folder.glob(f"*/*_river_{modes}.nc")):
        river = load_river(file)
        root = np.asarray(river.free.places.root, float)
        axes = np.linalg.eigh(root)[1]
        turned = np.einsum("mcd,tic,tjd->tmij", basis, axes, axes)
        rises = np.einsum("tmij,tia,nab,tbj->tmn", turned, root, basis, root, optimize=True)
        response = np.asarray(river.free.places.response, float).sum(axis=1)
        gram = rises @ response @ rises.transpose(0, 2, 1)
        rows, columns = np.triu_indices(modes)
        own = np.flatnonzero(rows == columns)
        apart = np.flatnonzero(rows != columns)
        # The coordinate of a pair is √2 ∇H_ij.
        left = np.mean(gram[:, own, own], axis=1)
        right = np.mean([gram[:, m, m] + gram[:, own[rows[m]], own[columns[m]]] for m in apart], axis=0)
        ratio = (left / right)[len(left) // 4 :]
        low, middle, high = np.quantile(ratio, (0.1, 0.5, 0.9))
        print(f"  {file.parent.name} {file.stem.split('_')[0]}: {middle:.2f} ({low:.2f} to {high:.2f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--modes", type=int, default=8)
    given = parser.parse_args()
    found = cells(given.folder, given.modes)
    by_tuner(found)
    bars(found)
    beside(found, given.folder)
    for kind in STARTS:
        coverage(found, kind)
        chaotic(found, kind)
        orders(found, kind)
    resting(found)
    print("\ncost")
    costs(given.folder, found, given.modes)
    if given.modes > 1:
        print("\nisotropy of ∇H: ratio 1 if isotropic; median and 10 to 90 % along the river")
        isotropy(given.folder, given.modes)


if __name__ == "__main__":
    main()
