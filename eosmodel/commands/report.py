"""`eosmodel report`: draw a folder again from its files, or one page that compares several."""

from pathlib import Path

from eosmodel.commands import module_of, shared, train
from eosmodel.commands.options import Report
from eosmodel.report import write_comparison

COMPARISON = "comparison.html"
RUNS = ("compare", "train")


def run(options: Report) -> None:
    """Draw the report of a folder again, or write the page that compares several."""
    folders = options.dirs
    if not folders:
        raise ValueError("report: name a folder; `eosmodel compare` writes one")
    if len(folders) > 1:
        return _compare(folders, options.out)
    if options.out is not None:
        raise ValueError("report: --out is for several folders; the report of one goes into it")
    module_of(_written_by(folders[0])).redraw(folders[0])


def _written_by(folder: Path) -> str:
    """The command that wrote a folder; one of the user's own may hold an experiment.nc alone."""
    config = shared.config_in(folder)
    return RUNS[0] if config is None else config["command"]


def _compare(folders: tuple[Path, ...], out: Path | None) -> None:
    if len(set(folders)) < len(folders):
        raise ValueError(f"report: the same folder twice: {' '.join(map(str, folders))}")
    for folder in folders:
        command = _written_by(folder)
        if command not in RUNS:
            raise ValueError(
                f"report: {folder} was written by `eosmodel {command}`; only those of {' and '.join(RUNS)} are compared"
            )
    if out is not None:
        _check_folder(out, folders)
    names = [folder.resolve().name for folder in folders]
    names = names if len({*names}) == len(names) else [str(folder) for folder in folders]
    runs = {name: train.load(folder) for name, folder in zip(names, folders, strict=True)}
    print(f"wrote {write_comparison(runs, (out or Path()) / COMPARISON)}")


def _check_folder(out: Path, folders: tuple[Path, ...]) -> None:
    """Refuse a file, and a folder of something else; an earlier comparison is replaced, and one may stand beside the
    folders that it compares."""
    shared.check_folder(out)
    if not out.is_dir() or shared.config_in(out) is not None or (out / COMPARISON).exists():
        return
    compared = {folder.resolve() for folder in folders}
    if any(path.resolve() not in compared and shared.config_in(path) is None for path in out.iterdir()):
        raise shared.foreign(out)
