"""Where the arrays of an object come from, kept beside them for the record."""

from collections.abc import Mapping
from typing import Any


class Origin:
    """Facts about an object, such as the name and the hash of its data, on which no computation depends.

    All origins are equal, so that objects which differ in nothing else share what jax has compiled for them. A function
    under `jit` that returns such an object therefore returns the origin that it was compiled with.
    """

    facts: Mapping[str, Any]

    def __init__(self, **facts: Any) -> None:
        self.facts = facts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin)

    def __hash__(self) -> int:
        return hash(Origin)

    def __repr__(self) -> str:
        return f"Origin({', '.join(f'{name}={value!r}' for name, value in self.facts.items())})"
