"""The slow flow: the sharpness ODE, with the oscillation averaged over the fast map's invariant measure."""

from typing import NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array

from eosmodel._checks import as_arrays, check_count, check_range
from eosmodel._status import Status
from eosmodel.theory.closures import AbstractClosure, Floor
from eosmodel.theory.fast_map import FastMap, averages
from eosmodel.theory.slow_solution import SlowRegime, SlowSolution
from eosmodel.tuners.base import AbstractTuner

# ln r of an oscillation that is not there, and of one that is all there is; e^±60 fits float32.
_FAR = 60.0
# What is held at a small distance above an edge tells a tuner that has one from a tuner that is at the edge anywhere.
_ABOVE = 1.05


class _Mean(NamedTuple):
    """⟨η⟩, ⟨η²⟩, ⟨ηx²⟩, the edge exponent and the Lyapunov exponent."""

    stepsize: Array
    square: Array
    kick: Array
    exponent: Array
    lyapunov: Array


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
        solver: dfx.AbstractSolver | None = None,
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
        check_count("SlowFlow.solve", "steps", steps)
        check_count("SlowFlow.solve", "save_every", save_every)
        check_count("SlowFlow.solve", "max_steps", max_steps)
        for name, value in {"rtol": rtol, "atol": atol, "dt": 1.0 if dt is None else dt}.items():
            check_range("SlowFlow.solve", name, value, 0, low_open=True, high_open=True)
        state = self.closure.init()
        dtype = self.closure.floor(state).sharpness.dtype
        tiny = np.exp(-_FAR)
        y = (state, jnp.log(jnp.maximum(self.closure.initial_amplitude_sq(), jnp.asarray(tiny, dtype))))
        # As arrays, so that another value needs no other compilation.
        flow = as_arrays(self, dtype)
        times = jnp.arange(0, steps + 1, save_every).astype(dtype)
        control: dfx.AbstractStepSizeController = dfx.ConstantStepSize()
        if dt is None:
            control = dfx.PIDController(jnp.asarray(rtol, dtype), jnp.asarray(atol, dtype))
        first = jnp.asarray(1.0 if dt is None else dt, dtype)
        solver = dfx.Tsit5() if solver is None else solver

        rows, events = {"regime": np.full(times.shape, -1)}, []
        t, end, status = jnp.zeros((), dtype), jnp.asarray(steps, dtype), Status.OUT_OF_RANGE
        regime = _first(flow, _probe(flow, y))
        while regime is not None:
            begin = t
            seen, t, y, exits, result = _segment(flow, regime, y, t, end, times, first, control, solver, max_steps)
            here = np.asarray((times >= begin) & (times <= t))
            for name, values in seen.items():
                np.copyto(rows.setdefault(name, np.full(times.shape, np.nan)), values, where=here)
            rows["regime"][here] = regime
            if t >= end:
                status = Status.OK
            elif result == dfx.RESULTS.event_occurred:
                regime = _next(flow, regime, int(jnp.argmin(exits)), _probe(flow, y))
                if regime is not None:
                    events.append((float(t), int(regime)))
                    continue
            elif not bool(jnp.isfinite(exits).all()):
                status = Status.NONFINITE
            break
        blank = {name: np.full(times.shape, np.nan) for name in SlowSolution._fields[2:-3]}
        when = np.asarray([time for time, _ in events])
        entered = np.asarray([code for _, code in events], int)
        return SlowSolution(np.asarray(times), **(blank | rows), event_time=when, entered=entered, status=status)

    # --- the fast map at a floor -------------------------------------------------------------------------------------

    def _fast(self, floor: Floor) -> tuple[FastMap, Array]:
        """The map of the moment and its state at r = 1."""
        a = floor.sharpness * floor.center_loss / floor.bulk_gradient_sq
        fast = FastMap(self.tuner, a, floor.kappa, floor.sharpness, floor.bulk_gradient_sq)
        return fast, fast.init().astype(floor.sharpness.dtype)

    def _held(self, floor: Floor, log_r: Array | float) -> _Mean:
        """Averages with r held where it is: one look, or over the tuner's own motion if it has memory."""
        fast, z = self._fast(floor)
        log_r = jnp.clip(jnp.asarray(log_r, z.dtype), -_FAR, _FAR)
        memory = z.size > 1
        burn_in, window = (self.burn_in, self.window) if memory else (0, 1)
        tiny = jnp.finfo(z.dtype).tiny

        def body(i, carry):
            z, sums = carry
            seen = fast.observe(z)
            growth = jnp.log(jnp.maximum(jnp.abs(1 - seen.s), tiny))
            terms = jnp.stack([seen.stepsize, seen.stepsize**2, seen.kick, growth])
            return fast(z).at[0].set(log_r), sums + jnp.where(i >= burn_in, terms, 0)

        carry = (z.at[0].set(log_r), jnp.zeros(4, z.dtype))
        # Not a loop where there is nothing to repeat: these looks are all over the compiled flow.
        carry = jax.lax.fori_loop(0, burn_in + window, body, carry) if memory else body(0, carry)
        stepsize, square, kick, growth = carry[1] / window
        return _Mean(stepsize, square, kick, growth, jnp.full_like(log_r, jnp.nan))

    def _attractor(self, floor: Floor) -> _Mean:
        means, _ = averages(*self._fast(floor), burn_in=self.burn_in, steps=self.window)
        return _Mean(means.stepsize, means.square, means.kick, means.edge_exponent, means.lyapunov)

    def _outside(self, floor: Floor) -> Array:
        """The exponent at a hundred times the largest r that an orbit from r = 1 comes to: < 0 if it is bounded."""
        fast, z = self._fast(floor)
        z = jax.lax.fori_loop(0, self.burn_in, lambda _, z: fast(z), z)
        _, most = jax.lax.fori_loop(
            0, self.window, lambda _, c: (fast(c[0]), jnp.fmax(c[1], c[0][0])), (z, jnp.full_like(z[0], -_FAR))
        )
        return self._held(floor, most + jnp.log(jnp.asarray(100.0, z.dtype))).exponent

    def _pinned_at(self, floor: Floor) -> Array:
        """ln r_p, r_p = λ²(2α/β)/G."""
        tiny = jnp.finfo(floor.alpha.dtype).tiny
        return jnp.log(jnp.maximum(2 * floor.sharpness**2 * floor.alpha / (floor.beta * floor.bulk_gradient_sq), tiny))

    # --- the slow motion ---------------------------------------------------------------------------------------------

    def _mean(self, regime, y) -> _Mean:
        state, log_energy = y
        floor = self.closure.floor(state)
        if regime is SlowRegime.BELOW:
            return self._held(floor, -_FAR)._replace(kick=jnp.zeros_like(log_energy))
        if regime is SlowRegime.CLAMPED:
            return self._attractor(floor)
        if regime is SlowRegime.NEUTRAL:
            return self._held(floor, log_energy + jnp.log(floor.sharpness**2 / floor.bulk_gradient_sq))
        mean = self._held(floor, self._pinned_at(floor))
        # The drift of λ is affine in the kick, and its root is what holds λ.
        drifts = (
            jax.jvp(
                lambda state: self.closure.floor(state).sharpness,
                (state,),
                (self.closure.drift(state, mean.stepsize, mean.square, jnp.asarray(kick, log_energy.dtype)),),
            )[1]
            for kick in (0.0, 1.0)
        )
        free, kicked = drifts
        return mean._replace(kick=free / (free - kicked))

    def _drift(self, regime, y):
        state, log_energy = y
        mean = self._mean(regime, y)
        growth = 2 * mean.exponent if regime is SlowRegime.NEUTRAL else jnp.zeros_like(log_energy)
        return self.closure.drift(state, mean.stepsize, mean.square, mean.kick), growth

    def _exits(self, regime, y) -> Array:
        """What is positive while a regime lasts; the first of them is the theory's range."""
        state, _ = y
        floor, room = self.closure.floor(state), self.closure.room(state)
        if regime is SlowRegime.NEUTRAL:
            return room[None]
        if regime is SlowRegime.PINNED:
            still_neutral = self._held(floor, self._pinned_at(floor)).exponent + self.margin
            return jnp.stack([room, floor.alpha, still_neutral])
        rest = self._held(floor, -_FAR).exponent
        return jnp.stack([room, rest if regime is SlowRegime.CLAMPED else -rest])

    def _seen(self, regime, y) -> dict[str, Array]:
        floor, mean = self.closure.floor(y[0]), self._mean(regime, y)
        energy = mean.kick / mean.stepsize
        return floor._asdict() | {
            "stepsize": mean.stepsize,
            "oscillation": energy,
            "r": floor.sharpness**2 * energy / floor.bulk_gradient_sq,
            "s": mean.stepsize * floor.sharpness,
            "edge_exponent": mean.exponent,
            "lyapunov": mean.lyapunov,
        }


class _Probe(NamedTuple):
    """What decides on a regime: room, α, and exponents at r = 0, far outside, the same a little above, and at r_p."""

    room: Array
    alpha: Array
    rest: Array
    outside: Array
    above: Array
    pinned: Array


@eqx.filter_jit
def _probe(flow, y) -> _Probe:
    state, _ = y
    floor = flow.closure.floor(state)
    stiffer = floor._replace(sharpness=_ABOVE * floor.sharpness)
    return _Probe(
        flow.closure.room(state),
        floor.alpha,
        flow._held(floor, -_FAR).exponent,
        flow._outside(floor),
        flow._outside(stiffer),
        flow._held(floor, flow._pinned_at(floor)).exponent,
    )


def _first(flow, at: _Probe) -> SlowRegime | None:
    if not at.room > 0:
        return None
    if at.rest < 0:
        return SlowRegime.BELOW
    if at.outside < -flow.margin:
        return SlowRegime.CLAMPED
    if max(abs(at.outside), abs(at.above)) <= flow.margin:
        return SlowRegime.NEUTRAL
    return SlowRegime.PINNED if at.rest <= flow.margin and at.alpha > 0 else None


def _next(flow, regime: SlowRegime, which: int, at: _Probe) -> SlowRegime | None:
    """Where a flow goes that meets the exit `which` of its regime."""
    if which == 0:
        return None
    if regime is SlowRegime.PINNED:
        return SlowRegime.BELOW if which == 1 else SlowRegime.CLAMPED
    if at.alpha > 0 and abs(at.pinned) <= flow.margin:
        return SlowRegime.PINNED
    if regime is SlowRegime.CLAMPED:
        return SlowRegime.BELOW
    return SlowRegime.CLAMPED if at.above < -flow.margin else None


@eqx.filter_jit
def _segment(flow, regime, y, begin, end, times, first, control, solver, max_steps):
    """The flow in one regime: what is seen at `times`, the time, state and exits at its end, and diffrax's result."""
    width = 8 * float(jnp.finfo(begin.dtype).eps)

    def condition(t, y, args, **_):
        # One number, so that it can be bisected, and of the type that diffrax gives to conditions that are not met.
        return jnp.min(args._exits(regime, y)).astype(jnp.result_type(float))

    root_finder: optx.AbstractRootFinder = optx.Bisection(rtol=width, atol=width)  # type: ignore[call-arg]
    solution = dfx.diffeqsolve(
        dfx.ODETerm(lambda t, y, args: args._drift(regime, y)),
        solver,
        begin,
        end,
        first,
        y,
        args=flow,
        saveat=dfx.SaveAt(subs=[dfx.SubSaveAt(ts=jnp.clip(times, begin, end)), dfx.SubSaveAt(t1=True)]),
        stepsize_controller=control,
        event=dfx.Event(condition, root_finder, direction=False),
        max_steps=max_steps,
        adjoint=dfx.ForwardMode(),
        throw=False,
    )
    ys, last = solution.ys
    y = jax.tree.map(lambda leaf: leaf[-1], last)
    seen = jax.vmap(lambda y: flow._seen(regime, y))(ys)
    return seen, solution.ts[1][-1], y, flow._exits(regime, y), solution.result
