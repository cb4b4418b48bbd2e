"""The command line as options: the parser that `tyro` makes of the dataclasses in `options`."""

import contextlib
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import tyro

from eosmodel.commands.options import COMMANDS


def _commands(options: Mapping[str, type]) -> Any:
    """One of several commands, as a type."""
    return Union[tuple(Annotated[option, tyro.conf.subcommand(name)] for name, option in options.items())]  # noqa: UP007


Command = _commands(COMMANDS)


def parse(args: Sequence[str], command: Any = Command) -> Any:
    """The options of a command."""
    return tyro.cli(
        command,
        args=args,
        prog="eosmodel",
        description="Joint dynamics of step sizes and sharpness: theory against experiment. "
        "--version: which version this is. --completion SHELL: the script that completes commands and options. "
        "COMMAND --config FILE: with the options in a file, as every run writes one.",
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff),
    )


def completion(shell: str) -> str:
    """The script that completes commands and options in a shell: bash, zsh or tcsh."""
    # Words that also stand beside any text, as the names of networks do, would be no choices to tyro.
    only = {name: _only_words(option) for name, option in COMMANDS.items()}
    with contextlib.redirect_stdout(io.StringIO()) as script, contextlib.suppress(SystemExit):
        parse(["--tyro-print-completion", shell], _commands(only))
    # tyro's bash takes every line of a description for a match of its own.
    lines = script.getvalue().rstrip().splitlines()
    return "\n".join(line.replace("\\n", " ") if line.startswith("COMPLETION_SPEC") else line for line in lines)


def _only_words(option: Any) -> type:
    """The options of a command, without the text that some take beside words."""
    words = [
        (field.name, get_args(field.type)[0], dataclasses.field(default=field.default))
        for field in dataclasses.fields(option)
        if get_args(field.type)[1:] == (str,) and get_origin(get_args(field.type)[0]) is Literal
    ]
    return dataclasses.make_dataclass(option.__name__, words, bases=(option,), frozen=True) if words else option
