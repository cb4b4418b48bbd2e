"""The fast map with noise: the oscillation under a tuner that sees one batch per step, with all slow variables frozen.

The sign of the displacement matters here, because the gradient noise has one. There is no fixed point but a stationary
distribution, over which the slow flow needs averages.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from eosmodel._checks import check_range
from eosmodel.rays import QuadraticRay, Secant
from eosmodel.theory.fast_map import FastMap
from eosmodel.tuners.base import ask, init_state

# As in the fast map, ln r ≥ −60, and |y| = √r.
_FLOOR = math.exp(-30.0)


class Draw(NamedTuple):
    """Four independent standard normal numbers: the noise of one batch in the gradient along u, in λ, in the bulk
    gradient, and in the loss."""

    along: Float[Array, ""] | float = 0.0
    curvature: Float[Array, ""] | float = 0.0
    bulk: Float[Array, ""] | float = 0.0
    loss: Float[Array, ""] | float = 0.0


class NoisyFastMap(eqx.Module):
    """y' = y − s e,  y = λx/√G,  s = λη, η from the tuner itself on the two-mode ray of a batch.

    A batch of B has the loss f + (ξ_u x + ½ζx² + ξ_b·z + ω)/√B with independent noise of variance σ_u² along the mode,
    σ_λ² in its curvature, Σ_b in the bulk and σ_L² in the value. With

        a = σ_u²/(GB),    m = σ_λ²/(λ²B),    N = tr Σ_b/(GB),    l = λ²σ_L²/(G²B)

    and standard normal ε_i, the batch's gradient has in units of √G the components

        along u           e = (1 + √m ε_m) y + √a ε_a
        along ∇L in z     h = 1 + √(ρN) ε_h
        in the rest of z  √((1 − ρ)N) in length

    ρ is the fraction of N along the bulk gradient: 1 for one bulk mode, 1/M for isotropic noise in M modes. The rest,
    of curvature κ_N, is spread over many directions: its squared norm is replaced by its mean, and its inner products
    with the gradient, which have mean 0, are neglected. The ray of the batch is then

        φ(0)   = (G/λ) (A + ½ (1 + √m ε_m) y² + √a ε_a y + √l ε_l)
        φ'(0)  = −G (e² + h² + (1 − ρ)N)
        φ''(0) = λG ((1 + √m ε_m) e² + κh² + κ_N (1 − ρ)N)

    and the batch's λ is λ(1 + √m ε_m). A tuner that uses the secant compares two gradients of this batch, at the two
    ends of the last step −η(e₋, h₋, …): s·y = η²λ((1 + √m ε_m)e₋² + κh₋² + κ_N(1 − ρ)N), and y·y likewise with the
    squares of the curvatures. Without noise the map is `FastMap` with r = y².

    For constant λ it follows that

    * with constant η and (1 + m)ηλ < 2, ⟨x²⟩ = ησ_u²/(Bλ (2 − (1 + m)ηλ)). To first order in the noise, λ is
      stationary at 2/η − λ = 2m/η + ηβσ_u²/(4αB). The tail of x has the exponent 2 + q/(4m), q = η²βσ_u²/(2αB); where
      λ moves, this value of λ holds only for q > 8m, where ⟨x⁴⟩ exists;
    * with isotropic bulk noise only (ρ = 0, κ_N = κ), a rule that uses slope and curvature, or a quadratic line search,
      has its response at (1 + N) times the r: for CDAT r* = (1 + N)(σ − 2κ)/(2 − σ). The ratio βx²/(2α) of a clamped
      oscillation is proportional to 1 + N, which slows sharpening down; where it exceeds 1, λ falls;
    * with the same noise Polyak's r* = (A − 2c(1 + N))/(2c − ½) decreases with N, and there is none for
      1 + N > A/(2c): small batches stay below the edge;
    * η is correlated with h, so that the valley drifts as dλ/dt = ⟨ηh⟩α − ½β⟨ηx²⟩; the first term is ⟨η⟩α only if η
      does not depend on the noise along the bulk gradient.

    Args:
        fast: the map without noise: tuner, A, κ, λ, G.
        size: B > 0, any number.
        noise_along, noise_curvature, noise_bulk, noise_loss: variances over samples, σ_u², σ_λ², tr Σ_b and σ_L², ≥ 0
            and 0 by default; the names are those of `objectives.Noise`, where noise_along has one entry per mode.
        kappa_noise: κ_N = tr(HΣ_b)/(λ tr Σ_b) off the bulk gradient, in [0, 1). 0 by default.
        share: ρ in [0, 1]. 0 by default.

    Raises:
        ValueError: an argument out of its range.

    Example:
        >>> import jax
        >>> import eosmodel as eos
        >>> fast = eos.theory.FastMap(eos.tuners.Constant(1.9))
        >>> noisy = eos.theory.NoisyFastMap(fast, size=4, noise_along=0.1)
        >>> state, observed = noisy.step(noisy.init(), noisy.draw(jax.random.key(0)))
        >>> round(float(observed.s), 3)
        1.9
        >>> averages = eos.theory.stationary(noisy)  # ⟨r⟩ = s a/(2 − s) = 0.475
        >>> abs(float(averages.mean.r) - 0.475) < 4 * float(averages.error.r)
        True
    """

    fast: FastMap
    size: Any = 1.0
    noise_along: Any = 0.0
    noise_curvature: Any = 0.0
    noise_bulk: Any = 0.0
    noise_loss: Any = 0.0
    kappa_noise: Any = 0.0
    share: Any = 0.0

    class State(eqx.Module):
        """y, the tuner's state, and e, h, η of the previous step (0 before the first)."""

        y: Float[Array, ""]
        tuner: Any
        past: tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]

    class Observation(NamedTuple):
        """r = y², x², the tuner's step η, s = ηλ, ηx² (`kick`), ηh (`forward`), and 1 − ηλ_B (`growth`), the factor of
        x in the step with the batch's λ."""

        r: Float[Array, ""]
        amplitude_sq: Float[Array, ""]
        stepsize: Float[Array, ""]
        s: Float[Array, ""]
        kick: Float[Array, ""]
        forward: Float[Array, ""]
        growth: Float[Array, ""]

    def __check_init__(self):
        if not isinstance(self.fast, FastMap):
            raise ValueError(f"NoisyFastMap: fast must be a FastMap, got {type(self.fast).__name__}")
        check_range("NoisyFastMap", "size", self.size, 0, low_open=True, high_open=True)
        for name in ("noise_along", "noise_curvature", "noise_bulk", "noise_loss"):
            check_range("NoisyFastMap", name, getattr(self, name), 0, high_open=True)
        check_range("NoisyFastMap", "kappa_noise", self.kappa_noise, 0, 1, high_open=True)
        check_range("NoisyFastMap", "share", self.share, 0, 1)

    def init(self, r: float | Array = 1.0) -> State:
        """The state with the given r > 0, y > 0, and the initial state of the tuner."""
        y = jnp.sqrt(jnp.asarray(r, jnp.result_type(float)))
        zero = jnp.zeros_like(y)
        return self.State(y, init_state(self.fast.tuner, y.dtype), (zero, zero, zero))

    def draw(self, key: Array, dtype=None) -> Draw:
        """The noise of the batch of a key."""
        return Draw(*jax.random.normal(key, (4,), jnp.result_type(float) if dtype is None else dtype))

    def _gradient(self, y, draw):
        """e, h, (1 − ρ)N, 1 + √m ε_m and √a ε_a."""
        numbers = (self.size, self.fast.sharpness, self.fast.bulk_gradient_sq, self.share)
        size, sharpness, bulk, share = (jnp.asarray(value, y.dtype) for value in numbers)
        a = self.noise_along / (bulk * size)
        m = self.noise_curvature / (sharpness**2 * size)
        n = self.noise_bulk / (bulk * size)
        bend, push = 1 + jnp.sqrt(m) * draw.curvature, jnp.sqrt(a) * draw.along
        return bend * y + push, 1 + jnp.sqrt(share * n) * draw.bulk, (1 - share) * n, bend, push

    def line(self, state: State, draw: Draw) -> QuadraticRay:
        """The ray that the tuner sees in a state, for the noise drawn."""
        fast, y = self.fast, state.y
        numbers = (fast.sharpness, fast.bulk_gradient_sq, fast.kappa, fast.A, self.kappa_noise)
        sharpness, bulk, kappa, left, kappa_noise = (jnp.asarray(value, y.dtype) for value in numbers)
        e, h, rest, bend, push = self._gradient(y, draw)
        level = jnp.sqrt(sharpness**2 * self.noise_loss / (bulk**2 * self.size))
        secant = Secant()
        if fast.tuner.needs_secant:
            before, forward, eta = state.past
            # The previous step, −η(e₋, h₋, …), and the change over it of the gradient of the current batch.
            size = bulk * eta**2
            ss = forward**2 + before**2 + rest
            sy = sharpness * (kappa * forward**2 + bend * before**2 + kappa_noise * rest)
            yy = sharpness**2 * (kappa**2 * forward**2 + bend**2 * before**2 + kappa_noise**2 * rest)
            secant = Secant(size * ss, size * sy, size * yy)
        return QuadraticRay(
            value=bulk / sharpness * (left + 0.5 * bend * y * y + push * y + level * draw.loss),
            slope=-bulk * (e**2 + h**2 + rest),
            second=sharpness * bulk * (bend * e**2 + kappa * h**2 + kappa_noise * rest),
            step=jnp.asarray(fast.step),
            sharpness=sharpness * bend,
            secant=secant,
        )

    def step(self, state: State, draw: Draw) -> tuple[State, Observation]:
        """One step with the noise drawn, and its observation."""
        sharpness = jnp.asarray(self.fast.sharpness, state.y.dtype)
        bulk = jnp.asarray(self.fast.bulk_gradient_sq, state.y.dtype)
        e, h, _, bend, _ = self._gradient(state.y, draw)
        eta, tuner, _ = ask(self.fast.tuner, self.line(state, draw), state.tuner)
        s, r = sharpness * eta, state.y**2
        y = state.y - s * e
        y = jnp.where(jnp.abs(y) < _FLOOR, jnp.copysign(_FLOOR, y), y)
        amplitude_sq = r * bulk / sharpness**2
        observed = self.Observation(r, amplitude_sq, eta, s, eta * amplitude_sq, eta * h, 1 - s * bend)
        return self.State(y, tuner, (e, h, eta)), observed

    def __call__(self, state: State, key: Array) -> State:
        """One step on the batch of a key."""
        return self.step(state, self.draw(key, state.y.dtype))[0]
