"""Where arrays lie on several devices, in jax's own terms."""

from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "divided"


def sharded_over(mesh: Mesh) -> NamedSharding:
    """Axis 0 of an array, that of samples or of runs, over all devices of a mesh, whatever its own axes are."""
    return NamedSharding(_flat(mesh), PartitionSpec(AXIS))


def copied_to(mesh: Mesh) -> NamedSharding:
    """A copy of an array on every device of a mesh."""
    return NamedSharding(_flat(mesh), PartitionSpec())


def check_divides(owner: str, devices: int, samples: int) -> None:
    """Raise ValueError unless so many devices divide the samples."""
    if rest := samples % devices:
        fewer = samples - rest
        numbers = f"{fewer} or {fewer + devices}" if fewer else f"{devices}"
        raise ValueError(f"{owner}: {devices} devices do not divide {samples} samples; take {numbers} samples")


def _flat(mesh: Mesh) -> Mesh:
    # With axes of the type Auto, which is that of `Mesh`, XLA divides the operations of any model.
    return Mesh(mesh.devices.ravel(), (AXIS,))
