"""The centre–oscillation model of descent on any objective, and gradient flow as the same model without oscillation.

Two time scales are separated: a centre w̄ that follows the valley floor, and amplitudes x_i along the leading
Hessian modes u_i. The modelled iterate is p = w̄ + Σ x_i u_i, and the tuner looks along the true line through p.
"""

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from eosmodel.curvature import Modes, leading, linearize, oscillation, sharp, sharpness_gradient, track
from eosmodel.dynamics import AbstractDynamics, divergence_bound, status_of
from eosmodel.dynamics.center import oscillation_center, turning
from eosmodel.dynamics.lines import aim
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.batches import AbstractBatches
from eosmodel.rays import steepest
from eosmodel.theory._steps import relaxation, valid
from eosmodel.tuners.base import AbstractTuner, Memory, gradient_change, init_memory, select_stepsize


class Ingredients(NamedTuple):
    """What the centre–oscillation model is made of; the defaults are the model, others show what each ingredient does.

    Fields
        force: on the centre, "even": ½(∇L(p) + ∇L(2w̄ − p)), every even order; or "cubic": ∇L(w̄) + ½ Σ x_i² ∇λ_i.
        restoring: on the oscillation, "odd": ½(∇L(p) − ∇L(2w̄ − p)), every odd order; or "harmonic": Σ λ_i x_i u_i.
        line: what the tuner sees, "true": the loss along the ray; or "parabola": that of the second-order expansion of
            the loss about w̄.
        floor: how the centre follows the valley floor along the modes, "flow": φ_i = (1 − e^{−ηλ_i})/λ_i; or "newton":
            φ_i = 1/λ_i.
        turning: what the turning of the modes leaves of the oscillation outside them, "kept": goes to the centre; or
            "lost".
        start: "split" by one Newton step along the modes; or "whole": no oscillation, the centre at w_0.
        threshold: a mode oscillates only where ηλ_i exceeds this; the centre takes its amplitude elsewhere.
        noise: least |x_i|; below it an oscillation is held there.
        after: steps before the model begins. They are descent's own, p' = p − ηg₊, in the model's coordinates: the odd
            force off the modes goes to the centre, and force, restoring, line and turning are the first of each. As
            many as the run has make it descent itself, and with `noise` above 0 nearly so.
    """

    force: Literal["even", "cubic"] = "even"
    restoring: Literal["odd", "harmonic"] = "odd"
    line: Literal["true", "parabola"] = "true"
    floor: Literal["flow", "newton"] = "flow"
    turning: Literal["kept", "lost"] = "kept"
    start: Literal["split", "whole"] = "split"
    threshold: float = 0.0
    noise: float = 0.0
    after: int = 0


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
    carried from one step's modes to the next by projection, and what the turning modes leave behind goes to the
    centre, which conserves the iterate too. So does the linear force off the modes, P⊥HX: it is 0 for eigenvectors of
    H, and the modes are nearly that. At the start w_0 is split by one Newton step along the modes. What the model
    leaves out is the rest of the odd force off the modes, P⊥(A − HX), of third order in x. By that alone a step of
    its iterate differs from one of descent, p' = p − ηg₊ + ηP⊥(A − HX), and its share of the gradient,
    ε = ‖P⊥(A − HX)‖/‖g₊‖, is in every row as `left_out`.

    The modes are those of the Hessian where a real run has its own, at `dynamics.center.oscillation_center` of p,
    so λ and L̄ are read alike of both. That point is not w̄, which still swings along every mode that is not followed.

    A stochastic objective kicks both: with n = ∇L_B(p) − ∇L(p) the noise of the step's draw at the modelled iterate,

        w̄' gets −η P⊥n,    x_i' gets −η u_i·n,

    and the tuner looks along −∇L_B(p) at the drawn loss. The start is then (weights, seed of the draws).

    A step takes two gradients (three with noise), one Hessian–vector product, and one linearisation with the tracker's
    products; under a rule that needs the sharpness also that at p, as in a run.

    Fields
        objective, tuner: what is modelled; the objective may be stochastic.
        modes: number of oscillating modes.
        ingredients: see `Ingredients`.
        divergence: a loss above this multiple of the initial one ends the run.
    """

    objective: AbstractObjective | AbstractBatches
    tuner: AbstractTuner
    modes: int = eqx.field(static=True, default=3)
    ingredients: Ingredients = eqx.field(static=True, default=Ingredients())
    divergence: float = eqx.field(static=True, default=1e6)

    class State(eqx.Module):
        center: Float[Array, " dim"]
        amplitude: Float[Array, " modes"]
        pairs: Modes
        tuner: Memory
        iterate: Modes | None
        pull: Float[Array, " dim"]
        bound: Float[Array, ""]
        seed: Int[Array, ""] | None

    @property
    def _full(self) -> AbstractObjective:
        return self.objective.objective if isinstance(self.objective, AbstractBatches) else self.objective

    def init(self, start):
        weights, seed = start if isinstance(self.objective, AbstractBatches) else (start, None)
        value, gradient, pairs = leading(self._full, weights, self.modes)
        amplitude = oscillation(gradient, pairs)
        if self.ingredients.start == "whole":
            amplitude = jnp.zeros_like(amplitude)
        bound = divergence_bound(value, self.divergence)
        center = weights - amplitude @ pairs.vectors
        iterate = pairs if self.tuner.needs_sharpness else None
        memory = init_memory(self.tuner, weights)
        return self.State(center, amplitude, pairs, memory, iterate, jnp.zeros_like(center), bound, seed)

    def step(self, state, t):
        full, made_of = self._full, self.ingredients
        drawn = self.objective.draw(state.seed, t) if isinstance(self.objective, AbstractBatches) else full
        noisy = drawn is not full

        def begun(of_model, of_descent):
            return jnp.where(t < made_of.after, of_descent, of_model) if made_of.after else of_model

        carried = state.amplitude @ state.pairs.vectors
        iterate = state.center + carried
        aimed = aim(drawn, full, iterate, None, None, state.iterate, t)
        value, above = jax.value_and_grad(full)(iterate) if noisy else (aimed.value, aimed.gradient)
        line, gradient = aimed.line, aimed.gradient
        if made_of.line == "parabola":
            level, slope, bend = _parabola(full, state.center, carried)
            square = jnp.vdot(slope, slope)

            def bent(w):
                along = -jnp.vdot(slope, w - iterate) / square
                return begun(level - along * square + 0.5 * along**2 * bend, drawn(w))

            gradient = begun(slope, gradient)
            line = steepest(bent, iterate, begun(level, aimed.value), gradient, t, aimed.sharpness)
        change = gradient_change(drawn, iterate, gradient, state.tuner) if noisy else None
        stepsize, memory, tuner_info = select_stepsize(self.tuner, line, state.tuner, gradient, change)

        turned, pull = turning(stepsize, -above, state.pairs.values[0], state.pull, t)
        seen_at, _ = oscillation_center(iterate, above, state.pairs, None if noisy else turned)
        center_loss, _, matvec = linearize(full, seen_at)
        pairs, info = track(matvec, state.pairs, max_expansions=4)
        values, vectors = pairs.values, pairs.vectors

        def outside(v):
            return v - (vectors @ v) @ vectors

        amplitude = vectors @ carried
        displacement = amplitude @ vectors
        resting = state.center + outside(carried)
        at_rest, linear = jax.jvp(jax.grad(full), (resting,), (displacement,))
        below = jax.grad(full)(resting - displacement)
        even, odd = 0.5 * (above + below), 0.5 * (above - below)
        off = outside(odd)
        kept = begun(outside(linear), off)
        left_out = jnp.linalg.norm(off - kept) / jnp.maximum(jnp.linalg.norm(above), jnp.finfo(above.dtype).tiny)
        if made_of.force == "cubic":
            rises = jax.vmap(lambda u: sharpness_gradient(full, resting, u))(vectors)
            even = begun(at_rest + 0.5 * amplitude**2 @ rises, even)
        if made_of.restoring == "harmonic":
            odd = begun((values * amplitude) @ vectors, odd)
        if made_of.turning == "lost":
            resting = begun(state.center, resting)

        force = vectors @ even
        relaxed = relaxation(stepsize, values)
        if made_of.floor == "newton":
            relaxed = jnp.where(sharp(pairs), 1 / jnp.where(sharp(pairs), values, 1), relaxed)
        center = resting - stepsize * (outside(even) + kept) - (relaxed * force) @ vectors
        amplitude_next = amplitude - stepsize * (vectors @ odd) - (stepsize - relaxed) * force
        if noisy:
            noise = aimed.gradient - above
            center = center - stepsize * outside(noise)
            amplitude_next = amplitude_next - stepsize * (vectors @ noise)
        if made_of.threshold > 0:
            still = jnp.where(stepsize * values > made_of.threshold, 0, amplitude_next)
            center, amplitude_next = center + still @ vectors, amplitude_next - still
        if made_of.noise > 0:
            least = jnp.where(amplitude_next < 0, -made_of.noise, made_of.noise)
            amplitude_next = jnp.where(jnp.abs(amplitude_next) < made_of.noise, least, amplitude_next)
        row = {
            "loss": value,
            "stepsize": stepsize,
            "sharpness": values[0],
            "center_loss": center_loss,
            "left_out": left_out,
            "eigenvalues": values,
            "amplitude": amplitude,
            **info._asdict(),
            "evaluations": tuner_info.evaluations,
            "search_failed": tuner_info.failed,
        }
        if noisy:
            row["batch_loss"] = aimed.value
        status = valid(status_of(value, stepsize, jnp.linalg.norm(gradient), state.bound), values[0])
        new = self.State(center, amplitude_next, pairs, memory, aimed.pairs, pull, state.bound, state.seed)
        return new, row, status


def center_oscillation(
    objective: AbstractObjective | AbstractBatches, tuner: AbstractTuner, modes: int = 3, **words
) -> AbstractDynamics:
    """The centre–oscillation model whose ingredients are named by words, see `Ingredients`.

    Example:
        >>> import eosmodel as eos
        >>> floor = eos.objectives.Valley(22.0, 4.0, [1.0], [0.5], [0.1, -3.0])
        >>> model = center_oscillation(floor, eos.tuners.Constant(0.1), 1, force="cubic")
    """
    return CenterOscillation(objective, tuner, modes, Ingredients(**words))


class GradientFlow(AbstractDynamics):
    """Gradient flow with the tuner's own step as its clock: the model with the oscillation left out.

    The tuner looks along the ray at the flow's weights w, and the flow is advanced by a time η:
    exactly along the tracked modes, w' = w − η P⊥g − Σ_i u_i φ_i (u_i·g), to first order off them, where ηλ is small.
    Under the on-edge tuner this is the EOS-only model: η = 2/λ, whatever λ does.

    Fields as in `CenterOscillation`.
    """

    objective: AbstractObjective
    tuner: AbstractTuner
    modes: int = eqx.field(static=True, default=3)
    divergence: float = eqx.field(static=True, default=1e6)

    class State(eqx.Module):
        weights: Float[Array, " dim"]
        pairs: Modes
        tuner: Memory
        bound: Float[Array, ""]

    def init(self, start):
        value, _, pairs = leading(self.objective, start, self.modes)
        bound = divergence_bound(value, self.divergence)
        return self.State(start, pairs, init_memory(self.tuner, start), bound)

    def step(self, state, t):
        value, gradient, matvec = linearize(self.objective, state.weights)
        pairs, info = track(matvec, state.pairs, max_expansions=4)
        values, vectors = pairs.values, pairs.vectors
        square = jnp.vdot(gradient, gradient)
        line = steepest(self.objective, state.weights, value, gradient, t, values[0])
        stepsize, memory, tuner_info = select_stepsize(self.tuner, line, state.tuner, gradient)
        force = vectors @ gradient
        excess = stepsize - relaxation(stepsize, values)
        weights = state.weights - stepsize * gradient + (excess * force) @ vectors
        row = {
            "loss": value,
            "stepsize": stepsize,
            "sharpness": values[0],
            "center_loss": value,
            "eigenvalues": values,
            **info._asdict(),
            "evaluations": tuner_info.evaluations,
            "search_failed": tuner_info.failed,
        }
        status = valid(status_of(value, stepsize, jnp.sqrt(square), state.bound), values[0])
        return self.State(weights, pairs, memory, state.bound), row, status


def _parabola(fn, center, oscillation):
    """The second-order expansion of a loss about the centre, at center + oscillation: its value, its gradient g and
    g·Hg."""
    value, gradient, matvec = linearize(fn, center)
    bent = matvec(oscillation)
    slope = gradient + bent
    level = value + jnp.vdot(gradient, oscillation) + 0.5 * jnp.vdot(oscillation, bent)
    return level, slope, jnp.vdot(slope, matvec(slope))
