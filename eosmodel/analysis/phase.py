"""Phase diagrams: features of orbits over any two parameters of a system, its tuner and its start."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from eosmodel._checks import check_count, check_range
from eosmodel.analysis.grids import sweep
from eosmodel.analysis.parameters import Parameter, axis, check_fits, follow
from eosmodel.analysis.probes import AbstractProbe, probe
from eosmodel.analysis.refinement import levels, spread
from eosmodel.analysis.regimes import decide, decide_training
from eosmodel.analysis.river_checks import checked
from eosmodel.analysis.streams import MAX_PERIOD, Features, features
from eosmodel.results import record
from eosmodel.results.regimes import Regime
from eosmodel.simulation import digest
from eosmodel.simulation.identity import arrays_of, differences, trace
from eosmodel.tuners._labels import spec_of, vectors_of, written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OBSERVABLES: dict[str, tuple[str, str]] = {
    "regime": ("regime", "long-run regime; see flag_meanings"),
    "period": ("period", f"period of the fast coordinates, −1 if none up to {MAX_PERIOD}"),
    "edge_exponent": ("Λ", "edge exponent ⟨ln|1 − ηλ|⟩"),
    "lyapunov": ("Lyapunov exponent", "largest Lyapunov exponent per step"),
    "lyapunov_error": ("error of the Lyapunov exponent", "standard error of the Lyapunov exponent"),
    "s": ("⟨ηλ⟩", "mean normalised step"),
    "log_s": ("⟨ln|ηλ|⟩", "mean ln of the normalised step"),
    "final_sharpness": ("λ", "sharpness before the last step"),
    "final_loss": ("L", "loss before the last step"),
    "drift": ("Δ ln λ", "change of ln λ over the last half"),
    "q": ("q", "oscillation relative to sharpening, βx²/2α"),
}
"""Observables by name: symbol and meaning. All but the regime are fields of `Features`, where each is defined."""

_SAVE_EVERY = 5.0
"""Seconds between two saves of the results; if the process is killed, at most these are lost."""
_REFINED_CHUNK = 1024
_IDENTITY = "identity"
_CODES = ("regime", "period")
_OBSERVABLES = ("regime", "edge_exponent", "lyapunov")


@dataclass(frozen=True)
class PhaseDiagram:
    """A phase diagram. Made by `phase_diagram`.

    Attributes:
        dataset: over (y, x), with the names of the axes: a variable for every observable, and `done`: 1 if the point
            was computed, 2 if it has the value of the nearest computed corner of a cell that was not refined.
    """

    dataset: xr.Dataset

    def plot(self, observable: str | None = None, *, axes: Any = None) -> "Figure":
        """A figure of one observable, by default the regime or the first one; see `plotting.phase_diagram`."""
        from eosmodel import plotting

        return plotting.phase_diagram(self.dataset, observable, axes=axes)


class _Point(eqx.Module):
    """The computation at one point."""

    probe: AbstractProbe
    x: Parameter = eqx.field(static=True)
    y: Parameter = eqx.field(static=True)
    steps: Any
    bound: Any
    names: tuple[str, ...] = eqx.field(static=True)
    own: tuple[Callable, ...] = eqx.field(static=True)

    def __call__(self, point):
        placed = self.y.put(self.x.put(self.probe, point[0]), point[1])
        wanted = {*self.names}
        regime = decide_training if placed.training else decide
        measured = features(
            placed,
            self.steps,
            bound=self.bound,
            lyapunov=bool(wanted & ({"lyapunov", "lyapunov_error"} | ({"regime"} if not placed.training else set()))),
            period=bool(wanted & {*_CODES}) and not placed.training,
        )
        values = {name: regime(measured) if name == "regime" else getattr(measured, name) for name in self.names}
        return values | {_name(fn): jnp.asarray(fn(measured)) for fn in self.own}


def phase_diagram(
    system: Any,
    tuner: Any = None,
    axes: Mapping[str, Any] | None = None,
    /,
    *,
    steps: int = 1000,
    observables: Sequence[str | Callable[[Features], Any]] | None = None,
    refine: int = 0,
    bound: float = 1e10,
    checks: int = 0,
    network: Any = None,
    seed: int | None = None,
    chunk: int | None = None,
    path: str | Path | None = None,
    progress: bool | str = True,
    **more_axes: Any,
) -> PhaseDiagram:
    """The long-term behaviour of orbits over two parameters of a system, its tuner, or its start.

    Args:
        system: an objective, for gradient descent under `tuner`, or a `theory.FastMap`, which holds its tuner. The
            sharpness is the objective's own formula, or else an eigenvalue of the dense Hessian, for up to 24 weights.
            Or the `River` of a network from `measure_river`: training under `tuner`, as the theory predicts it, with
            the regimes of `analysis.decide_training`.
        tuner: a tuner, its specification, or a class of tuners for its defaults; None for a fast map.
        axes: the two parameters, x first, as a mapping from names to values, or as keywords. A name is a field of the
            tuner, the objective or the map, or an entry of a vector: "c", "b", "mu[0]", and "start[0]" for the initial
            weights ("r" for the initial r of a fast map). If two parts have the field, add the part: "tuner.step".
            Values are (low, high, count), (low, high, count, "log"), or an increasing array.
        steps: number of steps of each orbit, ≥ 64.
        observables: names from `OBSERVABLES`, and functions of `Features` that return a scalar, whose names are used.
            By default the regime, Λ and the Lyapunov exponent; of a river the regime, the final loss and Λ.
            The regime includes the period. Lyapunov exponents double the work; they are computed for the regime or on
            request.
        refine: number of times that cells whose corners differ in regime or period are halved along both axes. The
            grid then has (count − 1)·2^refine + 1 values, and cells whose corners agree are filled from their corners.
        bound: an orbit has diverged if its loss exceeds this multiple, > 1, of the larger of |L(w₀)| and ½λ‖w₀‖²; of a
            fast map and a river, whose weights are not known, of the initial loss.
        chunk: number of points computed at once, which limits the memory needed in addition to the result; chosen
            automatically when None.
        checks: of a river: so many points of the grid, drawn at random, are run for real on the network, and the
            picture shows how well the diagram agrees with them.
        network: the network that the river was measured on; needed for checks.
        seed: of the initial weights that the river begins at, for checks; None for the network's own.
        path: netCDF file for the results, written repeatedly; an existing one is continued.
        progress: whether to show a progress bar; a string is its label.

    Returns:
        `PhaseDiagram`, with the dataset and `plot`. If an orbit diverges its numbers are NaN and its regime says so.

    Raises:
        ValueError: an invalid system, axis, parameter, observable or number, a grid whose result does not fit in
            memory, or a file of another diagram. All are raised before the computation.

    Example:
        >>> import eosmodel as eos
        >>> fast = eos.theory.FastMap(eos.tuners.Polyak())
        >>> diagram = eos.phase_diagram(fast, c=(0.3, 0.6, 2), A=(6, 9, 2), steps=200, progress=False)
        >>> diagram.dataset.period.values.tolist()  # over (A, c): a flip at c ≈ ½ + 1/(4A)
        [[1, 2], [1, 2]]
    """
    if checks and network is None:
        raise ValueError("phase_diagram: checks need the network that the river was measured on, network=…")
    plan = make_plan(
        system, tuner, {**(axes or {}), **more_axes}, steps=steps, observables=observables, refine=refine, bound=bound
    )
    made = plan.run(chunk=chunk, path=path, progress=progress)
    if not checks:
        return made
    axes_of = plan.point.x, plan.point.y
    return PhaseDiagram(checked(made.dataset, plan.point.probe, axes_of, network, seed, steps, checks, progress))


@dataclass(frozen=True)
class Plan:
    """A phase diagram that is checked but not yet computed; the result of `make_plan`.

    Attributes:
        point: the function of a point.
        dataset: with axes and attributes, without results.
        refine: as in `phase_diagram`.
    """

    point: _Point
    dataset: xr.Dataset
    refine: int

    def run(
        self, *, chunk: int | None = None, path: str | Path | None = None, progress: bool | str = True
    ) -> PhaseDiagram:
        """Compute the diagram, or the part that is missing in the file."""
        if chunk is not None:
            check_count("phase_diagram", "chunk", chunk)
        dataset, path = self.dataset.copy(deep=True), None if path is None else Path(path)
        if path is not None and path.exists():
            dataset = record.load(path)
            before, now = (json.loads(known.attrs.get(_IDENTITY, "{}")) for known in (dataset, self.dataset))
            if other := differences(before, now):
                raise ValueError(
                    f"phase_diagram: {path} holds another diagram (differs in {other}); delete it, or name another file"
                )
        try:
            _fill(self.point, dataset, self.refine, chunk, path, progress)
        finally:
            if path is not None and dataset.done.any():
                record.save(dataset, path)
        return PhaseDiagram(dataset)


def make_plan(
    system: Any, tuner: Any, axes: Mapping[str, Any], *, steps: int, observables: Any, refine: int, bound: float
) -> Plan:
    """Check all arguments of a phase diagram; arguments and errors as in `phase_diagram`."""
    owner = "phase_diagram"
    made = probe(system, tuner)
    rule = follow(made, made.parts["tuner"])
    if vectors := vectors_of(rule):
        raise ValueError(f"{owner}: {', '.join(vectors)} of the tuner must be one number; an axis varies it")
    if observables is None:
        observables = ("regime", "final_loss", "edge_exponent") if made.training else _OBSERVABLES
    if len(axes) != 2:
        raise ValueError(f"{owner}: two axes are needed, got {len(axes)}: {', '.join(map(str, axes)) or 'none'}")
    check_count(owner, "steps", steps, 64)
    check_count(owner, "refine", refine, 0)
    check_range(owner, "bound", bound, 1, low_open=True, high_open=True)
    names, own = _observables(observables)
    if refine and "regime" not in names:
        raise ValueError(f"{owner}: refine needs the regime among the observables")
    (x, across), (y, up) = (axis(made, name, values, refine) for name, values in axes.items())
    if (x.path, x.entry) == (y.path, y.entry):
        raise ValueError(f"{owner}: {x.name} and {y.name} are one parameter")
    dtype = made.init().dtype
    point = _Point(made, x, y, jnp.asarray(steps, jnp.int32), jnp.asarray(bound, dtype), names, own)
    # Traced and not run, so that errors in a user's function are raised here. The arrays are arguments, so that they
    # are hashed by their names.
    computed, traced = trace(lambda point, at: point(at), point, (point.bound, point.bound))
    # A traced dictionary is sorted by its keys.
    shapes = {name: traced[name] for name in (*names, *map(_name, own))}
    for name, shape in shapes.items():
        if shape.shape:
            raise ValueError(f"{owner}: observable {name} must be a scalar, got shape {shape.shape}")
        if name in (x.name, y.name):
            raise ValueError(f"{owner}: {name} is an axis and an observable")
    check_fits(owner, len(across) * len(up), 1 + sum(shape.dtype.itemsize for shape in shapes.values()))
    config = {
        "system": type(system).__name__,
        "tuner": type(rule).__name__,
        "steps": int(steps),
        "bound": float(bound),
        "refine": int(refine),
        "dtype": str(dtype),
    }
    known = {"program": computed, x.name: digest(across), y.name: digest(up), "refine": str(refine)}
    known |= {"observables": ", ".join(shapes)} | {name: digest(leaf) for name, leaf in arrays_of(point).items()}
    attrs = record.provenance(config) | {_IDENTITY: json.dumps(known, sort_keys=True)}
    attrs |= {"system": " ".join(repr(system).split()), "tuner": written(rule), "dtype": str(dtype)}
    blank = _blank(shapes, x, y, across, up)
    blank = blank.assign_coords(tuner=spec_of(rule, hide=[axis.path[-1] for axis in (x, y)]))
    return Plan(point, blank.assign_attrs(attrs), int(refine))


def _fill(point, dataset, refine, chunk, path, progress):
    """Compute the missing points level by level, in an order that a resumed run repeats."""
    y, x = (dataset[name].values for name in dataset.dims)
    label = progress if isinstance(progress, str) else "phase diagram"
    saved = time.monotonic()
    chunk = _REFINED_CHUNK if chunk is None and refine else chunk
    with tqdm(desc=label, unit="point", disable=not progress, leave=False, dynamic_ncols=True) as bar:
        for index in levels(dataset, refine):
            rows, columns = np.divmod(index, len(x))
            done = dataset.done.values.ravel()
            start = int(np.count_nonzero(done[index] == 1))
            bar.total = (bar.total or 0) + len(index)
            bar.update(start)
            if start == len(index):
                continue
            dtype = point.bound.dtype
            # Every level is padded to whole chunks of one size, for a single compilation.
            short = -len(index) % chunk if refine else 0
            points = tuple(np.pad(at.astype(dtype), (0, short), "edge") for at in (x[columns], y[rows]))
            for first, last, results in sweep(point, points, chunk=chunk, start=start, lanes=point.probe.lanes):
                last = min(last, len(index))
                at = rows[first:last], columns[first:last]
                for name, values in results.items():
                    dataset[name].values[at] = values[: last - first]
                dataset.done.values[at] = 1
                bar.update(last - first)
                if path is not None and time.monotonic() - saved > _SAVE_EVERY:
                    record.save(dataset, path)
                    saved = time.monotonic()
    if refine:
        spread(dataset)


def _observables(observables) -> tuple[tuple[str, ...], tuple[Callable, ...]]:
    if isinstance(observables, str) or callable(observables):
        observables = (observables,)
    names = [name for name in observables if not callable(name)]
    for name in names:
        if name not in OBSERVABLES:
            raise ValueError(f"phase_diagram: unknown observable {name!r}; known: {', '.join(OBSERVABLES)}")
    if "regime" in names:
        names.append("period")
    own = [fn for fn in observables if callable(fn)]
    taken = [*dict.fromkeys(names), *map(_name, own)]
    if not taken:
        raise ValueError(f"phase_diagram: observables must name at least one of {', '.join(OBSERVABLES)}")
    if len({*taken, "done"}) <= len(taken):
        raise ValueError(f"phase_diagram: observables must have different names, got {', '.join(taken)}")
    return tuple(dict.fromkeys(names)), tuple(own)


def _name(fn) -> str:
    return getattr(fn, "__name__", type(fn).__name__)


def _blank(shapes, x, y, across, up) -> xr.Dataset:
    """The dataset without results: NaN, −1 or False, and `done` = 0 everywhere."""
    size = len(up), len(across)
    dims = (y.name, x.name)
    data: dict[str, Any] = {}
    for name, like in shapes.items():
        symbol, meaning = OBSERVABLES.get(name, (name, name))
        kind = np.dtype(like.dtype).kind
        value = np.nan if kind == "f" else -1 if kind == "i" else 0
        data[name] = (dims, np.full(size, value, like.dtype), {"symbol": symbol, "long_name": meaning})
    if "regime" in data:
        data["regime"][2].update(flag_values=[int(r) for r in Regime], flag_meanings=" ".join(r.label for r in Regime))
    meaning = "0 not computed, 1 computed, 2 the value of the nearest computed point"
    data["done"] = (dims, np.zeros(size, np.int8), {"long_name": meaning})
    coords = {
        axis.name: (axis.name, values, {"symbol": axis.symbol, "long_name": ".".join(axis.path)})
        for axis, values in ((y, up), (x, across))
    }
    return xr.Dataset(data, coords)
