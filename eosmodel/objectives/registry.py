"""Toys by name, for the command line and for the contract tests of all toys. A new toy is one line here."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from eosmodel import _specs
from eosmodel._checks import as_arrays, refused
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.diagonal_linear import diagonal_linear
from eosmodel.objectives.products import DoubleWell, MinimalistExample, ProductLoss, ScalarFactorization
from eosmodel.objectives.quadratics import DiagonalQuadratic
from eosmodel.objectives.second_order import random_regression, two_parameter_regression
from eosmodel.objectives.spectra import power_law, random_quadratic
from eosmodel.objectives.two_layer import teacher_student, two_layer_linear, two_layer_scalar
from eosmodel.objectives.valleys import valley


class Toy(NamedTuple):
    """A toy's factory and its one-line meaning."""

    factory: Callable[..., AbstractObjective]
    description: str


def _two_layer_scalar(width: int = 16, target=0.0, scale=1.0):
    # Without a seed, which would only determine the start.
    return two_layer_scalar(width, target, scale)


TOYS: dict[str, Toy] = {
    "diagonal-quadratic": Toy(
        partial(DiagonalQuadratic, eigenvalues=(10.0, 1.0)), "½ Σ λ_i (w_i − c_i)² with a given spectrum"
    ),
    "power-law": Toy(partial(power_law, dim=8, largest=10.0), "quadratic with λ_i = largest · i^(−exponent)"),
    "random-quadratic": Toy(partial(random_quadratic, dim=8, samples=16), "quadratic with a Wishart Hessian"),
    "valley": Toy(valley, "one sharp direction coupled to a quadratic bulk: the normal form of the edge of stability"),
    "two-layer-scalar": Toy(
        _two_layer_scalar, "two-layer scalar network ½(n^(−½) u·v − target)² with one or more units"
    ),
    "two-layer-linear": Toy(two_layer_linear, "two-layer linear network W₂W₁x with matrices"),
    "diagonal-linear": Toy(diagonal_linear, "diagonal linear network, regression with u⊙u − v⊙v (signed) or u⊙u"),
    "teacher-student": Toy(teacher_student, "two-layer student of a fixed teacher; activation tanh, relu, gelu, silu"),
    "product": Toy(
        partial(ProductLoss, link="log-cosh", start=(0.3, 3.0)), "ℓ(xy), ℓ even: log-cosh, square-root, quadratic"
    ),
    "scalar-factorization": Toy(partial(ScalarFactorization, start=(2.0, 0.1)), "½(target − xy)²"),
    "minimalist": Toy(
        partial(MinimalistExample, start=(2.0, 0.4)), "¼(1 − x²y²)², the degree-four example of the edge of stability"
    ),
    "double-well": Toy(DoubleWell, "¼(x² − μ)², one weight"),
    "two-parameter-regression": Toy(
        two_parameter_regression, "½z², z = ½(θ₁² − εθ₂²): a minimal second-order regression with an edge"
    ),
    "random-regression": Toy(random_regression, "½‖z₀ + Jθ + ½θᵀQθ‖² with Gaussian z₀, J and Q: many outputs"),
}
"""Name -> factory of the toy and one-line description, for `from_spec` and `--objective`."""


def entry_of(name: str) -> Toy:
    """The entry of a name; of `module:name`, the user's own class or function."""
    if ":" not in name:
        return _specs.look_up(name, TOYS, "objective")
    return Toy(_specs.load("objective", name, TOYS), "an objective of your own")


def parameters(name: str) -> list[tuple[str, Any]]:
    """Names and defaults of a toy's parameters; None where a vector may be given."""
    signature = inspect.signature(entry_of(name).factory)
    return [(p.name, p.default) for p in signature.parameters.values() if p.name != "dtype"]


def from_spec(spec: str, dtype=None) -> AbstractObjective:
    """A toy from `name`, `name:value` or `name:parameter=value,…`; a leading bare value is the first parameter.

    A name may be `module:name`, a class or function of your own that makes an objective, found in the current folder:
    `mymodule:spiral:width=3`.

    The numbers of a vector are separated by slashes, which need no quoting in a shell; flags are true or false.

    Args:
        spec: the specification; names and parameters are those of `TOYS` and `parameters`.
        dtype: dtype of all arrays in the toy; None for jax's default float.

    Raises:
        ValueError: an unknown name or parameter (the known ones are listed), a value of the wrong kind, or a value that
            is out of range.

    Example:
        >>> from_spec("diagonal-quadratic:eigenvalues=4/1/0.5").eigenvalues.tolist()
        [4.0, 1.0, 0.5]
    """
    name, toy, texts = _parse(spec)
    defaults = dict(parameters(name))
    _specs.check_names(f"objective {name}", texts, defaults)
    owner = f"objective {spec!r}"
    given = {key: _value(owner, key, text, defaults[key]) for key, text in texts.items()}
    built = _specs.build(owner, toy.factory, given)
    if not isinstance(built, AbstractObjective):
        hint = "eos.objective(fn, w0) makes one of a function"
        raise refused(owner, "what it makes", "an objective", built, hint)
    return built if dtype is None else as_arrays(built, dtype)


def has_start(spec: str) -> bool:
    """Whether a specification gives initial weights instead of the toy's own."""
    return "start" in _parse(spec)[2]


def _parse(spec: str) -> tuple[str, Toy, dict[str, str]]:
    return _specs.parse("objective", spec, TOYS, lambda name: [key for key, _ in parameters(name)], entry_of)


def _value(owner: str, key: str, text: str, default: Any) -> Any:
    """The value of a text: the numbers of a vector, or one value of the type of the parameter's default."""
    if not isinstance(default, tuple | None):
        return _specs.scalar(owner, key, text, default)
    try:
        return tuple(map(float, text.split("/")))
    except ValueError:
        raise ValueError(f"{owner}: {key} must be numbers separated by /, got {text!r}") from None
