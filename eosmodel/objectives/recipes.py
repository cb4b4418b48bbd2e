"""Networks from plain options, for the command line and the blocks of a sweep."""

from typing import Any

from eosmodel import _specs
from eosmodel.objectives.data import load
from eosmodel.objectives.networks import NETWORKS, Network


def data_hash(*, data: str, samples: int | str | None = None, **options: Any) -> str:
    """The `Data.sha256` of a network's data; arguments of `network`."""
    return load(data, samples=samples).sha256


def network(
    *, data: str, net: str = "mlp", samples: int | None = None, data_sha256: str | None = None, **options: Any
) -> Network:
    """A network of `NETWORKS` on a data set of `data.DATASETS`.

    Args:
        data: name of the data set, or the path of an .npz file.
        net: name of the architecture.
        samples: number of samples, the first ones; all when None.
        data_sha256: `Data.sha256` of the data that are meant; None for whatever is there.
        options: arguments of the architecture's function: width, depth, activation, init_scale, loss, seed, dtype,
            chunk.

    Raises:
        ValueError: an unknown name, data that are not those that are meant, or an option that the data set or the
            architecture does not allow.

    Example:
        >>> network(data="digits", samples=50, width=4, depth=1).x.shape
        (50, 8, 8, 1)
    """
    build, _ = _specs.look_up(net, NETWORKS, "network")
    loaded = load(data, samples=samples)
    if data_sha256 is not None and data_sha256 != loaded.sha256:
        raise ValueError(f"data {data} have changed: SHA-256 {loaded.sha256[:12]}…, not {data_sha256[:12]}…")
    return build(loaded, **options)
