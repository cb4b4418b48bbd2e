"""The river, which knows no noise, against runs on mini-batches of the same network.

    python tests/benchmarks/river_batches.py digits-tanh 11 --sizes 1000 500 100 --tuners constant armijo sps-max

A prediction from the initial weights is held against the run of every batch size: median |Δ ln| of λ, η and the loss
after step 20 in moving averages, and the mean of ln λ of the run less that of the prediction, which is negative where
the noise keeps the sharpness down.
"""

import argparse

import jax.numpy as jnp
import numpy as np

import eosmodel as eos
from eosmodel._checks import as_arrays
from eosmodel.experiment import load_river, measure_river
from eosmodel.objectives.recipes import network
from eosmodel.results import measures
from eosmodel.studies.validated import TUNERS, WORKLOADS
from eosmodel.studies.validation.cells import tuner_at

LANDED = 20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument("seed", type=int)
    parser.add_argument("--sizes", nargs="+", type=int, default=(1000, 500, 100, 20))
    parser.add_argument("--tuners", nargs="+", choices=sorted(TUNERS), default=("constant", "armijo", "sps-max"))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--river", help="a file of it, measured before")
    given = parser.parse_args()
    net = network(**WORKLOADS[given.workload], loss="mse", dtype="float32", seed=given.seed)
    start = net.initial(given.seed)
    river = load_river(given.river) if given.river else measure_river(net, steps=given.steps, start=start)
    for name in given.tuners:
        rule = as_arrays(tuner_at(TUNERS[name], net, start), jnp.float32)
        told = eos.predict(river, rule, given.steps)
        for size in given.sizes:
            loss = net if size == net.x.shape[0] else eos.objectives.MiniBatches(net, size)
            made = eos.simulate(loss, rule, given.steps, start=start, modes=1, measure_every=0, progress=False)
            end = min(measures.steps_of(made), measures.steps_of(told))
            line = [f"{name:14} {size:5} {end:4} steps"]
            for key in ("sharpness", "stepsize", "loss"):
                run, theory = made[key][LANDED:end], told[key][LANDED:end]
                line.append(f"{key} {measures.log_error(run, run.copy(data=theory.values)):.3f}")
            lower = np.nanmean(np.log(made.sharpness[LANDED:end].values / told.sharpness[LANDED:end].values))
            print("  ".join([*line, f"mean Δ ln λ {lower:+.3f}"]), flush=True)


if __name__ == "__main__":
    main()
