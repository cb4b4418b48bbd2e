"""Samples in chunks: the numbers of all samples at once, in memory that the chunk bounds."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eosmodel as eos
from eosmodel.commands import shared, train
from eosmodel.commands.options import Train
from eosmodel.curvature import hvp, linearize, sharpness_gradient
from eosmodel.experiment._devices import for_batch
from eosmodel.objectives import MiniBatches, cnn, data, mlp, network
from eosmodel.objectives.networks import chunks
from eosmodel.simulation import loss_identity
from eosmodel.studies.blocks import Block, plain

SAMPLES = 12


def images(n=SAMPLES, side=4):
    return data.from_arrays(np.random.default_rng(0).normal(size=(n, side, side, 1)), np.arange(n) % 3)


def net_of(kind, dtype="float64", **options):
    if kind == "own":
        model = eqx.nn.MLP(16, 3, 4, 1, key=jax.random.key(0), dtype=np.dtype(dtype))
        flat = data.from_arrays(images().x.reshape(SAMPLES, 16), np.arange(SAMPLES) % 3)
        return network(model, flat, loss="ce", **options)
    return {"mlp": mlp, "cnn": cnn}[kind](images(), width=3, depth=1, loss="ce", dtype=dtype, **options)


@given(st.integers(1, 25), st.integers(1, 30))
@settings(max_examples=12, deadline=None)
def test_every_sample_is_counted_once(samples, chunk):
    x = jnp.arange(1.0, samples + 1)

    def each(w, x):
        return w * x[:, None]

    out, pull = jax.vjp(lambda w: chunks.in_chunks(each, w, (x,), chunk), jnp.asarray([2.0, 3.0]))
    np.testing.assert_array_equal(out, each(jnp.asarray([2.0, 3.0]), x))
    (gradient,) = pull(jnp.ones_like(out))
    np.testing.assert_allclose(gradient, samples * (samples + 1) / 2, rtol=1e-12)


@eqx.filter_jit
def derivatives(net, w, v):
    """All that a run, a tracker or a theory asks of a loss."""
    value, gradient, matvec = linearize(net, w)

    def slope(eta):
        return jax.jvp(lambda eta: net(w + eta * v), (eta,), (jnp.ones_like(eta),))[1]

    zero = jnp.zeros((), w.dtype)
    return {
        "loss": value,
        "losses": net.losses(w),
        "predictions": net.predictions(w),
        "gradient": gradient,
        "linearized": matvec(v),
        "hvp": hvp(net, w, v),
        "line": jax.jvp(slope, (zero,), (jnp.ones_like(zero),)),
        "third": sharpness_gradient(net, w, v),
    }


@pytest.mark.parametrize(
    ("kind", "dtype", "chunk"),
    [
        ("mlp", "float64", 4),
        ("mlp", "float64", 5),
        ("mlp", "float32", 5),
        ("cnn", "float64", 4),
        ("cnn", "float32", 7),
        ("own", "float64", 11),
    ],
)
@pytest.mark.usefixtures("lightly_compiled")
def test_derivatives_are_those_of_all_samples_at_once(kind, dtype, chunk):
    whole, parts = (net_of(kind, dtype, chunk=n) for n in (SAMPLES, chunk))
    assert (whole.chunk, parts.chunk) == (None, chunk)
    w = whole.initial()
    v = jax.random.normal(jax.random.key(1), w.shape, w.dtype) / w.size**0.5
    expected, got = derivatives(whole, w, v), derivatives(parts, w, v)
    eps = float(jnp.finfo(w.dtype).eps)
    for name, value in expected.items():
        for one, other in zip(jax.tree.leaves(value), jax.tree.leaves(got[name]), strict=True):
            assert one.shape == other.shape
            assert one.dtype == other.dtype == w.dtype
            np.testing.assert_allclose(other, one, rtol=0, atol=100 * eps * float(jnp.max(jnp.abs(one))), err_msg=name)


def test_memory_is_that_of_the_chunk():
    """Temporary memory of what a tracked step asks for, as the compiler allots it, in bytes."""

    @eqx.filter_jit
    def products(net, w):
        _, gradient, matvec = linearize(net, w)
        return matvec(matvec(gradient)), sharpness_gradient(net, w, gradient)

    def memory(samples, chunk):
        net = mlp(images(samples), width=16, depth=2, chunk=chunk)
        compiled = products.lower(net, net.initial()).compile().compiled
        return compiled.memory_analysis().temp_size_in_bytes

    whole, more = memory(512, 2048), memory(2048, 2048)
    assert 3 < more / whole < 5
    parts, more_parts = memory(512, 64), memory(2048, 64)
    assert more_parts < 1.3 * parts  # the loss of every sample, 8 bytes
    assert parts < 0.4 * whole


def test_runs_are_those_of_all_samples_at_once():
    """Two seeds in one batch, on mini-batches larger than a chunk; the full loss is tracked, the noise measured."""
    results = []
    for chunk in (SAMPLES, 4):
        loss = MiniBatches(mlp(images(), width=2, depth=1, dtype="float64", chunk=chunk), 5)
        results.append(eos.simulate(loss, "armijo", steps=6, seeds=[0, 1], measure_every=2, modes=1, progress=False))
    whole, parts = results
    assert (whole.attrs["chunk"], parts.attrs["chunk"]) == ("all", 4)
    for name, values in whole.data_vars.items():
        if values.dtype.kind == "f" and "seconds" not in name:
            # The sign of an amplitude is that of an eigenvector.
            np.testing.assert_allclose(abs(parts[name]), abs(values), rtol=1e-7, atol=1e-12, err_msg=name)
    # The chunk is how it was computed, and not what.
    assert whole.attrs["identity"] == parts.attrs["identity"]


def test_a_chunk_is_how_and_not_what():
    whole, parts = net_of("mlp"), net_of("mlp", chunk=5)
    w = whole.initial()
    assert loss_identity(whole, w) == loss_identity(parts, w) == loss_identity(MiniBatches(parts, 3).objective, w)
    assert loss_identity(MiniBatches(whole, 6), w) == loss_identity(MiniBatches(parts, 6), w)
    blocks = [Block(images, plain(objective={"data": "digits"} | how, steps=3)) for how in ({}, {"chunk": 5})]
    assert blocks[0].name == blocks[1].name
    small = Train(samples=10)
    both = (small, dataclasses.replace(small, chunk=5))
    first, second = (train.config_of(options, shared.network_options(options)) for options in both)
    assert first == second


def test_a_chunk_is_chosen_by_the_memory_there_is(monkeypatch):
    assert net_of("mlp").chunk is None
    sizes = {}
    for room in (3e5, 3e6):
        monkeypatch.setattr(chunks, "_memory", lambda room=room: room)
        sizes[room] = [mlp(images(n), width=32, depth=1).chunk for n in (2000, 4000)]
    # As many for any number of samples, and in proportion to the memory.
    assert sizes[3e5][0] == pytest.approx(sizes[3e5][1], abs=1)
    assert sizes[3e6][0] == pytest.approx(10 * sizes[3e5][0], rel=0.2)
    # Wider networks get fewer.
    assert mlp(images(4000), width=64, depth=1).chunk == pytest.approx(sizes[3e6][1] / 2, rel=0.3)


def test_the_runs_of_a_batch_share_the_memory(monkeypatch):
    monkeypatch.setattr(chunks, "_memory", lambda: 3e5)
    net = mlp(images(400), width=32, depth=1)
    assert 1 < 2 * net.for_runs(3).chunk < net.chunk
    batches = MiniBatches(net, 5)
    for batch in ({"seeds": [0, 1, 2]}, {"tuner": eos.tuners.Constant(jnp.asarray([0.1, 0.2, 0.3]))}, {"members": 3}):
        seeds, tuner = batch.get("seeds"), batch.get("tuner", eos.tuners.Constant(0.1))
        of_batch = for_batch(batches, tuner, seeds, None, batch.get("members"))
        assert of_batch.objective.chunk == net.for_runs(3).chunk
    assert for_batch(net, eos.tuners.Constant(0.1), 0, None).chunk == net.chunk
    # What was asked for stays.
    assert net_of("mlp", chunk=4).for_runs(50).chunk == 4
    # And a run says which it had.
    small = mlp(images(), width=2, depth=1)
    monkeypatch.setattr(chunks, "_memory", lambda: 1e4)
    run = eos.simulate(small, "constant:0.1", steps=1, seeds=[0, 1], track=(), progress=False)
    assert run.attrs["chunk"] == small.for_runs(2).chunk < SAMPLES


@pytest.mark.parametrize("chunk", [0, -3, 2.5, "all"])
def test_a_wrong_chunk_is_named(chunk):
    with pytest.raises(ValueError, match="Network: chunk must"):
        net_of("mlp", chunk=chunk)


def test_a_wrong_chunk_of_a_command_is_named(fails, tmp_path):
    assert "--chunk must lie in [1, inf], got 0" in fails("train", "--chunk", "0", "--out", str(tmp_path))
