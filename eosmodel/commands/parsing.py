"""The command line as options: the parser that `tyro` makes of the dataclasses in `options`."""

import contextlib
import io
from collections.abc import Sequence
from typing import Annotated, Any, Union

import tyro

from eosmodel.commands.options import COMMANDS

Command: Any = Union[  # noqa: UP007 - of a table
    tuple(Annotated[option, tyro.conf.subcommand(name)] for name, option in COMMANDS.items())
]


def parse(args: Sequence[str]) -> Any:
    """The options of a command."""
    return tyro.cli(
        Command,
        args=args,
        prog="eosmodel",
        description="Joint dynamics of step sizes and sharpness: theory against experiment. "
        "--version: which version this is. --completion SHELL: the script that completes commands and options. "
        "COMMAND --config FILE: with the options in a file, as every run writes one.",
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff),
    )


def completion(shell: str) -> str:
    """The script that completes commands and options in a shell: bash, zsh or tcsh."""
    with contextlib.redirect_stdout(io.StringIO()) as script, contextlib.suppress(SystemExit):
        parse(["--tyro-print-completion", shell])
    # tyro's bash takes every line of a description for a match of its own.
    lines = script.getvalue().rstrip().splitlines()
    return "\n".join(line.replace("\\n", " ") if line.startswith("COMPLETION_SPEC") else line for line in lines)
