"""The command line, generated from dataclasses. Only `tyro` is imported to print help."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

TUNERS = ("constant:0.6", "armijo", "sps-max", "greedy", "cdat", "on-edge")
Theory = Literal["oscillation", "valley", "valley-frozen", "edge-only", "gradient-flow"]


@dataclass(frozen=True)
class Train:
    """Train a network under several step-size tuners, tracking η, λ and the loss; writes experiment.nc.

    Every option has a default that works: `eosmodel train` alone is a complete command.
    """

    data: str = "digits"
    """digits, fashion-mnist, cifar10, or the path of an .npz file with arrays x and y."""
    samples: int | None = 1000
    """Number of samples, the first ones of the data set; None for all."""
    net: Literal["mlp", "cnn"] = "mlp"
    """Architecture."""
    width: int = 32
    """Units per hidden layer (mlp) or channels (cnn)."""
    depth: int = 2
    """Number of hidden layers (mlp) or convolutions (cnn)."""
    activation: Literal["tanh", "relu", "gelu", "silu"] = "tanh"
    """Nonlinearity."""
    init_scale: float = 0.5
    """Initial weights are N(0, init_scale²/fan-in); a small scale leaves room for progressive sharpening."""
    loss: Literal["mse", "ce"] = "mse"
    """½ mean squared error, or mean cross-entropy in nats."""
    tuners: tuple[str, ...] = TUNERS
    """Step-size rules as name or name:parameter=value,…; `eosmodel list` shows all of them."""
    steps: int = 1200
    """Number of updates."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the initial weights."""
    dtype: Literal["float32", "float64"] = "float32"
    """Floating type of the whole computation."""
    track_every: int = 1
    """Solve for the leading eigenpairs every that many steps."""
    modes: int = 3
    """Number of leading eigenpairs followed, and of oscillating modes in the theory."""
    record_every: int = 1
    """Keep a row every that many steps."""
    out: Path = Path("runs/latest")
    """Folder for the results."""
    resume: bool = False
    """Go on from what is in --out, if anything, and recompute nothing that is done."""
    overwrite: bool = False
    """Delete the results of an earlier command in --out first."""


@dataclass(frozen=True)
class Compare(Train):
    """Train a network under several step-size tuners, run the theories from the same start, and compare.

    Writes report.html, the figures, experiment.nc, theory.nc and scoreboard.json to --out. Every option has a default
    that works: `eosmodel compare` alone is a complete command.
    """

    theories: tuple[Theory, ...] = get_args(Theory)
    """Theories to run beside the experiment; `eosmodel list` says what each is."""


@dataclass(frozen=True)
class Report:
    """Draw the report and the figures of a folder again, from its files."""

    dir: Annotated[Path, tyro.conf.Positional]
    """Folder written by `eosmodel compare` or `eosmodel train`."""


@dataclass(frozen=True)
class List:
    """List tuners, objectives, theories and data sets, each with its meaning and parameters."""


Command = (
    Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[List, tyro.conf.subcommand("list")]
)


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of `eosmodel`. Exit codes: 0 done, 2 bad input (one line on standard error), 130 interrupted."""
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
        print(listing())
    elif isinstance(command, Report):
        from eosmodel.study import redraw

        redraw(command.dir)
    else:
        from eosmodel.study import run_study

        run_study(command)


def listing() -> str:
    """The text of `eosmodel list`."""
    from eosmodel.objectives import NETWORKS, OBJECTIVES
    from eosmodel.objectives.data import DATASETS
    from eosmodel.theory import THEORIES
    from eosmodel.tuners.registry import REGISTRY, parameters

    def section(title, entries):
        return [title, *(f"  {name:<18}{text}" for name, text in entries), ""]

    tuners = []
    for name, entry in REGISTRY.items():
        given = ", ".join(f"{key}={value}" for key, value in parameters(name))
        tuners.append((name, f"{entry.description} [{given}]"))
    lines = section("Tuners (name:parameter=value,…)", tuners)
    lines += section("Networks (--net)", [(name, text) for name, (_, text) in NETWORKS.items()])
    lines += section("Objectives (library)", OBJECTIVES.items())
    lines += section("Theories (--theories)", THEORIES.items())
    lines += section("Data sets (--data)", [(name, text) for name, (_, text) in DATASETS.items()])
    return "\n".join(lines).rstrip()
