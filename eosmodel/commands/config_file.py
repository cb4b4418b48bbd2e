"""Configuration files: the options of a command as TOML, written by every run and accepted as `--config FILE`."""

import dataclasses
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eosmodel import _specs
from eosmodel.commands.options import COMMANDS, flag, name_of

# What is decided anew whenever a command is given.
_OF_THE_MOMENT = ("resume", "overwrite")


def written(options: Any) -> str:
    """The options of a command as TOML; those that are None, which TOML has no word for, are left out.

    A path of a data file is made absolute, so that the file means the same in every folder.
    """
    lines = [
        f"# eosmodel --config FILE runs this; options beside it replace those in it.\ncommand = {name_of(options)!r}"
    ]
    for name, value in dataclasses.asdict(options).items():
        if name == "data" and Path(value).suffix == ".npz":
            value = Path(value).resolve()
        if value is not None and name not in _OF_THE_MOMENT:
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def expand(args: Sequence[str]) -> list[str]:
    """The arguments of a command line with those of its `--config FILE` put before the others, which replace them.

    Raises:
        ValueError: no such file, one that is not TOML, another command, or an option that the command does not have.
    """
    args = [piece for arg in args for piece in (arg.split("=", 1) if arg.startswith("--config=") else [arg])]
    if "--config" not in args:
        return args
    at = args.index("--config")
    if at + 1 == len(args):
        raise ValueError("--config needs a file, as in --config run.toml")
    path, rest = Path(args[at + 1]), args[:at] + args[at + 2 :]
    owner = f"--config {path}"
    try:
        config = tomllib.loads(path.read_text())
    except OSError as error:
        raise ValueError(f"{owner}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{owner}: {error}") from None
    given = rest.pop(0) if rest and not rest[0].startswith("-") else None
    command = config.pop("command", given)
    if command is None:
        raise ValueError(f"{owner} does not say its command; name one, as in eosmodel train {owner}")
    if given not in (None, command):
        raise ValueError(f"{owner} is of the command {command}, not of {given}")
    options = {field.name for field in dataclasses.fields(_specs.look_up(command, COMMANDS, "command"))}
    values = {name.replace("-", "_"): value for name, value in config.items()}
    _specs.check_names(f"{owner}: {command}", values, sorted(options))
    return [command, *(word for name, value in values.items() for word in _words(name, value)), *rest]


def _words(name: str, value: Any) -> list[str]:
    """An option as it is written on the command line."""
    if isinstance(value, bool):
        return [flag(name)] if value else []
    return [flag(name), *map(str, value if isinstance(value, list) else [value])]


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    # Texts and true and false are written as in JSON; inf and nan are not.
    return (
        str(value)
        if isinstance(value, float)
        else json.dumps(value)
        if isinstance(value, bool | int)
        else json.dumps(str(value), ensure_ascii=False)
    )
