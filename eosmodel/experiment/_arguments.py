"""What `simulate` and `predict` are given: specifications become objects, and anything else is refused in one line."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from eosmodel import directions, objectives, theory
from eosmodel._checks import check_choice, check_integer, check_precision, check_range, one_line, refused
from eosmodel.directions import Direction
from eosmodel.logs import Log
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.batches import AbstractBatches
from eosmodel.theory import AbstractTheory


def as_objective(owner: str, objective: Any) -> Any:
    """An objective, also from the specification of a toy, as "valley:gamma=0.5"."""
    if isinstance(objective, str):
        return objectives.from_spec(objective)
    if isinstance(objective, AbstractObjective | AbstractBatches):
        return objective
    hint = "eos.objective(fn, w0) makes one of a function, eos.objectives.network(model, data) of a model"
    raise refused(owner, "objective", "an objective or the name of a toy", objective, hint)


def as_direction(owner: str, direction: Any) -> Direction | None:
    """A direction, also from a specification, as "momentum:0.9", or of an optax transformation; None as it is."""
    if isinstance(direction, str):
        return directions.from_spec(direction)
    if direction is None or isinstance(direction, Direction):
        return direction
    if hasattr(direction, "init") and hasattr(direction, "update"):
        return Direction(direction, understood=False)
    wanted = 'None, a specification, as "adam", a Direction or an optax transformation'
    raise refused(owner, "direction", wanted, direction, "call it to make one")


def as_theory(owner: str, asked: Any) -> AbstractTheory:
    """A theory, also from a specification, as "oscillation:modes=6"."""
    if isinstance(asked, str):
        return theory.from_spec(asked)
    if isinstance(asked, AbstractTheory):
        return asked
    hint = "a theory of your own is a subclass of eos.theory.AbstractTheory"
    raise refused(owner, "theory", 'a theory or a specification, as "oscillation:modes=6"', asked, hint)


def as_progress(owner: str, progress: Any, label: str, log: Log | None) -> tuple[str, bool, Log | None]:
    """The label of the progress bar, whether it is shown, and the log, to which "plot" adds a picture."""
    if not isinstance(progress, bool | str):
        raise refused(owner, "progress", 'True, False, "plot" or the label of a bar', progress, "True shows a bar")
    if progress != "plot":
        return (progress if isinstance(progress, str) else label), bool(progress), log
    from eosmodel import plotting

    picture = plotting.live()

    def both(rows: Any) -> None:
        if log is not None:
            log(rows)
        picture(rows)

    return label, False, both


def check_counts(owner: str, steps: Any, **counts: Any) -> None:
    """Raise ValueError unless all are integers, and those but `steps` positive."""
    check_integer(owner, "steps", steps)
    for name, value in counts.items():
        check_integer(owner, name, value)
        check_range(owner, name, value, 1)


TRACKED = ("sharpness", "critical")
"""What `simulate` can track beside a run."""


def as_tracked(owner: str, track: Any) -> tuple[str, ...]:
    """What to track: one of `TRACKED`, several, or none."""
    several = (track,) if isinstance(track, str) else track
    if not isinstance(several, list | tuple):
        raise refused(owner, "track", 'a word or several, as ("sharpness", "critical")', track, "() tracks nothing")
    for word in several:
        check_choice(owner, "track", word, TRACKED)
    return tuple(word for word in TRACKED if word in several)


def as_weights(objective: AbstractObjective, start: Any) -> Array:
    """A start as the flat weights of an objective: given flat, or as a tree with the shapes of the objective's own.

    Arrays keep their dtype; numbers that have none take that of the objective.
    """
    own = objective.initial()
    leaves = [leaf for leaf in jax.tree.leaves(start) if not callable(leaf)]  # modules have functions too
    if isinstance(start, list | tuple) and all(isinstance(leaf, int | float) for leaf in leaves):
        leaves = [np.asarray(start)]
    if not leaves or not all(isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float) for leaf in leaves):
        raise ValueError(f"start must be weights, an array or a tree of arrays, got {one_line(start)}")
    shapes = [np.shape(leaf) for leaf in leaves]
    trees = [leaf.shape for leaf in jax.tree.leaves(objective.tree(own))]
    if shapes not in ([own.shape], trees):
        of_tree = "" if trees == [own.shape] else f" or be a tree of the shapes {_listed(trees)}"
        raise ValueError(f"start must have shape {own.shape}{of_tree}, got {_listed(shapes)}")
    typed = {leaf.dtype for leaf in leaves if hasattr(leaf, "dtype")}
    floats = [dtype for dtype in typed if jnp.issubdtype(dtype, jnp.floating)]
    if len(typed) > 1 or any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in typed):
        raise ValueError(f"start must hold real numbers of one dtype, got {', '.join(sorted(map(str, typed)))}")
    dtype = jax.dtypes.canonicalize_dtype(floats[0]) if floats else own.dtype
    check_precision("simulate", "the dtype of start", dtype)
    return jnp.concatenate([jnp.ravel(jnp.asarray(leaf, dtype)) for leaf in leaves])


def _listed(shapes: list[Any]) -> str:
    shown = ", ".join(map(str, shapes[:4]))
    return f"{shown}, … ({len(shapes)} arrays)" if len(shapes) > 4 else shown
