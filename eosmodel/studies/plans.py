"""Plans: the blocks of a study and the dataset that they make together; computed, resumed and shown in one way."""

import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import xarray as xr
from tqdm.auto import tqdm

from eosmodel import logs
from eosmodel.results import record
from eosmodel.simulation import remove
from eosmodel.studies.blocks import Block, checkpoint_of, load, load_all, path_of
from eosmodel.studies.runners import Runner, here

Result = TypeVar("Result")


def _nothing(dataset: xr.Dataset) -> str:
    return "done"


@dataclass(frozen=True)
class Plan(Generic[Result]):
    """A study that has been checked and not computed.

    Attributes:
        blocks: in order, none twice.
        combine: puts their datasets, in the same order, together.
        ended: says in a few words how a block ended.
    """

    blocks: tuple[Block, ...]
    combine: Callable[[Sequence[xr.Dataset]], Result]
    ended: Callable[[xr.Dataset], str] = _nothing


def run_plan(
    plan: Plan[Result],
    folder: Path | None = None,
    runner: Runner = here,
    *,
    progress: bool | str = False,
    log: str | None = None,
) -> Result:
    """Compute what is missing of a plan, and combine.

    Args:
        plan: what to compute.
        folder: where the files of the blocks are; made if it does not exist. Without one nothing is kept.
        runner: where the blocks are computed.
        progress: show a progress bar over the blocks and a line for each that is new; a string is the bar's label.
            Blocks with checkpoints that are computed in this process show a bar of their steps too.
        log: of `logs.KINDS`, where the rows of blocks with logs go while they are computed: in the folder `log` beside
            the folder; None for nowhere.

    Returns:
        What `plan.combine` makes of the blocks.

    Raises:
        WorkersLost: from the runner; what is done is kept.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as name:
            return run_plan(plan, Path(name), runner, progress=progress, log=log)
    titles = {block.name: f"[{i}/{len(plan.blocks)}] {block.label}" for i, block in enumerate(plan.blocks, 1)}
    bar = tqdm(
        total=len(plan.blocks),
        desc=progress if isinstance(progress, str) else None,
        unit="block",
        disable=not progress,
        leave=False,
        dynamic_ncols=True,
    )
    done = {}
    with bar, closing(run_blocks(plan.blocks, folder, runner, titles if progress else None, log)) as stream:
        for block, dataset, new in stream:
            bar.update()
            if not new:
                done[block.name] = dataset
            elif progress:
                bar.write(f"{titles[block.name]}: {plan.ended(dataset)}")
    # What was computed now is read back, so that the result is the same as that of a later call.
    read = iter(load_all(folder, [block for block in plan.blocks if block.name not in done]))
    return plan.combine([done[block.name] if block.name in done else next(read) for block in plan.blocks])


def run_blocks(
    blocks: Sequence[Block],
    folder: Path,
    runner: Runner = here,
    titles: dict[str, str] | None = None,
    log: str | None = None,
) -> Generator[tuple[Block, xr.Dataset, bool], None, None]:
    """Every block as it is known: first those that are done already, then the others as they are finished.

    Each is written whole or not at all, by this process, before it is given. A block that needs others is begun when
    all blocks that need none are done.

    Args:
        blocks: what to compute, with all that they need.
        folder: where the files of the blocks are; made if it does not exist.
        runner: where the blocks are computed.
        titles: labels, by the names of the blocks, of the bars that blocks with checkpoints show; none without.
        log: as in `run_plan`.

    Returns:
        An iterator over (block, dataset, whether it was computed now).
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for block in blocks:
        dataset = load(folder, block)
        if dataset is None:
            missing.append(block)
        else:
            yield block, dataset, False
    while missing:
        waiting = {block.name for block in missing}
        ready = [block for block in missing if waiting.isdisjoint(need.name for need in block.needs)]
        missing = [block for block in missing if block not in ready]
        # Bars of several processes would overwrite each other.
        shown = titles if titles is not None and runner is here else {}
        needs = list({need.name: need for block in ready for need in block.needs}.values())
        needed = {need.name: dataset for need, dataset in zip(needs, load_all(folder, needs), strict=True)}
        jobs = [
            _Job(
                block,
                [needed[need.name] for need in block.needs],
                checkpoint_of(folder, block),
                shown.get(block.name, False),
                log,
            )
            for block in ready
        ]
        with closing(runner(_run, jobs)) as results:
            for i, dataset in results:
                record.save(dataset, path_of(folder, ready[i]))
                remove(checkpoint_of(folder, ready[i]))
                yield ready[i], dataset, True


class _Job(NamedTuple):
    """What is sent to where a block is computed."""

    block: Block
    needed: list[xr.Dataset]
    checkpoint: Path
    progress: bool | str
    log: str | None


def _run(job: _Job) -> Any:
    # A worker on another machine may not see the folder; its blocks are computed without checkpoints.
    folder = job.checkpoint.parent
    checkpoint = job.checkpoint if folder.is_dir() else None
    log = logs.log_to(job.log, folder.parent / "log", job.block.label) if job.log and job.block.logs else None
    return job.block.run(*job.needed, checkpoint=checkpoint, progress=job.progress, log=log)
