"""The command line: parses the options and calls the command. Only `tyro` is imported to print help."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Union

import tyro

from eosmodel.commands import module_of
from eosmodel.commands.options import COMMANDS, name_of

Command: Any = Union[  # noqa: UP007 - of a table
    tuple(Annotated[option, tyro.conf.subcommand(name)] for name, option in COMMANDS.items())
]


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of `eosmodel`. Exit codes: 0 done, 1 workers lost, 2 bad input (both one line on
    standard error), 130 interrupted."""
    options = tyro.cli(
        Command,
        args=args,
        prog="eosmodel",
        description="Joint dynamics of step sizes and sharpness: theory against experiment.",
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    try:
        module_of(name_of(options)).run(options)
    except (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError) as error:
        print(f"eosmodel: {str(error).removeprefix('eosmodel: ')}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("eosmodel: interrupted; the same command with --resume goes on from here", file=sys.stderr)
        raise SystemExit(130) from None
