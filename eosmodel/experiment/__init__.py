"""`simulate` and `predict`: run an objective, or a theory of it, under a tuner, and get a labelled dataset.
`measure_river`: measure a network once, and predict every tuner on it.
"""

from eosmodel.experiment._coefficients import coefficients
from eosmodel.experiment._predict import predict
from eosmodel.experiment._river import load_river, measure_river, river_dataset, river_from, river_in, save_river
from eosmodel.experiment._simulate import simulate
from eosmodel.experiment._starts import nearby, weights_of

__all__ = [
    "coefficients",
    "load_river",
    "measure_river",
    "nearby",
    "predict",
    "river_dataset",
    "river_from",
    "river_in",
    "save_river",
    "simulate",
    "weights_of",
]
