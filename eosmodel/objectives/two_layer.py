"""Two-layer networks small enough for closed forms: scalar and linear ones, and teacher–student pairs."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from eosmodel._checks import check_count, check_range
from eosmodel.objectives._arrays import draw, normal, samples_of, scale_of, vector
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.networks.layers import ACTIVATIONS


class TwoLayerScalar(AbstractObjective):
    """½ (f − y)² with f = n^{−½} Σ_i u_i v_i, the n-unit linear network on one sample; weights w = [u, v], (2n,).

    With e = f − y and the tangent kernel λ₀ = ‖∇f‖² = (‖u‖² + ‖v‖²)/n ≥ 2|f|/√n, gradient descent is exactly the
    two-dimensional map

        f' = f − ηeλ₀ + η²e²f/n,        λ₀' = λ₀ + (ηe/n)(ηeλ₀ − 4f),

    and the sharpness is λ₀/2 + √(λ₀²/4 + e(e + 2f)/n), which is λ₀ where e = 0.

    Args:
        start: initial [u, v], shape (2n,); `two_layer_scalar` draws one.
        target: y; 0 by default, the case of the catapult mechanism.
        scale: standard deviation of the weights that `initial(seed)` draws; 1 by default.

    Raises:
        ValueError: a value that is not finite, a start of odd length, or scale ≤ 0.

    Source: Lewkowycz et al., arXiv 2003.02218 (target 0); Kalra, He & Barkeshli, arXiv 2311.02076 (the UV model).

    Example:
        >>> from eosmodel.objectives.two_layer import TwoLayerScalar
        >>> toy = TwoLayerScalar([1.0, 2.0], target=2.0)  # f = uv
        >>> float(toy(toy.initial())), float(toy.sharpness(toy.initial()))
        (0.0, 5.0)
    """

    start: Float[Array, " dim"]
    target: Float[Array, ""]
    scale: Float[Array, ""]

    def __init__(self, start, target=0.0, scale=1.0):
        check_range("TwoLayerScalar", "target", target, low_open=True, high_open=True)
        self.start = vector("TwoLayerScalar", "start", start)
        if self.start.size % 2:
            raise ValueError(f"TwoLayerScalar: start must hold as many u as v, got {self.start.size} numbers")
        self.target = jnp.asarray(target).astype(self.start.dtype)
        self.scale = scale_of("TwoLayerScalar", scale, self.start.dtype)

    def output(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        """f = n^{−½} u·v."""
        u, v = jnp.split(weights, 2)
        return jnp.vdot(u, v) / math.sqrt(u.size)

    def kernel(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        """The tangent kernel λ₀ = ‖∇f‖² = ‖w‖²/n."""
        return 2 * jnp.vdot(weights, weights) / weights.size

    def loss(self, weights):
        return 0.5 * (self.output(weights) - self.target.astype(weights.dtype)) ** 2

    def initial(self, seed=None):
        return self.start if seed is None else draw(self.scale, self.start, seed)

    def sharpness(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        """The largest eigenvalue of ∇²: λ₀/2 + √(λ₀²/4 + e(e + 2f)/n)."""
        f, half = self.output(weights), 0.5 * self.kernel(weights)
        error = f - self.target.astype(weights.dtype)
        # λ₀ ≥ 2|f|/√n makes the argument of the root nonnegative, but rounding may not.
        return half + jnp.sqrt(jnp.maximum(half**2 + 2 * error * (error + 2 * f) / weights.size, 0))


def two_layer_scalar(width: int = 16, target=0.0, scale=1.0, seed: int = 0, dtype=None) -> TwoLayerScalar:
    """A `TwoLayerScalar` of n = `width` units whose weights are drawn from N(0, scale²): λ₀ ≈ 2 scale², f = O(scale²).

    Example:
        >>> from eosmodel.objectives.two_layer import two_layer_scalar
        >>> two_layer_scalar(width=8).initial().shape
        (16,)
    """
    check_count("two_layer_scalar", "width", width)
    blank = jnp.zeros(2 * width, jnp.result_type(float) if dtype is None else dtype)
    return TwoLayerScalar(draw(scale_of("two_layer_scalar", scale, blank.dtype), blank, seed), target, scale)


class TwoLayerLinear(AbstractObjective):
    """1/(2N) Σ_i ‖W₂W₁x_i − y_i‖², a linear network with one hidden layer of any width; weights w = [W₁, W₂], row-wise.

    Gradient flow conserves W₁W₁ᵀ − W₂ᵀW₂. For white inputs, Σ_i x_i x_iᵀ/N = 1, the sharpness of a minimum of loss 0 is
    ‖W₁‖² + ‖W₂‖² in spectral norms, at least 2‖W₂W₁‖.

    Args:
        x: inputs, shape (samples, inputs).
        y: targets, shape (samples, outputs).
        start: initial weights, shape (width·(inputs + outputs),): W₁ (width, inputs), then W₂ (outputs, width).
            `two_layer_linear` draws them.
        scale: standard deviation of the weights that `initial(seed)` draws; 1 by default.

    Raises:
        ValueError: a value that is not finite, shapes that do not fit, or scale ≤ 0.

    Source: Saxe, McClelland & Ganguli, arXiv 1312.6120; Mulayoff & Michaeli (2020) for the flattest minima.

    Example:
        >>> from eosmodel.objectives.two_layer import TwoLayerLinear
        >>> toy = TwoLayerLinear([[1.0]], [[2.0]], [1.0, 1.0])
        >>> float(toy(toy.initial()))
        0.5
    """

    x: Float[Array, "samples inputs"]
    y: Float[Array, "samples outputs"]
    start: Float[Array, " dim"]
    scale: Float[Array, ""]

    def __init__(self, x, y, start, scale=1.0):
        self.start = vector("TwoLayerLinear", "start", start)
        self.x, self.y = samples_of("TwoLayerLinear", x, y, self.start.dtype)
        if self.y.ndim != 2:
            raise ValueError(f"TwoLayerLinear: y must have shape (samples, outputs), got {self.y.shape}")
        row = self.x.shape[1] + self.y.shape[1]
        if self.start.size % row:
            raise ValueError(f"TwoLayerLinear: start must hold a multiple of {row} weights, got {self.start.size}")
        self.scale = scale_of("TwoLayerLinear", scale, self.start.dtype)

    def layers(
        self, weights: Float[Array, " dim"]
    ) -> tuple[Float[Array, "width inputs"], Float[Array, "outputs width"]]:
        """W₁ and W₂."""
        inputs, outputs = self.x.shape[1], self.y.shape[1]
        width = weights.size // (inputs + outputs)
        first, second = weights[: width * inputs], weights[width * inputs :]
        return first.reshape(width, inputs), second.reshape(outputs, width)

    def loss(self, weights):
        first, second = self.layers(weights)
        out = self.x.astype(weights.dtype) @ first.T @ second.T
        return 0.5 * jnp.mean(jnp.sum((out - self.y.astype(weights.dtype)) ** 2, axis=1))

    def initial(self, seed=None):
        return self.start if seed is None else draw(self.scale, self.start, seed)


def two_layer_linear(
    inputs: int = 4, width: int = 4, outputs: int = 2, samples: int = 16, scale=0.3, seed: int = 0, dtype=None
) -> TwoLayerLinear:
    """A `TwoLayerLinear` on white inputs (samples ≥ inputs) and targets Mx of a Gaussian M with entries N(0, 1/inputs).

    Example:
        >>> from eosmodel.objectives.two_layer import two_layer_linear
        >>> toy = two_layer_linear(inputs=3, width=5, outputs=2)
        >>> [layer.shape for layer in toy.layers(toy.initial())]
        [(5, 3), (2, 5)]
    """
    owner, dtype = "two_layer_linear", jnp.result_type(float) if dtype is None else dtype
    for name, count in (("inputs", inputs), ("width", width), ("outputs", outputs)):
        check_count(owner, name, count)
    check_range(owner, "samples", samples, inputs)
    white = np.linalg.qr(normal(seed, (samples, inputs)))[0] * math.sqrt(samples)
    teacher = normal(seed, (outputs, inputs), 1) / math.sqrt(inputs)
    start = draw(scale_of(owner, scale, dtype), jnp.zeros(width * (inputs + outputs), dtype), seed)
    return TwoLayerLinear(white, white @ teacher.T, start, scale)


class TeacherStudent(AbstractObjective):
    """1/(2N) Σ_i (f(x_i) − y_i)² with f(x) = m^{−½} Σ_k v_k act(w_k·x), y_i = f*(x_i); weights [W, v], row-wise.

    Args:
        x: inputs, shape (samples, inputs).
        y: the teacher's outputs, shape (samples,); `teacher_student` draws x, teacher and start.
        start: initial [W, v] of the student, shape (width·(inputs + 1),).
        activation: "tanh", "relu" or another of `networks.layers.ACTIVATIONS`.
        scale: standard deviation of the weights that `initial(seed)` draws; 1 by default.

    Raises:
        ValueError: a value that is not finite, shapes that do not fit, an unknown activation, or scale ≤ 0.

    Source: Saad & Solla (1995), Phys. Rev. Lett. 74, 4337.

    Example:
        >>> from eosmodel.objectives.two_layer import teacher_student
        >>> toy = teacher_student(inputs=3, width=4, teacher_width=1)
        >>> toy.predictions(toy.initial(seed=7)).shape
        (32,)
    """

    x: Float[Array, "samples inputs"]
    y: Float[Array, " samples"]
    start: Float[Array, " dim"]
    scale: Float[Array, ""]
    activation: str = eqx.field(static=True)

    def __init__(self, x, y, start, activation="tanh", scale=1.0):
        self.start = vector("TeacherStudent", "start", start)
        self.x, self.y = samples_of("TeacherStudent", x, y, self.start.dtype)
        if self.y.ndim != 1:
            raise ValueError(f"TeacherStudent: y must have shape (samples,), got {self.y.shape}")
        row = self.x.shape[1] + 1
        if self.start.size % row:
            raise ValueError(f"TeacherStudent: start must hold a multiple of {row} weights, got {self.start.size}")
        if activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"TeacherStudent: activation must be one of {known}, got {activation!r}")
        self.activation = activation
        self.scale = scale_of("TeacherStudent", scale, self.start.dtype)

    def predictions(self, weights: Float[Array, " dim"]) -> Float[Array, " samples"]:
        """The student's outputs f(x_i)."""
        return _two_layer(ACTIVATIONS[self.activation], self.x.astype(weights.dtype), weights)

    def loss(self, weights):
        return 0.5 * jnp.mean((self.predictions(weights) - self.y.astype(weights.dtype)) ** 2)

    def initial(self, seed=None):
        return self.start if seed is None else draw(self.scale, self.start, seed)


def teacher_student(
    inputs: int = 4,
    width: int = 6,
    teacher_width: int = 2,
    samples: int = 32,
    activation: str = "tanh",
    scale=1.0,
    seed: int = 0,
    dtype=None,
) -> TeacherStudent:
    """A `TeacherStudent` on inputs N(0, 1); `seed` fixes the inputs, the teacher (weights N(0, 1)) and the start.

    Example:
        >>> from eosmodel.objectives.two_layer import teacher_student
        >>> toy = teacher_student(activation="relu")
        >>> bool((toy.initial(seed=1) != toy.initial(seed=2)).all())
        True
    """
    owner, dtype = "teacher_student", jnp.result_type(float) if dtype is None else dtype
    counts = {"inputs": inputs, "width": width, "teacher_width": teacher_width, "samples": samples}
    for name, count in counts.items():
        check_count(owner, name, count)
    if activation not in ACTIVATIONS:
        raise ValueError(f"{owner}: activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    x = jnp.asarray(normal(seed, (samples, inputs)), dtype)
    teacher = jnp.asarray(normal(seed, (teacher_width * (inputs + 1),), 1), dtype)
    start = draw(scale_of(owner, scale, dtype), jnp.zeros(width * (inputs + 1), dtype), seed)
    return TeacherStudent(x, _two_layer(ACTIVATIONS[activation], x, teacher), start, activation, scale)


def _two_layer(act, x, weights):
    width = weights.size // (x.shape[1] + 1)
    return act(x @ weights[:-width].reshape(width, -1).T) @ weights[-width:] / math.sqrt(width)
