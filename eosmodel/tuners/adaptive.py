"""Steps that decrease with the gradient norm: normalised and clipped gradients, RMSProp and AdaGrad with one scalar.

The norm is √(−φ'(0)): ‖g‖ for steepest descent, √(g·P⁻¹g) for a preconditioned direction d = −P⁻¹g.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from eosmodel._checks import check_range
from eosmodel.tuners.base import AbstractTuner, TunerInfo, no_evaluations


def _gradient_norm(ray):
    """√max(−φ'(0), 0), ‖g‖ for steepest descent; NaN if the slope is NaN."""
    line, unit = ray.rescaled()
    return unit * jnp.sqrt(jnp.maximum(-line.slope / unit, 0))


def _ascends(ray):
    return ray.rescaled()[0].slope > 0


def _divide(numerator, denominator):
    """numerator/denominator, and 0 where the denominator is 0."""
    zero = denominator == 0
    return jnp.where(zero, 0, numerator / jnp.where(zero, 1, denominator))


class NormalizedGD(AbstractTuner):
    """η = step/√(−φ'(0)); for steepest descent step/‖g‖, a move of length `step`.

    A gradient of 0 gives η = 0, and so does a slope that ascends, which is reported as `failed`. The loss and the
    curvature are not used; a slope of NaN gives NaN.

    Response: Φ = λ·step/√(G(1 + r)). Clamped where λ·step > 2√G, at r* = (λ·step)²/4G − 1 with the multiplier
    m = (1 − r*)/(1 + r*), never a flip; else below the edge. At r* the amplitude is x² = step²/4 − G/λ², which grows
    with λ: if step² > 8α/β the equilibrium q = 1 is stable and λ converges to λ² = G/(step²/4 − 2α/β).

    Args:
        step: length of the move, > 0, in units of the weights.

    Raises:
        ValueError: a step that is not positive and finite.

    Source: Nesterov (1984); Hazan, Levy & Shalev-Shwartz (arXiv 1507.02030); at the edge of stability Arora, Li &
    Panigrahi (arXiv 2205.09745).

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = NormalizedGD(0.5)
        >>> float(tuner(ray(lambda w: jnp.sum(w), jnp.ones(4)), tuner.init())[0])
        0.25
    """

    step: Any = 0.1

    def __check_init__(self):
        check_range("NormalizedGD", "step", self.step, 0, low_open=True, high_open=True)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        return _divide(self.step, _gradient_norm(ray)), state, no_evaluations(_ascends(ray))


class Clipping(AbstractTuner):
    """η = step·min(1, max_norm/√(−φ'(0))); for steepest descent the gradient clipped to the norm max_norm.

    A slope that ascends gives η = 0 and is reported as `failed`. The loss and the curvature are not used; a slope of
    NaN gives NaN.

    Response: Φ = λ·step·min(1, max_norm/√(G(1 + r))). Clamped where λ·step > 2 and λ·step·max_norm > 2√G, at
    r* = (λ·step·max_norm)²/4G − 1 (m as in `NormalizedGD`), unless λ falls before r reaches r*; else below the edge.

    Args:
        step: η where the gradient is not clipped, > 0.
        max_norm: norm at which gradients are clipped, > 0, in units of the gradient.

    Raises:
        ValueError: a hyper-parameter that is not positive, or an infinite step.

    Source: Pascanu, Mikolov & Bengio (arXiv 1211.5063).

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = Clipping(step=0.5, max_norm=1.0)
        >>> float(tuner(ray(lambda w: jnp.sum(w), jnp.ones(4)), tuner.init())[0])
        0.25
    """

    step: Any = 0.1
    max_norm: Any = 1.0

    def __check_init__(self):
        check_range("Clipping", "step", self.step, 0, low_open=True, high_open=True)
        check_range("Clipping", "max_norm", self.max_norm, 0, low_open=True)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        step = self.step / jnp.maximum(1, _gradient_norm(ray) / self.max_norm)
        return jnp.where(_ascends(ray), 0, step), state, no_evaluations(_ascends(ray))


class ScalarRMSProp(AbstractTuner):
    """ν ← decay·ν + (1 − decay)(−φ'(0)), η = step/(√ν + eps): RMSProp with one scalar for all weights.

    ν is 0 at the start; with `bias_correction` it is divided by 1 − decay^t, so that it is a weighted mean with weights
    that sum to 1 from the first step on. A denominator of 0 gives η = 0. A slope that ascends gives η = 0, leaves ν
    unchanged and is reported as `failed`. The loss and the curvature are not used; a slope of NaN gives NaN.

    Response: for constant r, ν = G(1 + r), so Φ = λ·step/(√(G(1 + r)) + eps). Clamped where λ·step > 2(√G + eps), else
    below the edge; because of the average, r approaches r* = (λ·step/2 − eps)²/G − 1 more slowly than under
    `NormalizedGD`.

    Args:
        step: > 0, in units of the weights.
        decay: in [0, 1).
        eps: ≥ 0, in units of the gradient.
        bias_correction: whether ν is corrected for its initial value 0; true or false on the command line.

    Raises:
        ValueError: a hyper-parameter out of its range.

    Source: Tieleman & Hinton (2012); one scalar for all weights as in Cohen, Damian et al. (arXiv 2410.24206).

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = ScalarRMSProp(step=0.5, eps=0.0)
        >>> round(float(tuner(ray(lambda w: jnp.sum(w), jnp.ones(4)), tuner.init())[0]), 6)
        0.25
    """

    step: Any = 0.1
    decay: Any = 0.9
    eps: Any = 1e-8
    bias_correction: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        check_range("ScalarRMSProp", "step", self.step, 0, low_open=True, high_open=True)
        check_range("ScalarRMSProp", "decay", self.decay, 0, 1, high_open=True)
        check_range("ScalarRMSProp", "eps", self.eps, 0, high_open=True)

    def init(self, dtype=None):
        """ν and the sum of its weights, 1 − decay^t, both initially 0, and the unit of √ν."""
        zero = jnp.zeros((), jnp.result_type(float) if dtype is None else dtype)
        return zero, zero, jnp.ones_like(zero)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        line, unit = ray.rescaled()
        ascends = line.slope > 0
        nu, weight, before = state
        change = before / unit
        now = jnp.maximum(-line.slope / unit, 0)
        kept = jnp.where(ascends, 1, self.decay)
        nu = kept * (nu * change * change) + jnp.where(ascends, 0, (1 - self.decay) * now)
        weight = kept * weight + jnp.where(ascends, 0, 1 - self.decay)
        mean = _divide(nu, weight) if self.bias_correction else nu
        step = _divide(self.step, unit * jnp.sqrt(mean) + self.eps)
        return jnp.where(ascends, 0, step), (nu, weight, unit), no_evaluations(ascends)


class AdaGradNorm(AbstractTuner):
    """b² ← b² + (−φ'(0)), η = step/b: AdaGrad with one scalar for all weights.

    A slope that ascends gives η = 0, leaves b unchanged and is reported as `failed`. The loss and the curvature are not
    used; a slope of NaN gives NaN.

    Response: not a function of r alone, because b never decreases; for constant r, s = λ·step/√(b² + tG(1 + r)) after t
    steps. In the limit below the edge. While λ·step > 2b the oscillation grows geometrically, and b² with it, until
    s < 2; the step size never recovers from this. `theory.classify` covers a finite time (64 to 192 steps at constant
    r): clamped where s passes 2 within it, else below the edge.

    Args:
        step: > 0, in units of the weights.
        b0: b before the first step, > 0, in units of the gradient.

    Raises:
        ValueError: a hyper-parameter that is not positive and finite.

    Source: Ward, Wu & Bottou (arXiv 1806.01811); Streeter & McMahan (arXiv 1002.4862).

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import ray
        >>> tuner = AdaGradNorm(step=1.0, b0=2.0)
        >>> eta, b, info = tuner(ray(lambda w: jnp.sum(w), jnp.ones(4)), tuner.init())
        >>> round(float(b) ** 2, 6), round(float(eta * b), 6)
        (8.0, 1.0)
    """

    step: Any = 1.0
    b0: Any = 0.1

    def __check_init__(self):
        check_range("AdaGradNorm", "step", self.step, 0, low_open=True, high_open=True)
        check_range("AdaGradNorm", "b0", self.b0, 0, low_open=True, high_open=True)

    def init(self, dtype=None):
        """b."""
        return jnp.asarray(self.b0, jnp.result_type(float) if dtype is None else dtype)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        ascends = _ascends(ray)
        # The state is b and not b², which would underflow sooner.
        b = jnp.hypot(state, _gradient_norm(ray))
        return jnp.where(ascends, 0, self.step / b), b, no_evaluations(ascends)
