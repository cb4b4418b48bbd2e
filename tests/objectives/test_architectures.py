"""Every architecture of the table: its contract, and its outputs against equinox's own layers or plain numpy."""

import dataclasses
import textwrap

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from eosmodel.objectives import (
    NETWORKS,
    GaussianBatches,
    MiniBatches,
    data,
    gpt,
    mixer,
    mlp,
    network,
    recipes,
    resnet,
    vgg,
    vit,
)

pytestmark = pytest.mark.usefixtures("lightly_compiled")


def images(side=8, channels=1):
    rng = np.random.default_rng(0)
    return data.from_arrays(rng.normal(size=(5, side, side, channels)), np.arange(5) % 3, name="images")


def data_for(name):
    return data.markov(5, length=4, tokens=3) if name in ("transformer", "gpt") else images()


@pytest.mark.parametrize("name", NETWORKS)
def test_contract(name):
    """Shapes and dtypes, seeds, and a Hessian that is symmetric and the derivative of the gradient."""
    build, _ = NETWORKS[name]
    options = {"width": 4, "depth": 1, "activation": "tanh", "init_scale": 0.5}
    d = data_for(name)
    nets = {dtype: build(d, **options, seed=3, dtype=dtype) for dtype in ("float32", "float64")}
    for dtype, net in nets.items():
        w = net.initial()
        out = jax.eval_shape(net.predictions, w)
        assert (out.shape, out.dtype, w.dtype) == (d.y.shape, dtype, dtype)
        np.testing.assert_array_equal(w, net.initial(3))
        np.testing.assert_array_equal(build(d, **options, seed=4, dtype=dtype).initial(), net.initial(4))
        assert not np.array_equal(w, net.initial(4))
    net = nets["float64"]
    second = jax.jit(lambda w, v: jax.jvp(jax.value_and_grad(net), (w,), (v,)))
    w = net.initial() + 0.1  # biases and norms too
    u, v = jax.random.normal(jax.random.key(0), (2, w.size), w.dtype)
    ((value, gradient), (slope, hu)), (_, (_, hv)) = second(w, u), second(w, v)
    assert value.dtype == gradient.dtype == hu.dtype == "float64"
    np.testing.assert_allclose(slope, gradient @ u, rtol=1e-9)
    np.testing.assert_allclose(u @ hv, v @ hu, rtol=1e-8)
    h = 1e-5
    changed = (second(w + h * u, u)[0][1] - second(w - h * u, u)[0][1]) / (2 * h)
    np.testing.assert_allclose(hu, changed, rtol=1e-4, atol=1e-7 * float(jnp.abs(hu).max()))
    value = nets["float32"](w.astype("float32"))
    assert value.dtype == "float32"
    np.testing.assert_allclose(value, net(w), rtol=1e-5)


def unravelled(net):
    """Inputs, and the model at random weights, biases and norms too."""
    w = net.initial() + 0.1 * jax.random.normal(jax.random.key(1), net.initial().shape, net.x.dtype)
    return net.predictions(w), eqx.combine(net._unravelled(w), net.model)


def test_resnet_is_that_of_equinox_layers():
    net = resnet(images(side=5, channels=2), width=4, depth=1, activation="silu")
    out, model = unravelled(net)

    def filtered(layer, h, stride=1):
        pair = (stride, stride)
        return jax.lax.conv_general_dilated(h[None], layer.weight, pair, ((1, 1), (1, 1)))[0] + layer.bias

    def forward(x):
        h = filtered(model.stem, x.transpose(2, 0, 1))
        for i, block in enumerate(model.blocks):
            stride = 2 if i else 1
            inner = filtered(block.filters[0], jax.nn.silu(block.norms[0](h)), stride)
            inner = filtered(block.filters[1], jax.nn.silu(block.norms[1](inner)))
            if block.projection is not None:
                projection = block.projection
                h = (
                    jnp.einsum("oc,chw->ohw", projection.weight, h[:, ::stride, ::stride])
                    + projection.bias[:, None, None]
                )
            h = h + inner
        return model.out(jax.nn.silu(model.norm(h)).mean((1, 2)))

    assert len(model.blocks) == 3
    assert model.blocks[-1].filters[1].weight.shape == (16, 16, 3, 3)
    np.testing.assert_allclose(out, [forward(x) for x in net.x], rtol=1e-10, atol=1e-12)


def test_vgg_is_that_of_equinox_layers():
    net = vgg(images(side=5, channels=2), width=3, depth=2)
    out, model = unravelled(net)
    pool = eqx.nn.AvgPool2d(2, 2)

    def forward(x):
        h = x.transpose(2, 0, 1)
        for first, second in model.stages:
            h = pool(jnp.tanh(second(jnp.tanh(first(h)))))
        return model.out(h.ravel())

    np.testing.assert_allclose(out, [forward(x) for x in net.x], rtol=1e-10, atol=1e-12)


def test_mixer_is_that_of_plain_numpy():
    net = mixer(images(side=4, channels=3), width=6, depth=2, patch=2, activation="tanh")
    out, model = unravelled(net)

    def affine(layer, h):
        return h @ np.asarray(layer.weight).T + np.asarray(layer.bias)

    def norm(layer, h):
        scale = np.sqrt(h.var(-1, keepdims=True) + layer.eps)
        return (h - h.mean(-1, keepdims=True)) / scale * np.asarray(layer.weight) + np.asarray(layer.bias)

    def perceptron(layers, h):
        return affine(layers[1], np.tanh(affine(layers[0], h)))

    model = model.model
    assert model.blocks[0].between[0].weight.shape == (3, 4)
    assert model.blocks[0].within[0].weight.shape == (24, 6)
    for image, expected in zip(np.asarray(net.x), out, strict=True):
        tiles = [image[i : i + 2, j : j + 2].ravel() for i in (0, 2) for j in (0, 2)]
        h = affine(model.embedding, np.stack(tiles))
        for block in model.blocks:
            h = h + perceptron(block.between, norm(block.norms[0], h).T).T
            h = h + perceptron(block.within, norm(block.norms[1], h))
        np.testing.assert_allclose(expected, affine(model.out, norm(model.norm, h).mean(0)), rtol=1e-10, atol=1e-12)


def test_gpt_sees_no_later_token():
    net = gpt(data.markov(4, length=6), width=4, depth=1, dtype="float64")
    slopes = jax.jacobian(lambda x: net.model(x[None])[0].sum(-1))(net.x[0])
    felt = np.abs(slopes).max(-1)  # (output, input)
    assert np.all(felt[np.triu_indices(6, 1)] == 0)
    assert np.all(felt[np.tril_indices(6)] > 0)


def test_chains_are_markov_and_each_sequence_has_its_own():
    few, many = data.markov(7), data.markov(20)
    np.testing.assert_array_equal(few.x, many.x[:7])
    np.testing.assert_array_equal(many.x[:, 1:], many.y[:, :-1])
    long = data.markov(40, length=4000, tokens=2)
    tokens, follow = long.x.argmax(-1), long.y.argmax(-1)
    chances = np.array([[(y[x == k] == 1).mean() for k in (0, 1)] for x, y in zip(tokens, follow, strict=True)])
    # 80 uniform probabilities, to their five standard errors: mean ½, variance 1/12 with fourth moment 1/80.
    assert abs(chances.mean() - 0.5) < 5 / np.sqrt(12 * 80)
    assert abs(chances.var() - 1 / 12) < 5 * np.sqrt((1 / 80 - 1 / 144) / 80)


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (vit, {"patch": 3}, "vit: patch must divide the height of images, 8, got 3"),
        (vit, {"width": 6, "heads": 4}, "vit: heads must divide width, 6, got 4"),
        (mixer, {"patch": 0}, r"mixer: patch must lie in \[1, inf\], got 0"),
        (resnet, {"width": 5}, "resnet: groups must divide width, 5, got 2"),
        (vgg, {"depth": 4}, "vgg: images must have at least 2\\^depth pixels a side, 16, got 8×8"),
        (gpt, {}, "gpt: data.x must have shape .samples, length, features.*'sorting' and 'markov' have them"),
    ],
)
def test_sizes_that_do_not_fit(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(images(), **options)


def test_a_specification_gives_parameters_and_reaches_functions_of_ones_own(tmp_path, monkeypatch):
    net = recipes.network(data="digits", samples=5, net="vit:patch=2", width=4, depth=1)
    assert net.model.model.patch == 2
    monkeypatch.chdir(tmp_path)
    code = """
        import equinox as eqx
        import jax.numpy as jnp
        import eosmodel as eos

        def linear(data, dtype="float32", seed=0, times: float = 1.0):
            def model(key):
                layer = eqx.nn.Linear(64, 10, key=key, dtype=dtype)
                return eqx.nn.Sequential([eqx.nn.Lambda(lambda x: times * jnp.ravel(x)), layer])
            return eos.objectives.network(model, data, seed=seed)

        def wrong(data):
            return 3
    """
    (tmp_path / "nets_of_mine.py").write_text(textwrap.dedent(code))
    for spec, message in (
        ("vti:patch=2", r"unknown network 'vti' \(did you mean vit\?\)"),
        ("mlp:patch=2", "network mlp has no parameter 'patch'"),
        ("vit:patch=two", "network 'vit:patch=two': patch must be a number"),
        ("nets_of_mine:nothing", "nets_of_mine has no class or function nothing"),
        ("nets_of_mine:wrong", "what it makes must be a Network"),
    ):
        with pytest.raises(ValueError, match=message):
            recipes.network(data="digits", samples=5, net=spec, width=4)
    options = {"data": "digits", "samples": 5, "width": 4, "dtype": "float64"}
    one, two = (recipes.network(net=f"nets_of_mine:linear:times={k}", **options) for k in (1, 2))
    np.testing.assert_array_equal(one.initial(), two.initial())
    weight = one.initial().at[640:].set(0.0)  # no bias
    np.testing.assert_allclose(two.predictions(weight), 2 * one.predictions(weight))


def test_a_model_of_a_key_can_be_drawn_anew():
    d = images()

    def model(key):
        return eqx.nn.Sequential([eqx.nn.Lambda(jnp.ravel), eqx.nn.Linear(64, 3, key=key, dtype=jnp.float64)])

    net = network(model, d, seed=2)
    np.testing.assert_array_equal(net.initial(), net.initial(2))
    for seed in (2, 5):
        expected = ravel_pytree(eqx.filter(model(jax.random.key(seed)), eqx.is_inexact_array))[0]
        np.testing.assert_array_equal(net.initial(seed), expected)
    weights = network(model, d, seed=2, trainable=lambda leaf: leaf.ndim == 2)
    assert weights.initial(5).shape == (192,)
    with pytest.raises(ValueError, match="with a seed, model must be a function of a key"):
        network(model(jax.random.key(0)), d, seed=2)


def test_a_vision_transformer_sees_tiles_and_averages_over_them():
    net = vit(images(), width=4, depth=1, patch=4)
    out, model = unravelled(net)
    for x, expected in zip(net.x, out, strict=True):
        tiles = [x[i : i + 4, j : j + 4].ravel() for i in (0, 4) for j in (0, 4)]
        np.testing.assert_allclose(expected, model.model.transformer(jnp.stack(tiles)).mean(0), rtol=1e-12)


def test_weight_decay_adds_its_square_to_the_loss_and_itself_to_the_hessian():
    d = data.from_arrays(np.random.default_rng(0).normal(size=(6, 3)), np.linspace(-1, 1, 6))
    plain, decayed = (mlp(d, width=2, depth=1, weight_decay=value) for value in (0.0, 0.3))
    w = decayed.initial(1)
    np.testing.assert_allclose(decayed(w), plain(w) + 0.15 * np.sum(np.square(w)), rtol=1e-12)
    np.testing.assert_allclose(jax.hessian(decayed)(w), jax.hessian(plain)(w) + 0.3 * np.eye(w.size), atol=1e-12)
    np.testing.assert_array_equal(decayed.losses(w), plain.losses(w))
    for batches in (MiniBatches(decayed, 2), GaussianBatches(decayed, 0.1)):
        draws = np.mean([batches.draw(0, t)(w) for t in range(3)])
        without = np.mean([dataclasses.replace(batches, objective=plain).draw(0, t)(w) for t in range(3)])
        np.testing.assert_allclose(draws - without, 0.15 * np.sum(np.square(w)), rtol=1e-9)
    assert repr(decayed) == "Network(MLP, 11 weights, mse, weight decay 0.3, 6 samples, float64)"
    model = eqx.nn.Linear(3, 1, key=jax.random.key(0), dtype="float64")
    of_ones_own = network(model, d, weight_decay=0.3)
    np.testing.assert_allclose(of_ones_own(jnp.ones(4)) - network(model, d)(jnp.ones(4)), 0.5 * 0.3 * 4, rtol=1e-12)
    with pytest.raises(ValueError, match=r"network: weight_decay must lie in \[0, inf\), got -1"):
        mlp(d, weight_decay=-1)
