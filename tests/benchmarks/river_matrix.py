"""The river against runs on the networks of `validate`: median |Δ ln| of λ, η and L̄, from w_0 and after a landing.

    python tests/benchmarks/river_matrix.py digits-tanh 11 --folder runs/river-matrix

The river of a network is measured once, without any tuner. Each tuner of the matrix then runs on the network, and is
predicted from the initial weights and from step 20 and 60 of its own run. Runs and rivers are kept in the folder.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp

import eosmodel as eos
from eosmodel._checks import as_arrays
from eosmodel._status import Status
from eosmodel.curvature import Tracker
from eosmodel.dynamics import Descent
from eosmodel.experiment import load_river, measure_river, save_river
from eosmodel.objectives.recipes import network
from eosmodel.results import measures, record
from eosmodel.simulation import run
from eosmodel.studies.validation.cells import tuner_at
from eosmodel.studies.validation.matrix import TUNERS, WORKLOADS
from eosmodel.theory import RiverTheory
from eosmodel.theory.river import RiverMap, at_step, at_weights

TIMES = {"digits-tanh": 600.0, "digits-gelu": 400.0, "fashion-tanh": 150.0, "fashion-gelu": 150.0}
"""Flow time of each river."""
NAMES = ("sharpness", "stepsize", "center_loss", "loss")


def experiment(path, net, rule, start, steps, modes):
    """The run of a tuner, made once."""
    if not path.exists():
        run = eos.simulate(net, rule, steps, w0=start, modes=modes, measure_every=0, progress=False)
        record.save(run, path)
    return record.load(path)


def errors(truth, river, rule, start, first, reach):
    """Errors over the rows that both have after step 20, the number of rows, and the prediction's status."""
    steps = measures.steps_of(truth) - first
    said = run(RiverMap(river, rule, reach=reach), start, steps, rows_per_chunk=steps)
    reached = int(said.carry.t)
    skipped = max(20 - first, 0)
    found = {}
    for name in NAMES:
        mine = truth[name][first + skipped : first + reached]
        values = said.rows[name][skipped:reached]
        found[name] = measures.log_error(mine, mine.copy(data=values)) if reached > skipped + 5 else float("nan")
    return found, reached, Status(int(said.carry.status))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=sorted(TIMES))
    parser.add_argument("seed", type=int)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--modes", type=int, default=RiverTheory().modes)
    parser.add_argument("--reach", type=float, default=RiverMap.reach)
    parser.add_argument("--folder", type=Path, default=Path("runs/river-matrix"))
    given = parser.parse_args()
    net = network(**WORKLOADS[given.workload], loss="mse", dtype="float32", seed=given.seed)
    start = net.initial(given.seed)
    given.folder.mkdir(parents=True, exist_ok=True)
    label = given.folder / f"{given.workload}_{given.seed}"
    file = Path(f"{label}_{given.modes}.river.nc")
    if not file.exists():
        begin = time.perf_counter()
        save_river(measure_river(net, TIMES[given.workload], w0=start, modes=given.modes), file)
        print(f"river of τ = {TIMES[given.workload]:g} in {time.perf_counter() - begin:.0f} s")
    river = load_river(file)
    for name, template in TUNERS.items():
        if name == "rmsprop":  # a preconditioned rule has another river
            continue
        rule = tuner_at(template, net, start)
        truth = experiment(Path(f"{label}_{given.modes}_{name}.nc"), net, rule, start, given.steps, given.modes)
        rule = as_arrays(rule, jnp.float32)
        line = [f"{name:15}"]
        for first in (0, 20, 60):
            begin_at = at_weights(river)
            if first:
                state = run(Descent(net, rule, Tracker(given.modes), 1, 0), start, first).carry.state.tuner.state
                begin_at = at_step(river, truth, first, state)
            found, reached, status = errors(truth, river, rule, begin_at, first, given.reach)
            numbers = " ".join(f"{found[key]:.3f}" for key in NAMES)
            line.append(f"{first}: {numbers} ({reached} steps, {status.label})")
        print(" | ".join(line), flush=True)
        jax.clear_caches()


if __name__ == "__main__":
    main()
