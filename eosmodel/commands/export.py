"""`eosmodel export`: the datasets of a folder as tables of comma-separated values."""

from eosmodel.commands.options import Export
from eosmodel.results import record


def run(options: Export) -> None:
    """Write a .csv beside every dataset."""
    if not options.dirs:
        raise ValueError("export: name a folder; `eosmodel compare` writes one")
    for folder in options.dirs:
        datasets = sorted(folder.glob("*.nc"))
        if not datasets:
            raise FileNotFoundError(f"export: there is no dataset (.nc) in {folder}")
        for path in datasets:
            print(f"wrote {record.to_csv(record.load(path), path.with_suffix('.csv'))}")
