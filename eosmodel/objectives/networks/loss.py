"""The loss of a neural network on a data set, as a function of its ravelled weights."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Int

from eosmodel._origin import Origin
from eosmodel.objectives.base import AbstractObjective
from eosmodel.objectives.networks.chunks import chosen_chunk, per_sample
from eosmodel.objectives.networks.layers import Each, draw
from eosmodel.objectives.networks.sharding import check_divides, copied_to, sharded_over

LOSSES = {"mse": "½ · mean over samples of ‖out − y‖²", "ce": "mean cross-entropy of softmax(out), in nats"}


class Network(AbstractObjective):
    """A network's full-batch loss, built by `mlp`, `cnn`, `transformer` or, for a user-supplied model, `network`.

        mse: L(w) = 1/(2n) Σ_i ‖f(x_i; w) − y_i‖²        ce: L(w) = −1/n Σ_i y_i · log softmax f(x_i; w)

    w are the flattened weights, shape (dim,), n is the number of samples, f the model. If each position of a sequence
    has its own target, the loss of a sample is the mean over its positions. With a weight decay ω, ½ω‖w‖² is added, so
    that the Hessian has ω more in every direction. Computations use the dtype of w.

    Args:
        model: an equinox module that maps all samples at once, with its initial weights (its inexact arrays are w).
        x: inputs, shape (samples, *features).
        y: targets, shape (samples, outputs) or (samples, positions, outputs).
        init_scale: σ of the distribution N(0, σ²/fan_in) that `initial(seed)` draws weights from; None for a
            user-supplied model.
        loss_name: "mse" or "ce".
        classes: number of classes; None for regression.
        frozen: the arrays of the model that are not weights, and None elsewhere; None where all are weights.
        origin: `name`, `sha256` and `samples` of the data that are trained on, `held_out` and `held_out_sha256` of
            those that are held out, for records.
        chunk: samples in memory at once, on each device; None for all. Loss, predictions and their derivatives of any
            order are summed over chunks, and differ by rounding alone.
        any_chunk: whether the chunk was chosen by the memory there is, and may be another for a batch of runs.
        weight_decay: ω.
        test: inputs and targets of samples that are held out; None without any.
        drawn: the weights of a random key, for a user-supplied model that can be drawn anew.
        sharding: of x and y over devices; None where they are on one. From `over`.
    """

    model: Any
    x: Float[Array, "samples *features"]
    y: Float[Array, "samples *positions outputs"]
    init_scale: Float[Array, ""] | None
    loss_name: str = eqx.field(static=True)
    classes: int | None = eqx.field(static=True)
    frozen: Any = None
    origin: Origin = eqx.field(static=True, default=Origin())
    chunk: int | None = eqx.field(static=True, default=None)
    any_chunk: bool = eqx.field(static=True, default=False)
    weight_decay: float = eqx.field(static=True, default=0.0)
    test: tuple[Float[Array, "held_out *features"], Float[Array, "held_out *positions outputs"]] | None = None
    drawn: Callable[[Array], Array] | None = eqx.field(static=True, default=None)
    sharding: NamedSharding | None = eqx.field(static=True, default=None)

    def __repr__(self) -> str:
        kind = type(self.model.model if isinstance(self.model, Each) else self.model).__name__.removeprefix("_")
        dim = sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(self.model, eqx.is_inexact_array)))
        decay = f", weight decay {self.weight_decay:g}" if self.weight_decay else ""
        return f"Network({kind}, {dim} weights, {self.loss_name}{decay}, {len(self.x)} samples, {self.x.dtype})"

    def tree(self, weights: Float[Array, " dim"]) -> Any:
        """Matrices and biases in their own shapes, a tuple."""
        return tuple(jax.tree.leaves(self._unravelled(weights)))

    def _unravelled(self, weights):
        return ravel_pytree(eqx.filter(self.model, eqx.is_inexact_array))[1](weights)

    def predictions(self, weights: Float[Array, " dim"]) -> Float[Array, "samples *positions outputs"]:
        """The network's outputs f(x_i; w) (logits under "ce")."""
        return per_sample(self._outputs, weights, (self.x,), self.chunk, self.sharding)

    def as_given(self, weights: Float[Array, " dim"]) -> Any:
        """The model with these weights: the user's own, of one sample, or eosmodel's, of all samples at once."""
        model = self._model(weights)
        return model.model if isinstance(model, Each) else model

    def _model(self, weights):
        static = eqx.filter(self.model, eqx.is_inexact_array, inverse=True)
        parts = [self._unravelled(weights), static] + ([] if self.frozen is None else [self.frozen])
        return eqx.combine(*parts)

    def _outputs(self, weights, x):
        model = self._model(weights)
        # By default an accelerator rounds the factors of a product to 10 bits or fewer, too coarse for curvature.
        with jax.default_matmul_precision("highest"):
            return model(x.astype(weights.dtype))

    def losses(self, weights: Float[Array, " dim"]) -> Float[Array, " samples"]:
        """ℓ_i(w), the loss of each sample; L is their mean, and `decay`."""
        return per_sample(self._losses, weights, (self.x, self.y), self.chunk, self.sharding)

    def _losses(self, weights, x, y):
        out, y = self._outputs(weights, x), y.astype(weights.dtype)
        each = 0.5 * (out - y) ** 2 if self.loss_name == "mse" else -y * jax.nn.log_softmax(out)
        each = jnp.sum(each, axis=-1)
        return jnp.mean(each, axis=tuple(range(1, each.ndim)))

    def loss(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        return self.decay(weights, jnp.mean(self.losses(weights)))

    def decay(self, weights: Float[Array, " dim"], loss: Float[Array, ""]) -> Float[Array, ""]:
        """A loss with ½ω‖w‖² added."""
        # Without weight decay not even a 0, so that programs stay what they are.
        return loss + 0.5 * self.weight_decay * jnp.vdot(weights, weights) if self.weight_decay else loss

    def on(self, indices: Int[Array, " chosen"]) -> "Network":
        """The same network on the samples of these indices."""
        return self._on_others(self.x[indices], self.y[indices])

    def held_out(self) -> "Network | None":
        """The same network on the samples that are held out, without weight decay; None where there are none."""
        if self.test is None:
            return None
        return self._on_others(*self.test, test=None, weight_decay=0.0)

    def _on_others(self, x, y, **changes):
        """The same network on other samples, which are divided among its devices if that is possible."""
        sharding = self.sharding
        if sharding is not None and len(x) % sharding.mesh.size:
            sharding = None
        if sharding is not None:
            x, y = jax.lax.with_sharding_constraint((x, y), sharding)
        return dataclasses.replace(self, x=x, y=y, origin=Origin(), sharding=sharding, **changes)

    def at_once(self) -> "Network":
        """The same network with all samples in memory at once, on one device."""
        return dataclasses.replace(self, chunk=None, sharding=None)

    def for_runs(self, runs: int) -> "Network":
        """The same network for so many runs at once: with a smaller chunk, if it was chosen by the memory there is."""
        if not self.any_chunk or runs == 1:
            return self
        return dataclasses.replace(self, chunk=chosen_chunk(None, self.at_once().losses, self.initial(), runs))

    def over(self, mesh: Mesh) -> "Network":
        """The same network with its samples sharded over the devices of a mesh, and all else on each of them.

        Raises:
            ValueError: a number of samples that the number of devices does not divide.
        """
        check_divides("Network", mesh.size, len(self.x))
        sharding = sharded_over(mesh)
        x, y = eqx.filter_shard((self.x, self.y), sharding)
        rest = eqx.filter_shard(eqx.tree_at(lambda net: (net.x, net.y), self, (None, None)), copied_to(mesh))
        return dataclasses.replace(rest, x=x, y=y, sharding=sharding)

    def accuracy(self, weights: Float[Array, " dim"]) -> Float[Array, ""]:
        """The fraction of samples, or of positions, classified correctly. ValueError on regression data."""
        if self.classes is None:
            raise ValueError("accuracy is not defined for regression data (classes is None)")
        hits = jnp.argmax(self.predictions(weights), axis=-1) == jnp.argmax(self.y, axis=-1)
        return jnp.mean(hits.astype(weights.dtype))

    def initial(self, seed: int | None = None) -> Float[Array, " dim"]:
        """The weights of construction, or new random ones for a seed; only None for a model that was given as it is."""
        if seed is not None and self.drawn is not None:
            return self.drawn(jax.random.key(seed))
        model = self.model
        if seed is not None:
            if self.init_scale is None:
                raise ValueError(f"a user-supplied model cannot be re-initialised; pass seed=None, got seed={seed}")
            model = draw(model, self.init_scale, jax.random.key(seed))
        return ravel_pytree(eqx.filter(model, eqx.is_inexact_array))[0]
