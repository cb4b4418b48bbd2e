"""`simulate` and `predict`: run an objective, or a theory of it, under a tuner, and get a labelled dataset."""

from eosmodel.experiment._predict import coefficients, nearby, predict, simulate

__all__ = ["coefficients", "nearby", "predict", "simulate"]
