"""Theories by their names, and the parameters that a specification `name:parameter=value,…` may give them.

A new theory is one line here.
"""

import contextlib
import dataclasses
from collections.abc import Iterable
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from eosmodel import _specs
from eosmodel.theory.base import AbstractTheory
from eosmodel.theory.entries import (
    CentralFlowTheory,
    EdgeFlowTheory,
    EdgeOnlyTheory,
    FrozenValleyTheory,
    GradientFlowTheory,
    MeasuredValleyTheory,
    OscillationTheory,
    RiverTheory,
    RodFlowTheory,
)


class Entry(NamedTuple):
    """A theory's class and its one-line meaning."""

    factory: type[AbstractTheory]
    description: str


THEORIES: dict[str, Entry] = {
    "oscillation": Entry(
        OscillationTheory,
        "centre and oscillation of the whole network, stepped together; nothing fitted, needs no run",
    ),
    "valley": Entry(MeasuredValleyTheory, "one mode, λ and L̄ with α, β, κ, G measured along the run of the same tuner"),
    "valley-frozen": Entry(
        FrozenValleyTheory, "one mode and a few bulk modes frozen at a tenth of the run, extrapolated from there"
    ),
    "river": Entry(
        RiverTheory,
        "gradient flow, measured once for all tuners of a network, as a map of a few dozen numbers",
    ),
    "central-flow": Entry(
        CentralFlowTheory, "centre of the whole network alone, its oscillation averaged out algebraically"
    ),
    "edge-flow": Entry(
        EdgeFlowTheory, "for constant steps: centre and one oscillation vector, its direction by one product a step"
    ),
    "rod-flow": Entry(
        RodFlowTheory, "for constant steps: two consecutive iterates as a rod, whose centre and extent flow"
    ),
    "edge-only": Entry(
        EdgeOnlyTheory, "gradient flow with η = 2/λ whatever the tuner does: the edge of stability alone"
    ),
    "gradient-flow": Entry(GradientFlowTheory, "gradient flow clocked by the tuner's own step, without oscillation"),
}
"""Name -> the theory's class and a one-line description; what `predict`, `from_spec` and the command line know."""


def parameters(name: str) -> dict[str, Any]:
    """The parameters of a theory and their defaults; None stands for the number of modes of the run."""
    factory = _specs.look_up(name, THEORIES, "theory").factory
    return {field.name: field.default for field in dataclasses.fields(factory)}


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """The name of a theory and its options, from `name` or `name:parameter=value,…`.

    Raises:
        ValueError: an unknown name or parameter, or a value that is not allowed.

    Example:
        >>> parse("oscillation:modes=6,force=cubic")
        ('oscillation', {'modes': 6, 'force': 'cubic'})
    """
    name, options, _ = _parse(spec)
    return name, options


def from_spec(spec: str) -> AbstractTheory:
    """The theory of a specification; `parse` says what one looks like, and what is wrong with it.

    Example:
        >>> from_spec("central-flow:stride=4")
        CentralFlowTheory(stride=4)
    """
    return _parse(spec)[2]


def spec_of(theory: AbstractTheory) -> str:
    """The specification of a theory, with the parameters that differ from their defaults; the name of its class where
    the registry does not have it.

    Example:
        >>> spec_of(CentralFlowTheory(stride=4))
        'central-flow:stride=4'
    """
    name = next((name for name, entry in THEORIES.items() if entry.factory is type(theory)), None)
    if name is None:
        return type(theory).__name__
    given = {key: getattr(theory, key) for key, default in parameters(name).items() if getattr(theory, key) != default}
    texts = {key: str(value).lower() if isinstance(value, bool) else value for key, value in given.items()}
    return f"{name}:{','.join(f'{key}={text}' for key, text in texts.items())}" if texts else name


def of_labels(labels: Iterable[str]) -> dict[str, AbstractTheory]:
    """The theories among the labels of a dataset, in the order of the registry; labels that are none are left out."""
    position = {name: i for i, name in enumerate(THEORIES)}
    known: dict[str, tuple[int, AbstractTheory]] = {}
    for label in labels:
        with contextlib.suppress(ValueError):
            name, _, theory = _parse(label)
            known[label] = position[name], theory
    return {label: theory for label, (_, theory) in sorted(known.items(), key=lambda item: item[1][0])}


def _parse(spec: str) -> tuple[str, dict[str, Any], AbstractTheory]:
    name, entry, texts = _specs.parse("theory", spec, THEORIES, parameters)
    owner = f"theory {spec!r}"
    _specs.check_names(owner, texts, parameters(name))
    hints = get_type_hints(entry.factory)
    options = {key: _specs.scalar(owner, key, text, _example(hints[key])) for key, text in texts.items()}
    return name, options, _specs.build(owner, entry.factory, options)


def _example(hint: Any) -> Any:
    """A value of a parameter's type: of a choice the first, of an optional one never None."""
    choices = [choice for choice in get_args(hint) if choice is not NoneType]
    if get_origin(hint) is Literal:
        return choices[0]
    return (choices[0] if choices else hint)()
