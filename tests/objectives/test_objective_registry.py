"""Toys by name: what a specification means, and what a wrong one is told."""

import inspect
import math

import jax
import numpy as np
import pytest

from eosmodel.objectives import OBJECTIVES, AbstractObjective, DiagonalQuadratic, DoubleWell, teacher_student, valley
from eosmodel.objectives.registry import TOYS, Toy, from_spec, has_start, parameters


@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_toy_needs_no_parameters_and_takes_a_precision(name, dtype):
    toy = from_spec(name, dtype)
    assert isinstance(toy, AbstractObjective)
    assert {leaf.dtype for leaf in jax.tree.leaves(toy)} == {np.dtype(dtype)}
    start = toy.initial()
    assert jax.eval_shape(toy, start).dtype == start.dtype == np.dtype(dtype)
    assert "\n" not in TOYS[name].description
    assert OBJECTIVES[name] == TOYS[name].description


@pytest.mark.parametrize("name", TOYS)
def test_what_is_listed_can_be_written(name):
    """Every default, written out as a user would, gives the toy that the name alone gives."""
    written = [
        f"{key}={'/'.join(map(repr, value)) if isinstance(value, tuple) else str(value).lower()}"
        for key, value in parameters(name)
        if value is not None
    ]
    assert all(value is not inspect.Parameter.empty for _, value in parameters(name))
    for one, other in zip(
        *map(jax.tree.leaves, (from_spec(name), from_spec(f"{name}:{','.join(written)}"))), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("spec", "built"),
    [
        ("diagonal-quadratic:4/1/0.1", DiagonalQuadratic([4.0, 1.0, 0.1])),
        ("diagonal-quadratic: eigenvalues = 4/1 , start = -1/2e-1", DiagonalQuadratic([4.0, 1.0], start=[-1.0, 0.2])),
        ("valley:modes=4,gamma=0.1", valley(4, 0.1)),
        ("valley:4", valley(4)),
        ("double-well:mu=2,start=1.5", DoubleWell(2.0, [1.5])),
        ("teacher-student:activation=relu,width=3,seed=5", teacher_student(width=3, activation="relu", seed=5)),
    ],
)
def test_values_arrive(spec, built):
    toy = from_spec(spec)
    assert jax.tree.structure(toy) == jax.tree.structure(built)
    for one, other in zip(jax.tree.leaves(toy), jax.tree.leaves(built), strict=True):
        np.testing.assert_array_equal(one, other)


def test_flags_and_starts():
    assert from_spec("diagonal-linear:features=4").initial().size == 8
    assert from_spec("diagonal-linear:features=4,signed=false").initial().size == 4
    assert has_start("double-well:start=1")
    assert not has_start("double-well:2")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("valey", r"unknown objective 'valey' \(did you mean valley\?\); known: diagonal-linear, diagonal-quadratic"),
        ("", "unknown objective ''; known: diagonal-linear"),
        ("valley:mods=4", r"valley has no parameter 'mods' \(did you mean modes\?\); it has: modes"),
        ("valley:dtype=float64", "valley has no parameter 'dtype'"),
        ("two-layer-scalar:seed=1", "has no parameter 'seed'"),
        ("valley:modes=2.5", "modes must be an integer, got '2.5'"),
        ("valley:modes=nan", "modes must be an integer, got 'nan'"),
        ("valley:modes=0", "'valley:modes=0': valley: modes must be an integer ≥ 1, got 0"),
        ("valley:gamma=steep", "gamma must be a number, got 'steep'"),
        ("double-well:mu=1/2", "mu must be a number, got '1/2'"),
        ("double-well:mu=nan", "mu must lie in"),
        ("double-well:start=1/2", r"start must have shape \(1,\), got \(2,\)"),
        ("diagonal-quadratic:eigenvalues=4;1", "eigenvalues must be numbers separated by /, got '4;1'"),
        ("diagonal-quadratic:eigenvalues=1/2,start=1", r"start must have shape \(2,\), got \(1,\)"),
        ("diagonal-quadratic:1,2", "'2' is not of the form parameter=value"),
        ("diagonal-linear:signed=yes", "signed must be true or false, got 'yes'"),
        ("teacher-student:activation=sine", "activation must be one of tanh, relu"),
        ("product:link=cosh", "link must be a function or one of log-cosh"),
        ("valley:modes=2,modes=3", "modes is given twice"),
    ],
)
def test_mistakes_are_named(spec, message):
    with pytest.raises(ValueError, match=message):
        from_spec(spec)


def test_a_new_toy_is_one_line(monkeypatch):
    monkeypatch.setitem(TOYS, "bowl", Toy(lambda size=1.0: DiagonalQuadratic([size]), "a bowl"))
    assert parameters("bowl") == [("size", 1.0)]
    assert math.isclose(float(from_spec("bowl:3").sharpness()), 3.0)
