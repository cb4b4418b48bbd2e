"""What a river is good for, held against the network: hyper-parameters chosen on it, tuners ranked on it, and runs that
go on under another tuner.

    python tests/benchmarks/river_choices.py digits-tanh 11 --river runs/river-matrix/digits-tanh_11.river.nc

- Choice: the constant step, the cap of SPS_max and CDAT's σ of least predicted loss over the last quarter, against a
  grid search on the network: the ratio of the final losses, and of the losses over the last quarter, as the last
  steps lie above or below by what the oscillation does just then.
- Rank: Spearman's correlation over tuners of the true final loss with the predicted one at the centre, and with the
  predicted loss itself.
- Forks: a run of Armijo goes on from a step under another tuner, on the network from its weights there, and on the
  river from its row there: median |Δ ln| of λ, η, L̄ and L.
"""

import argparse
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

import eosmodel as eos
from eosmodel._checks import as_arrays
from eosmodel._status import Status
from eosmodel.curvature import Tracker, leading
from eosmodel.dynamics import Descent
from eosmodel.experiment import load_river, measure_river, save_river
from eosmodel.objectives.recipes import network
from eosmodel.results import measures
from eosmodel.simulation import run
from eosmodel.studies.validated import WORKLOADS

NAMES = ("sharpness", "stepsize", "center_loss", "loss")


def grids(sharpness, count):
    """Rule, hyper-parameter and values; steps in units of 1/λ at the start."""
    return {
        "constant": (eos.tuners.Constant(1.0), "step", np.geomspace(0.2, 8, count) / sharpness),
        "sps-max": (eos.tuners.Polyak(c=0.5, max=1.0), "max", np.geomspace(0.2, 16, count) / sharpness),
        "cdat": (eos.tuners.CDAT(1.0), "sigma", np.linspace(0.5, 2.3, count)),
    }


def final(net, rule, start, steps):
    """The loss on the network at the end and over the last quarter; NaN of a run that diverges. The sharpness is not
    followed."""
    made = eos.simulate(net, rule, steps, start=start, modes=1, track_every=steps, measure_every=0, progress=False)
    if int(made.status) != int(Status.OK):
        return float("nan"), float("nan")
    return measures.final_mean(made, "loss"), measures.late_mean(made, "loss")


def choices(net, river, start, steps, count):
    print(f"hyper-parameter of least loss after {steps} steps, of a grid of {count}")
    sharpness = float(leading(net, start, 1)[2].values[0])
    for name, (rule, parameter, values) in grids(sharpness, count).items():
        ends = [final(net, dataclasses.replace(rule, **{parameter: float(value)}), start, steps) for value in values]
        found, late = np.transpose(ends)
        best = int(np.nanargmin(found))
        tuned = eos.tune(river, rule, steps, **{parameter: values})
        # The value chosen is one of the grid, so that its run is there.
        at = int(np.argmin(np.abs(values - tuned.value)))
        said = tuned.dataset.final_loss.values
        known = np.isfinite(said) & np.isfinite(found)
        errors = np.abs(np.log(said[known] / found[known]))
        print(
            f"{name:10} chosen {tuned.value:.3g}: loss {found[at]:.4g}; best {values[best]:.3g}: {found[best]:.4g}; "
            f"ratio {found[at] / found[best]:.3f}, over the last quarter {late[at] / np.nanmin(late):.3f}; "
            f"predicted {known.sum()} of {count}, median error {np.median(errors):.3f}",
            flush=True,
        )


def order(net, river, start, steps, specs):
    print(f"order of the losses after {steps} steps")
    ranking = eos.rank(river, specs, steps).dataset
    true = {spec: final(net, eos.tuners.from_spec(spec), start, steps)[0] for spec in specs if spec != "on-edge"}
    if "on-edge" in specs:
        tracked = eos.simulate(net, "on-edge", steps, start=start, modes=1, measure_every=0, progress=False)
        true["on-edge"] = measures.final_mean(tracked, "loss")
    pairs = []
    for spec in ranking.tuner.values.tolist():
        said, center = (float(ranking[name].sel(tuner=spec)) for name in ("final_loss", "final_center_loss"))
        status = Status(int(ranking.status.sel(tuner=spec))).label
        reached = int(ranking.steps.sel(tuner=spec))
        print(
            f"{spec:20} predicted {said:.4g}, at the centre {center:.4g} ({status}, {reached}), true {true[spec]:.4g}"
        )
        pairs += [(center, said, true[spec])] if np.isfinite(said) and np.isfinite(true[spec]) else []
    centers, losses, truth = zip(*pairs, strict=True)
    by_center, by_loss = (spearmanr(values, truth).statistic for values in (centers, losses))
    print(f"Spearman {by_center:.3f}, by the loss {by_loss:.3f}, over {len(pairs)} of {len(specs)}", flush=True)


def forks(net, river, start, first, after, specs):
    print(f"Armijo goes on from step {first} under another tuner, {after} steps")
    armijo = as_arrays(eos.tuners.Armijo(), jnp.float32)
    options = {"modes": river.modes, "measure_every": 0, "progress": False}
    before = eos.simulate(net, armijo, first + 1, start=start, **options)
    state = run(Descent(net, armijo, Tracker(river.modes), 1, 0), start, first).carry.state
    for spec in specs:
        true = eos.simulate(net, spec, after, start=state.weights, **options)
        said = eos.predict(river, spec, after, at=(before, first))
        said = said.assign_coords(step=said.step - first).assign(steps=said.steps - first)
        reached = int(said.steps)
        errors = [measures.log_error(true[name][:reached], said[name][:reached]) for name in NAMES]
        status = Status(int(said.status)).label
        print(
            f"{spec:20} " + " ".join(f"{error:.3f}" for error in errors) + f" ({reached} steps, {status})", flush=True
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument("seed", type=int)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--river", type=Path, required=True, help="file of the river; measured where there is none")
    parser.add_argument("--time", type=float, help="flow time of a river that is measured; by default for the steps")
    parser.add_argument("--only", choices=("choices", "rank", "forks"), nargs="+", default=("choices", "rank", "forks"))
    given = parser.parse_args()
    net = network(**WORKLOADS[given.workload], loss="mse", dtype="float32", seed=given.seed)
    start = net.initial(given.seed)
    if not given.river.exists():
        given.river.parent.mkdir(parents=True, exist_ok=True)
        save_river(measure_river(net, given.time, steps=given.steps, start=start), given.river)
    river = load_river(given.river)
    inverse = 1 / float(leading(net, start, 1)[2].values[0])
    constants = [f"constant:{factor * inverse:.4g}" for factor in (0.25, 0.5, 1.0, 2.0)]
    rules = ["on-edge", "greedy", "armijo", "cdat:sigma=1.9", f"sps-max:max={2 * inverse:.4g}", "polyak:c=2"]
    if "forks" in given.only:
        forks(net, river, start, 300, 300, [*constants[1:3], *rules])
        jax.clear_caches()
    if "rank" in given.only:
        order(net, river, start, given.steps, [*constants, *rules])
        jax.clear_caches()
    if "choices" in given.only:
        choices(net, river, start, given.steps, given.count)


if __name__ == "__main__":
    main()
