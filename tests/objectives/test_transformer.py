"""The transformer and the sorting task, against a forward pass written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from eosmodel.objectives import cnn, data, mlp, transformer

pytestmark = pytest.mark.usefixtures("lightly_compiled")

LENGTH, TOKENS = 5, 4


def pairs(samples=12):
    return data.sorting(samples, length=LENGTH, tokens=TOKENS)


def norm(layer, x):
    centered = x - x.mean(-1, keepdims=True)
    scale = np.sqrt(x.var(-1, keepdims=True) + layer.eps)
    return centered / scale * np.asarray(layer.weight) + np.asarray(layer.bias)


def affine(layer, x):
    return x @ np.asarray(layer.weight).T + (0 if layer.bias is None else np.asarray(layer.bias))


def forward(model, x):
    h = affine(model.embedding, np.concatenate([x, np.broadcast_to(np.eye(LENGTH), (len(x), LENGTH, LENGTH))], -1))
    for block in model.blocks:
        normed = norm(block.norms[0], h)
        query, key, value = (
            affine(layer, normed).reshape(len(x), LENGTH, 2, -1)
            for layer in (block.attention.query_proj, block.attention.key_proj, block.attention.value_proj)
        )
        weights = softmax(np.einsum("nihd,njhd->nhij", query, key) / np.sqrt(query.shape[-1]), axis=-1)
        mixed = np.einsum("nhij,njhd->nihd", weights, value).reshape(h.shape)
        h = h + affine(block.attention.output_proj, mixed)
        h = h + affine(block.outer, np.tanh(affine(block.inner, norm(block.norms[1], h))))
    return affine(model.out, norm(model.norm, h))


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_forward_pass_and_loss(loss):
    with jax.enable_x64(True):
        net = transformer(pairs(), width=8, depth=2, activation="tanh", loss=loss, seed=3, dtype=jnp.float64)
        w = net.initial()
        out, y = forward(net.model.model, np.asarray(net.x)), np.asarray(net.y)
        np.testing.assert_allclose(net.predictions(w), out, rtol=1e-10, atol=1e-12)
        each = 0.5 * (out - y) ** 2 if loss == "mse" else -y * log_softmax(out, axis=-1)
        np.testing.assert_allclose(net.loss(w), each.sum(-1).mean(), rtol=1e-12)


def test_other_seeds_keep_the_norms_and_draw_the_weights_by_fan_in():
    net = transformer(pairs(), width=64, depth=1, init_scale=0.5)
    model = net._unravelled(net.initial(7)).model
    for layer in (model.norm, *model.blocks[0].norms):
        np.testing.assert_array_equal(layer.weight, 1)
        np.testing.assert_array_equal(layer.bias, 0)
    for layer in (model.blocks[0].inner, model.blocks[0].outer, model.blocks[0].attention.query_proj):
        weight = np.asarray(layer.weight)
        spread = 0.5 / np.sqrt(weight.shape[1])
        assert abs(weight.std() / spread - 1) < 5 / np.sqrt(2 * weight.size)
    assert not np.allclose(net.initial(7), net.initial(8))


def test_order_of_the_positions_matters_only_through_their_embedding():
    """Without the columns that embed positions, sorting a sequence's tokens another way permutes the answers."""
    net = transformer(pairs(1), width=8, depth=1)
    weight = net.model.model.embedding.weight
    model = jax.tree.map(lambda leaf: leaf.at[:, TOKENS:].set(0) if leaf is weight else leaf, net.model)
    order = jnp.array([3, 1, 4, 0, 2])
    np.testing.assert_allclose(model(net.x)[:, order], model(net.x[:, order]), atol=1e-5)


def test_sorting_is_sorted_and_its_first_samples_do_not_depend_on_their_number():
    few, many = data.sorting(7), data.sorting(50)
    np.testing.assert_array_equal(few.x, many.x[:7])
    np.testing.assert_array_equal(np.sort(many.x.argmax(-1), axis=1), many.y.argmax(-1))
    assert data.load("sorting", samples=3).x.shape == (3, 8, 8)


@pytest.mark.parametrize("build", [mlp, cnn])
def test_networks_with_one_answer_refuse_sequences(build):
    with pytest.raises(ValueError, match="transformer"):
        build(pairs())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: transformer(data.digits(10)), "data.x must have shape"),
        (lambda: transformer(pairs(), width=7), "width must be even"),
        (lambda: transformer(pairs(), depth=0), "depth"),
        (lambda: data.sorting(0), "samples"),
        (lambda: data.sorting(5, tokens=0), "tokens"),
    ],
)
def test_errors_name_the_argument(make, said):
    with pytest.raises(ValueError, match=said):
        make()
