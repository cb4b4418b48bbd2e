"""Running dynamics: the loop, the identity of a run, and checkpoints."""

from eosmodel.simulation.checkpoint import atomic, load, remove, save
from eosmodel.simulation.identity import digest, identity, loss_identity, program, rule_identity
from eosmodel.simulation.loop import Carry, Progress, run, template

__all__ = [
    "Carry",
    "Progress",
    "atomic",
    "digest",
    "identity",
    "load",
    "loss_identity",
    "program",
    "remove",
    "rule_identity",
    "run",
    "save",
    "template",
]
