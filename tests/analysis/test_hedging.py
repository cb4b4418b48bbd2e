"""Filters of step laws: potentials of the arcsine law, Chebyshev's optimality, no spread, rules on quadratics."""

import numpy as np
import pytest
from numpy.polynomial import chebyshev
from scipy.integrate import quad
from scipy.stats import kstest

import eosmodel as eos
from eosmodel.analysis import bulk_progress, chebyshev_exponent, chebyshev_steps, normalised_steps, silver_steps
from eosmodel.tuners import BB2, CDAT, Constant, EdgeHedge, Greedy

LOWS = [0.3, 0.04, 1e-3]


def spot(ratio, low):
    """[low, 1] → [−1, 1]."""
    return (2 * np.asarray(ratio) - 1 - low) / (1 - low)


def largest(count, low):
    """The points where |T_count| is 1."""
    return low + (1 - low) * 0.5 * (1 + np.cos(np.pi * np.arange(count + 1) / count))


@pytest.mark.parametrize("low", LOWS)
@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_chebyshev_steps_make_chebyshevs_polynomial(low, count):
    ratios = np.concatenate([largest(count, low), [0.0, 0.5 * low, 1.02, 1.4]])
    unit = [0] * count + [1]
    expected = np.log(np.abs(chebyshev.chebval(spot(0, low), unit) / chebyshev.chebval(spot(ratios, low), unit)))
    np.testing.assert_allclose(bulk_progress(chebyshev_steps(count, low), ratios), expected / count, atol=1e-9)


@pytest.mark.parametrize("low", LOWS)
def test_the_exponent_of_the_arcsine_law_is_its_potential(low):
    for ratio in (0.3 * low, 1.0 + low, 1.7):

        def integrand(angle, ratio=ratio):
            return np.log(abs(1 - ratio / (low + (1 - low) * np.sin(angle / 2) ** 2))) / np.pi

        np.testing.assert_allclose(chebyshev_exponent(ratio, low), quad(integrand, 0, np.pi)[0], atol=1e-8)
    inside = chebyshev_exponent(np.linspace(low, 1, 5), low)
    np.testing.assert_allclose(inside, np.log((1 - np.sqrt(low)) / (1 + np.sqrt(low))), rtol=1e-7)
    # The law is symmetric about the middle of the interval, and so is its potential.
    np.testing.assert_allclose(chebyshev_exponent([0.0, 1 + low], low), 0, atol=1e-12)


@pytest.mark.parametrize("low", LOWS)
def test_no_steps_do_better_in_the_worst_case(low):
    """A polynomial of degree n with P(0) = 1 is somewhere among these points as large as 1/T_n, Chebyshev's."""
    rng = np.random.default_rng(0)
    bound = -chebyshev_exponent(0.5, low)
    for count in (3, 8, 25):
        best = np.log(chebyshev.chebval(abs(spot(0, low)), [0] * count + [1])) / count
        assert best <= bound
        np.testing.assert_allclose(bulk_progress(chebyshev_steps(count, low), largest(count, low)).min(), best)
        for _ in range(50):
            steps = 1 / rng.uniform(low, 1, count) if rng.random() < 0.5 else rng.lognormal(0, 2, count)
            assert bulk_progress(steps, largest(count, low)).min() <= best * (1 + 1e-9)


def test_of_laws_at_the_edge_the_one_without_spread_moves_the_slow_end_least():
    rng = np.random.default_rng(1)
    ratios = np.asarray([0.01, 0.2, 0.45])
    np.testing.assert_allclose(bulk_progress([2.0], ratios), -np.log(1 - 2 * ratios))
    for _ in range(100):
        # Above 0.8414, ⟨s⟩ − 2 ≥ Λ; equality for s = 2.
        steps = 0.8415 + rng.lognormal(0, 1.5, 50)
        assert steps.mean() - 2 >= -bulk_progress(steps, 1.0)
    # Below, it is not so: steps that are too short are a spread that is of no use.
    assert np.mean([0.1, 2.1]) - 2 < -bulk_progress([0.1, 2.1], 1.0)
    np.testing.assert_allclose(bulk_progress([3.0, 0.5, 7.0], 1e-7) / 1e-7, 3.5, rtol=1e-5)


def test_a_cost_divides():
    one, two = (bulk_progress([3.0, 1.2], [0.0, 0.2, 1.0], cost=cost) for cost in (1, 2))
    np.testing.assert_array_equal(one, 2 * two)


@pytest.mark.parametrize("power", [1, 4, 10])
def test_silver_steps_add_up(power):
    """2^k − 1 of them to (1 + √2)^k − 1, and every pattern is the one before, a long step, and it again."""
    steps = silver_steps(2**power - 1)
    np.testing.assert_allclose(steps.sum(), (1 + 2**0.5) ** power - 1)
    middle = 2 ** (power - 1) - 1
    np.testing.assert_array_equal(steps[:middle], steps[middle + 1 :])
    np.testing.assert_allclose(steps[middle], 1 + (1 + 2**0.5) ** (power - 2))


def by_hand(step, eigenvalues, weights, count):
    """Steps of a rule step(g, g₋) → η on a quadratic, nothing brought back to 1."""
    taken, before = [], None
    for _ in range(count):
        gradient = eigenvalues * weights
        taken.append(step(gradient, before))
        weights, before = weights - taken[-1] * gradient, gradient
    return np.asarray(taken) * eigenvalues.max()


def test_normalised_steps_are_those_of_the_rule():
    mu, losses = np.asarray([4.0, 1.0, 0.3, 0.02]), np.asarray([1.0, 2.0, 0.5, 3.0])
    start = np.sqrt(2 * losses / mu)

    def relaxed(gradient, _):
        return 0.7 * (gradient @ gradient) / (gradient @ (mu * gradient))

    def short(_, before):
        return 0.05 if before is None else (before @ (mu * before)) / (before @ (mu**2 * before))

    # Both are chaotic: rounding grows, slowly enough for so many steps.
    for tuner, step in ((CDAT(0.7, eps=0.0), relaxed), (BB2(0.05), short)):
        steps_taken = normalised_steps(tuner, mu, losses, steps=15, burn_in=5)
        np.testing.assert_allclose(steps_taken, by_hand(step, mu, start, 20)[5:], rtol=1e-7)
    np.testing.assert_allclose(normalised_steps(Constant(0.3), mu, steps=3), 1.2)


def test_the_clamped_fixed_point_has_no_spread():
    """1 < σ < 2: s → 2, where the fast map has a stable fixed point; σ = 1 has two modes left, of one rate."""
    slow = normalised_steps(CDAT(1.5), [1.0, 1e-7], steps=50)
    np.testing.assert_allclose(slow, 2.0, rtol=1e-4)
    mu = np.geomspace(0.02, 1, 12)
    progress = bulk_progress(normalised_steps(Greedy(), mu, steps=500, burn_in=3000), mu)
    rate = np.log((1 + 0.02) / (1 - 0.02))
    np.testing.assert_allclose(progress.min(), rate, rtol=0.02)


@pytest.mark.parametrize("low", [1e-2, 1e-3])
def test_the_hedge_is_near_the_best_law(low):
    """What `EdgeHedge` is for: nine tenths of the bound (which no rule of any cost can pass), and the law that has it.

    Relaxed greedy steps, at two gradients each, make a third of that at the most.
    """
    mu = np.geomspace(low, 1, 40)
    bound = -chebyshev_exponent(0.5, low)
    steps = normalised_steps(EdgeHedge(), mu, steps=20_000)
    progress = bulk_progress(steps, mu).min()
    assert 0.88 * bound < progress < bound
    assert kstest(1 / steps, "arcsine", args=(low, 1 - low)).statistic < 0.05
    relaxed = normalised_steps(CDAT(0.75), mu, steps=20_000)
    assert bulk_progress(relaxed, mu, cost=2).min() < 0.4 * bound


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bulk_progress([], 0.5), "bulk_progress: steps"),
        (lambda: bulk_progress([1.0, np.nan], 0.5), "bulk_progress: steps"),
        (lambda: bulk_progress([1.0], 0.5, cost=0), r"bulk_progress: cost must lie in \(0, inf\), got 0"),
        (lambda: chebyshev_exponent(0.5, 1.0), r"chebyshev_exponent: low must lie in \(0, 1\), got 1.0"),
        (lambda: chebyshev_steps(3, 0.0), "chebyshev_steps: low"),
        (lambda: chebyshev_steps(0, 0.5), "chebyshev_steps: count"),
        (lambda: silver_steps(0), "silver_steps: count"),
        (lambda: normalised_steps(BB2(), [1.0, -1.0]), "normalised_steps: eigenvalues"),
        (lambda: normalised_steps(BB2(), [1.0, 0.5], [1.0]), "normalised_steps: eigenvalues and losses"),
        (lambda: normalised_steps(BB2(), [1.0], steps=0), "normalised_steps: steps"),
        (lambda: normalised_steps(BB2(), [1.0], burn_in=-1), "normalised_steps: burn_in"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_run_gives_its_steps():
    """The s of a run goes straight into the filter: the progress of its top mode is −Λ."""
    bowl = eos.objectives.DiagonalQuadratic([5.0, 1.0, 0.3])
    run = eos.simulate(bowl, EdgeHedge(), steps=30, measure_every=0, progress=False)
    steps = eos.measures.edge_products(run)
    np.testing.assert_allclose(-bulk_progress(steps, 1.0), eos.measures.edge_exponent(run), rtol=1e-5)
