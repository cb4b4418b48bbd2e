"""A step law that hedges: long where the last gradient was nearly one mode, short where it was a mixture."""

from typing import Any, ClassVar

import jax.numpy as jnp

from eosmodel._checks import check_range
from eosmodel.tuners._secant import read_secant, usable_step
from eosmodel.tuners.base import AbstractTuner, TunerInfo, no_evaluations


class EdgeHedge(AbstractTuner):
    """η = s·s/s·y where cos² > `threshold`, else s·y/y·y; cos² = (s·y)²/(s·s y·y), s and y the last changes of the
    weights and of the gradient; and never more than 4(φ(0) − f*)/(−φ'(0)).

    What bounds the sharpest mode is Λ = ⟨ln|1 − ηλ|⟩ ≤ 0, and what moves the bulk is the spread of the steps
    (`eosmodel.analysis.bulk_progress`): the best law of 1/η is the arcsine one between the least and the largest
    curvature. This rule comes close to it on quadratics at one gradient a step. A gradient that is nearly one mode has
    cos² ≈ 1, and the long step is the inverse curvature of that mode: it wipes it out if it is sharp, and is a large
    step if it is flat. A mixture has a small cos²; the short step then takes down what is sharp in it.

    A step beyond the cap raises the loss along every convex parabola that stays above f*, whose minimiser is at most
    half of it: a secant belongs to the step before, and may ask for more. The cap is not applied at a loss of f*
    or below, and not at all with f* = −inf. Where s·y ≤ 0 (negative curvature) the step is √(s·s/y·y), reported as
    `failed`. Where that is no positive number the last step before its cap is kept, reported as `failed` too, without
    failure where there was no step (`initial` at the start). A slope that ascends gives η = 0 and is reported as
    `failed`; a loss or a slope of NaN gives NaN, unless there is no cap.

    Response, r₋ the r of the step before: s = (1 + r₋)/(κ + r₋) where (κ + r₋)² > threshold·(1 + r₋)(κ² + r₋), else
    (κ + r₋)/(κ² + r₋), and s ≤ (4A + 2r)/(1 + r). For small κ it is 1/κ where there is no oscillation, about 1 for
    κ ≪ r₋ < threshold, jumps to 1/threshold there and falls to 1. It clamps for κ < ½, as `BarzilaiBorwein` does.

    Args:
        threshold: of cos², in [0, 1]; 0 is the long step alone, 1 the short one.
        f_star: the least value of the loss, f*; −inf for no cap.
        initial: η before there is a secant, > 0.

    Raises:
        ValueError: a hyper-parameter out of its range.

    Source: the choice between the two steps is that of Zhou, Gao & Dai (Comput. Optim. Appl. 35, 2006); the arcsine law
    for gradient descent, Zhigljavsky, Pronzato & Bukina (Optim. Lett. 7, 2013).

    Example:
        >>> import jax.numpy as jnp
        >>> from eosmodel.rays import Secant, ray
        >>> tuner = EdgeHedge()
        >>> for secant in (Secant(1.0, 2.0, 5.0), Secant(1.0, 2.0, 80.0)):  # cos² = 0.8 and 0.05
        ...     line = ray(lambda w: jnp.sum(w**2), jnp.ones(2), secant=secant)
        ...     print(round(float(tuner(line, tuner.init())[0]), 6))
        0.5
        0.025
    """

    threshold: Any = 0.1
    f_star: Any = 0.0
    initial: Any = 0.01
    needs_secant: ClassVar[bool] = True

    def __check_init__(self):
        check_range("EdgeHedge", "threshold", self.threshold, 0, 1)
        check_range("EdgeHedge", "f_star", self.f_star, high_open=True)
        check_range("EdgeHedge", "initial", self.initial, 0, low_open=True, high_open=True)

    def init(self, dtype=None):
        """The last step, before its cap."""
        return jnp.asarray(self.initial, jnp.result_type(float) if dtype is None else dtype)

    def __call__(self, ray, state) -> tuple[Any, Any, TunerInfo]:
        ss, sy, yy, some = read_secant(ray)
        curved = yy > 0
        middle = jnp.sqrt(ss) / jnp.sqrt(jnp.where(curved, yy, 1))
        # cos = s·y/(|s||y|) by parts: the product of the squares leaves the range of the type sooner.
        cosine = sy / jnp.where(curved & (ss > 0), jnp.sqrt(ss) * jnp.sqrt(yy), 1)
        convex = sy > 0
        aligned = cosine * cosine > self.threshold
        step = middle * jnp.where(aligned, 1 / jnp.where(convex, cosine, 1), cosine)
        step = jnp.where(convex, step, middle)
        usable = curved & usable_step(step)
        kept = jnp.where(usable, step, state)
        idle = ray.slope >= 0
        gap = ray.value - self.f_star
        cap = 4 * gap / jnp.where(idle, 1, -ray.slope)
        # A gap of NaN is not "at f* or below": it comes out as NaN, so that the run ends with a status.
        capped = jnp.where(idle | (gap <= 0), kept, jnp.minimum(kept, cap))
        ascends = ray.slope > 0
        failed = (some & ~(usable & convex)) | ascends
        return jnp.where(ascends, 0, capped), kept, no_evaluations(failed)
