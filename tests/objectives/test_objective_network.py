"""Networks against a forward pass in plain numpy, and the promises about seeds, dtypes and recompilation."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax.test_util import check_grads

from eosmodel.objectives import NETWORKS, cnn, data, mlp, network

pytestmark = pytest.mark.usefixtures("lightly_compiled")

ACT = {
    "tanh": np.tanh,
    "relu": lambda h: np.maximum(h, 0),
    "silu": lambda h: h * scipy.special.expit(h),
    "gelu": lambda h: 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3))),
}


def images(n=6, side=5, channels=2, classes=3):
    rng = np.random.default_rng(0)
    return data.from_arrays(rng.normal(size=(n, side, side, channels)), np.arange(n) % classes, name="images")


def split(w, shapes):
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    assert ends[-1] == len(w)
    return [part.reshape(shape) for part, shape in zip(np.split(w, ends[:-1]), shapes, strict=True)]


def numpy_mlp(d, w, width, depth, act):
    sizes = [np.prod(d.x.shape[1:]), *[width] * depth, d.y.shape[1]]
    shapes = [s for i, o in itertools.pairwise(sizes) for s in ((o, i), (o,))]
    parts = split(w, shapes)
    h = d.x.reshape(len(d.x), -1)
    for layer in range(depth + 1):
        h = h @ parts[2 * layer].T + parts[2 * layer + 1]
        h = act(h) if layer < depth else h
    return h


def numpy_cnn(d, w, width, depth, act):
    side, channels, shapes = d.x.shape[1], d.x.shape[3], []
    for _ in range(depth):
        shapes += [(width, channels, 3, 3), (width, 1, 1)]
        side, channels = (side + 1) // 2, width
    parts = split(w, [*shapes, (d.y.shape[1], side * side * channels), (d.y.shape[1],)])
    h = d.x.transpose(0, 3, 1, 2)
    for layer in range(depth):
        padded = np.pad(h, ((0, 0), (0, 0), (1, 1), (1, 1)))
        size = (h.shape[2] + 1) // 2
        out = np.zeros((len(h), width, size, size))
        for i in range(size):
            for j in range(size):
                patch = padded[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
                out[:, :, i, j] = np.einsum("ncab,ocab->no", patch, parts[2 * layer])
        h = act(out + parts[2 * layer + 1])
    return h.reshape(len(h), -1) @ parts[-2].T + parts[-1]


def numpy_loss(out, y, loss):
    if loss == "mse":
        return 0.5 * np.mean(np.sum((out - y) ** 2, axis=1))
    return -np.mean(np.sum(y * scipy.special.log_softmax(out, axis=1), axis=1))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("loss", ["mse", "ce"])
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_loss_is_that_of_a_plain_numpy_network(kind, loss, dtype):
    d = images()
    net = NETWORKS[kind][0](d, width=4, depth=2, loss=loss, dtype=dtype, seed=3)
    w = net.initial() + jnp.asarray(np.random.default_rng(1).normal(size=net.initial().shape), dtype)  # biases too
    assert w.dtype == net.x.dtype == net.y.dtype == dtype
    out = (numpy_mlp if kind == "mlp" else numpy_cnn)(d, np.asarray(w, np.float64), 4, 2, np.tanh)
    rtol = 1e-12 if dtype == jnp.float64 else 2e-5
    np.testing.assert_allclose(net.predictions(w), out, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(net.loss(w), numpy_loss(out, d.y, loss), rtol=rtol)
    np.testing.assert_allclose(jax.jit(jax.vmap(net))(jnp.stack([w, w]))[1], net(w), rtol=rtol)
    assert net.loss(w).dtype == jax.grad(net)(w).dtype == dtype
    np.testing.assert_allclose(net.accuracy(w), np.mean(out.argmax(1) == d.y.argmax(1)), rtol=1e-6)


@pytest.mark.parametrize("activation", list(ACT))
@pytest.mark.parametrize("depth", [0, 1])
def test_activations_and_depth(activation, depth):
    d = images()
    net = mlp(d, width=5, depth=depth, activation=activation)
    w = net.initial()
    assert w.dtype == jnp.float64
    np.testing.assert_allclose(net.predictions(w), numpy_mlp(d, np.asarray(w), 5, depth, ACT[activation]), rtol=1e-12)


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_gradients(kind, loss):
    net = NETWORKS[kind][0](images(), width=3, depth=1, loss=loss)
    check_grads(net.loss, (net.initial(),), order=2, modes=["rev"], rtol=1e-5)


def test_mean_conventions():
    """All outputs at 0: mse is ½ for one-hot targets, ce is ln(classes), whatever the number of samples."""
    for n in (3, 30):
        d = images(n)
        zeros = jnp.zeros_like(mlp(d, width=2).initial())
        np.testing.assert_allclose(mlp(d, width=2).loss(zeros), 0.5)
        np.testing.assert_allclose(mlp(d, width=2, loss="ce").loss(zeros), np.log(3))


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_statistics_of_the_initial_weights(kind):
    d = images(4, side=8, channels=3)
    net = NETWORKS[kind][0](d, width=60, depth=2, init_scale=0.3, seed=5)
    for layer in net.model.layers:
        weight, fan_in = np.asarray(layer.weight), np.prod(layer.weight.shape[1:])
        normalised = weight.ravel() * np.sqrt(fan_in) / 0.3
        error = 5 / np.sqrt(weight.size)  # five standard errors of mean and (√2 smaller) standard deviation
        assert abs(normalised.mean()) < error
        assert abs(normalised.std() - 1) < error
        assert not np.any(layer.bias)
    hidden = np.asarray(net.model.layers[1].weight).reshape(60, -1)
    assert abs(np.corrcoef(hidden[0], hidden[1])[0, 1]) < 5 / np.sqrt(hidden.shape[1])


def test_seeds():
    d = images()
    net = mlp(d, width=4, seed=2)
    np.testing.assert_array_equal(net.initial(), net.initial(2))
    np.testing.assert_array_equal(net.initial(7), mlp(d, width=4, seed=7).initial())
    assert not np.array_equal(net.initial(7), net.initial())
    assert net.initial(7).shape == net.initial().shape
    np.testing.assert_allclose(mlp(d, width=4, init_scale=0.5, seed=2).initial(), 0.5 * net.initial(), rtol=1e-12)
    batch = jax.vmap(net.initial)(jnp.arange(3))
    np.testing.assert_array_equal(batch[2], net.initial(2))


def test_weights_of_a_seed_are_drawn_by_the_programs_of_construction(compilations):
    net = mlp(data.digits(20), width=7, depth=2)
    assert not compilations(lambda: net.initial(3))
    assert compilations(lambda: mlp(data.digits(20), width=9, depth=2))


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_an_equal_second_object_does_not_recompile(kind):
    traces = []

    @eqx.filter_jit
    def value(net, w):
        traces.append(1)
        return net(w)

    build = NETWORKS[kind][0]
    for options in ({}, {}, {"seed": 4}, {"init_scale": 0.5}):
        net = build(images(), width=3, **options)
        value(net, net.initial())
    assert len(traces) == 1
    value(build(images(), width=3, activation="relu"), net.initial())
    assert len(traces) == 2


def test_weights_of_another_dtype_decide_the_computation():
    net = mlp(images(), width=3)
    w = net.initial().astype(jnp.float32)
    assert net.loss(w).dtype == net.accuracy(w).dtype == jnp.float32


def test_a_model_of_ones_own():
    d = data.from_arrays(np.random.default_rng(0).normal(size=(8, 3)), np.linspace(-1, 1, 8))
    model = eqx.nn.MLP(3, 1, 4, 1, key=jax.random.key(0), dtype=jnp.float32)
    net = network(model, d)
    w = net.initial()
    assert w.dtype == net.x.dtype == jnp.float32
    out = np.asarray(jax.vmap(model)(jnp.asarray(d.x, jnp.float32)))
    np.testing.assert_allclose(net.loss(w), 0.5 * np.mean(np.sum((out - d.y) ** 2, axis=1)), rtol=1e-5)
    with pytest.raises(ValueError, match="cannot be re-initialised; pass seed=None, got seed=1"):
        net.initial(1)
    with pytest.raises(ValueError, match="accuracy is not defined for regression data"):
        net.accuracy(w)
    with pytest.raises(ValueError, match=r"outputs of shape \(1,\), got \(2,\)"):
        network(eqx.nn.Linear(3, 2, key=jax.random.key(0)), d)
    with pytest.raises(ValueError, match="one real floating-point dtype, got no weights"):
        network(eqx.nn.Lambda(jnp.tanh), d)
    mixed = eqx.tree_at(lambda m: m.layers[0].bias, model, jnp.zeros(4, jnp.float64))
    with pytest.raises(ValueError, match="got float32, float64"):
        network(mixed, d)


class Masked(eqx.Module):
    """A linear model whose mask is an array, and no weight."""

    weight: jax.Array
    mask: jax.Array

    def __call__(self, x):
        return (self.mask * self.weight) @ x


def test_arrays_that_are_no_weights_stay_as_they_are():
    d = data.from_arrays(np.random.default_rng(0).normal(size=(8, 3)), np.linspace(-1, 1, 8))
    model = Masked(jnp.ones((1, 3)), jnp.asarray([[1.0, 0.0, 1.0]]))
    assert network(model, d).initial().size == 6
    is_weight = eqx.tree_at(lambda m: m.weight, jax.tree.map(lambda _: False, model), True)
    for trainable in (is_weight, lambda leaf: leaf is model.weight):
        net = network(model, d, trainable=trainable)
        w = jnp.asarray([1.0, 2.0, 3.0])
        assert net.initial().size == 3
        np.testing.assert_allclose(net.predictions(w)[:, 0], d.x @ [1.0, 0.0, 3.0])
        assert jax.grad(net)(w)[1] == 0


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (eqx.nn.Dropout(0.5), r"a Dropout, which is random; pass eqx.nn.inference_mode\(model\)"),
        (eqx.nn.BatchNorm(3, "batch", mode="batch"), "a BatchNorm, which keeps state; use LayerNorm or GroupNorm"),
    ],
    ids=["dropout", "batch norm"],
)
def test_layers_that_are_random_or_keep_state_are_refused_by_name(layer, message):
    d = data.from_arrays(np.random.default_rng(0).normal(size=(8, 3)), np.linspace(-1, 1, 8))
    model = eqx.nn.Sequential([layer, eqx.nn.Linear(3, 1, key=jax.random.key(0))])
    with pytest.raises(ValueError, match="network: model has " + message):
        network(model, d)
    if isinstance(layer, eqx.nn.Dropout):
        assert network(eqx.nn.inference_mode(model), d).initial().size == 4


class Counting:
    """A model of another library that counts its calls."""

    calls = 0

    def __call__(self, x):
        raise RuntimeError("Cannot mutate calls\nfrom a different trace level")


class Own(eqx.Module):
    linear: eqx.nn.Linear
    counting: Counting = eqx.field(static=True, default=Counting())

    def __call__(self, x):
        return self.counting(self.linear(x))


def test_a_model_that_fails_and_trainable_of_another_kind_are_one_line():
    d = data.from_arrays(np.random.default_rng(0).normal(size=(8, 3)), np.linspace(-1, 1, 8))
    model = Own(eqx.nn.Linear(3, 1, key=jax.random.key(0)))
    with pytest.raises(ValueError, match=r"without state or random numbers; RuntimeError: Cannot mutate calls$"):
        network(model, d)
    with pytest.raises(ValueError, match=r"trainable must be None, a function of a leaf, .*, got 'weights'"):
        network(model, d, trainable="weights")


def test_a_model_that_is_none_or_does_not_take_the_data_is_named():
    d = data.from_arrays(np.random.default_rng(0).normal(size=(8, 3)), np.linspace(-1, 1, 8))
    with pytest.raises(ValueError, match="model must be an equinox module, got the class Linear"):
        network(eqx.nn.Linear, d)
    with pytest.raises(ValueError, match="got no weights in the function <lambda>"):
        network(lambda x: x, d)
    with pytest.raises(ValueError, match=r"model does not take x of shape \(3,\): .*got \(4,\) and \(3,\)"):
        network(eqx.nn.Linear(4, 1, key=jax.random.key(0)), d)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_refused_by_name(dtype):
    d = data.from_arrays(np.random.default_rng(0).normal(size=(8, 3)), np.linspace(-1, 1, 8))
    message = f"must be float32 or float64, got {jnp.dtype(dtype).name}"
    with pytest.raises(ValueError, match="network: the dtype of model's weights " + message):
        network(eqx.nn.Linear(3, 1, key=jax.random.key(0), dtype=dtype), d)
    with pytest.raises(ValueError, match="mlp: dtype " + message):
        mlp(d, dtype=dtype)


def test_images_without_an_axis_of_channels_have_one():
    d = images(channels=1)
    flat = dataclasses.replace(d, x=d.x[..., 0])
    np.testing.assert_array_equal(cnn(flat, width=3).initial(), cnn(d, width=3).initial())
    assert cnn(flat, width=3).loss(cnn(d, width=3).initial()) == cnn(d, width=3)(cnn(d, width=3).initial())


def test_repr_is_one_line():
    assert repr(mlp(images(), width=3, depth=1, dtype=jnp.float32)).startswith("Network(MLP, ")
    assert "\n" not in repr(mlp(images(), width=3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, r"width must lie in \[1, inf\], got 0"),
        ({"width": 2.5}, "width must be an integer, got 2.5"),
        ({"depth": -1}, r"depth must lie in \[[01], inf\], got -1"),
        ({"activation": "sine"}, "activation must be one of tanh, relu, gelu, silu, got 'sine'"),
        ({"init_scale": 0.0}, r"init_scale must lie in \(0, inf\), got 0.0"),
        ({"loss": "hinge"}, "loss must be one of mse, ce, got 'hinge'"),
        ({"seed": -1}, r"seed must lie in \[0, inf\], got -1"),
        ({"dtype": jnp.int32}, "dtype must be a floating-point one, got int32"),
    ],
)
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_errors(kind, options, message):
    with pytest.raises(ValueError, match=f"{kind}: {message}"):
        NETWORKS[kind][0](images(), **options)


def test_errors_about_data():
    flat = data.from_arrays(np.ones((4, 3)), np.ones(4))
    with pytest.raises(ValueError, match="loss 'ce' needs class labels, but 'arrays' has regression targets"):
        mlp(flat, loss="ce")
    with pytest.raises(ValueError, match=r"data.x must have shape \(samples, height, width, channels\), got \(4, 3\)"):
        cnn(flat)
    with pytest.raises(ValueError, match="data must be a Data, got ndarray"):
        mlp(np.ones((4, 3)))
    with jax.enable_x64(False), pytest.raises(ValueError, match="float64 needs"):
        mlp(flat, dtype=np.float64)
    assert mlp(dataclasses.replace(flat, name="renamed"), width=2).classes is None


@pytest.mark.parametrize("build", [mlp, cnn])
def test_products_are_in_full_precision_on_every_device(build):
    """An accelerator's default for float32 keeps ten bits, in which the curvature of a network is lost."""
    net = build(images(), width=4, dtype=jnp.float32)
    product = jax.jit(lambda w, v: jax.jvp(jax.grad(net), (w,), (v,))[1])
    program = product.lower(net.initial(), net.initial()).as_text()
    assert "HIGHEST" in program
    assert "DEFAULT" not in program
