"""Theories by their names, and the parameters that a specification `name:parameter=value,…` may give them."""

from typing import Any, get_args, get_type_hints

from eosmodel import _specs
from eosmodel._checks import check_count, check_range
from eosmodel.theory.center import Ingredients
from eosmodel.theory.central_flow import CentralFlow

THEORIES = {
    "oscillation": "centre and oscillation of the whole network, stepped together; nothing fitted, needs no run",
    "valley": "one mode, λ and L̄ with α, β, κ, G measured along the run of the same tuner",
    "valley-frozen": "one mode and a few bulk modes frozen at a tenth of the run, extrapolated from there",
    "central-flow": "centre of the whole network alone, its oscillation averaged out algebraically",
    "edge-flow": "for constant steps: centre and one oscillation vector, its direction by one product a step",
    "rod-flow": "for constant steps: two consecutive iterates as a rod, whose centre and extent flow",
    "edge-only": "gradient flow with η = 2/λ whatever the tuner does: the edge of stability alone",
    "gradient-flow": "gradient flow clocked by the tuner's own step, without oscillation",
}
"""Name -> one-line description."""

_WITHOUT_MODES = ("valley", "valley-frozen", "edge-flow")
# Parameters that are counts, and the least that each may be.
_COUNTS = {"modes": 1, "stride": 1, "after": 0}


def parameters(name: str) -> dict[str, Any]:
    """The parameters of a theory and their defaults; None stands for the number of modes of the run."""
    given: dict[str, Any] = {} if name in _WITHOUT_MODES else {"modes": None}
    own = {"oscillation": Ingredients._field_defaults, "central-flow": {"stride": CentralFlow.stride}}
    return given | own.get(name, {})


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """The name of a theory and its options, from `name` or `name:parameter=value,…`.

    `modes` is the number of modes that the theory follows, instead of as many as the run's; `stride` is of
    "central-flow" alone, see `CentralFlow`, and the others of "oscillation", see `Ingredients`.

    Raises:
        ValueError: an unknown name or parameter, or a value that is not allowed.

    Example:
        >>> parse("oscillation:modes=6,force=cubic")
        ('oscillation', {'modes': 6, 'force': 'cubic'})
    """
    name, _, texts = _specs.parse("theory", spec, THEORIES, parameters)
    owner = f"theory {spec!r}"
    known = parameters(name)
    _specs.check_names(owner, texts, known)
    allowed = {key: get_args(hint) for key, hint in get_type_hints(Ingredients).items()}
    options: dict[str, Any] = {}
    for key, text in texts.items():
        options[key] = _specs.scalar(owner, key, text, 1 if key in _COUNTS else known[key])
        if key in _COUNTS:
            check_count(owner, key, options[key], _COUNTS[key])
        elif not allowed[key]:
            check_range(owner, key, options[key], 0)
        elif text not in allowed[key]:
            raise ValueError(f"{owner}: {key} must be one of {', '.join(allowed[key])}, got {text!r}")
    return name, options
