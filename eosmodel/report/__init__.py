"""Reports: one HTML file each, which opens offline and needs no other file.

`write_report` is of one folder of runs, `write_comparison` of several, `write_sweep` of a sweep over batch sizes,
`write_river` of a river and the tuners predicted on it,
`write_validation` of a validation. Fixed text is in `eosmodel/templates`; sentences made from numbers are in `words`
and in the `_summary` of each page; claims and criteria are in `eosmodel.judging`.
"""

from eosmodel.report.river import write_river
from eosmodel.report.runs import write_report
from eosmodel.report.several import write_comparison
from eosmodel.report.sweep import write_sweep
from eosmodel.report.validation import write_validation

__all__ = ["write_comparison", "write_report", "write_river", "write_sweep", "write_validation"]
