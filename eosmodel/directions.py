"""The direction of a step: steepest descent, or any optax transformation of the gradient.

A direction d = −T(g) with momentum or a preconditioner changes the edge of stability. With a fixed preconditioner P and
d = −P⁻¹g, the relevant sharpness is the top eigenvalue of P^{-1/2} ∇²L P^{-1/2}; with momentum the edge is at
ηλ = `Direction.edge` instead of 2. For a tuner the line along d is a ray like any other.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.contrib  # type: ignore[import-untyped]
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from eosmodel import _specs
from eosmodel._checks import check_range


class Direction(eqx.Module):
    """An optax transformation T as the direction d = −T(g), with its edge of stability.

    The edge is known for momentum m' = βm + g with d = −P⁻¹a m' (heavy ball), or d = −P⁻¹a(g + βm') with `nesterov`;
    a = 1, or 1 − β if `averaged` (Adam). It is a value of ηλ, λ the top eigenvalue of the preconditioned Hessian,

        2(1 + β)/a    and with Nesterov's    2(1 + β)/((1 + 2β)a)

    Args:
        transformation: any `optax.GradientTransformation`, without a learning rate and a change of sign, which would
            be applied twice.
        decay: β in [0, 1).
        nesterov, averaged: see above.
        inverse: the diagonal of P⁻¹ as a function of the transformation's state after its update, in the shape of
            the weights; None where P is the identity.
        understood: False if the transformation is not of the form above. The sharpness is then the Euclidean one, and
            edge products and exponents are NaN.
        name: its specification, for records.

    Raises:
        ValueError: a decay out of its range, or an object that is not an optax transformation.

    Example:
        >>> import optax
        >>> round(Direction(optax.trace(0.9), decay=0.9).edge, 6)  # 2(1 + β)
        3.8

    Source: Cohen et al. (arXiv 2103.00065) for momentum, Cohen et al. (arXiv 2207.14484) for preconditioners.
    """

    transformation: optax.GradientTransformation = eqx.field(static=True)
    decay: float = eqx.field(static=True, default=0.0)
    nesterov: bool = eqx.field(static=True, default=False)
    averaged: bool = eqx.field(static=True, default=False)
    inverse: Callable[[Any], Any] | None = eqx.field(static=True, default=None)
    understood: bool = eqx.field(static=True, default=True)
    name: str = eqx.field(static=True, default="")

    def __check_init__(self):
        check_range("Direction", "decay", self.decay, 0, 1, high_open=True)
        if not (hasattr(self.transformation, "init") and hasattr(self.transformation, "update")):
            raise ValueError(f"Direction: transformation must be an optax transformation, got {self.transformation!r}")

    @property
    def edge(self) -> float:
        """The value of ηλ above which a mode oscillates with growing amplitude; NaN where it is not known."""
        if not self.understood:
            return float("nan")
        gain = (1 - self.decay) if self.averaged else 1.0
        return 2 * (1 + self.decay) / (gain * (1 + 2 * self.decay if self.nesterov else 1))

    def init(self, tree: Any) -> Any:
        """The initial state of the transformation, for weights given as a tree."""
        return self.transformation.init(tree)

    def __call__(self, gradient: Any, state: Any, tree: Any) -> tuple[Array, Any, Array | None]:
        """d, the next state and the diagonal of S = P^{-1/2} (None where P is the identity), both flat."""
        # optax mixes types in its counters.
        with jax.numpy_dtype_promotion("standard"):
            updates, state = self.transformation.update(gradient, state, tree)
            inverse = None if self.inverse is None else self.inverse(state)
        flat = ravel_pytree(gradient)[0]
        d = -ravel_pytree(updates)[0].astype(flat.dtype)
        return d, state, None if inverse is None else jnp.sqrt(ravel_pytree(inverse)[0].astype(flat.dtype))

    def growth(self, mode: Float[Array, "2"], stepsize, sharpness) -> tuple[Float[Array, "2"], Float[Array, ""]]:
        """One step of a mode (x, m/λ) with the curvature `sharpness`, normalised to unit length, and the logarithm of
        its growth, ln|1 − ηλ| without momentum. For a curvature of NaN the mode is unchanged and the growth is NaN."""
        x, m = mode
        m_next = self.decay * m + x
        gain = (1 - self.decay) if self.averaged else 1.0
        direction = gain * (x + self.decay * m_next if self.nesterov else m_next)
        # Without momentum m is not part of the state.
        new = jnp.stack([x - stepsize * sharpness * direction, m_next if self.decay else jnp.zeros_like(m)])
        length = jnp.linalg.norm(new)
        valid = jnp.isfinite(length) & (length > 0)
        unit = jnp.where(valid, new / jnp.where(valid, length, 1), mode)
        return unit, jnp.where(valid, jnp.log(jnp.where(valid, length, 1)), jnp.nan)


def momentum(decay: float = 0.9) -> Direction:
    """Heavy ball (Polyak 1964): m' = βm + g, d = −m'. Edge 2(1 + β).

    >>> round(momentum(0.5).edge, 6)
    3.0
    """
    return Direction(optax.trace(decay), decay, name=f"momentum:decay={decay:g}")


def nesterov(decay: float = 0.9) -> Direction:
    """Nesterov's momentum: m' = βm + g, d = −(g + βm'). Edge 2(1 + β)/(1 + 2β).

    >>> round(nesterov(0.5).edge, 6)
    1.5
    """
    return Direction(optax.trace(decay, nesterov=True), decay, nesterov=True, name=f"nesterov:decay={decay:g}")


def adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Direction:
    """Adam (Kingma & Ba, arXiv 1412.6980): P = (1 − b1ᵗ) diag(√ν̂ + ε). Edge 2(1 + b1)/(1 − b1), 38 by default.

    >>> round(adam().edge, 6)
    38.0
    """

    check_range("adam", "b2", b2, 0, 1, high_open=True)
    check_range("adam", "eps", eps, 0, high_open=True)

    def inverse(state):
        count = state.count.astype(float)
        first, second = 1 - b1**count, 1 - b2**count
        return jax.tree.map(lambda nu: 1 / (first * (jnp.sqrt(nu / second) + eps)), state.nu)

    name = f"adam:b1={b1:g},b2={b2:g},eps={eps:g}"
    return Direction(optax.scale_by_adam(b1, b2, eps), b1, averaged=True, inverse=inverse, name=name)


def rmsprop(decay: float = 0.99, eps: float = 1e-8) -> Direction:
    """RMSProp: P = diag(√(ν + ε)), ν an exponential average of g² with bias correction. Edge 2.

    >>> rmsprop().edge
    2.0
    """

    check_range("rmsprop", "decay", decay, 0, 1, high_open=True)
    check_range("rmsprop", "eps", eps, 0, high_open=True)

    def inverse(state):
        scale = 1 - decay ** state.count.astype(float)
        return jax.tree.map(lambda nu: 1 / jnp.sqrt(nu / scale + eps), state.nu)

    name = f"rmsprop:decay={decay:g},eps={eps:g}"
    return Direction(optax.scale_by_rms(decay, eps, bias_correction=True), inverse=inverse, name=name)


def muon(decay: float = 0.95) -> Direction:
    """Muon: the orthogonal polar factor of each weight matrix's momentum; weights of other shapes use the momentum.

    Its preconditioner is not diagonal, so λ is the Euclidean sharpness, and edge products are NaN.
    """

    check_range("muon", "decay", decay, 0, 1, high_open=True)

    def shapes(tree):
        return jax.tree.map(lambda leaf: "muon" if jnp.ndim(leaf) == 2 else "momentum", tree)

    def numbers(updates):
        return jax.tree.map(lambda _: optax.contrib.MuonDimensionNumbers(), updates)

    orthogonal = optax.contrib.scale_by_muon(beta=decay, weight_dimension_numbers=numbers)
    parts = {"muon": orthogonal, "momentum": optax.trace(decay)}
    return Direction(optax.multi_transform(parts, shapes), understood=False, name=f"muon:decay={decay:g}")


class Entry(NamedTuple):
    """A direction's factory and its one-line meaning."""

    factory: Callable[..., Direction]
    description: str


DIRECTIONS: dict[str, Entry] = {
    "momentum": Entry(momentum, "heavy ball; the edge is at 2(1 + β)"),
    "nesterov": Entry(nesterov, "Nesterov's momentum; the edge is at 2(1 + β)/(1 + 2β)"),
    "adam": Entry(adam, "Adam's direction; the edge is at 2(1 + b1)/(1 − b1), the Hessian preconditioned"),
    "rmsprop": Entry(rmsprop, "RMSProp's direction; the Hessian preconditioned"),
    "muon": Entry(muon, "Muon's direction; the edge is not known"),
}
"""Name -> factory of the direction and one-line description, for `from_spec` and `--direction`."""


def parameters(name: str) -> list[tuple[str, Any]]:
    """Names and defaults of a direction's parameters."""
    signature = inspect.signature(_specs.look_up(name, DIRECTIONS, "direction").factory)
    return [(p.name, p.default) for p in signature.parameters.values()]


def from_spec(spec: str) -> Direction:
    """A direction from `name`, `name:value` or `name:parameter=value,…`.

    Raises:
        ValueError: an unknown name or parameter, or a value that is not a number or out of range.

    Example:
        >>> from_spec("momentum:0.5").decay
        0.5
    """
    name, entry, texts = _specs.parse("direction", spec, DIRECTIONS, lambda name: [key for key, _ in parameters(name)])
    owner = f"direction {spec!r}"
    _specs.check_names(f"direction {name}", texts, [key for key, _ in parameters(name)])
    return _specs.build(owner, entry.factory, {key: _specs.number(owner, key, text) for key, text in texts.items()})
