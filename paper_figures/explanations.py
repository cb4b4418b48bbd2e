"""What the theory explains: sharpening under Armijo, Polyak's turn, greedy against CDAT, and the network's shape."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from eosmodel import simulation
from eosmodel._checks import as_arrays
from eosmodel.curvature import off_modes, sharpness_gradient
from eosmodel.dynamics import Descent
from eosmodel.judging.verdicts import Claim
from eosmodel.objectives.recipes import network
from eosmodel.results import measures, record
from eosmodel.results.formatting import number
from eosmodel.theory import FastMap, averages
from eosmodel.tuners import Polyak
from eosmodel.tuners.registry import from_spec
from paper_figures._panels import smooth
from paper_figures._parts import KEPT, claim, pack, predictions, simulations, unpack
from paper_figures._style import BLACK, DOUBLE, EDGE, legend_above, letter, look, sheet, styled

CAPTION = """
What the joint model of centre and oscillation predicts from the initial weights alone, with nothing fitted (thin,
dark), against networks on digits (thick, light). (a) Sharpness λ under Armijo's rule from initial weights of several
scales; circles: the step of the smallest λ, after which it sharpens (open: run, filled: model). (b) That step, and (c)
the rate dλ/dt over the 50 steps after it, model against run; every scale and seed is a point. (d) λ under Polyak's rule
for several c, and (e) at the end for every c. (f) dλ/dt over intervals of these runs against two predictions: from the
force of the run's own oscillation in all its modes, and ⟨η⟩α(1 − q), q = βx²/2α, with the oscillation of the rule's
fast map in one harmonic mode at the coefficients measured in that interval. In the grey area the signs differ. (g) λ
and (h) the loss under the greedy rule and CDAT. (i) λ at the end under Armijo's rule over width, depth and number of
samples, one of them changed at a time. Curves are 25-step moving averages; dashed diagonals: prediction and run agree.
"""
SOURCES = ("2312.00209", "2407.06183")
DTYPE = "float32"

BASE = {"data": "digits", "samples": 500, "width": 32, "depth": 2, "init_scale": 0.5}
SHAPES = {"width": (16,), "depth": (1,), "samples": (200,)}
# Steps of a stretch of a run, and of either end of it at which λ is averaged.
STRETCH, ENDS = 50, 5
RULES = {"greedy": "greedy", "cdat:2": "CDAT, σ = 2"}
MEASURED = ("alpha", "beta", "kappa", "bulk_gradient_sq", "center_loss")
# Steps after the least λ over which its rate is taken.
AFTER = 50
# Bounds of the claims: shares of a number, of a rate, of the stretches, and of λ, for a stretch to count as a change.
CLOSE, RATE, SHARE, MOVES = 0.1, 0.2, 0.8, 0.02
DRAWN = (0.3, 0.5, 1.0)


def settings(quick: bool) -> dict[str, Any]:
    small = {"samples": 100, "width": 8, "depth": 1, "init_scale": 1.0}
    return {
        "network": BASE | (small if quick else {}),
        "scales": [1.0] if quick else [0.25, 0.5, 0.75, 1.0, 1.5],
        "seeds": [0] if quick else [0, 1],
        "shapes": {} if quick else SHAPES,
        "steps": 100 if quick else 500,
        "c": [1.0] if quick else [0.3, 0.4, 0.5, 0.7, 1.0],
        "polyak_scale": 1.0,
        "polyak_steps": 100 if quick else 600,
        "rules": ["polyak:1.0"] if quick else list(RULES),
        "search": "polyak:1.0" if quick else "armijo",
        "fast_map": {"burn_in": 300, "steps": 1000},
    }


def compute(quick: bool) -> xr.Dataset:
    chosen = settings(quick)
    base, seeds, steps = chosen["network"], chosen["seeds"], chosen["steps"]

    def cases(changes, specs):
        """Over (case, seed, of, tuner, step). A quick look has one rule and measures every run: one compilation."""
        runs = [
            xr.concat([both(base | change, seed, specs, steps, quick) for seed in seeds], "seed") for change in changes
        ]
        return xr.concat(runs, "case").assign_coords(seed=seeds, case=[_word(change) for change in changes])

    scales = cases([{"init_scale": scale} for scale in chosen["scales"]], [chosen["search"]]).isel(tuner=0, drop=True)
    shapes = [{}] + [{key: value} for key, values in chosen["shapes"].items() for value in values]
    specs = [f"polyak:{c}" for c in chosen["c"]]
    wide = base | {"init_scale": chosen["polyak_scale"]}
    net = network(**wide, seed=0)
    runs = forced(net, specs, chosen["polyak_steps"])
    predicted = predictions(net, specs, chosen["polyak_steps"], "oscillation", progress=False)
    parts = {
        "scales": scales,
        "shapes": cases(shapes, [chosen["search"]]).isel(tuner=0, drop=True),
        "rules": cases([{}], chosen["rules"]).isel(case=0, drop=True),
        "polyak": _pair(runs[list(KEPT)], predicted),
        "drift": drift(runs, chosen["c"], **chosen["fast_map"]),
    }
    return pack(parts)


def both(options, seed, specs, steps, measured) -> xr.Dataset:
    """Runs, and what the joint model predicts from the same weights, over (of, tuner, step)."""
    net = network(**options, seed=seed)
    if measured:
        runs = forced(net, specs, steps)[list(KEPT)]
    else:
        runs = simulations(net, specs, steps, measure_every=0, progress=False)
    return _pair(runs, predictions(net, specs, steps, "oscillation", progress=False))


def _pair(runs, predicted) -> xr.Dataset:
    return xr.concat([runs, predicted], xr.IndexVariable("of", ["run", "model"]))


class Forced(Descent):
    """Descent that also finds what its oscillation, all modes of it, makes of the sharpness: −∇λ·F to first order.

    F = ½(∇L(w) + ∇L(2w̄ − w)) is the force on the centre w̄, off the tracked modes as ∇λ is. For one harmonic mode
    −∇λ·F = α − ½βx².
    """

    def step(self, state, t):
        new, row, status = super().step(state, t)
        above = jax.grad(self.objective)(state.weights)
        center, _ = self.center(state, above, -above, row["stepsize"], None, t)
        force = 0.5 * (above + jax.grad(self.objective)(2 * center - state.weights))
        rise = off_modes(sharpness_gradient(self.objective, center, new.center.vectors[0]), new.center)
        return new, row | {"push": -rise @ force}, status


def forced(net, specs, steps) -> xr.Dataset:
    """Runs of several tuners with all that is measured at every step, over (tuner, step)."""
    start = net.initial()

    def one(spec):
        dynamics = Forced(net, as_arrays(from_spec(spec), start.dtype), measure_every=1)
        return record.to_dataset(simulation.run(dynamics, start, steps), 1)[[*KEPT, *MEASURED, "push"]]

    return xr.concat([one(spec) for spec in specs], xr.IndexVariable("tuner", list(specs)))


def drift(runs: xr.Dataset, values, **options) -> xr.Dataset:
    """dλ/dt over intervals of each run: observed, by the force of its oscillation, and by the rule's fast map.

    The fast map's is ⟨η⟩α − ½β⟨ηx²⟩ at the medians of the coefficients, NaN where they make no map.
    """
    count = runs.sizes["step"] // STRETCH
    parts = runs.isel(step=slice(count * STRETCH)).coarsen(step=STRETCH).construct(step=("stretch", "at"))
    parts = parts.drop_vars("step").transpose("tuner", "stretch", "at", ...)
    first, last = (parts.sharpness.isel(at=rows).mean("at") for rows in (slice(ENDS), slice(-ENDS, None)))
    floor = parts[["sharpness", *MEASURED]].median("at")
    ratio = floor.sharpness * floor.center_loss / floor.bulk_gradient_sq
    known = (floor.kappa >= 0) & (floor.kappa < 1) & (ratio > 0)

    @jax.jit
    @jax.vmap
    def mean(c, a, kappa, sharpness, bulk):
        means, _ = averages(FastMap(Polyak(c), a, kappa, sharpness, bulk), **options)
        return means.stepsize, means.kick

    c = xr.DataArray(np.asarray(values, float), dims="tuner").broadcast_like(ratio)
    # Stand-ins keep the batch whole; what comes of them is thrown away.
    numbers = [x.where(known, 0.5) for x in (c, ratio, floor.kappa, floor.sharpness, floor.bulk_gradient_sq)]
    held = mean(*(jnp.asarray(x.transpose("tuner", "stretch").values.ravel()) for x in numbers))
    stepsize, kick = (np.asarray(x).reshape(ratio.shape) for x in held)
    return xr.Dataset(
        {
            "observed": (last - first) / (STRETCH - ENDS),
            "force": (parts.stepsize * parts.push).mean("at"),
            "fast": (stepsize * floor.alpha - 0.5 * floor.beta * kick).where(known),
            "sharpness": floor.sharpness,
        }
    )


def _word(change: dict[str, Any]) -> str:
    return " ".join(f"{key} {value}" for key, value in change.items()) or "base"


def lowest(run: xr.Dataset) -> int:
    """The step of the least λ, as a 25-step mean: from there on it rises."""
    return int(np.nanargmin(smooth(run, "sharpness")))


def rate(run: xr.Dataset) -> float:
    """dλ/dt over the `AFTER` steps after `lowest`."""
    begin = lowest(run)
    values = smooth(run, "sharpness")[begin : begin + AFTER + 1]
    return float((values[-1] - values[0]) / (len(values) - 1)) if len(values) > 1 else float("nan")


def growth(run: xr.Dataset) -> float:
    return measures.final_mean(run, "sharpness") / float(run.sharpness[0])


def _close(a: float, b: float, share: float) -> bool:
    return bool(abs(np.log(a / b)) <= np.log1p(share)) if a > 0 and b > 0 else False


def _mean(part: xr.Dataset, of: str, number) -> float:
    """A number of a run, its mean over the seeds."""
    return float(np.mean([number(part.sel(of=of, seed=seed)) for seed in part.seed.values]))


def _points(part: xr.Dataset, dim: str, number):
    """The words, and a number of run and of model, of every case and seed."""
    for value in part[dim].values.tolist():
        for seed in part.seed.values.tolist():
            one = part.sel({dim: value, "seed": seed})
            yield f"{value}, seed {seed}", number(one.sel(of="run")), number(one.sel(of="model"))


def judge(dataset: xr.Dataset) -> tuple[Claim, ...]:
    scales, shapes, rules, polyak, drifts = (
        unpack(dataset, key) for key in ("scales", "shapes", "rules", "polyak", "drift")
    )
    starts = list(_points(scales, "case", lowest))
    rates = list(_points(scales, "case", rate))
    turns = [(t, *(lowest(polyak.sel(tuner=t, of=of)) for of in ("run", "model"))) for t in polyak.tuner.values]
    room = round(CLOSE * polyak.sizes["step"])
    ends = [(t, *(_sharpness(polyak.sel(tuner=t, of=of)) for of in ("run", "model"))) for t in polyak.tuner.values]
    return (
        claim(
            "armijo-starts",
            "The model predicts when Armijo's rule starts to sharpen.",
            {name: abs(predicted - observed) <= measures.WINDOW for name, observed, predicted in starts},
            {name: f"from step {predicted} on, run {observed}" for name, observed, predicted in starts},
            f"least λ within {measures.WINDOW} steps of the run's",
        ),
        claim(
            "armijo-rate",
            "The model predicts how fast it then sharpens.",
            {name: _close(predicted, observed, RATE) for name, observed, predicted in rates},
            {
                name: f"{number(predicted, '.4f')} a step, run {number(observed, '.4f')}"
                for name, observed, predicted in rates
            },
            f"mean dλ/dt over the {AFTER} steps after the least λ within {number(RATE, '.0%')} of the run's",
        ),
        claim(
            "polyak-turns",
            "The model predicts when Polyak's step turns from flattening to sharpening.",
            {t: abs(predicted - observed) <= room for t, observed, predicted in turns},
            {t: f"at step {predicted}, run {observed}" for t, observed, predicted in turns},
            f"least λ within {room} steps of the run's",
        ),
        claim(
            "polyak-ends",
            "The model predicts how sharp Polyak's step leaves the network, for every c.",
            {t: _close(predicted, observed, CLOSE) for t, observed, predicted in ends},
            {t: f"λ = {number(predicted, '.2f')}, run {number(observed, '.2f')}" for t, observed, predicted in ends},
            f"λ at the end within {number(CLOSE, '.0%')} of the run's",
        ),
        _judge_sign(drifts, "fast", "polyak-sign", "q of one mode, that of the rule's fast map"),
        _judge_sign(drifts, "force", "polyak-sign-force", "q of the run's own oscillation, all modes of it"),
        *_judge_rules(rules),
        *_judge_shapes(shapes),
    )


def _judge_sign(drifts: xr.Dataset, by: str, id: str, words: str) -> Claim:
    """Falls and rises are judged separately: most intervals fall, so predicting a fall would mostly be right."""
    predicted, observed = drifts[by].values, drifts.observed.values
    clear = np.isfinite(predicted) & (np.abs(observed) * STRETCH > MOVES * drifts.sharpness.values)
    met: dict[str, bool | None] = {}
    numbers = {}
    for name, there in (("falls", clear & (observed < 0)), ("rises", clear & (observed > 0))):
        agree, count = int((np.sign(predicted) == np.sign(observed))[there].sum()), int(there.sum())
        met[name] = agree > SHARE * count if count else None
        size = float(np.median(np.abs(predicted / observed)[there])) if count else np.nan
        numbers[name] = (
            f"sign as predicted in {agree} of {count} intervals, median of |predicted/observed| {number(size)}"
        )
    return claim(
        id,
        f"Under Polyak's step λ falls where q > 1 and rises where q < 1, {words}.",
        met,
        numbers,
        f"signs agree in over {number(SHARE, '.0%')} of the stretches of {STRETCH} steps in which "
        f"λ falls by over {number(MOVES, '.0%')}, and of those in which it rises by as much",
    )


def _judge_rules(rules: xr.Dataset) -> tuple[Claim, ...]:
    sharpens: dict[str, bool | None] = {}
    lags: dict[str, bool | None] = {}
    numbers: dict[str, str] = {}
    for of in ("run", "model"):
        grown = {t: _mean(rules.sel(tuner=t), of, growth) for t in rules.tuner.values}
        loss = {t: _mean(rules.sel(tuner=t), of, _loss) for t in rules.tuner.values}
        known = set(RULES) <= set(grown)
        sharpens[of] = grown["greedy"] > 2 * grown["cdat:2"] if known else None
        lags[of] = loss["greedy"] > loss["cdat:2"] if known else None
        numbers[of] = ", ".join(f"{t} λ × {number(grown[t], '.2f')} and loss {number(loss[t], '.4f')}" for t in grown)
    close: dict[str, bool | None] = {}
    words = {}
    for (name, observed, predicted), (_, lost, expected) in zip(
        _points(rules, "tuner", growth), _points(rules, "tuner", _loss), strict=True
    ):
        close[name] = _close(predicted, observed, CLOSE) and _close(expected, lost, RATE)
        words[name] = (
            f"λ × {number(predicted, '.2f')}, run {number(observed, '.2f')}; "
            f"loss {number(expected, '.4f')}, run {number(lost, '.4f')}"
        )
    return (
        claim(
            "greedy-sharpens",
            "Greedy steps sharpen and CDAT at σ = 2 does not, in run and model.",
            sharpens,
            numbers,
            "λ grows over twice as much under greedy as under CDAT, means over seeds",
        ),
        claim(
            "greedy-lags",
            "Greedy steps fall behind CDAT at σ = 2, in run and model.",
            lags,
            numbers,
            "higher last loss, means over seeds",
        ),
        claim(
            "greedy-size",
            "The model predicts by how much.",
            close,
            words,
            f"growth of λ within {number(CLOSE, '.0%')} and last loss within {number(RATE, '.0%')} of the run's, "
            "each seed",
        ),
    )


def _judge_shapes(shapes: xr.Dataset) -> tuple[Claim, ...]:
    ends = {
        case: [_mean(shapes.sel(case=case), of, _sharpness) for of in ("run", "model")] for case in shapes.case.values
    }
    moves: dict[str, bool | None] = {}
    words = {}
    base = ends["base"]
    for case, (observed, predicted) in ends.items():
        if case == "base":
            continue
        observed, predicted = observed / base[0], predicted / base[1]
        still = abs(np.log(observed)) <= np.log1p(CLOSE)
        moves[case] = None if still else np.sign(np.log(observed)) == np.sign(np.log(predicted))
        words[case] = f"× {number(predicted, '.2f')}, run × {number(observed, '.2f')}"
    return (
        claim(
            "shape-size",
            "The model predicts how sharp Armijo's rule leaves networks of any shape.",
            {case: _close(predicted, observed, CLOSE) for case, (observed, predicted) in ends.items()},
            {
                case: f"λ = {number(predicted, '.2f')}, run {number(observed, '.2f')}"
                for case, (observed, predicted) in ends.items()
            },
            f"λ at the end, mean over seeds, within {number(CLOSE, '.0%')} of the run's",
        ),
        claim(
            "shape-trend",
            "The model predicts in which direction width, depth and samples change it.",
            moves,
            words,
            f"up or down as in the run, where the run moves by over {number(CLOSE, '.0%')} from the base",
        ),
    )


def _loss(run: xr.Dataset) -> float:
    return measures.final_mean(run, "loss")


def _sharpness(run: xr.Dataset) -> float:
    return measures.final_mean(run, "sharpness")


@styled
def draw(dataset: xr.Dataset):
    from matplotlib.lines import Line2D

    scales, shapes, rules, polyak, drifts = (
        unpack(dataset, key) for key in ("scales", "shapes", "rules", "polyak", "drift")
    )
    figure = sheet(DOUBLE, 6.8)
    grid = figure.subplots(3, 3)
    seed = scales.seed.values[0]
    chosen = [f"polyak:{c}" for c in DRAWN if f"polyak:{c}" in polyak.tuner.values]
    for ax, (part, dim, values) in zip(
        (grid[0, 0], grid[1, 0]),
        ((scales.sel(seed=seed), "case", scales.case.values), (polyak, "tuner", chosen or polyak.tuner.values)),
        strict=True,
    ):
        for i, value in enumerate(values):
            label = str(value).replace("init_scale", "scale").replace("polyak:", "$c$ = ")
            _curve(ax, part.sel({dim: value}), "sharpness", i, label)
            for of, face in (("run", "white"), ("model", BLACK)):
                one = part.sel({dim: value, "of": of})
                at = lowest(one)
                ax.plot(at, smooth(one, "sharpness")[at], "o", color=BLACK, markerfacecolor=face, markersize=3.5)
        ax.set_ylabel("sharpness $λ$")
    for ax, name, label in ((grid[2, 0], "sharpness", "sharpness $λ$"), (grid[2, 1], "loss", "loss")):
        for i, rule in enumerate(rules.tuner.values):
            _curve(ax, rules.sel(tuner=rule, seed=seed), name, i, RULES.get(rule, rule))
        ax.set_ylabel(label)
    for ax in (grid[0, 0], grid[1, 0], grid[2, 0], grid[2, 1]):
        ax.set_yscale("log")
        ax.set_xlabel("step")
        _plain(ax.yaxis)
    _against(grid[0, 1], {"": list(_points(scales, "case", lowest))}, "step of least $λ$")
    _against(grid[0, 2], {"": list(_points(scales, "case", rate))}, "$dλ/dt$ after it")
    _ends(grid[1, 1], polyak)
    _signs(grid[1, 2], drifts)
    kinds: dict[str, list] = {}
    for word, observed, predicted in _points(shapes, "case", _sharpness):
        kinds.setdefault(word.partition(" ")[0].rstrip(","), []).append((word, observed, predicted))
    _against(grid[2, 2], kinds, "$λ$ at the end")
    grid[1, 0].set_ylim(top=2.5 * grid[1, 0].get_ylim()[1])
    letter(grid.ravel())
    lines = [Line2D([], [], color=BLACK, alpha=alpha, linewidth=width) for alpha, width in ((0.35, 3), (1, 1.2))]
    legend_above(figure, dict(zip(("network", "model"), lines, strict=True)))
    return figure


def _curve(ax, part, name, i, label) -> None:
    """Run and model: a thick light line under a thin dark one."""
    style = look(i)
    run, predicted = (part.sel(of=of) for of in ("run", "model"))
    ax.plot(run.step, smooth(run, name), color=style["color"], alpha=0.35, linewidth=3)
    ax.plot(predicted.step, smooth(predicted, name), label=label, **style)
    ax.legend(loc="best", labelspacing=0.2)


def _plain(axis) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, "g")))
    axis.set_minor_formatter(NullFormatter())


def _against(ax, kinds, label) -> None:
    """Model against run, with the diagonal."""
    for i, (kind, points) in enumerate(kinds.items()):
        observed, predicted = (np.array([point[k] for point in points]) for k in (1, 2))
        ax.plot(observed, predicted, linestyle="none", markersize=4, label=kind, **look(i, marker=True))
    values = np.array([point[1:] for points in kinds.values() for point in points], float)
    low, high = np.nanmin(values), np.nanmax(values)
    margin = 0.08 * (high - low) + 1e-3 * abs(high)
    ends = (low - margin, high + margin)
    ax.plot(ends, ends, **EDGE)
    ax.set(xlim=ends, ylim=ends, xlabel=f"{label}, run", ylabel="model")
    if len(kinds) > 1:
        ax.legend(loc="upper left", labelspacing=0.2)


def _ends(ax, polyak) -> None:
    c = [float(str(t).partition(":")[2]) for t in polyak.tuner.values]
    for of, marker, face in (("run", "o", "white"), ("model", "s", BLACK)):
        values = [_sharpness(polyak.sel(tuner=t, of=of)) for t in polyak.tuner.values]
        ax.plot(c, values, marker, color=BLACK, markerfacecolor=face, markersize=4, label=of)
    ax.set(xlabel="Polyak's $c$", ylabel="$λ$ at the end")
    ax.legend()


def _signs(ax, drifts) -> None:
    """Predicted against observed dλ/dt; grey where their signs differ."""
    from matplotlib.ticker import NullLocator

    least, most = 1e-4, 10.0
    for sign in (1, -1):
        ax.fill_between([0, sign * most], 0, -sign * most, color="#e3e3e3", linewidth=0)
    for i, (by, label) in enumerate({"force": "all modes of the run", "fast": "fast map"}.items()):
        style = look(i, marker=True) | ({"markerfacecolor": "white"} if i else {})
        ax.plot(
            drifts[by].values.ravel(),
            drifts.observed.values.ravel(),
            linestyle="none",
            markersize=3,
            label=label,
            **style,
        )
    ax.plot([-most, most], [-most, most], **EDGE)
    for scale in (ax.set_xscale, ax.set_yscale):
        scale("symlog", linthresh=least)
    ax.set(xlim=(-most, most), ylim=(-most, most), xlabel="predicted $dλ/dt$", ylabel="observed $dλ/dt$")
    ticks = [-1, -1e-2, 0, 1e-2, 1]
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(ticks, labels=[number(tick, "g") for tick in ticks])
        axis.set_minor_locator(NullLocator())
    ax.legend(loc="lower right", labelspacing=0.1, handletextpad=0.2)
