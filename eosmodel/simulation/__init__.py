"""Running dynamics: the loop, the identity of a run, and checkpoints."""

from eosmodel.simulation.checkpoint import atomic, load, remove, save
from eosmodel.simulation.identity import digest, identity, program
from eosmodel.simulation.loop import Carry, Progress, run, template

__all__ = ["Carry", "Progress", "atomic", "digest", "identity", "load", "program", "remove", "run", "save", "template"]
