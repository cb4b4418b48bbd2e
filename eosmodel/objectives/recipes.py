"""Networks from plain options, for the command line and the blocks of a sweep."""

import inspect
from collections.abc import Callable
from typing import Any

from eosmodel import _specs
from eosmodel._checks import refused
from eosmodel.objectives.data import Choice, load
from eosmodel.objectives.networks import NETWORKS, Network
from eosmodel.objectives.networks.building import decayed

CHOICE = tuple(Choice.__annotations__)
"""Options by which samples are chosen, see `data.Choice`."""


def data_hash(*, data: str, samples: int | str | None = None, **options: Any) -> str:
    """The `Data.sha256` of a network's data; arguments of `network`."""
    return load(data, samples=samples, **{k: v for k, v in options.items() if k in CHOICE}).sha256


SHARED = ("data", "width", "depth", "activation", "init_scale", "loss", "seed", "dtype", "chunk", "weight_decay")
"""What the functions of architectures have in common; their other parameters are part of a specification."""


def network(
    *, data: str, net: str = "mlp", samples: int | None = None, data_sha256: str | None = None, **options: Any
) -> Network:
    """A network of `NETWORKS` on a data set of `data.DATASETS`.

    Args:
        data: name of the data set, or the path of an .npz file.
        net: name of the architecture, or with parameters of its own `name:parameter=value,…`. A name may be
            `module:name`, a function of your own, found in the current folder: it is called with the data and with
            those of the options that it has, and returns a `Network`.
        samples: number of samples, the first ones; all when None.
        data_sha256: `Data.sha256` of the data that are meant; None for whatever is there.
        options: arguments of the architecture's function: width, depth, activation, init_scale, loss, seed, dtype,
            chunk, weight_decay; and those of `data.Choice`, by which samples are chosen.

    Raises:
        ValueError: an unknown name, data that are not those that are meant, or an option that the data set or the
            architecture does not allow.

    Example:
        >>> network(data="digits", samples=50, width=4, depth=1).x.shape
        (50, 8, 8, 1)
    """
    name, (build, _), texts = _specs.parse("network", net, NETWORKS, lambda name: dict(parameters(name)), entry_of)
    defaults, owner = dict(parameters(name)), f"network {net!r}"
    _specs.check_names(f"network {name}", texts, defaults)
    own = {key: _specs.scalar(owner, key, text, defaults[key]) for key, text in texts.items()}
    choice = {key: options.pop(key) for key in CHOICE if key in options}
    loaded = load(data, samples=samples, **choice)
    if data_sha256 is not None and data_sha256 != loaded.sha256:
        raise ValueError(f"data {data} have changed: SHA-256 {loaded.sha256[:12]}…, not {data_sha256[:12]}…")
    if name in NETWORKS:
        return build(loaded, **options, **own)
    taken = inspect.signature(build).parameters
    built = _specs.build(owner, build, {"data": loaded} | {k: v for k, v in options.items() if k in taken} | own)
    if not isinstance(built, Network):
        hint = "eos.objectives.network(model, data, loss) makes one of a model"
        raise refused(owner, "what it makes", "a Network", built, hint)
    return decayed(built, options["weight_decay"]) if "weight_decay" in options.keys() - taken.keys() else built


def entry_of(name: str) -> tuple[Callable[..., Network], str]:
    """The entry of a name; of `module:name`, the user's own function."""
    if ":" not in name:
        return _specs.look_up(name, NETWORKS, "network")
    return _specs.load("network", name, NETWORKS), "a network of your own"


def parameters(name: str) -> list[tuple[str, Any]]:
    """Names and defaults of the parameters that an architecture has beside the `SHARED` ones."""
    signature = inspect.signature(entry_of(name)[0])
    return [(p.name, p.default) for p in signature.parameters.values() if p.name not in SHARED]
