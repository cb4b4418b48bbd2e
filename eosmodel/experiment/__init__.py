"""`simulate` and `predict`: run an objective, or a theory of it, under a tuner, and get a labelled dataset."""

from eosmodel.experiment._coefficients import coefficients
from eosmodel.experiment._predict import predict
from eosmodel.experiment._simulate import simulate
from eosmodel.experiment._starts import nearby

__all__ = ["coefficients", "nearby", "predict", "simulate"]
