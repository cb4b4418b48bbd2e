"""The options of every command, as dataclasses from which the command line is generated."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from eosmodel.studies import validated

TUNERS = ("constant:0.6", "armijo", "sps-max", "greedy", "cdat", "on-edge")
SWEPT = ("constant:{0.4,0.8}", "armijo", "greedy", "cdat:sigma={0.5,1.5,1.9,2}", "cdat:sigma={1,2},ema=0.9")


@dataclass(frozen=True)
class NetworkOptions:
    """A network and its data."""

    data: str = "digits"
    """digits, fashion-mnist, cifar10, cifar100, svhn, sorting, markov, or the path of an .npz file with arrays x and
    y."""
    samples: int | Literal["up-to-1000", "all", "none", "None"] = "up-to-1000"
    """Number of samples, the first ones of the data set; all (or none, for no limit) for the whole set; by default all
    of a data set of up to 1000 samples, and the first 1000 of a larger one."""
    subset_seed: int | None = None
    """Draw the samples at random with this seed; without, the first ones of the data set are taken."""
    classes: str | None = None
    """Only samples of these classes, by their labels: 3,8."""
    net: Literal["mlp", "cnn", "vgg", "resnet", "vit", "mixer", "transformer", "gpt"] | str = "mlp"
    """Architecture, with parameters of its own as name:parameter=value,…, as in vit:patch=2; `eosmodel list` shows all
    of them. One of your own is module:name."""
    width: int = 32
    """Units per hidden layer (mlp), channels of the first layer (cnn, vgg, resnet), or features (others)."""
    depth: int = 2
    """Number of hidden layers (mlp), convolutions (cnn), stages (vgg), blocks in a stage (resnet), or blocks."""
    activation: Literal["tanh", "relu", "gelu", "silu"] = "tanh"
    """Nonlinearity."""
    init_scale: float = 0.5
    """Initial weights are N(0, init_scale²/fan-in); a small scale leaves room for progressive sharpening."""
    loss: Literal["mse", "ce"] = "mse"
    """½ mean squared error, or mean cross-entropy in nats."""
    weight_decay: float = 0.0
    """Half of this times ‖w‖² is added to the loss, so that λ and every other eigenvalue are larger by it."""
    dtype: Literal["float32", "float64"] = "float32"
    """Floating type of the whole computation."""
    chunk: int | Literal["all", "auto"] = "auto"
    """Samples in memory at once, for each of the seeds that are computed together: a number, all, or auto, as the
    memory allows. Results differ by rounding alone."""


@dataclass(frozen=True)
class Train(NetworkOptions):
    """Train a network, or descend a toy loss, under several step-size tuners, tracking η, λ and the loss; writes
    experiment.nc.

    Every run of a tuner from a seed is a block, and a file in the folder `blocks` of --out. Every option has a default
    that works: `eosmodel train` alone is a complete command.
    """

    objective: str = "network"
    """network (the options from --data to --loss) or a toy as name or name:parameter=value,…, a vector as start=2/0.1;
    `eosmodel list` shows all of them."""
    tuners: tuple[str, ...] = TUNERS
    """Step-size rules as name or name:parameter=value,…; `eosmodel list` shows all of them. One of your own is
    module:name."""
    steps: int = 1200
    """Number of updates."""
    seeds: tuple[int, ...] = ()
    """Seeds of the initial weights and of the batches. Without any: 0 for a network, and a toy's own start."""
    direction: str = "steepest"
    """Where steps go: steepest descent, or momentum, nesterov, adam, rmsprop, muon as name:parameter=value,…; λ is then
    that of the preconditioned Hessian."""
    batch_size: int | None = None
    """Samples in a mini-batch, drawn without replacement; None for the full batch. The full loss is looked at, as the
    sharpness is, every --track-every steps."""
    replacement: bool = False
    """Draw mini-batches with replacement."""
    track: tuple[Literal["sharpness", "critical"], ...] = ("sharpness",)
    """What is tracked beside the runs: the sharpness, with its eigenpairs; the critical sharpness 2/η_c, η_c the
    smallest step along the update that does not lower the loss, which costs four evaluations of the loss; or both."""
    track_every: int = 1
    """Track every that many steps."""
    modes: int = 3
    """Number of leading eigenpairs followed, and of oscillating modes in the theory; at most one for each weight."""
    record_every: int = 1
    """Keep a row every that many steps."""
    keep_weights: int = 0
    """Keep the weights of every that many steps, of theories that model them too; 0 keeps none. --start goes on from
    them."""
    start: str | None = None
    """Start from weights that an earlier run has kept: RUN, its folder, for the last ones; RUN@300 for those of step
    300; RUN@300@armijo where RUN has runs of several tuners. The network and the data are those of the options."""
    diverged_at: float = 1e6
    """A run has diverged when its loss exceeds this multiple of the larger of its first loss and ½λ‖w‖² at the start;
    inf for only when it is not finite."""
    test_samples: int = 0
    """Hold out so many samples, of the data set's own test set where it has one, and record loss and accuracy on them,
    and the training accuracy."""
    test_every: int = 1
    """Evaluate these every that many steps."""
    stop_loss: float | None = None
    """End a run once its loss is at most this, with the status reached, which is a success; with mini-batches the full
    loss, every --track-every steps."""
    stop_accuracy: float | None = None
    """End a run once its training accuracy, at the steps of --test-every, is at least this: 0.99."""
    log: Literal["jsonl", "tensorboard", "wandb"] | None = None
    """Write every run while it is under way: lines of JSON or TensorBoard's files in the folder `log` of --out, or
    runs of Weights & Biases."""
    devices: int | None = None
    """Devices among which the samples are divided, such as the GPUs of this machine; one without."""
    workers: int | None = None
    """Worker processes on this machine; without, blocks are computed in this process, one after the other."""
    scheduler: str | None = None
    """Address of the scheduler of a Dask cluster to run on, such as tcp://host:8786."""
    out: Path = Path("runs/latest")
    """Folder for the results."""
    resume: bool = False
    """Go on from what is in --out, if anything, and recompute nothing that is done."""
    overwrite: bool = False
    """Delete the results of an earlier command in --out first."""
    no_cache: bool = False
    """Do not keep compiled programs on disk, where the next command would find them."""


@dataclass(frozen=True)
class Compare(Train):
    """Train a network, or descend a toy loss, under several step-size tuners, run the theories from the same start, and
    compare.

    Writes report.html, the figures, experiment.nc, theory.nc and scoreboard.json to --out. Every option has a default
    that works: `eosmodel compare` alone is a complete command.
    """

    theories: tuple[str, ...] = ("oscillation", "valley", "valley-frozen", "edge-only", "gradient-flow")
    """Theories to run beside the experiment, as name or name:parameter=value,…; `eosmodel list` shows all of them."""


@dataclass(frozen=True)
class River(NetworkOptions):
    """Measure the river of a network, its gradient flow and what the curvatures along it answer to, and predict tuners
    on it, none of which is run; writes predictions.nc, the rivers, river.html and pictures.

    The river of every seed is a block, and so is every prediction, each a file in the folder `blocks` of --out. Every
    option has a default that works: `eosmodel river` alone is a complete command.
    """

    tuners: tuple[str, ...] = TUNERS
    """Step-size rules to predict, as for `compare`."""
    steps: int = 1200
    """Updates to predict."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the initial weights."""
    modes: int = 8
    """Number of leading modes that may oscillate."""
    length: float = 4.0
    """Flow time of the river in multiples of steps/λ at the start; predictions that need more end there."""
    workers: int | None = None
    """Worker processes on this machine; without, blocks are computed in this process, one after the other."""
    scheduler: str | None = None
    """Address of the scheduler of a Dask cluster to run on, such as tcp://host:8786."""
    out: Path = Path("runs/river")
    """Folder for the results."""
    resume: bool = False
    """Go on from what is in --out, if anything, and recompute nothing that is done."""
    overwrite: bool = False
    """Delete the results of an earlier command in --out first."""
    no_cache: bool = False
    """Do not keep compiled programs on disk, where the next command would find them."""


@dataclass(frozen=True)
class Sweep(NetworkOptions):
    """Tuners × batch sizes × seeds of one network in one dataset, with what the numbers say of four statements about
    batch sizes; writes sweep.nc, findings.json, sweep.html and pictures.

    Every tuner at every batch size is a block, all seeds at once, and a file in the folder `blocks` of --out. With
    --resume blocks that are there are not computed again, and --tuners and --batch-sizes may differ. Every option has a
    default that works: `eosmodel sweep` alone is a complete command.
    """

    tuners: tuple[str, ...] = SWEPT
    """Step-size rules as for `compare`; values in braces make a grid: cdat:sigma={1,2},ema={0,0.9} is four tuners."""
    batch_sizes: tuple[str, ...] = ("full", "256", "64", "16")
    """Samples in a batch, up to all of them; full for the whole set. Steps, not passes over the data, are the same."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the initial weights and of the batches; statements need five."""
    steps: int = 1200
    """Number of updates."""
    track_every: int = 11
    """Solve for the leading eigenpairs, and for the full loss, every that many steps; an odd number sees both phases of
    an oscillation of period two."""
    modes: int = 3
    """Number of leading eigenpairs followed."""
    test_samples: int = 0
    """Hold out so many samples, as for `train`, and record loss and accuracy on them, and the training accuracy, every
    --track-every steps."""
    log: Literal["jsonl", "tensorboard", "wandb"] | None = None
    """Write the seeds of every block while it is under way, as for `train`."""
    devices: int | None = None
    """Devices among which the seeds are divided, or the samples if the number of devices does not divide that of seeds;
    one without."""
    workers: int | None = None
    """Worker processes on this machine; without, blocks are computed in this process, one after the other."""
    scheduler: str | None = None
    """Address of the scheduler of a Dask cluster to run on, such as tcp://host:8786."""
    out: Path = Path("runs/sweep")
    """Folder for the results."""
    resume: bool = False
    """Go on from what is in --out, if anything, and recompute no block that is done."""
    overwrite: bool = False
    """Delete the results of an earlier command in --out first."""
    no_cache: bool = False
    """Do not keep compiled programs on disk, where the next command would find them."""


@dataclass(frozen=True)
class Validate:
    """The theories against runs over a matrix of networks, losses, tuners and seeds, and the criteria that the
    first of them should meet; writes validation.nc, validation.json, validation.html and pictures.

    Every tuner on every network and loss is a block, all its seeds together, and a file in the folder `blocks` of
    --out. With --resume blocks that are there are not computed again, and --workloads, --losses and --tuners may
    differ. `eosmodel validate` alone runs the whole matrix, which takes a day on one core; part of it:
    `eosmodel validate --workloads digits-tanh --losses mse --tuners constant armijo cdat`.
    """

    workloads: tuple[str, ...] = tuple(validated.WORKLOADS)
    """Networks on their data; `eosmodel list` shows all of them."""
    losses: tuple[Literal["mse", "ce"], ...] = ("mse", "ce")
    """½ mean squared error, mean cross-entropy."""
    tuners: tuple[str, ...] = tuple(validated.TUNERS)
    """Names of the matrix, whose steps are scaled by the sharpness at the start (`eosmodel list`), or step-size rules
    as for `compare`."""
    theories: tuple[str, ...] = (
        "oscillation",
        "oscillation:after=20",
        "central-flow:stride=4",
        "valley-frozen",
        "edge-flow",
        "rod-flow",
        "edge-only",
        "gradient-flow",
    )
    """Theories as for `compare`, all but valley; the first is judged by the criteria, and the others against it. Edge
    flow and rod flow run for constant steps alone."""
    seeds: tuple[int, ...] = (11, 12, 13)
    """Seeds of the initial weights."""
    steps: int = 300
    """Number of updates; a run is judged until its loss is a hundredth of the first."""
    modes: int = 3
    """Number of leading eigenpairs followed, and of oscillating modes in the theories."""
    members: int = 20
    """Runs of the first theory from starts that differ by 1e-4, where the run is chaotic; 1 is no ensemble. From 19 on,
    one that is drawn from the same law lies in their 90 % band with probability 0.9."""
    dtype: Literal["float32", "float64"] = "float32"
    """Floating type of the whole computation."""
    workers: int | None = None
    """Worker processes on this machine; without, blocks are computed in this process, one after the other."""
    scheduler: str | None = None
    """Address of the scheduler of a Dask cluster to run on, such as tcp://host:8786."""
    out: Path = Path("runs/validation")
    """Folder for the results."""
    resume: bool = False
    """Go on from what is in --out, if anything, and recompute no block that is done."""
    overwrite: bool = False
    """Delete the results of an earlier command in --out first."""
    no_cache: bool = False
    """Do not keep compiled programs on disk, where the next command would find them."""


@dataclass(frozen=True)
class Map:
    """What `phase` and `orbit` have in common."""

    system: str = "fast-map"
    """fast-map (parameters A, kappa, sharpness, bulk_gradient_sq), or a toy as for --objective of `compare`, for
    example valley or two-layer-scalar:width=8."""
    tuner: str = "polyak"
    """Step-size rule as name or name:parameter=value,…"""
    dtype: Literal["float32", "float64"] = "float32"
    """Floating type of the whole computation."""
    resume: bool = False
    """Go on from what is in --out, if anything."""
    overwrite: bool = False
    """Delete the results of an earlier command in --out first."""
    no_cache: bool = False
    """Do not keep compiled programs on disk, where the next command would find them."""


@dataclass(frozen=True)
class Phase(Map):
    """Regimes and exponents over two parameters of a system, its tuner or its start; writes phase.nc and pictures.

    Parameters are named as fields: c, sigma, step of a tuner; A, kappa of the fast map; b, mu[0], start[0] of a toy;
    tuner.… or objective.… where both have one. Every option has a default that works: `eosmodel phase` alone is a
    complete command.
    """

    x: tuple[str, float, float, int] = ("c", 0.25, 2.0, 400)
    """Parameter, low, high and number of values across."""
    y: tuple[str, float, float, int] = ("A", 2.0, 60.0, 400)
    """Parameter, low, high and number of values up."""
    log_x: bool = False
    """Space the values across evenly in their logarithm."""
    log_y: bool = False
    """Space the values up evenly in their logarithm."""
    steps: int = 1000
    """Steps of every orbit; the last half decides."""
    observables: tuple[str, ...] = ("regime", "edge_exponent", "lyapunov")
    """What to keep: also period, s, log_s, drift, q, final_sharpness, final_loss, lyapunov_error."""
    refine: int = 0
    """Halve the cells whose corners differ in regime that many times."""
    bound: float = 1e10
    """A loss above this multiple of the first counts as diverged."""
    chunk: int | None = None
    """Points worked on at once, which bounds the memory; chosen when None."""
    out: Path = Path("runs/phase")
    """Folder for the results."""


@dataclass(frozen=True)
class Orbit(Map):
    """Where the orbits of a system end up as one parameter changes, and their Lyapunov exponents; writes orbit.nc and
    orbit.png.

    Every option has a default that works: `eosmodel orbit` alone is a complete command.
    """

    parameter: tuple[str, float, float, int] = ("c", 0.25, 2.0, 800)
    """Parameter, low, high and number of values; named as for `phase`."""
    log: bool = False
    """Space the values evenly in their logarithm."""
    burn_in: int = 1000
    """Steps left out first."""
    keep: int = 200
    """Points kept of every orbit, at least 64."""
    out: Path = Path("runs/orbit")
    """Folder for the results."""


@dataclass(frozen=True)
class Report:
    """Draw the report and the figures of a folder again, from its files; of several folders, one page that compares
    them."""

    dirs: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="DIR [DIR ...]", help_behavior_hint=""),
    ]
    """Folder written by `eosmodel compare`, `train`, `sweep`, `validate`, `phase` or `orbit`; to compare, two or more
    of the first two."""
    out: Path | None = None
    """Folder for comparison.html, the page that compares several folders; the current folder when None."""


@dataclass(frozen=True)
class Rerun:
    """Run the command that wrote a folder again, from the run.toml in it, and say whether the numbers are the same."""

    dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folder written by any command that computes something."""
    out: Path | None = None
    """Folder for the new results; DIR with -again added when None."""
    resume: bool = False
    """Go on from what is in --out, if anything; --out DIR --resume finishes a folder whose command was killed."""
    overwrite: bool = False
    """Delete the results of an earlier command in --out first."""
    no_cache: bool = False
    """Do not keep compiled programs on disk, where the next command would find them."""


@dataclass(frozen=True)
class Fork:
    """Branch the runs of a folder at a kept step under other tuners, and compare the branches with each other and with
    the run itself; writes what `train` writes, trunk.nc and fork.png.

    Network, data and all else are those of the folder. Tuners start afresh at the fork, the run's own one too. It is
    the command `eosmodel train --start DIR@AT --tuners …` with the options of the folder.
    """

    dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folder written by `eosmodel train` or `compare` with --keep-weights."""
    at: int
    """Step to branch at."""
    tuners: tuple[str, ...]
    """Step-size rules of the branches."""
    of: str | None = None
    """The tuner whose runs are branched, as it was written; the only one of the folder when None."""
    seeds: tuple[int, ...] = ()
    """Seeds of the runs that are branched; all of the folder when none are given."""
    steps: int | None = None
    """Updates of every branch; to the end of the run when None."""
    workers: int | None = None
    """Worker processes on this machine; without, blocks are computed in this process, one after the other."""
    scheduler: str | None = None
    """Address of the scheduler of a Dask cluster to run on, such as tcp://host:8786."""
    out: Path = Path("runs/fork")
    """Folder for the results."""
    resume: bool = False
    """Go on from what is in --out, if anything, and recompute nothing that is done."""
    overwrite: bool = False
    """Delete the results of an earlier command in --out first."""
    no_cache: bool = False
    """Do not keep compiled programs on disk, where the next command would find them."""


@dataclass(frozen=True)
class Export:
    """Write the datasets of folders as tables of comma-separated values: experiment.csv beside experiment.nc, and so
    on."""

    dirs: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="DIR [DIR ...]", help_behavior_hint=""),
    ]
    """Folders written by any command."""


@dataclass(frozen=True)
class List:
    """List tuners, objectives, theories and data sets, each with its meaning and parameters; of names, all about them:
    formula, parameters with their defaults and ranges, source."""

    names: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[NAME ...]", help_behavior_hint=""),
    ] = ()
    """What to tell all about, such as armijo, oscillation, valley or digits, or module:name of your own; everything in
    one line each when left out."""


COMMANDS = {
    option.__name__.lower(): option
    for option in (Compare, Train, Fork, River, Sweep, Validate, Phase, Orbit, Report, Rerun, Export, List)
}
"""Options by the names of the commands, which are those of their modules too."""


def name_of(options: Any) -> str:
    """The name of the command that options are of."""
    return type(options).__name__.lower()


def flag(option: str) -> str:
    """An option as it is written on the command line."""
    return f"--{option.replace('_', '-')}"
