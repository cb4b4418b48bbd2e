"""What a validation runs by default, by name. Tables alone, so that help and the list need not load the rest."""

from typing import Any

LOSSES = ("mse", "ce")
"""Squared error and cross-entropy, as networks name them."""

# Widths, and by default seeds, other than those that the theories were developed with (16 and 32, and 0 to 2). Initial
# scales are those at which the sharpness has room to grow.
WORKLOADS: dict[str, dict[str, Any]] = {
    f"{name}-{net}": {"data": data, "samples": 1000, "init_scale": scale} | options
    for name, data, scale in (("digits", "digits", 0.5), ("fashion", "fashion-mnist", 0.25))
    for net, options in {
        "tanh": {"net": "mlp", "width": 24, "activation": "tanh"},
        "gelu": {"net": "mlp", "width": 24, "activation": "gelu", "init_scale": 0.5},
        "cnn": {"net": "cnn", "width": 6, "activation": "tanh", "init_scale": 0.5},
    }.items()
} | {
    "sorting": {
        "data": "sorting",
        "samples": 500,
        "init_scale": 0.5,
        "net": "transformer",
        "width": 12,
        "depth": 1,
        "activation": "gelu",
    }
}
"""Name -> arguments of `objectives.recipes.network`, the loss, the seed and the dtype left out."""

TUNERS = {
    "constant": "constant:{inverse}",
    "armijo": "armijo",
    "armijo-restart": "armijo-restart:initial={trial}",
    "polyak": "polyak:c=1",
    "polyak-half": "polyak:c=0.5",
    "polyak-third": "polyak:c=0.35",
    "sps-max": "sps-max:max={trial}",
    "greedy": "greedy",
    "cdat": "cdat:sigma=2",
    "on-edge": "on-edge",
    "rmsprop": "rmsprop:step={move}",
}
"""Name -> specification, in which {inverse} is 1/λ, {trial} 4/λ and {move} ‖g‖/λ, all at w_0."""
