"""Running dynamics: the loop and its checkpoints."""

from eosmodel.simulation.checkpoint import atomic, fingerprint, load, save
from eosmodel.simulation.loop import Carry, Progress, run, template

__all__ = ["Carry", "Progress", "atomic", "fingerprint", "load", "run", "save", "template"]
