"""Specifications `name:parameter=value,…` of the command line: taken apart, and mistakes in them named."""

import contextlib
import difflib
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def split(spec: str, table: Collection[str]) -> tuple[str, str]:
    """The name and the parameters of a specification. A name that is not in the table may be `module:name`, something
    of the user's own; the text alone decides, and nothing is imported.

    >>> split("armijo:c=0.1", {"armijo"}), split("mine:Rule:c=0.1", {"armijo"})
    (('armijo', 'c=0.1'), ('mine:Rule', 'c=0.1'))
    """
    name, _, rest = spec.partition(":")
    attribute, _, more = rest.partition(":")
    return (f"{name}:{attribute}", more) if name not in table and attribute.isidentifier() else (name, rest)


def load(kind: str, name: str, table: Mapping[str, T]) -> Callable[..., Any]:
    """What `module:name` stands for, the module found as by Python in the current folder.

    Raises:
        ValueError: no such module, one that fails, or nothing to call of that name in it.
    """
    module, _, attribute = name.partition(":")
    try:
        with _current_folder():
            found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in (module, module.partition(".")[0]):
            raise ValueError(f"{kind} {name!r}: {module} needs {error.name}, which is not installed") from None
        known = f"; known: {', '.join(sorted(table))}"
        raise ValueError(
            f"unknown {kind} {module!r}{_hint(module, table)}, nor is there a module of that name{known}"
        ) from None
    except Exception as error:
        raise ValueError(f"{kind} {name!r}: {module} fails: {type(error).__name__}: {first_line(error)}") from None
    made = getattr(found, attribute, None)
    if not callable(made):
        callables = [key for key, value in vars(found).items() if callable(value)]
        raise ValueError(f"{kind} {name!r}: {module} has no class or function {attribute}{_hint(attribute, callables)}")
    return made


def sources(config: Any) -> dict[str, str]:
    """SHA-256 of the modules of the user's own that the specifications in a plain configuration name."""
    if isinstance(config, Mapping | list):
        values = config.values() if isinstance(config, Mapping) else config
        return {module: digest for value in values for module, digest in sources(value).items()}
    name = split(config, ())[0] if isinstance(config, str) else ""
    module = name.partition(":")[0]
    if module == name:
        return {}
    with _current_folder(), contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None and os.path.isfile(spec.origin):
            with open(spec.origin, "rb") as file:
                return {module: hashlib.file_digest(file, "sha256").hexdigest()}
    return {}


@contextlib.contextmanager
def _current_folder() -> Iterator[None]:
    """Modules are looked for in the current folder first, as by `python -m`."""
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path.remove(os.getcwd())


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return str(error).partition("\n")[0]


def parse(
    kind: str,
    spec: str,
    table: Mapping[str, T],
    parameters: Callable[[str], Iterable[str]],
    own: Callable[[str], T] | None = None,
) -> tuple[str, T, dict[str, str]]:
    """The name, what the table has for it, and the parameters' texts; one leading bare value is the first parameter.

    Args:
        kind: "tuner" or another word for messages.
        spec: `name`, `name:value` or `name:parameter=value,…`.
        table: what there is, by name.
        parameters: names of the parameters of a name; `check_names` holds the given ones against them.
        own: what takes the place of the table for a name `module:name`; None where there is no such thing.

    Raises:
        ValueError: an unknown name, a parameter given twice, or an item that is not of the form parameter=value.
    """
    name, rest = spec.partition(":")[::2] if own is None else split(spec, table)
    before, equals, after = name.partition("=")
    if equals and before in table:
        raise ValueError(f"{kind} {spec!r}: parameters follow a colon, as in {before}:{after}")
    entry = own(name) if own is not None and ":" in name else look_up(name, table, kind)
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
    except (ValueError, TypeError) as error:  # a parameter without default may be missing
        raise ValueError(f"{owner}: {first_line(error)}") from None


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
