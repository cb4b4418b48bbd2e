"""The river against runs on the networks of `validate`, which it was not developed with: the bars and the ablations.

    python tests/benchmarks/river_matrix.py --workloads digits-tanh --seeds 11 12 13 --folder runs/river-matrix

The river of a network is measured once, without any tuner. Each tuner of the matrix then runs on the network, and so
does a copy that starts 10⁻⁴ away: where the two agree to 0.05 the run is predictable and is compared step by step,
otherwise it is chaotic and its means are. Predictions start from the initial weights and from steps 20 and 60 of the
run. Rivers, runs and the numbers of every cell are kept in the folder, and what is there is not computed again;
`river_tables.py` makes tables of them. `--beside` holds other theories against the same runs.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from eosmodel._checks import as_arrays
from eosmodel._origin import Origin
from eosmodel._status import Status
from eosmodel.curvature import Tracker
from eosmodel.dynamics import Descent
from eosmodel.experiment import load_river, measure_river, nearby, predict, save_river
from eosmodel.objectives.recipes import network
from eosmodel.results import measures, record
from eosmodel.simulation import run
from eosmodel.studies.validated import TUNERS, WORKLOADS
from eosmodel.studies.validation.cells import tuner_at
from eosmodel.theory.river import RiverMap, at_step, at_weights
from eosmodel.tuners.base import init_state

NAMES = ("sharpness", "stepsize", "center_loss", "loss")
STARTS = (0, 20, 60)
LANDED = 20
"""Runs and predictions are compared after that step."""
CHUNK = 20


def experiment(path, net, rule, start, steps, modes):
    """The run of a tuner, made once, with the tuner's own state at the steps where predictions start."""
    if not path.exists():
        states = {}

        def keep(progress):
            if int(progress.carry.t) in STARTS:
                states[int(progress.carry.t)] = jax.tree.leaves(progress.carry.state.tuner.state)

        made = run(Descent(net, rule, Tracker(modes), 1, 0), start, steps, rows_per_chunk=CHUNK, after_chunk=keep)
        memory = {f"memory_{first}_{i}": leaf for first, state in states.items() for i, leaf in enumerate(state)}
        record.save(record.to_dataset(made, 1).assign({name: ((), np.asarray(v)) for name, v in memory.items()}), path)
    return record.load(path)


def seen_with(truth, modes):
    """A run as one that follows fewer modes: the oscillation along the others stays in its loss at the centre."""
    rest = slice(modes, None)
    energy = 0.5 * (truth.eigenvalues * truth.amplitude**2).isel(mode=rest).sum("mode")
    few = truth.isel(mode=slice(0, modes))
    return few.assign(center_loss=few.center_loss + energy)


def begin(river, rule, truth, first):
    """The start of a prediction at a step of a run; None for a run that has ended before."""
    if first == 0:
        return at_weights(river)
    if measures.steps_of(truth) <= first:
        return None
    fresh = init_state(rule, jnp.float32)
    leaves = [jnp.asarray(truth[f"memory_{first}_{i}"].values) for i in range(len(jax.tree.leaves(fresh)))]
    state = jax.tree.unflatten(jax.tree.structure(fresh), leaves)
    rows = {name: truth[name].values for name in ("stepsize", "eigenvalues", "amplitude", "center_loss")}
    return at_step(river, rows, first, state)


def errors(truth, told):
    """Median errors, and the errors of mean λ and of Σ η, over the same rows."""
    ratio = {"mean_sharpness": "sharpness", "flow_time": "stepsize"}
    return {name: measures.log_error(truth[name], told[name]) for name in NAMES} | {
        key: float(np.log(told[name].mean() / truth[name].mean())) for key, name in ratio.items()
    }


def late_edge(sharpness, stepsize):
    """The mean of ηλ over the last 300 steps."""
    return float(np.mean((np.asarray(sharpness) * np.asarray(stepsize))[-300:]))


def compared(truth, river, rule, first):
    """A prediction from a step of a run, held against it after step 20."""
    start = begin(river, rule, truth, first)
    if start is None:
        return None
    steps, skipped = measures.steps_of(truth), max(LANDED - first, 0)
    # The river's length is no limit of its flow: a prediction that needs more has ended with the river's last row.
    made = run(RiverMap(river, rule), start, truth.sizes["step"], rows_per_chunk=truth.sizes["step"])
    reached = min(int(made.carry.t), steps - first)
    known, own = slice(first + skipped, first + reached), slice(skipped, reached)
    told = {name: truth[name][known].copy(data=made.rows[name][own]) for name in NAMES}
    numbers = {"status": Status(int(made.carry.status)).label, "reached": first + reached, "steps": steps}
    numbers["whole"] = bool(first + reached >= steps)
    if reached > skipped + 5:
        numbers |= errors(truth.isel(step=known), told)
        off = np.abs(np.diff(np.log(measures.smoothed(truth.sharpness[known], told["sharpness"])), axis=0))[0]
        numbers["coverage"] = float(np.mean(off <= made.rows["sharpness_uncertainty"][own]))
    numbers["final_center"] = float(np.mean(made.rows["center_loss"][own][-25:])) if numbers["whole"] else None
    numbers["sigma"] = float(np.nansum(made.rows["stepsize"][own]))
    numbers["late_edge"] = late_edge(made.rows["sharpness"][own], made.rows["stepsize"][own])
    return numbers


def beside(net, rule, start, truth, spec):
    """Another theory, from the initial weights, held against a run after step 20."""
    steps = measures.steps_of(truth)
    made = predict(net, rule, truth.sizes["step"], theory=spec, start=start, progress=False)
    reached = min(int(made.steps), steps)
    numbers = {"status": Status(int(made.status)).label, "reached": reached, "steps": steps}
    numbers["whole"] = bool(reached >= steps)
    # Both valleys begin later.
    told = np.flatnonzero(np.isfinite(made.sharpness.values[:reached]))
    told = told[told >= LANDED]
    if told.size > 5:
        # A theory whose centre has no oscillation in some modes is compared with the run's as it follows these.
        modes = made.sizes.get("mode", 1) if "amplitude" in made else truth.sizes["mode"]
        numbers |= errors(seen_with(truth, modes).isel(step=told), made.isel(step=told))
    return numbers


def without_caps(river):
    """The free flow alone."""
    return dataclasses.replace(river, flows=jax.tree.map(lambda a: a[-1:], river.flows))


def without_memory(river):
    """Springs of fixed curvature: a push is forgotten as e^{−μt}."""
    places = river.flows.places
    places = places._replace(recall=0 * places.recall)
    return dataclasses.replace(river, flows=dataclasses.replace(river.flows, places=places))


def without_springs(river):
    """Nothing is displaced: the fast map on gradient flow."""
    free = without_caps(river)
    zero = {name: 0 * getattr(free.flows.places, name) for name in ("recall", "response", "cross")}
    places = free.flows.places._replace(**zero)
    return dataclasses.replace(free, flows=dataclasses.replace(free.flows, places=places))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=sorted(WORKLOADS), required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=(11, 12, 13))
    parser.add_argument("--loss", choices=("mse", "ce"), default="mse")
    parser.add_argument("--tuners", nargs="+", default=[name for name in TUNERS if name != "rmsprop"])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--modes", nargs="+", type=int, default=[8], help="of rivers")
    parser.add_argument("--run-modes", type=int, default=8, help="followed in runs, at least those of the rivers")
    parser.add_argument("--beside", nargs="+", default=[], help="other theories, in place of the river's predictions")
    parser.add_argument("--folder", type=Path, default=Path("runs/river-matrix"))
    given = parser.parse_args()
    for workload in given.workloads:
        folder = given.folder / f"{workload}-{given.loss}"
        folder.mkdir(parents=True, exist_ok=True)
        net = network(**WORKLOADS[workload], loss=given.loss, dtype="float32", seed=given.seeds[0])
        if given.beside:
            for name in given.tuners:
                for seed in given.seeds:
                    beside_cell(folder, net, given, seed, name)
                jax.clear_caches()
            continue
        rivers = {}
        for seed in given.seeds:
            for modes in given.modes:
                file = folder / f"{seed}_river_{modes}.nc"
                if not file.exists():
                    start = time.perf_counter()
                    made = measure_river(net, steps=given.steps, start=net.initial(seed), modes=modes, progress=False)
                    seconds = time.perf_counter() - start
                    save_river(made, file)
                    (folder / f"{seed}_river_{modes}.json").write_text(json.dumps({"seconds": seconds}))
                    print(f"{workload} {seed}: river of {modes} modes, τ = {float(made.length):.4g}, {seconds:.0f} s")
                # Without its origin one compiled map serves all seeds.
                rivers[seed, modes] = dataclasses.replace(load_river(file), origin=Origin())
        jax.clear_caches()
        for name in given.tuners:
            for seed in given.seeds:
                for modes in given.modes:
                    cell(folder, net, given, seed, name, modes, rivers[seed, modes])
            jax.clear_caches()


def run_of(folder, net, given, seed, name):
    """The initial weights, the tuner and its run."""
    start = net.initial(seed)
    rule = as_arrays(tuner_at(TUNERS.get(name, name), net, start), jnp.float32)
    file = folder / f"{seed}_{name}_run{given.run_modes}.nc"
    return start, rule, experiment(file, net, rule, start, given.steps, given.run_modes)


def beside_cell(folder, net, given, seed, name):
    """The numbers of other theories for one tuner on one network, into a file that grows by theory."""
    file = folder / f"{seed}_{name}_beside.json"
    numbers = json.loads(file.read_text()) if file.exists() else {}
    start, rule, truth = run_of(folder, net, given, seed, name)
    for spec in given.beside:
        if spec not in numbers:
            numbers[spec] = beside(net, rule, start, truth, spec)
            file.write_text(json.dumps(numbers, indent=1))
            told = " ".join(f"{numbers[spec].get(key, float('nan')):.3f}" for key in NAMES)
            print(f"{folder.name} {seed} {name} {spec}: {told} ({numbers[spec]['reached']})", flush=True)


def cell(folder, net, given, seed, name, modes, river):
    """The numbers of one tuner on one network, into a file."""
    file = folder / f"{seed}_{name}_{modes}.json"
    if file.exists():
        return
    start, rule, truth = run_of(folder, net, given, seed, name)
    copy = experiment(folder / f"{seed}_{name}_copy.nc", net, rule, nearby(start, 2)[-1], given.steps, 1)
    apart = [measures.log_error(truth[key], copy[key]) for key in NAMES if key != "center_loss"]
    truth, isotropic = seen_with(truth, modes), river.isotropic()
    variants = {str(first): compared(truth, river, rule, first) for first in STARTS}
    variants |= {f"{first}, free flow alone": compared(truth, without_caps(river), rule, first) for first in STARTS}
    variants |= {f"{first}, diagonal": compared(truth, river.diagonal(), rule, first) for first in STARTS}
    variants |= {f"{first}, isotropic": compared(truth, isotropic, rule, first) for first in STARTS}
    variants |= {f"{first}, fixed springs": compared(truth, without_memory(river), rule, first) for first in STARTS}
    variants["20, no springs"] = compared(truth, without_springs(river), rule, 20)
    numbers = {
        "apart": float(np.nanmax(apart)),
        "run_status": Status(int(truth.status)).label,
        "final_center": measures.final_mean(truth, "center_loss"),
        "final_loss": measures.final_mean(truth, "loss"),
        "seconds": float(truth.seconds_per_step) * measures.steps_of(truth),
        "sigma": float(np.nansum(truth.stepsize)),
        "late_edge": late_edge(truth.sharpness, truth.stepsize),
        "variants": variants,
    }
    file.write_text(json.dumps(numbers, indent=1))
    landed = variants["20"] or {}
    told = " ".join(f"{landed.get(key, float('nan')):.3f}" for key in NAMES)
    print(f"{folder.name} {seed} {name} {modes}: apart {numbers['apart']:.3f}; {told} ({landed.get('reached')})")


if __name__ == "__main__":
    main()
