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


@FEW
@given(
    columns=st.lists(st.tuples(st.integers(-300, 300), st.booleans()), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    lost=st.none() | st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_columns_of_any_size_are_standardised_and_lost_numbers_are_refused(columns, seed, lost):
    x = np.random.default_rng(seed).normal(size=(12, len(columns)))
    for j, (exponent, constant) in enumerate(columns):
        x[:, j] = (1.0 if constant else x[:, j]) * 10.0**exponent
    if lost is not None:
        x[3, -1] = lost
        with pytest.raises(ValueError, match=r"mine: x must be finite, got 1 NaN or .* first at \(3, "):
            data.from_arrays(x, np.arange(12.0), name="mine")
        return
    made = data.from_arrays(x, np.arange(12.0), name="mine").x
    np.testing.assert_allclose(made.std(axis=0), [0.0 if constant else 1.0 for _, constant in columns], rtol=1e-9)


LABELS = {
    "from 0": st.integers(0, 4),
    "from 1": st.integers(1, 5),
    "far apart": st.sampled_from([0, 255, 10**9]),
    "negative": st.sampled_from([-1, 1]),
    "booleans": st.booleans(),
    "strings": st.sampled_from(["cat", "dog", "a bird"]),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("form", ["row", "column", "one-hot", "one-hot floats"])
@FEW
@given(choices=st.data())
def test_labels_of_any_kind_are_the_classes_that_occur(kind, form, choices):
    labels = np.array(choices.draw(st.lists(LABELS[kind], min_size=2, max_size=30)))
    known, index = np.unique(labels, return_inverse=True)
    rows = np.eye(len(known))[index]
    given = {"row": labels, "column": labels[:, None], "one-hot": rows.astype(int), "one-hot floats": rows}[form]
    count = choices.draw(st.sampled_from([None, 2, len(labels)]))
    try:
        made = data.from_arrays(np.arange(len(labels)), given, name="mine", samples=count)
    except ValueError as error:
        assert len(set(labels[:count])) == 1
        return one_line(error, "mine: ")
    if len(known) > 1 or "hot" not in form:  # a single column of ones is no row of labels
        assert len(set(labels[:count])) > 1
        np.testing.assert_array_equal(made.y, rows[:count])
        assert made.classes == len(known)
        if made.labels is not None and "hot" not in form:
            assert list(made.labels) == known.tolist()


TREE = objectives.objective(lambda w: jnp.sum(w["a"]) + w["b"], {"a": jnp.ones((2, 3)), "b": jnp.asarray(0.0)})


@FEW
@given(w0=st.one_of(ARRAYS, st.fixed_dictionaries({"a": ARRAYS, "b": ARRAYS}), st.lists(st.floats(-1, 1), max_size=8)))
def test_weights_of_any_kind_are_flat_or_refused_in_one_line(w0):
    try:
        weights = weights_of(TREE, None, w0)
    except ValueError as error:
        return one_line(error, "start")
    assert weights.shape == (7,)
    assert weights.dtype in (np.float32, np.float64)
    np.testing.assert_allclose(weights, np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(w0)]), 1e-6)
