"""`simulate` and `predict`: run an objective, or a theory of it, under a tuner, and get a labelled dataset.
`measure_river`: measure a network once, and predict every tuner on it.
"""

from eosmodel.experiment._coefficients import coefficients
from eosmodel.experiment._devices import as_mesh
from eosmodel.experiment._on_river import Ranking, Tuned, rank, tune
from eosmodel.experiment._predict import predict
from eosmodel.experiment._river import load_river, measure_river, river_dataset, river_from, river_in, save_river
from eosmodel.experiment._simulate import simulate
from eosmodel.experiment._starts import nearby, weights_of
from eosmodel.experiment._weights import kept as kept_weights
from eosmodel.experiment._weights import weights

__all__ = [
    "Ranking",
    "Tuned",
    "as_mesh",
    "coefficients",
    "kept_weights",
    "load_river",
    "measure_river",
    "nearby",
    "predict",
    "rank",
    "river_dataset",
    "river_from",
    "river_in",
    "save_river",
    "simulate",
    "tune",
    "weights",
    "weights_of",
]
