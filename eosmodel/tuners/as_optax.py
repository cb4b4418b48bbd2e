"""Any tuner as an optax transformation, for training loops outside eosmodel."""

import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax  # type: ignore[import-untyped]
from jax.flatten_util import ravel_pytree

from eosmodel._checks import as_arrays
from eosmodel.rays import along
from eosmodel.tuners.base import AbstractTuner, Memory, gradient_change, init_memory, select_stepsize
from eosmodel.tuners.registry import as_tuner


class AsOptaxState(NamedTuple):
    """The state of `as_optax`; any field can be read with `optax.tree_utils.tree_get(state, "learning_rate")`.

    Fields
        learning_rate: the last step size η, 0 before the first.
        count: number of steps taken.
        tuner: the memory of the rule.
        evaluations: evaluations of φ in the last step, not counting the value passed.
        failed: whether the rule could not be satisfied in the last step, so that its documented fallback was used.
    """

    learning_rate: jax.Array
    count: jax.Array  # type: ignore[assignment]
    tuner: Memory
    evaluations: jax.Array
    failed: jax.Array


def as_optax(tuner: AbstractTuner | str) -> optax.GradientTransformationExtraArgs:
    """A transformation that scales the incoming updates d by a tuner's step size: η·d, η chosen from φ(η) = f(w + ηd).

    The incoming updates must be a descent direction, sign included. So the transformation comes after those that make
    one: `optax.chain(optax.sgd(1.0), as_optax(tuner))` is gradient descent, and `optax.chain(optax.scale_by_adam(),
    optax.scale(-1.0), as_optax(tuner))` descends along Adam's direction. A transformation after it changes the update
    ηd: `optax.trace(0.9)` there is heavy ball with a varying step size. Rules that use the last secant (`needs_secant`)
    assume that ηd was the last update, so nothing should follow them. On mini-batches give these rules a `value_fn`:
    they then compute the gradient of the current batch at the previous weights as well. Without it they compare the
    gradients of two updates, which is correct, and free, in full batch.

    Computations use the floating-point type of the parameters (the promoted type, for a tree of several types). With
    bfloat16 parameters the loss is rounded to bfloat16, which leaves a line search little to compare.

    `update(updates, state, params, *, value, grad, value_fn, sharpness, **extra)` takes these arguments, each needed
    only if the rule uses it:

        value: f(w), scalar.
        grad: ∇f(w), a tree like the updates; by default −updates, which is correct if d is steepest descent. It gives
            the slope φ'(0) = ∇f·d and, for rules that use the secant, the change of the gradient.
        value_fn: f, a function of a tree like `params`, for the same loss (the same batch) as `value`. Entries of
            `extra` are passed to it; those that its signature does not have are refused. Where they are meant for
            another transformation of a chain, give `value_fn` a `**kwargs`.
        sharpness: λ at w, for `OnEdge`; that of P^{-1/2} ∇²f P^{-1/2} for a direction d = −P⁻¹∇f.

    Wrappers: inside `optax.masked` and `optax.multi_transform` the rule sees the masked trees. `value_fn` gets such a
    tree, with `optax.MaskedNode` in place of the leaves that are not trained, and must fill them in:

        frozen = lambda node: isinstance(node, optax.MaskedNode)
        fill = lambda tree: jax.tree.map(lambda m, p: p if frozen(m) else m, tree, params, is_leaf=frozen)
        value_fn = lambda tree: f(fill(tree))

    With their `mask_compatible_extra_args=True`, `grad` is masked in the same way; by default it is −d.
    `optax.MultiSteps` passes on the arguments of the last of its k calls, while d combines all k gradients: leave
    `grad` out or pass the mean of the k gradients, pass the mean loss as `value` and the loss of all k batches as
    `value_fn`. It calls `update` in all k calls, so a line search is made k times and used once. With
    `optax.inject_hyperparams(lambda c: as_optax(Polyak(c=c)))(c=schedule)` a hyper-parameter of any rule follows a
    schedule.

    Args:
        tuner: any step-size rule, with one number for each hyper-parameter (use `jax.vmap` for a batch), or its
            specification, as "armijo:c=0.1".

    Returns:
        `optax.GradientTransformationExtraArgs` with the state `AsOptaxState`.

    Raises:
        ValueError: a tuner that is neither; parameters that are not floating-point; in `update`, an
            argument that the rule needs and that is missing or has the wrong size, or one that nothing takes.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from eosmodel.tuners import Armijo
        >>> def f(w, x):
        ...     return jnp.sum((w["a"] - x) ** 2)
        >>> optimizer = optax.chain(optax.sgd(1.0), as_optax(Armijo(factor=0.5)))
        >>> w, x = {"a": jnp.ones(3)}, jnp.zeros(3)
        >>> state = optimizer.init(w)
        >>> value, grad = jax.value_and_grad(f)(w, x)
        >>> updates, state = optimizer.update(grad, state, w, value=value, value_fn=f, x=x)
        >>> optax.apply_updates(w, updates)["a"].tolist()
        [0.0, 0.0, 0.0]
        >>> float(optax.tree_utils.tree_get(state, "learning_rate"))
        0.5
    """
    tuner = as_tuner("as_optax", tuner)
    rule = type(tuner).__name__

    def init(params):
        vectors = [jnp.shape(leaf) for leaf in jax.tree.leaves(tuner) if jnp.ndim(leaf)]
        if vectors:
            raise ValueError(
                f"as_optax: {rule} must have one number for each hyper-parameter, got arrays of shape {vectors[0]}; "
                "make the transformation inside jax.vmap"
            )
        weights, _ = _flat(params)
        zero = jnp.zeros((), weights.dtype)
        count = jnp.asarray(0, jnp.int32)
        return AsOptaxState(zero, count, init_memory(as_arrays(tuner, zero.dtype), weights), count, jnp.asarray(False))

    def update(updates, state, params=None, *, value=None, grad=None, value_fn=None, sharpness=None, **extra):
        dtype = state.learning_rate.dtype
        extra = _arguments(value_fn, extra)
        direction = _flat(updates)[0].astype(dtype)
        gradient = -direction if grad is None else _flat(grad)[0].astype(dtype)
        weights, unravel = _flat(updates if params is None else params)
        for name, flat in {"grad": gradient, "params": weights}.items():
            if flat.size != direction.size:
                raise ValueError(
                    f"as_optax: {name} must have as many entries as the updates, {direction.size}, got {flat.size}"
                    " (under a mask: pass mask_compatible_extra_args=True, or leave grad out)"
                )

        def loss(flat):
            for name, given in {"value_fn": value_fn, "params": params}.items():
                if given is None:
                    raise ValueError(
                        f"as_optax: {rule} evaluates the loss along the ray, so update needs {name}, got None"
                    )
            return jnp.asarray(value_fn(unravel(flat), **extra), dtype)

        if tuner.needs_sharpness and sharpness is None:
            raise ValueError(f"as_optax: {rule} uses the sharpness, so update needs sharpness, got None")
        steepness = _number("sharpness", sharpness, dtype)
        numbers = as_arrays(tuner, dtype)

        def choose(value):
            line = along(loss, weights, value, gradient, direction, state.count, steepness)
            change = None if value_fn is None else gradient_change(loss, weights, gradient, state.tuner)
            return select_stepsize(numbers, line, state.tuner, gradient, change)

        loss_value = _number("value", value, dtype)
        if value is None and _depends(choose, loss_value):
            raise ValueError(f"as_optax: {rule} uses the loss, so update needs value, got None")
        stepsize, memory, info = choose(loss_value)
        scaled = jax.tree.map(lambda leaf: stepsize.astype(leaf.dtype) * leaf, updates)
        count = optax.safe_increment(state.count)
        return scaled, AsOptaxState(stepsize, count, memory, info.evaluations, info.failed)

    return optax.GradientTransformationExtraArgs(init, update)


def _flat(tree):
    """A tree of floating-point numbers as one array, and the function that restores the tree."""
    with jax.numpy_dtype_promotion("standard"):
        flat, unravel = ravel_pytree(tree)
    if not jnp.issubdtype(flat.dtype, jnp.floating):
        raise ValueError(f"as_optax: parameters and updates must be real and floating, got {flat.dtype}")
    return flat, unravel


def _number(name, value, dtype):
    """A scalar argument in the dtype of the run; NaN if it is None."""
    if jnp.shape(value if value is not None else 0) != ():
        raise ValueError(f"as_optax: {name} must be a scalar, got shape {jnp.shape(value)}")
    return jnp.asarray(jnp.nan if value is None else value, dtype)


def _arguments(fn, extra: dict[str, Any]) -> dict[str, Any]:
    """`extra`, all of which `fn` must take."""
    parameters = {} if fn is None else inspect.signature(fn).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        unknown = [name for name in extra if name not in parameters]
        if unknown:
            raise ValueError(
                f"as_optax: update got {', '.join(unknown)}, which neither it nor value_fn takes (value, grad, "
                "value_fn, sharpness). If meant for another transformation, give value_fn a **kwargs"
            )
    return extra


def _depends(fn, number) -> bool:
    """Whether the result of `fn` depends on the value of its argument, and not only on its dtype."""
    jaxpr = jax.make_jaxpr(fn)(number).jaxpr
    used = [*(v for equation in jaxpr.eqns for v in equation.invars), *jaxpr.outvars]
    return any(v is jaxpr.invars[0] for v in used)
