"""The centre–oscillation model of descent on any objective.

Two time scales are separated: a centre w̄ that follows the valley floor, and amplitudes x_i along the leading
Hessian modes u_i. The modelled iterate is p = w̄ + Σ x_i u_i, and the tuner sees the true line through p.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from eosmodel._checks import check_count
from eosmodel._units import norm
from eosmodel.curvature import AbstractTracker, Modes, linearize
from eosmodel.dynamics import AbstractDynamics, divergence_bound
from eosmodel.dynamics.center import oscillation_center, smoothing_displacement
from eosmodel.dynamics.lines import steepest_line
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.batches import AbstractBatches
from eosmodel.theory import ingredients as parts
from eosmodel.theory._steps import model_report, model_tracker
from eosmodel.tuners.base import AbstractTuner, Memory, gradient_change, init_memory, select_stepsize


class CenterOscillation(AbstractDynamics):
    """Centre and oscillation, stepped together under a tuner, with nothing fitted.

    With g± = ∇L(w̄ ± Σ x_i u_i), the even part F = ½(g₊ + g₋) is the force on the centre (the gradient at w̄ plus
    the self-stabilising ½ Σ x_i² ∇λ_i and all higher even terms), and the odd part A = ½(g₊ − g₋) drives the
    oscillation (λ_i x_i and all higher odd terms). One step, η from the tuner on the ray through p along −g₊:

        w̄'  = w̄ − η P⊥(F + HX) − Σ_i φ_i u_i (u_i·F),      φ_i = (1 − e^{−ηλ_i})/λ_i
        x_i' = x_i − η u_i·A − (η − φ_i)(u_i·F)

    P⊥ projects the modes out, X = Σ x_i u_i and H = ∇²L(w̄). The centre relaxes along the modes as the gradient flow
    would, and what it does not take of the force goes to the oscillation, so that the iterate is conserved along the
    modes and a drifting valley floor excites them as it does in a real run; no noise floor is needed. Amplitudes are
    carried from one step's modes to the next by projection, and what the rotating modes leave behind goes to the
    centre, which conserves the iterate too. So does the linear force off the modes, P⊥HX: it is 0 for eigenvectors of
    H, and the modes are nearly that. At the start w_0 is split by one Newton step along the modes. What the model
    leaves out is the rest of the odd force off the modes, P⊥(A − HX), of third order in x. By that alone a step of
    its iterate differs from one of descent, p' = p − ηg₊ + ηP⊥(A − HX), and its share of the gradient,
    ε = ‖P⊥(A − HX)‖/‖g₊‖, is in every row as `left_out`.

    The modes are those of the Hessian where a real run has its own, at `dynamics.center.oscillation_center` of p,
    so that λ and L̄ of both are comparable. That point is not w̄, which still oscillates along every mode that is not
    tracked.

    A stochastic objective moves both: with n = ∇L_B(p) − ∇L(p) the noise of the step's draw at the modelled iterate,

        w̄' gets −η P⊥n,    x_i' gets −η u_i·n,

    and the tuner sees the drawn loss along −∇L_B(p). The start is then (weights, seed of the draws).

    A step takes two gradients (three with noise), one Hessian–vector product, and one linearisation with the tracker's
    products; under a rule that needs the sharpness also that at p, as in a run.

    F, A, φ and the rest are parts that can be replaced, see `theory.ingredients`; the defaults are the model, and
    others show what each part does.

    Fields
        objective, tuner: what is modelled; the objective may be stochastic.
        tracker: how the oscillating modes are followed; a number stands for a `Tracker` of so many modes.
        divergence: how many times larger a loss counts as diverged, see `divergence_bound`.
        force, restoring: F and A.
        off_modes: what the centre takes of the odd force outside the modes, P⊥HX.
        line: what the tuner sees.
        floor: φ.
        remainder: what becomes of the oscillation that the rotating modes leave behind.
        start: how the weights are split at the start.
        limits: limits on the amplitudes, in the order in which they act.

    Example:
        >>> import jax.numpy as jnp
        >>> import eosmodel as eos
        >>> from eosmodel.simulation import run
        >>> from eosmodel.theory.ingredients import CubicForce
        >>> floor = eos.objectives.Valley(22.0, 4.0, [1.0], [0.5], [0.1, -3.0])
        >>> model = CenterOscillation(floor, eos.tuners.Constant(jnp.asarray(0.1)), 1, force=CubicForce())
        >>> rows = run(model, floor.initial(), 2000).rows
        >>> round(float(rows["sharpness"][-1]), 3), round(float(rows["amplitude"][-1, 0]) ** 2, 3)  # 2/η and 2α/β
        (20.0, 0.5)
    """

    objective: AbstractObjective | AbstractBatches
    tuner: AbstractTuner
    tracker: AbstractTracker = eqx.field(converter=model_tracker, default=model_tracker())
    divergence: float = eqx.field(static=True, default=1e6)
    force: parts.AbstractForce = parts.EvenForce()
    restoring: parts.AbstractRestoring = parts.OddForce()
    off_modes: parts.AbstractOffModes = parts.LinearOffModes()
    line: parts.AbstractLine = parts.TrueLine()
    floor: parts.AbstractFloor = parts.FlowRelaxation()
    remainder: parts.AbstractRemainder = parts.KeptRemainder()
    start: parts.AbstractStart = parts.SplitStart()
    limits: tuple[parts.AbstractLimit, ...] = ()

    class State(eqx.Module):
        center: Float[Array, " dim"]
        amplitude: Float[Array, " modes"]
        pairs: Modes
        tuner: Memory
        iterate: Modes | None
        half_step: Float[Array, " dim"]
        bound: Float[Array, ""]
        seed: Int[Array, ""] | None

    @property
    def _noisy(self) -> bool:
        return isinstance(self.objective, AbstractBatches)

    @property
    def _full(self) -> AbstractObjective:
        return self.objective.objective if isinstance(self.objective, AbstractBatches) else self.objective

    def init(self, start):
        weights, seed = start if self._noisy else (start, None)
        value, gradient, pairs = self.tracker.init(self._full, weights)
        amplitude = self.start(gradient, pairs)
        center = weights - amplitude @ pairs.vectors
        iterate = pairs if self.tuner.needs_sharpness else None
        memory = init_memory(self.tuner, weights)
        bound = divergence_bound(value, self.divergence, pairs.values[0], weights)
        return self.State(center, amplitude, pairs, memory, iterate, jnp.zeros_like(center), bound, seed)

    def weights(self, state):
        return state.center + state.amplitude @ state.pairs.vectors

    def step(self, state, t):
        full = self._full
        drawn = self.objective.draw(state.seed, t) if isinstance(self.objective, AbstractBatches) else full
        displacement = state.amplitude @ state.pairs.vectors
        iterate = state.center + displacement

        # The iterate alternates across the valley floor and moves about twice as far in a step as the centre.
        true = steepest_line(drawn, iterate, self.tracker, state.iterate, t, elapsed=2)
        value, above = jax.value_and_grad(full)(iterate) if self._noisy else (true.value, true.gradient)
        ray = self.line(full, state.center, displacement, true.ray)
        gradient = -ray.direction
        change = gradient_change(drawn, iterate, gradient, state.tuner) if self._noisy else None
        stepsize, memory, tuner_info = select_stepsize(self.tuner, ray, state.tuner, gradient, change)

        smoothing, half_step = smoothing_displacement(stepsize, -above, state.pairs.values[0], state.half_step, t)
        run_center, _ = oscillation_center(iterate, above, state.pairs, None if self._noisy else smoothing)
        center_loss, _, matvec = linearize(full, run_center)
        pairs, tracked = self.tracker.update(matvec, state.pairs)

        # The state in the new modes, and the two equations.
        u, remainder = pairs.vectors, parts.outside(displacement, pairs)
        at = parts.expand(full, state.center + remainder, pairs, u @ displacement, above)
        force, restoring, off_modes = self.force(at), self.restoring(at), self.off_modes(at)
        phi = self.floor(stepsize, pairs)
        center = self.remainder(state.center, remainder)
        center = center - stepsize * (at.outside(force) + off_modes) - (phi * (u @ force)) @ u
        amplitude = at.amplitude - stepsize * (u @ restoring) - (stepsize - phi) * (u @ force)
        if self._noisy:
            noise = true.gradient - above
            center = center - stepsize * at.outside(noise)
            amplitude = amplitude - stepsize * (u @ noise)
        for limit in self.limits:
            center, amplitude = limit(center, amplitude, stepsize, pairs)

        left_out = norm(at.outside(at.odd) - off_modes)
        row, status = model_report(value, stepsize, norm(gradient), state.bound, pairs.values, center_loss, tuner_info)
        row |= {
            "left_out": left_out / jnp.maximum(norm(above), jnp.finfo(above.dtype).tiny),
            "amplitude": at.amplitude,
            **tracked._asdict(),
        }
        if self._noisy:
            row["batch_loss"] = true.value
        new = self.State(center, amplitude, pairs, memory, true.pairs, half_step, state.bound, state.seed)
        return new, row, status

    def as_descent(self) -> "CenterOscillation":
        """Descent in the coordinates of this model, p' = p − ηg₊, with its modes, floor, start and limits."""
        return dataclasses.replace(
            self,
            force=parts.EvenForce(),
            restoring=parts.OddForce(),
            off_modes=parts.OddOffModes(),
            line=parts.TrueLine(),
            remainder=parts.KeptRemainder(),
        )


class AfterDescent(AbstractDynamics):
    """Descent for some steps, and then a model from the centre and the oscillation that it has reached.

    Fields
        model: the model; until it begins its `as_descent` runs, so that state and rows are alike.
        steps: steps before it begins, ≥ 1; as many as the run has make it descent itself.

    Raises:
        ValueError: steps < 1.
    """

    model: CenterOscillation
    steps: int = eqx.field(static=True)

    def __check_init__(self):
        check_count("AfterDescent", "steps", self.steps)

    @property
    def tuner(self) -> AbstractTuner:
        return self.model.tuner

    def init(self, start):
        return self.model.init(start)

    def diverging_at(self, multiple):
        return dataclasses.replace(self, model=self.model.diverging_at(multiple))

    def weights(self, state):
        return self.model.weights(state)

    def step(self, state, t):
        descent = self.model.as_descent()
        return jax.lax.cond(
            t < self.steps, lambda state: descent.step(state, t), lambda state: self.model.step(state, t), state
        )
