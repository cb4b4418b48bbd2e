"""Specifications `name:parameter=value,…` of the command line: taken apart, and mistakes in them named."""

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def parse(
    kind: str, spec: str, table: Mapping[str, T], parameters: Callable[[str], Iterable[str]]
) -> tuple[str, T, dict[str, str]]:
    """The name, what the table has for it, and the parameters' texts; one leading bare value is the first parameter.

    Args:
        kind: "tuner" or another word for messages.
        spec: `name`, `name:value` or `name:parameter=value,…`.
        table: what there is, by name.
        parameters: names of the parameters of a name; `check_names` holds the given ones against them.

    Raises:
        ValueError: an unknown name, a parameter given twice, or an item that is not of the form parameter=value.
    """
    name, _, rest = spec.partition(":")
    before, equals, after = name.partition("=")
    if equals and before in table:
        raise ValueError(f"{kind} {spec!r}: parameters follow a colon, as in {before}:{after}")
    entry = look_up(name, table, kind)
    given: dict[str, str] = {}
    for i, item in enumerate(part.strip() for part in rest.split(",") if part.strip()):
        key, equals, text = (piece.strip() for piece in item.partition("="))
        if not equals:
            first = next(iter(parameters(name)), None)
            if i > 0 or first is None:
                raise ValueError(f"{kind} {spec!r}: {item!r} is not of the form parameter=value")
            key, text = first, item
        if key in given:
            raise ValueError(f"{kind} {spec!r}: {key} is given twice")
        given[key] = text
    return name, entry, given


def number(owner: str, key: str, text: str) -> float:
    """The number in a text."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{owner}: {key} must be a number, got {text!r}") from None


def scalar(owner: str, key: str, text: str, default: object) -> str | bool | int | float:
    """What a text means by the type of the parameter's default: a word, true or false, an integer, else a number."""
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise ValueError(f"{owner}: {key} must be true or false, got {text!r}")
        return text == "true"
    value = number(owner, key, text)
    if not isinstance(default, int):
        return value
    if not value.is_integer():
        raise ValueError(f"{owner}: {key} must be an integer, got {text!r}")
    return int(value)


def build(owner: str, factory: Callable[..., T], given: Mapping[str, object]) -> T:
    """factory(**given), what it says of a wrong value led by where the value came from."""
    try:
        return factory(**given)
    except ValueError as error:
        raise ValueError(f"{owner}: {error}") from None


def look_up(name: str, table: Mapping[str, T], kind: str) -> T:
    """table[name], or a ValueError that lists what there is and suggests what may have been meant."""
    if name in table:
        return table[name]
    raise ValueError(f"unknown {kind} {name!r}{_hint(name, table)}; known: {', '.join(sorted(table))}")


def check_names(owner: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raise ValueError unless every given name is known."""
    for key in given:
        if key not in known:
            raise ValueError(f"{owner} has no parameter {key!r}{_hint(key, known)}; it has: {', '.join(known)}")


def _hint(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
