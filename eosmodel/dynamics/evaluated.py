"""Runs of networks that are looked at as a classifier is, and that end where they are good enough."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from eosmodel._status import Status
from eosmodel.dynamics.base import AbstractDynamics
from eosmodel.dynamics.center import run_every
from eosmodel.objectives.networks import Network


class Evaluated(AbstractDynamics):
    """Dynamics of a network with accuracy, held-out loss and held-out accuracy at the iterate in its rows, and which
    end with the status `REACHED` after the step from the first iterate that is good enough.

    Fields
        inner: the dynamics.
        network: what is evaluated; None for nothing, where only a loss is waited for. Of regression there is no
            accuracy, and without held-out samples there are no numbers of them.
        every: evaluate every that many steps; rows between have NaN.
        stop_loss: the end, once the row's `loss` is at most this; None for no such end.
        stop_accuracy: the end, once the row's `accuracy` is at least this; None for no such end.
    """

    inner: Any
    network: Network | None
    every: int = eqx.field(static=True, default=1)
    stop_loss: float | None = eqx.field(static=True, default=None)
    stop_accuracy: float | None = eqx.field(static=True, default=None)

    @property
    def tuner(self):
        return self.inner.tuner

    def init(self, start):
        return self.inner.init(start)

    def weights(self, state):
        return self.inner.weights(state)

    def step(self, state, t):
        weights = self.inner.weights(state)
        state, row, status = self.inner.step(state, t)
        if self.network is not None:
            row |= self._evaluation(weights, t)
        reached = jnp.zeros((), bool)
        if self.stop_loss is not None:
            reached |= row["loss"] <= self.stop_loss
        if self.stop_accuracy is not None:
            reached |= row["accuracy"] >= self.stop_accuracy
        return state, row, jnp.where((status == int(Status.OK)) & reached, int(Status.REACHED), status)

    def _evaluation(self, weights, t):
        net = self.network
        assert net is not None
        test = net.held_out()

        def evaluate():
            row = {} if net.classes is None else {"accuracy": net.accuracy(weights)}
            if test is not None:
                row |= {"test_loss": test.loss(weights)}
                row |= {} if net.classes is None else {"test_accuracy": test.accuracy(weights)}
            return row

        return run_every(t, self.every, None, lambda _: (None, evaluate()))[1]
