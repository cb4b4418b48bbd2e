"""Closed forms against the package's numerics: the tuners, the fast map, gradient descent, automatic derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

from eosmodel import tuners
from eosmodel.analysis.symbolic import (
    RESPONSES,
    SymbolicResponse,
    compile,
    momentum_thresholds,
    noise_gap,
    normal_form,
    quartic_thresholds,
)
from eosmodel.analysis.symbolic.responses import A, c, kappa, r, sigma
from eosmodel.analysis.symbolic.valley import b, eta, gamma, lam, limit, mu
from eosmodel.objectives import Valley
from eosmodel.theory import FastMap, response

DTYPES = (jnp.float32, jnp.float64)
ENERGIES = np.geomspace(1e-3, 1e4, 15)
# Parameters in the order of `symbols`, with the tuner that has them and what is frozen.
SHARPNESS = 3.0
CASES = {
    "constant": [((1.3,), tuners.Constant(1.3 / SHARPNESS), {})],
    "on-edge": [((1.9,), tuners.OnEdge(1.9), {})],
    "polyak": [((cc, a), tuners.Polyak(cc), {"A": a}) for cc, a in [(0.3, 10.0), (0.6, 10.0), (1.0, 0.3), (2.0, 5.0)]],
    "sps-max": [
        ((cc, a, cap), tuners.Polyak(cc, max=cap / SHARPNESS), {"A": a})
        for cc, a, cap in [(0.3, 10.0, 2.5), (1.0, 10.0, 1.5), (1.0, 3.0, 100.0)]
    ],
    "cdat": [((g, k), tuners.CDAT(g, eps=0.0), {"kappa": k}) for g, k in [(1.0, 0.1), (1.9, 0.0), (2.5, 0.7)]],
}
MAPS = [(name, *case) for name, cases in CASES.items() for case in cases]
CLAMPED = [
    ("polyak", (0.3, 10.0), tuners.Polyak, "A"),
    ("polyak", (0.45, 3.0), tuners.Polyak, "A"),
    ("polyak", (0.9, 10.0), tuners.Polyak, "A"),
    ("cdat", (1.5, 0.05), lambda g: tuners.CDAT(g, eps=0.0), "kappa"),
    ("cdat", (0.7, 0.3), lambda g: tuners.CDAT(g, eps=0.0), "kappa"),
    ("cdat", (0.8, 0.02), lambda g: tuners.CDAT(g, eps=0.0), "kappa"),
]


def expressions():
    for name, known in RESPONSES.items():
        yield f"{name}: Φ", known.phi, (r, *known.symbols)
        yield f"{name}: m", known.multiplier, known.symbols
        for root in known.flip:
            yield f"{name}: flip", root, known.symbols[1:]
    form, quartic, gap = normal_form(gamma), quartic_thresholds(), noise_gap()
    yield "edge amplitude", form.fixed_point[0], form.symbols
    yield "determinant", form.determinant, form.symbols
    yield "two-cycle", quartic.two_cycle[0], (eta, mu)
    yield "two-cycle flip", quartic.two_cycle_flip, (mu,)
    yield "noise gap", gap.adiabatic, gap.symbols
    yield "nesterov", momentum_thresholds()["nesterov"].sharpness, sp.symbols("eta beta", positive=True)


@pytest.mark.parametrize(("name", "expr", "symbols"), [pytest.param(*case, id=case[0]) for case in expressions()])
def test_every_result_compiles_under_jit_vmap_and_grad_in_both_precisions(name, expr, symbols):
    """Against sympy's own evaluation and derivative, in exact arithmetic until the last."""
    values = [sp.Rational(point, 100) for point in (127, 47, 91, 73, 59, 17)[: len(symbols)]]
    at = dict(zip(symbols, values, strict=True))
    wanted = complex(expr.subs(at))
    fn = compile(expr, symbols)
    assert float(jnp.real(fn(*map(float, values)))) == pytest.approx(
        wanted.real if wanted.imag == 0 else np.nan, rel=1e-12, nan_ok=True
    )
    for dtype in DTYPES:
        tolerance = 2e-5 if dtype == jnp.float32 else 1e-11
        rows = [jnp.full(2, float(value), dtype) for value in values]
        got, slope = jax.jit(jax.vmap(jax.value_and_grad(fn)))(*rows)
        assert got.shape == (2,)
        assert got.dtype == slope.dtype == dtype
        if wanted.imag == 0 and np.isfinite(wanted.real):
            np.testing.assert_allclose(got, wanted.real, rtol=tolerance)
            derivative = sp.diff(expr, symbols[0]).subs(at)
            np.testing.assert_allclose(slope, float(derivative), rtol=10 * tolerance)
        else:
            assert np.isnan(got).all(), name


def test_compile_broadcasts_keeps_shapes_and_names_what_is_missing():
    form = normal_form()
    batch = compile(form.jacobian, form.symbols)(jnp.linspace(0.1, 0.2, 3), 22.0, 4.0, 0.5)
    assert batch.shape == (3, 2, 2)
    np.testing.assert_allclose(batch[:, 0, 1], 2 * np.linspace(0.1, 0.2, 3), rtol=1e-12)
    assert compile(sp.And(A > 1, c < 1), (A, c))(jnp.array([0.5, 2.0]), 0.5).tolist() == [False, True]
    assert float(compile(sp.sqrt(2) / 3, ())()) == pytest.approx(np.sqrt(2) / 3, rel=1e-15)
    with pytest.raises(ValueError, match="compile: symbols must include c, got"):
        compile(A + c, (A,))


# Numbers as arrays, so that other numbers do not recompile.
measure = eqx.filter_jit(lambda tuner, frozen: response(tuner, ENERGIES, **frozen))


@pytest.mark.parametrize(("name", "values", "tuner", "frozen"), MAPS)
def test_responses_are_those_of_the_tuners(name, values, tuner, frozen):
    measured = measure(*jax.tree.map(jnp.asarray, (tuner, {"sharpness": SHARPNESS, **frozen})))
    np.testing.assert_allclose(RESPONSES[name].compile().phi(ENERGIES, *values), measured, rtol=1e-12)


@pytest.mark.parametrize("k", [0.0, 0.2])
def test_armijo_lies_in_its_band(k):
    """A backtracked step is Φ(r) with ξ in (factor, 1], wherever on the orbit it is; a trial that is accepted at once
    can be shorter, never longer. Restarted from a large trial, every step is backtracked."""
    factor, constant = 0.8, 0.1
    longest = RESPONSES["armijo"].compile().phi(ENERGIES, 1.0, constant, k)
    restart = tuners.ArmijoRestart(c=constant, factor=factor, initial=1e5, max_evaluations=100)
    ratio = np.asarray(measure(*jax.tree.map(jnp.asarray, (restart, {"kappa": k}))) / longest)
    assert (ratio > factor * (1 - 1e-9)).all()
    assert (ratio <= 1 + 1e-9).all()

    fast = FastMap(tuners.Armijo(c=constant, factor=factor), kappa=k)
    _, (states, seen) = jax.lax.scan(lambda z, _: (fast(z), (z, fast.observe(z))), fast.init(), length=500)
    ratio = np.asarray(seen.s / RESPONSES["armijo"].compile().phi(seen.r, 1.0, constant, k))
    backtracked = np.asarray(seen.stepsize < states[:, 1] * (1 - 1e-9))
    assert backtracked.sum() > 100
    assert (ratio[backtracked] > factor * (1 - 1e-9)).all()
    assert (ratio <= 1 + 1e-9).all()


@eqx.filter_jit
def _iterate(fast, z, steps):
    return jax.lax.fori_loop(0, steps, lambda _, z: fast(z), z)


def iterate(fast, z, steps):
    return _iterate(fast, z, jnp.asarray(steps))  # an array, so that a new number does not recompile


slope_of = eqx.filter_jit(lambda fast, z: jax.jacobian(fast)(z))


@pytest.mark.parametrize(("name", "values", "build", "frozen"), CLAMPED)
def test_fixed_point_and_multiplier_are_those_of_the_fast_map(name, values, build, frozen):
    """The map rests at r*, its Jacobian there is m, and small displacements grow or shrink by |m|ⁿ."""
    known = RESPONSES[name].compile()
    fast = FastMap(build(jnp.asarray(values[0])), **{frozen: jnp.asarray(values[1])})
    point, m = float(known.fixed_point(*values)), float(known.multiplier(*values))
    assert point > 0
    rest = iterate(fast, fast.init(point), 1)  # the tuner's memory at rest
    np.testing.assert_allclose(rest[0], np.log(point), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(slope_of(fast, rest)[0, 0], m, rtol=1e-9)
    moved = iterate(fast, rest.at[0].add(1e-7), 8)[0] - jnp.log(point)
    np.testing.assert_allclose(moved, 1e-7 * m**8, rtol=1e-3, atol=1e-12)
    if abs(m) < 1:
        settled = iterate(fast, fast.init(2 * point), 2000)
        np.testing.assert_allclose(jnp.exp(settled[0]), point, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "build", "frozen", "value"),
    [("polyak", tuners.Polyak, "A", a) for a in (6.0, 10.0, 200.0)]
    + [("cdat", lambda g: tuners.CDAT(g, eps=0.0), "kappa", k) for k in (0.01, 0.1)],
)
def test_flips(name, build, frozen, value):
    """Between the two flips displacements grow, outside they shrink; both signs of the change are seen."""
    known = RESPONSES[name].compile()
    flips = sorted(float(flip(value)) for flip in known.flip)
    assert len(flips) == 2
    for at, below in zip(flips, (True, False), strict=True):
        np.testing.assert_allclose(known.multiplier(at, value), -1, rtol=1e-9)
        for parameter, stable in ((at * 0.98, below), (at * 1.02, not below)):
            fast = FastMap(build(jnp.asarray(parameter)), **{frozen: jnp.asarray(value)})
            point = jnp.log(known.fixed_point(parameter, value))
            rest = iterate(fast, fast.init(jnp.exp(point)), 1)
            early = abs(iterate(fast, rest.at[0].add(1e-5), 10)[0] - point)
            late = abs(iterate(fast, rest.at[0].add(1e-5), 60)[0] - point)
            assert (late < early) == stable


def test_without_a_flip_every_clamped_parameter_attracts():
    """Polyak with A < 9/2 and CDAT with κ > 1/9; sympy's flips are complex there, NaN as jax functions."""
    for name, value, parameters in [
        ("polyak", 4.4, np.linspace(0.2501, 2.1999, 4001)),
        ("polyak", 0.6, np.linspace(0.2501, 0.2999, 4001)),
        ("cdat", 0.12, np.linspace(0.2401, 1.9999, 4001)),
    ]:
        known = RESPONSES[name].compile()
        assert np.isnan([flip(value) for flip in known.flip]).all()
        assert known.clamped(parameters, value).all()
        m = known.multiplier(parameters, value)
        assert ((m > -1) & (m < 1)).all()


def test_polyak_is_cdat_in_other_units():
    """σ = 1/(2c), κ = 1/(2A), r in units of 2A: the same Φ, hence the same multiplier and flips."""
    polyak, cdat = RESPONSES["polyak"], RESPONSES["cdat"]
    units = {sigma: 1 / (2 * c), kappa: 1 / (2 * A)}
    assert sp.simplify(polyak.phi - cdat.phi.subs({**units, r: r / (2 * A)}, simultaneous=True)) == 0
    assert sp.simplify(polyak.fixed_point - 2 * A * cdat.fixed_point.subs(units)) == 0
    assert sp.simplify(polyak.multiplier - cdat.multiplier.subs(units)) == 0


def test_limits_of_the_flips():
    """c → ½ + 1/(4A) for A → ∞, σ → 1 − κ for κ → 0; m → 1/c − 3 and m → 2σ − 3."""
    polyak, cdat = RESPONSES["polyak"], RESPONSES["cdat"]
    assert sp.Rational(1, 2) in [sp.limit(flip, A, sp.oo) for flip in polyak.flip]
    (lower,) = (flip for flip in polyak.flip if sp.limit(flip, A, sp.oo) == sp.Rational(1, 2))
    assert sp.limit((lower - sp.Rational(1, 2)) * A, A, sp.oo) == sp.Rational(1, 4)
    assert sp.expand(sp.limit(polyak.multiplier, A, sp.oo) - (1 / c - 3)) == 0
    (upper,) = (flip for flip in cdat.flip if flip.subs(kappa, 0) == 1)
    assert upper.diff(kappa).subs(kappa, 0) == -1
    assert sp.expand(cdat.multiplier.subs(kappa, 0) - (2 * sigma - 3)) == 0


def test_classes():
    clamped = {name: known.compile().clamped for name, known in RESPONSES.items()}
    assert not clamped["constant"](2.0)
    assert not clamped["on-edge"](2.0)
    assert clamped["polyak"](0.3, 10.0)
    assert not clamped["polyak"](0.2, 10.0)  # Φ stays above 2
    assert not clamped["polyak"](0.2, 0.3)  # Φ rises through 2
    assert clamped["sps-max"](0.3, 10.0, 2.5)
    assert not clamped["sps-max"](0.3, 10.0, 1.9)
    assert clamped["cdat"](1.9, 0.01)
    assert not clamped["cdat"](2.0, 0.01)
    assert not clamped["cdat"](0.5, 0.3)  # Φ stays below 2
    assert clamped["armijo"](0.9, 1e-4, 0.1)


def test_a_response_with_two_roots_is_refused():
    hump = SymbolicResponse("hump", (c,), 3 * c * r / (1 + r**2))
    with pytest.raises(ValueError, match="hump has"):
        _ = hump.fixed_point


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("quartic", [0.0, 1.5])
def test_normal_form_is_a_step_of_descent_on_the_valley(dtype, quartic):
    """Up to rounding, at 50 random valleys and points."""
    form = normal_form(gamma)
    step = form.compile()

    def both(w, p):
        rate, top, strength, bulk, quartic = p
        valley = Valley(top, strength, jnp.ones(1, dtype), bulk[None], w, quartic)
        new = w - rate * jax.grad(valley)(w)
        got = step(jnp.stack([w[0], valley.sharpness(w)]), p)
        return got, jnp.stack([new[0], valley.sharpness(new)])

    rng = np.random.default_rng(0)
    p = rng.uniform([0.01, 5, 0.5, 0.01, quartic], [0.2, 40, 8, 1.5, quartic], (50, 5))
    got, wanted = jax.jit(jax.vmap(both))(jnp.asarray(rng.uniform(-1, 1, (50, 2)), dtype), jnp.asarray(p, dtype))
    assert got.dtype == dtype
    error = np.abs(got - wanted) / (1 + np.abs(got))
    assert error.max() < 100 * jnp.finfo(dtype).eps


def test_edge_orbit_jacobian_and_stability_are_those_of_the_map():
    """Against automatic differentiation and eigenvalues, at random parameters with and without γ."""
    form = normal_form(gamma)
    step = form.compile()

    @jax.jit
    def slow(q, p):
        new = step(jnp.stack([jnp.exp(q[0] / 2), q[1]]), p)
        return jnp.stack([jnp.log(new[0] ** 2), new[1]])

    jacobian = jax.jit(jax.jacobian(slow))
    closed = {
        name: jax.jit(compile(getattr(form, name), form.symbols)) for name in ("fixed_point", "jacobian", "attracts")
    }
    rng = np.random.default_rng(1)
    verdicts = []
    for n in range(200):
        rate = rng.uniform(0.01, 0.5)
        top, bulk = rng.uniform(2.02, 2.9) / rate, rng.uniform(0.05, 3.9) / rate
        strength, quartic = rng.uniform(0.5, 8), rng.choice([0.0, rng.uniform(0, 0.3)])
        if strength <= 2.2 * bulk * quartic:
            continue
        p = jnp.asarray([rate, top, strength, bulk, quartic])
        amplitude_sq, edge = closed["fixed_point"](*p)
        q = jnp.stack([jnp.log(amplitude_sq), edge])
        np.testing.assert_allclose(slow(q, p), q, rtol=1e-9, atol=1e-9, err_msg=str(n))
        np.testing.assert_allclose(closed["jacobian"](*p), jacobian(q, p), rtol=1e-7, atol=1e-7)
        size = np.abs(np.linalg.eigvals(np.asarray(jacobian(q, p)))).max()
        if abs(size - 1) > 1e-6:
            assert bool(closed["attracts"](*p)) == (size < 1)
            verdicts.append(size < 1)
    assert 20 < sum(verdicts) < len(verdicts) - 20


def test_the_valley_attracts_below_five_halves_while_the_bulk_is_stable():
    """The stated determinant 1 − ημ + 2η²α and bound ηλ_∞ < 5/2, with the second condition that they need.

    Trace and determinant also have to satisfy 1 + det + tr > 0, which is 2 + ημ(ηλ_∞ − 3) > 0. It fails only for
    ημ > 2, a bulk that is unstable without the oscillation: at ηλ_∞ = 2.2 for ημ > 2.5.
    """
    form = normal_form()
    alpha = form.alpha.subs(lam, form.fixed_point[1])
    assert sp.expand(form.determinant - (1 - eta * mu + 2 * eta**2 * alpha)) == 0
    assert sp.expand(form.fixed_point[0] - 2 * alpha / b) == 0
    assert sp.expand(1 + form.determinant + form.trace - 2 * (2 + eta * mu * (eta * limit - 3))) == 0
    attracts = compile(form.attracts, form.symbols)
    for scaled_mu in (0.01, 1.0, 1.99):
        assert attracts(0.1, jnp.array([19.9, 20.1, 24.9, 25.1]), 4.0, scaled_mu / 0.1).tolist() == [0, 1, 1, 0]
    assert attracts(0.1, 22.0, 4.0, jnp.array([24.9, 25.1])).tolist() == [True, False]


def test_quartic_term_holds_the_valley_below_the_edge():
    """With γ > 0 descent settles at λ = 2/η − γx², x² = 2μ(λ_∞ − 2/η)/(b − 2μγ)."""
    rate, top, strength, bulk, quartic = 0.1, 21.0, 4.0, 0.5, 0.1
    valley = Valley(top, strength, [1.0], [bulk], jnp.asarray([0.5, -1.0]), quartic)
    step = jax.jit(lambda w: w - rate * jax.grad(valley)(w))
    w = jax.lax.fori_loop(0, 5000, lambda _, w: step(w), valley.initial())
    form = normal_form(gamma)
    amplitude_sq, edge = compile(form.fixed_point, form.symbols)(rate, top, strength, bulk, quartic)
    np.testing.assert_allclose(w[0] ** 2, amplitude_sq, rtol=1e-9)
    np.testing.assert_allclose(valley.sharpness(w), edge, rtol=1e-9)
    np.testing.assert_allclose(edge + quartic * amplitude_sq, 2 / rate, rtol=1e-12)
    assert edge < 2 / rate - 0.02


MU = 1.7


quartic_gradient = jax.grad(lambda x: 0.25 * (x**2 - MU) ** 2)


@jax.jit
def descend(k, start, steps):
    """Gradient descent on ¼(x² − μ)² with ημ = k, from one start."""
    return jax.lax.fori_loop(0, steps, lambda _, x: x - k / MU * quartic_gradient(x), start)


@jax.jit
@jax.grad
def twice(x, k):
    """The slope of two steps."""
    for _ in range(2):
        x = x - k / MU * quartic_gradient(x)
    return x


def compiled_quartic(name, k):
    expr = getattr(quartic_thresholds(), name)
    return float(compile(expr, (eta, mu))(k / MU, MU))


def threshold(name):
    """η·μ at a threshold; the same for every μ."""
    product = sp.expand(getattr(quartic_thresholds(), name) * mu)
    assert not product.free_symbols
    return float(product)


def orbit(k, steps=20_000, keep=4, start=0.9):
    points = [descend(k, start, steps)]
    for _ in range(keep):
        points.append(descend(k, points[-1], 1))
    return np.asarray(points)


def test_quartic_minimum_two_cycle_and_its_flip():
    """Descent settles at √μ, then on the closed two-cycle, then on a four-cycle, as η crosses each threshold."""
    first, second = threshold("unstable"), threshold("two_cycle_flip")
    np.testing.assert_allclose(orbit(first - 0.01), np.sqrt(MU), rtol=1e-9)
    for k in (first + 0.01, 0.5 * (first + second), second - 0.005):
        points = orbit(k)
        pair = compile(quartic_thresholds().two_cycle, (eta, mu))(k / MU, MU)
        np.testing.assert_allclose(sorted(points[:2]), sorted(np.asarray(pair)), rtol=1e-9)
        np.testing.assert_allclose(points[2], points[0], rtol=1e-9)
        np.testing.assert_allclose(twice(points[0], k), compiled_quartic("two_cycle_multiplier", k), rtol=1e-6)
    points = orbit(second + 0.005)
    assert abs(points[2] - points[0]) > 0.01
    np.testing.assert_allclose(points[4], points[0], rtol=1e-9)


def test_quartic_symmetric_cycle_is_an_unstable_fence():
    for k in (0.3, 1.1, 1.9):
        fence = compiled_quartic("symmetric_cycle", k)
        np.testing.assert_allclose(descend(k, fence, 1), -fence, rtol=1e-12)
        np.testing.assert_allclose(twice(fence, k), compiled_quartic("symmetric_multiplier", k), rtol=1e-9)
        assert abs(descend(k, fence * 0.999, 500)) < fence
        assert not np.isfinite(descend(k, fence * 1.001, 500))


def test_quartic_orbits_cross_and_diverge_beyond_their_thresholds():
    """64 starts near √μ: signs, then bounds, on either side; at k = 2 the Lyapunov exponent is ln 3."""
    starts = jnp.sqrt(MU) * jnp.linspace(0.9, 1.1, 64)

    @jax.jit
    def extremes(k):
        def body(x, _):
            x = x - k / MU * jax.vmap(quartic_gradient)(x)
            return x, (jnp.min(x), jnp.mean(jnp.log(jnp.abs(1 + k - 3 * k / MU * x**2))))

        x, (lowest, growth) = jax.lax.scan(body, starts, length=4000)
        return x, lowest.min(), growth.mean()

    crossing, divergence = threshold("crossing"), threshold("divergence")
    assert extremes(crossing - 0.002)[1] > 0
    assert extremes(crossing + 0.01)[1] < 0
    assert divergence == 2
    assert np.isfinite(extremes(divergence - 0.002)[0]).all()
    assert not np.isfinite(extremes(divergence + 0.05)[0]).any()
    np.testing.assert_allclose(extremes(2.0)[2], np.log(3), rtol=0.01)


@pytest.mark.parametrize("name", ["heavy-ball", "nesterov"])
def test_momentum_thresholds_are_where_the_roots_leave_the_circle(name):
    found = momentum_thresholds()[name]
    step, momentum, sharpness = sp.symbols("eta beta lambda", positive=True)
    z = sp.Symbol("z")
    coefficients = [compile(a, (step, momentum, sharpness)) for a in sp.Poly(found.characteristic, z).all_coeffs()]
    edge = compile(found.sharpness, (step, momentum))
    for rate, m in [(0.1, 0.0), (0.1, 0.5), (0.02, 0.9), (1.0, 0.99)]:
        for factor in (0.01, 0.5, 0.999, 1.001, 1.5):
            curvature = factor * float(edge(rate, m))
            size = np.abs(np.roots([float(a(rate, m, curvature)) for a in coefficients])).max()
            assert (size < 1) == (factor < 1)
