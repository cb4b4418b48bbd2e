"""The slow flow: the sharpness ODE, with the oscillation averaged over the fast map's invariant measure."""

from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from eosmodel._checks import as_arrays, check_count, check_range
from eosmodel._status import Status
from eosmodel.theory.closures import AbstractClosure
from eosmodel.theory.slow_regimes import LOG_FAR, SlowSystem, first_regime, probe
from eosmodel.theory.slow_solution import SlowSolution
from eosmodel.tuners.base import AbstractTuner

if TYPE_CHECKING:
    import diffrax as dfx


class SlowFlow(eqx.Module):
    """The averaged motion of a valley floor under a tuner, t in steps:

        dλ/dt = ⟨η⟩α − ½β⟨ηx²⟩,      dL̄/dt = −⟨η⟩G + ½⟨ηx²⟩α + ½⟨η²⟩κλG

    The averages come from the tuner itself, through its `FastMap` at the λ, L̄, κ, G of the moment, in one of four
    regimes (`SlowRegime`):

    * below the edge, x = 0 and η is what the tuner does at r = 0;
    * clamped, all three are averages over the invariant measure (fixed point, cycle or chaos);
    * pinned, the sliding motion along an edge with the contracting flow on one side and expansion on the other:
      ⟨ηx²⟩ is what keeps λ where it is;
    * neutral (CDAT with σ = 2, on-edge with σ = 2), the map grows too slowly to be averaged over, and x² joins the
      slow variables: d ln x²/dt = 2 ln|1 − Φ(r)|.

    The edge is Λ₀ = 0, Λ₀ the edge exponent at r = 0. Where a flow that rises through it is pinned and where clamped
    is decided by the map at r_p = λ²(2α/β)/G, which self-stabilisation would hold: pinned if it is still neutral
    there. Pinned ends when α ≤ 0 (below the edge) or when the tuner clamps at r_p (clamped).

    What it does not describe: the approach of r to its measure, an overshoot, a start far above a constant step's
    edge (all fast; the last has status OUT_OF_RANGE), the delay by which an oscillation that has died out below the
    edge comes back above it, a second attractor of the fast map (an orbit from r = 1
    decides), a schedule (frozen at step 0).

    Args:
        tuner: any step-size rule.
        closure: where α, β, κ, G come from: `ValleyClosure`, `MeasuredClosure` or `FrozenClosure`.
        burn_in, window: steps of the fast map left out and averaged over, for every average.
        margin: an exponent per step within ±margin counts as neither growth nor decay.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import eosmodel as eos
        >>> from eosmodel.theory import FrozenClosure, SlowFlow
        >>> floor = FrozenClosure(
        ...     alpha=1.0, beta=4.0, kappa=0.01, bulk_gradient_sq=0.1, sharpness=18.0, center_loss=10.0
        ... )
        >>> solution = SlowFlow(eos.tuners.Constant(0.1), floor).solve(100, save_every=50)
        >>> solution.sharpness.round(3), solution.event_time.round(3)  # 2/η = 20, reached at (20 − 18)/(ηα)
        (array([18., 20., 20.]), array([20.]))

    Source: self-stabilisation as in Damian, Nichani & Lee (arXiv 2209.15594); sliding motion as in Filippov (1988).
    """

    tuner: AbstractTuner
    closure: AbstractClosure
    burn_in: int = eqx.field(static=True, default=300)
    window: int = eqx.field(static=True, default=1000)
    margin: float = eqx.field(static=True, default=1e-3)

    def __check_init__(self):
        check_count("SlowFlow", "burn_in", self.burn_in, 0)
        check_count("SlowFlow", "window", self.window)
        check_range("SlowFlow", "margin", self.margin, 0, low_open=True, high_open=True)

    def solve(
        self,
        steps: int,
        *,
        save_every: int = 10,
        dt: float | None = None,
        rtol: float = 1e-4,
        atol: float = 1e-6,
        solver: "dfx.AbstractSolver | None" = None,
        max_steps: int = 16384,
    ) -> SlowSolution:
        """The flow for a number of steps of the tuner, or until it leaves the theory's range.

        Args:
            steps: of the tuner, ≥ 1.
            save_every: rows are kept at 0, save_every, 2·save_every, …
            dt: constant step of the solver, in steps of the tuner; None for an adaptive one.
            rtol, atol: tolerances of the adaptive step.
            solver: any explicit solver of diffrax; `diffrax.Tsit5()` when None.
            max_steps: steps of the solver in one regime.

        Returns:
            `SlowSolution`. Averages over a chaotic measure fluctuate by about 1/√window; no tolerance goes below that.
        """
        import diffrax as dfx  # slow to import

        check_count("SlowFlow.solve", "steps", steps)
        check_count("SlowFlow.solve", "save_every", save_every)
        check_count("SlowFlow.solve", "max_steps", max_steps)
        for name, value in {"rtol": rtol, "atol": atol, "dt": 1.0 if dt is None else dt}.items():
            check_range("SlowFlow.solve", name, value, 0, low_open=True, high_open=True)
        state = self.closure.init()
        dtype = self.closure.floor(state).sharpness.dtype
        tiny = np.exp(-LOG_FAR)
        y = (state, jnp.log(jnp.maximum(self.closure.initial_amplitude_sq(), jnp.asarray(tiny, dtype))))
        # As arrays, so that another value needs no other compilation.
        system = as_arrays(SlowSystem(self.tuner, self.closure, self.burn_in, self.window, self.margin), dtype)
        times = jnp.arange(0, steps + 1, save_every).astype(dtype)
        control: dfx.AbstractStepSizeController = dfx.ConstantStepSize()
        if dt is None:
            control = dfx.PIDController(jnp.asarray(rtol, dtype), jnp.asarray(atol, dtype))
        first = jnp.asarray(1.0 if dt is None else dt, dtype)
        solver = dfx.Tsit5() if solver is None else solver

        rows, events = {"regime": np.full(times.shape, -1)}, []
        t, end, status = jnp.zeros((), dtype), jnp.asarray(steps, dtype), Status.OUT_OF_RANGE
        regime = first_regime(system, probe(system, y))
        while regime is not None:
            begin = t
            kept, t, y, exits, result = _segment(system, regime, y, t, end, times, first, control, solver, max_steps)
            here = np.asarray((times >= begin) & (times <= t))
            for name, values in kept.items():
                np.copyto(rows.setdefault(name, np.full(times.shape, np.nan)), values, where=here)
            rows["regime"][here] = regime.code
            if t >= end:
                status = Status.OK
            elif result == dfx.RESULTS.event_occurred:
                regime = regime.next(system, int(jnp.argmin(exits)), probe(system, y))
                if regime is not None:
                    events.append((float(t), int(regime.code)))
                    continue
            elif not bool(jnp.isfinite(exits).all()):
                status = Status.NONFINITE
            break
        blank = {name: np.full(times.shape, np.nan) for name in SlowSolution._fields[2:-3]}
        when = np.asarray([time for time, _ in events])
        entered = np.asarray([code for _, code in events], int)
        return SlowSolution(np.asarray(times), **(blank | rows), event_time=when, entered=entered, status=status)


@eqx.filter_jit
def _segment(system, regime, y, begin, end, times, first, control, solver, max_steps):
    """The flow in one regime: the rows at `times`, the time, state and exits at its end, and diffrax's result."""
    import diffrax as dfx
    import optimistix as optx

    width = 8 * float(jnp.finfo(begin.dtype).eps)

    def condition(t, y, args, **_):
        # One number, so that it can be bisected, and of the type that diffrax gives to conditions that are not met.
        return jnp.min(regime.exits(args, y)).astype(jnp.result_type(float))

    root_finder: optx.AbstractRootFinder = optx.Bisection(rtol=width, atol=width)  # type: ignore[call-arg]
    solution = dfx.diffeqsolve(
        dfx.ODETerm(lambda t, y, args: regime.drift(args, y)),
        solver,
        begin,
        end,
        first,
        y,
        args=system,
        saveat=dfx.SaveAt(subs=[dfx.SubSaveAt(ts=jnp.clip(times, begin, end)), dfx.SubSaveAt(t1=True)]),
        stepsize_controller=control,
        event=dfx.Event(condition, root_finder, direction=False),
        max_steps=max_steps,
        adjoint=dfx.ForwardMode(),
        throw=False,
    )
    ys, last = solution.ys
    y = jax.tree.map(lambda leaf: leaf[-1], last)
    rows = jax.vmap(lambda y: system.row(y, regime.mean(system, y)))(ys)
    return rows, solution.ts[1][-1], y, regime.exits(system, y), solution.result
