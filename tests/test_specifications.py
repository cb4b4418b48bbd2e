"""Properties of specifications, of arrays as data, and of weights: used as given, or refused in one line that names
the argument.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eosmodel import directions, objectives, theory, tuners
from eosmodel.experiment._starts import weights_of
from eosmodel.objectives import data
from eosmodel.objectives import registry as toys
from eosmodel.theory import registry as theories
from eosmodel.tuners import registry as rules

KINDS = {
    "tuner": (tuners.from_spec, {name: dict(rules.parameters(name)) for name in rules.REGISTRY if name != "schedule"}),
    "direction": (directions.from_spec, {name: dict(directions.parameters(name)) for name in directions.DIRECTIONS}),
    "theory": (theory.from_spec, {name: theories.parameters(name) for name in theories.THEORIES}),
    "objective": (objectives.from_spec, {name: dict(toys.parameters(name)) for name in toys.TOYS}),
}
FEW = settings(max_examples=25, deadline=None, derandomize=True)
NUMBERS = st.one_of(st.integers(-1, 3), st.floats(0.01, 0.99).map(lambda x: round(x, 3)), st.just(float("nan")))


def one_line(error, *words, any_of=("",)):
    text = str(error)
    assert "\n" not in text, text
    assert all(word in text for word in words), (text, words)
    assert any(word in text for word in any_of), (text, any_of)


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(choices=st.data())
def test_numbers_of_a_specification_arrive_or_are_refused_by_name(kind, choices):
    from_spec, table = KINDS[kind]
    name = choices.draw(st.sampled_from(sorted(table)))
    numeric = sorted(key for key, value in table[name].items() if isinstance(value, int | float) and value is not True)
    chosen = choices.draw(st.lists(st.sampled_from(numeric), max_size=3, unique=True)) if numeric else []
    values = {key: choices.draw(NUMBERS) for key in chosen}
    spec = name + ":" * bool(values) + ",".join(f"{key}={value}" for key, value in values.items())
    try:
        made = from_spec(spec)
    except ValueError as error:
        return one_line(error, kind, name, any_of=values)
    for key, value in values.items():
        if kind != "direction" and hasattr(made, key) and np.ndim(getattr(made, key)) == 0:
            assert float(getattr(made, key)) == pytest.approx(float(value))
    if kind in ("tuner", "theory"):  # back to text and again
        back = (
            name
            + ":" * bool(table[name])
            + ",".join(
                f"{key}={str(value).lower() if isinstance(value, bool) else value}"
                for key in table[name]
                if (value := getattr(made, key, None)) is not None
            )
        )
        assert from_spec(back) == made


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(choices=st.data())
def test_any_text_is_a_specification_or_refused_in_one_line(kind, choices):
    from_spec, table = KINDS[kind]
    name = choices.draw(st.sampled_from(sorted(table)))
    keys = [*table[name], "nonsense", ""]
    piece = st.sampled_from([name, name[:-1], *keys, ":", "=", ",", "/", " ", "1", "-2.5", "1e999", "x", "\n"])
    text = "".join(choices.draw(st.lists(piece, max_size=6)))
    for spec in (text, f"{name}:{text}"):
        try:
            from_spec(spec)
        except ValueError as error:
            one_line(error, kind)


ARRAYS = hnp.arrays(
    st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.uint8, np.int64, bool, "U2", complex, object]),
    hnp.array_shapes(max_dims=4, max_side=4),
)


@FEW
@given(x=ARRAYS, y=ARRAYS)
def test_arrays_of_any_kind_are_data_or_refused_in_one_line(x, y):
    with np.errstate(all="ignore"):
        try:
            made = data.from_arrays(x, y, name="mine")
        except ValueError as error:
            return one_line(error, "mine: ")
    assert made.x.dtype == made.y.dtype == np.float64
    assert len(made.x) == len(made.y) == len(x)
    assert np.isfinite(made.x).all()
    np.testing.assert_allclose(made.x.mean(axis=0), 0, atol=1e-9)
    if made.classes is not None:
        assert made.y.shape == (len(y), made.classes)
        assert (made.y.sum(axis=1) == 1).all()


TREE = objectives.objective(lambda w: jnp.sum(w["a"]) + w["b"], {"a": jnp.ones((2, 3)), "b": jnp.asarray(0.0)})


@FEW
@given(w0=st.one_of(ARRAYS, st.fixed_dictionaries({"a": ARRAYS, "b": ARRAYS}), st.lists(st.floats(-1, 1), max_size=8)))
def test_weights_of_any_kind_are_flat_or_refused_in_one_line(w0):
    try:
        weights = weights_of(TREE, None, w0)
    except ValueError as error:
        return one_line(error, "w0")
    assert weights.shape == (7,)
    assert weights.dtype in (np.float32, np.float64)
    np.testing.assert_allclose(weights, np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(w0)]), 1e-6)
