"""`eosmodel rerun DIR`: runs the command that wrote a folder again, from its run.toml, and compares the numbers."""

from pathlib import Path
from typing import Any

from eosmodel.commands import config_file, module_of, shared, words
from eosmodel.commands.options import NetworkOptions, Rerun, flag, name_of
from eosmodel.commands.parsing import parse
from eosmodel.results import record

# Wall-clock times and what is computed from them.
_CLOCKS = {"seconds_per_step", "compile_seconds", "seconds", "cost"}


def run(options: Rerun) -> None:
    """Make the results of a folder again, and compare the numbers."""
    folder = options.dir
    config = shared.config_in(folder)
    if config is None or not (folder / shared.CONFIG_FILE).is_file():
        raise FileNotFoundError(
            f"rerun: {folder} has no {shared.CONFIG_FILE} and {shared.CONFIG} of an eosmodel command, nothing to rerun"
        )
    named = folder.resolve() if folder.name in ("", "..") else folder
    out = named.with_name(f"{named.name}-again") if options.out is None else options.out
    args = ["--config", str(folder / shared.CONFIG_FILE), "--out", str(out)]
    args += [flag(name) for name in ("resume", "overwrite") if getattr(options, name)]
    again = parse(config_file.expand(args))
    words.check(again)
    _check_data(folder, config, again)
    if config.get("results") != shared.RESULTS:
        print(f"{folder} is of eosmodel {config.get('version')}, whose numbers differ from those of this version.")
    before = _datasets(folder)
    module_of(name_of(again)).run(again)
    print(_verdict(folder, before, _datasets(out)))


def _check_data(folder: Path, config: dict[str, Any], again: Any) -> None:
    """Refuse a data set that was replaced in the meantime."""
    before = config.get("data_sha256")
    if isinstance(again, NetworkOptions) and before is not None:
        now = shared.network_options(again)["data_sha256"]
        if now != before:
            raise ValueError(
                f"rerun: the data of {folder} were replaced: {again.data} had SHA-256 {before[:12]}…, now {now[:12]}…"
            )


def _datasets(folder: Path) -> dict[str, Any]:
    return {str(path.relative_to(folder)): record.load(path) for path in sorted(folder.glob("*.nc"))}


def _verdict(folder: Path, before: dict[str, Any], after: dict[str, Any]) -> str:
    """Whether the datasets that both have hold the same numbers."""
    both = [name for name in after if name in before]
    differing = [f"{name} ({', '.join(names)})" for name in both if (names := _differing(before[name], after[name]))]
    if not both:
        return f"{folder} has no results to compare with"
    return f"not the numbers of {folder}: {'; '.join(differing)}" if differing else f"the same numbers as {folder}"


def _differing(before: Any, after: Any) -> list[str]:
    names = [str(name) for name in {**before.data_vars, **after.data_vars} if name not in _CLOCKS]
    return [name for name in names if name not in before or name not in after or not before[name].equals(after[name])]
