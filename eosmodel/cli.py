"""The command line: parses the options and dispatches to `commands`. Only `tyro` is imported to print help."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from eosmodel.commands.options import Compare, List, Orbit, Phase, Report, Sweep, Train, Validate

Command = (
    Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Validate, tyro.conf.subcommand("validate")]
    | Annotated[Phase, tyro.conf.subcommand("phase")]
    | Annotated[Orbit, tyro.conf.subcommand("orbit")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[List, tyro.conf.subcommand("list")]
)


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of `eosmodel`. Exit codes: 0 done, 1 workers lost, 2 bad input (both one line on
    standard error), 130 interrupted."""
    command = tyro.cli(
        Command,
        args=args,
        prog="eosmodel",
        description="Joint dynamics of step sizes and sharpness: theory against experiment.",
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    try:
        _dispatch(command)
    except (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError) as error:
        print(f"eosmodel: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("eosmodel: interrupted; the same command with --resume goes on from here", file=sys.stderr)
        raise SystemExit(130) from None


def _dispatch(command) -> None:
    if isinstance(command, List):
        from eosmodel.commands.listing import listing

        print(listing())
    elif isinstance(command, Report):
        _report(command.dirs, command.out)
    elif isinstance(command, Sweep):
        from eosmodel.commands.sweep import run_sweep

        run_sweep(command)
    elif isinstance(command, Validate):
        from eosmodel.commands.validate import run_validation

        run_validation(command)
    elif isinstance(command, Phase):
        from eosmodel.commands.maps import run_phase

        run_phase(command)
    elif isinstance(command, Orbit):
        from eosmodel.commands.maps import run_orbit

        run_orbit(command)
    else:
        from eosmodel.commands.compare import run_study

        run_study(command)


def _report(dirs: tuple[Path, ...], out: Path | None) -> None:
    if not dirs:
        raise ValueError("report: name a folder; `eosmodel compare` writes one")
    if len(dirs) > 1:
        from eosmodel.commands.compare import compare_folders

        return compare_folders(dirs, out)
    if out is not None:
        raise ValueError("report: --out is for several folders; the report of one goes into it")
    if (dirs[0] / "sweep.nc").exists():
        from eosmodel.commands.sweep import redraw
    elif (dirs[0] / "validation.nc").exists():
        from eosmodel.commands.validate import redraw
    else:
        from eosmodel.commands.compare import redraw
    redraw(dirs[0])
