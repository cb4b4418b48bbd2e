"""A rule that alternates between the long and the short Barzilai–Borwein step, by how mixed the last gradient was."""

from typing import Any, ClassVar

import jax.numpy as jnp

from eosmodel._checks import check_range
from eosmodel._units import per
from eosmodel.tuners._secant import read_secant, usable_step
from eosmodel.tuners.base import AbstractTuner, TunerInfo, no_evaluations


class EdgeHedge(AbstractTuner):
    """η = s·s/s·y where cos² > `threshold`, else s·y/y·y; cos² = (s·y)²/(s·s y·y), s and y the last changes of the
    weights and of the gradient; at most 4(φ(0) − f*)/(−φ'(0)).

    The sharpest mode stays bounded if Λ = ⟨ln|1 − ηλ|⟩ ≤ 0, and the bulk progresses by the spread of the steps
    (`eosmodel.analysis.bulk_progress`): the optimal distribution of 1/η is the arcsine law between the smallest and the
    largest curvature. On quadratics this rule comes close to it with one gradient per step. A gradient that is nearly
    a single mode has cos² ≈ 1, and the long step is the inverse curvature of that mode: it removes a sharp mode, and is
    a large step for a flat one. A mixture of modes has a small cos²; the short step then reduces the sharp modes in it.

    The cap is twice the largest minimiser of a convex parabola through φ(0) and φ'(0) that stays above f*: beyond it
    every such parabola rises above φ(0). The secant, which belongs to the previous step, may ask for more. The cap is
    not applied where φ(0) ≤ f*, and it is infinite with f* = −inf. Where s·y ≤ 0 (negative curvature) the step is
    √(s·s/y·y), reported as `failed`. Where that is not a positive finite number, the last step before its cap is
    repeated, reported as `failed` as well; it is repeated without failure where there is no secant (`initial` at the
    start). A slope that ascends gives η = 0 and is reported as `failed`. A loss or a slope of NaN gives NaN; the
    curvature is not used.

    Response, r₋ the r of the previous step: s = (1 + r₋)/(κ + r₋) where (κ + r₋)² > threshold·(1 + r₋)(κ² + r₋), else
    (κ + r₋)/(κ² + r₋), and s ≤ (4A + 2r)/(1 + r). For small κ it is 1/κ without an oscillation, about 1 for
    κ ≪ r₋ < threshold, jumps to 1/threshold there and falls to 1. It clamps for κ < ½, as `BarzilaiBorwein` does.

    Args:
        threshold: of cos², in [0, 1]; 0 gives the long step always, 1 the short one.
        f_star: lower bound of the loss, f*; −inf for no cap.
        initial: η before the first secant, > 0.

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
        ss, sy, yy, exists = read_secant(ray)
        curved = yy > 0
        middle = per(jnp.sqrt(ss) / jnp.sqrt(jnp.where(curved, yy, 1)), ray.secant_unit())
        # cos = s·y/(|s||y|) from the norms: the product of the squares overflows or underflows sooner.
        cosine = sy / jnp.where(curved & (ss > 0), jnp.sqrt(ss) * jnp.sqrt(yy), 1)
        convex = sy > 0
        aligned = cosine * cosine > self.threshold
        step = middle * jnp.where(aligned, 1 / jnp.where(convex, cosine, 1), cosine)
        step = jnp.where(convex, step, middle)
        usable = curved & usable_step(step)
        step = jnp.where(usable, step, state)
        line, unit = ray.rescaled()
        idle = line.slope >= 0
        gap = ray.value - self.f_star
        cap = per(4 * gap / jnp.where(idle, 1, -line.slope), unit)
        # A gap of NaN does not count as φ(0) ≤ f*: the result is NaN, so that the run ends with a status.
        capped = jnp.where(idle | (gap <= 0), step, jnp.minimum(step, cap))
        ascends = line.slope > 0
        failed = (exists & ~(usable & convex)) | ascends
        return jnp.where(ascends, 0, capped), step, no_evaluations(failed)
