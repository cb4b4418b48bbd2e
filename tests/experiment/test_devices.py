"""Runs on eight devices are those on one, to rounding; what cannot be divided is named."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import eosmodel as eos
from eosmodel.objectives import data, mlp

ON_EIGHT = """
import re
import equinox as eqx, jax, numpy as np
import eosmodel as eos
from eosmodel.curvature import hvp, sharpness_gradient
from eosmodel.experiment import as_mesh
from eosmodel.objectives import MiniBatches, cnn, data, mlp

jax.config.update("jax_enable_x64", True)
images = data.from_arrays(np.random.default_rng(0).normal(size=(48, 4, 4, 1)), np.arange(48) % 3)
whole, parts = (mlp(images, width=2, depth=1, dtype="float64", chunk=chunk) for chunk in (48, 4))

def same(name, loss, other, tuner="armijo", **options):
    kinds = dict(steps=6, modes=1, measure_every=2, progress=False, **options)
    one, eight = eos.simulate(loss, tuner, **kinds), eos.simulate(other, tuner, mesh=8, **kinds)
    assert '"devices": 8' in eight.attrs["config"]
    for variable, values in one.data_vars.items():
        if values.dtype.kind == "f" and "seconds" not in variable:  # amplitudes have the sign of an eigenvector
            np.testing.assert_allclose(abs(eight[variable]), abs(values), 1e-7, 1e-12, err_msg=f"{name}: {variable}")
    assert one.attrs.get("identity") == eight.attrs.get("identity")
    eos.compare(one, eight)

same("samples, in chunks", whole, parts)
same("batches, and seeds that do not divide", MiniBatches(whole, 16), MiniBatches(parts, 16), seeds=[0, 1])
same("runs of a toy", "valley", "valley", eos.tuners.Constant(np.linspace(0.1, 0.5, 8)))

# Sums over the devices are all that they tell each other, whatever a model does with the axis of the samples.
@eqx.filter_jit
def derivatives(net, w):
    return hvp(net, w, w), sharpness_gradient(net, w, w)

net = cnn(images, width=2, depth=1, dtype="float64", chunk=4).over(as_mesh("test", 8))
program = derivatives.lower(net, net.initial()).compile().compiled.as_text()
assert "all-reduce" in program
assert not re.search("all-gather|all-to-all|collective-permute", program)
print("the same")
"""


def test_eight_devices_give_the_run_of_one():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run([sys.executable, "-c", ON_EIGHT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("the same")


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (10_000, r"mesh must lie in \[1, \d+\], the number of \w+ devices, got 10000"),
        (0, "mesh must lie in"),
        ("8", "mesh must be a jax.sharding.Mesh or a number of devices, got '8'"),
    ],
)
def test_a_wrong_mesh_is_named(mesh, message):
    with pytest.raises(ValueError, match=message):
        eos.simulate("valley", "armijo", steps=2, mesh=mesh, progress=False)


def test_samples_that_do_not_divide_are_named():
    """A mesh of one device in several places stands for several: only its size is asked."""
    three = jax.sharding.Mesh(np.asarray([jax.devices()[0]] * 3), ("devices",))
    net = mlp(data.from_arrays(np.ones((10, 2)), np.ones(10)), width=2, depth=1)
    with pytest.raises(ValueError, match="3 devices do not divide 10 samples; take 9 or 12 samples"):
        net.over(three)
    with pytest.raises(ValueError, match="no samples, and the number of runs is 2"):
        eos.simulate("valley", eos.tuners.Constant(np.asarray([0.1, 0.2])), steps=2, mesh=three, progress=False)


def test_devices_of_a_command_that_are_not_there_are_named(fails, tmp_path):
    out = str(tmp_path / "out")
    assert "--devices must lie in [1, " in fails("train", "--devices", "999", "--samples", "10", "--out", out)
    assert "--devices is for networks alone" in fails("train", "--objective", "valley", "--devices", "2", "--out", out)
