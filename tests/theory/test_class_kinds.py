"""The kind of every rule: against Φ by hand on both sides of its edge, and against what its orbit does."""

import jax
import numpy as np
import pytest

import eosmodel as eos
from eosmodel.theory import FastMap, Kind, classify

pytestmark = pytest.mark.usefixtures("lightly_compiled")

T = eos.tuners


@pytest.mark.parametrize(
    ("spec", "frozen", "kind"),
    [
        ("constant:0.1", {"sharpness": 19.0}, Kind.BELOW_EDGE),
        ("constant:0.1", {"sharpness": 21.0}, Kind.SELF_STABILISED),
        ("schedule:constant_schedule,value=0.1", {"sharpness": 19.0}, Kind.BELOW_EDGE),
        ("schedule:constant_schedule,value=0.1", {"sharpness": 21.0}, Kind.SELF_STABILISED),
        ("armijo", {"sharpness": 20.0}, Kind.CLAMPED),
        ("armijo-restart:initial=0.09", {"sharpness": 20.0}, Kind.BELOW_EDGE),
        ("armijo-restart:initial=1", {"sharpness": 20.0}, Kind.CLAMPED),
        ("polyak:1", {"A": 50.0}, Kind.CLAMPED),
        ("polyak:0.35", {"A": 50.0}, Kind.CLAMPED),
        ("polyak:0.2", {"A": 50.0}, Kind.SELF_STABILISED),
        ("polyak:1", {"A": 1.5}, Kind.BELOW_EDGE),
        # Small oscillations die (A/c = 1.5), large ones grow (1/(2c) = 2.5).
        ("polyak:0.2", {"A": 0.3}, Kind.UNDECIDED),
        ("sps-max:c=1,max=1", {"sharpness": 1.9}, Kind.BELOW_EDGE),
        ("sps-max:c=1,max=1", {"sharpness": 2.1}, Kind.CLAMPED),
        ("sps-max:c=0.2,max=1", {"sharpness": 2.1}, Kind.SELF_STABILISED),
        ("greedy", {}, Kind.CLAMPED),
        ("cdat:sigma=1.9", {"kappa": 0.1}, Kind.CLAMPED),
        ("cdat:sigma=2,eps=0", {"kappa": 0.1}, Kind.SELF_STABILISED),
        ("cdat:sigma=2.1", {}, Kind.SELF_STABILISED),
        # 1.9 (1 + r)/(κ + r) needs κ < σ/2 to pass 2 at all.
        ("cdat:sigma=1.9", {"kappa": 0.96}, Kind.BELOW_EDGE),
        ("on-edge:1.9", {"sharpness": 20.0}, Kind.BELOW_EDGE),
        ("on-edge:2", {"sharpness": 20.0}, Kind.UNDECIDED),
        ("on-edge:2.1", {"sharpness": 20.0}, Kind.SELF_STABILISED),
        # λ·step against 2√G, and for clipping against 2 as well.
        ("normalized:0.1", {"sharpness": 19.0}, Kind.BELOW_EDGE),
        ("normalized:0.1", {"sharpness": 21.0}, Kind.CLAMPED),
        ("normalized:0.1", {"sharpness": 21.0, "bulk_gradient_sq": 1.2}, Kind.BELOW_EDGE),
        ("clipping:step=0.1,max_norm=2", {"sharpness": 19.0}, Kind.BELOW_EDGE),
        ("clipping:step=0.1,max_norm=2", {"sharpness": 21.0}, Kind.CLAMPED),
        ("clipping:step=0.1,max_norm=0.9", {"sharpness": 21.0}, Kind.BELOW_EDGE),
        ("clipping:step=0.1,max_norm=inf", {"sharpness": 21.0}, Kind.SELF_STABILISED),
        ("rmsprop:step=0.1", {"sharpness": 19.0}, Kind.BELOW_EDGE),
        ("rmsprop:step=0.1", {"sharpness": 21.0}, Kind.CLAMPED),
        ("rmsprop:step=0.1,eps=0.2", {"sharpness": 21.0}, Kind.BELOW_EDGE),
        ("rmsprop:step=0.1,bias_correction=false", {"sharpness": 21.0}, Kind.CLAMPED),
        # s = λ·step/√(b0² + tG(1 + r)) from t = 65 on.
        ("adagrad-norm", {"sharpness": 2.0}, Kind.BELOW_EDGE),
        ("adagrad-norm", {"sharpness": 40.0}, Kind.CLAMPED),
        # Φ falls from 1/κ to 1, and from 1/2κ to ½.
        ("bb1", {"kappa": 0.49}, Kind.CLAMPED),
        ("bb1", {"kappa": 0.51}, Kind.BELOW_EDGE),
        ("bb2", {"kappa": 0.49}, Kind.CLAMPED),
        ("bb2", {"kappa": 0.51}, Kind.BELOW_EDGE),
        ("adgd", {"kappa": 0.24}, Kind.CLAMPED),
        ("adgd", {"kappa": 0.26}, Kind.BELOW_EDGE),
        # The least s is 2c/κ and (1 − c2)/κ at small r; the largest is 1.8 and 1.9 at large r.
        ("goldstein", {"kappa": 0.09}, Kind.CLAMPED),
        ("strong-wolfe", {"kappa": 0.04}, Kind.CLAMPED),
        # Never more than 1.8/κ, 1.9/κ.
        ("goldstein", {"kappa": 0.95}, Kind.BELOW_EDGE),
        ("strong-wolfe", {"kappa": 0.96}, Kind.BELOW_EDGE),
        ("zhang-hager", {"sharpness": 20.0}, Kind.CLAMPED),
        ("armijo-window", {"sharpness": 20.0}, Kind.CLAMPED),
        ("sps-plus", {"A": 50.0}, Kind.CLAMPED),
        ("sps-plus", {"A": 1.5}, Kind.BELOW_EDGE),
        ("sps-smoothed:0.35", {"A": 50.0}, Kind.CLAMPED),
        ("sps-smoothed:0.2", {"A": 50.0}, Kind.SELF_STABILISED),
        ("sps-smoothed", {"A": 0.8}, Kind.BELOW_EDGE),
        # What is capped below 2/λ, and what is kept above it.
        ("greedy:cap=0.09", {"sharpness": 20.0}, Kind.BELOW_EDGE),
        ("greedy:floor=0.11", {"sharpness": 20.0}, Kind.SELF_STABILISED),
        # A warm-up that stands at a quarter.
        ("constant:0.4,warmup=4", {"sharpness": 19.0}, Kind.BELOW_EDGE),
        ("constant:0.4,warmup=4", {"sharpness": 21.0}, Kind.SELF_STABILISED),
    ],
)
def test_kind_by_hand(spec, frozen, kind):
    assert Kind(int(classify(FastMap(T.from_spec(spec), **frozen)).kind)) is kind


@pytest.mark.parametrize("name", sorted(set(T.REGISTRY) - {"schedule"}))
def test_the_kind_of_every_registered_tuner_is_what_its_orbit_does(name):
    """From r = 1 the oscillation dies below the edge, grows without a bound, or stays.

    If it stays, Λ = (ln r_T − ln r_0)/2T → 0. The kind is read off γ with r held; the orbit is the map itself.
    """
    fast = FastMap(T.from_spec(name), 10.0, 0.05, 3.0)
    kind, z = Kind(int(classify(fast).kind)), fast.init(1.0)
    steps = 1000
    log_r = np.asarray(jax.jit(lambda z: jax.lax.scan(lambda z, _: (fast(z), z[0]), z, length=steps)[1])(z))
    mean = (log_r[-1] - log_r[0]) / (2 * steps)
    dies = log_r[steps // 2 :].max() < -20
    if kind is Kind.BELOW_EDGE:
        assert dies
    elif kind is Kind.CLAMPED:
        assert not dies
        assert abs(mean) < 0.02
    elif kind is Kind.SELF_STABILISED:
        assert log_r[-1] > log_r[steps // 2] > log_r[0]
    else:
        # It sits at the edge: nothing moves, or not by itself.
        assert abs(mean) < 0.02
