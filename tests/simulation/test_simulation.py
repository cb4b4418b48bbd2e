"""The loop: recording, early ends, batches, resuming; on dynamics whose orbit is known."""

import contextlib
import resource
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eosmodel._status import Status
from eosmodel.dynamics import AbstractDynamics
from eosmodel.simulation import checkpoint, identity, load, loop, remove, run, save, template
from eosmodel.simulation.loop import _run_chunk


class Doubling(AbstractDynamics):
    """x' = factor·x; ends as diverged when |x| passes `bound`."""

    factor: Any
    bound: float = eqx.field(static=True, default=np.inf)

    def init(self, start):
        return start[0]

    def step(self, state, t):
        status = jnp.where(jnp.abs(state) > self.bound, int(Status.DIVERGED), int(Status.OK)).astype(jnp.int32)
        return state * self.factor, {"x": state, "t": t, "pair": jnp.stack([state, -state]), "even": t % 2 == 0}, status


START = jnp.asarray([1.0])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 9))
def test_rows_are_the_states_before_each_kept_step(steps, every, chunk):
    result = run(Doubling(jnp.asarray(2.0)), START, steps, record_every=every, rows_per_chunk=chunk)
    kept = np.arange(0, steps, every)
    np.testing.assert_array_equal(result.rows["t"], kept)
    np.testing.assert_array_equal(result.rows["x"], 2.0**kept)
    np.testing.assert_array_equal(result.rows["pair"][:, 1], -(2.0**kept))
    assert int(result.carry.t) == steps
    assert float(result.carry.state) == 2.0**steps


def test_a_run_that_ends_keeps_what_it_had():
    result = run(Doubling(jnp.asarray(2.0), bound=100), START, 50, rows_per_chunk=8)
    assert int(result.carry.status) == Status.DIVERGED
    assert int(result.carry.t) == 7  # 64 is the last good state
    np.testing.assert_array_equal(result.rows["x"][:7], 2.0 ** np.arange(7))
    assert np.isnan(result.rows["x"][7:]).all()
    assert result.rows["x"].shape == (50,)
    assert not result.rows["even"][7:].any()


def test_a_batch_is_its_members_and_one_end_spoils_no_neighbour():
    factors = jnp.asarray([2.0, 0.5, 3.0])
    dynamics = Doubling(factors, bound=100)
    axes = (Doubling(0, bound=100), None)
    result = run(dynamics, START, 20, rows_per_chunk=6, axes=axes)
    for i, factor in enumerate([2.0, 0.5, 3.0]):
        alone = run(Doubling(jnp.asarray(factor), bound=100), START, 20, rows_per_chunk=6)
        np.testing.assert_array_equal(result.rows["x"][i], alone.rows["x"])
        assert int(result.carry.status[i]) == int(alone.carry.status)


@settings(max_examples=20, deadline=None)
@given(stops=st.lists(st.integers(0, 5), max_size=4), batched=st.booleans(), lost=st.booleans())
def test_a_run_killed_at_any_moments_is_bit_for_bit_the_uninterrupted_one(tmp_path_factory, stops, batched, lost):
    factors = jnp.asarray([1.1, 0.9]) if batched else jnp.asarray(1.1)
    dynamics, axes = Doubling(factors), (Doubling(0), None) if batched else None
    path, known = tmp_path_factory.mktemp("killed") / "run.npz", identity(dynamics, START, axes)

    class Killed(Exception):
        pass

    def go_on(limit):
        chunks = 0

        def keep(progress):
            nonlocal chunks
            chunks += 1
            if limit is not None and chunks > limit:
                if lost:  # killed between the two writes: rows that the other file does not count
                    with path.with_name("run.npz.rows").open("ab") as stream:
                        stream.write(b"half a row")
                raise Killed
            save(path, progress, known)

        resume = load(path, template(dynamics, START, axes), known)
        return run(dynamics, START, 35, rows_per_chunk=10, axes=axes, resume=resume, after_chunk=keep)

    for stop in stops:
        with contextlib.suppress(Killed):
            go_on(stop)
    resumed, whole = go_on(None), run(dynamics, START, 35, rows_per_chunk=10, axes=axes)
    for name, rows in whole.rows.items():
        assert rows.dtype == resumed.rows[name].dtype
        np.testing.assert_array_equal(rows, resumed.rows[name])
    np.testing.assert_array_equal(whole.carry.state, resumed.carry.state)


def test_bytes_written_grow_with_the_rows_and_not_with_their_square(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        "eosmodel.simulation.checkpoint._table",
        lambda rows, *rest, table=checkpoint._table: written.append(len(rows["x"])) or table(rows, *rest),
    )
    dynamics = Doubling(jnp.asarray(0.99))
    known = identity(dynamics, START)
    run(dynamics, START, 400, rows_per_chunk=10, after_chunk=lambda p: save(tmp_path / "run.npz", p, known))
    assert sum(written) == 400


def test_a_limit_on_the_size_of_files_is_named_and_the_checkpoint_before_it_survives(tmp_path):
    dynamics, path = Doubling(jnp.asarray(0.99)), tmp_path / "run.npz"
    known, kept = identity(dynamics, START), []
    run(dynamics, START, 1)  # what is compiled may be stored in a file as well

    def after_chunk(progress):
        save(path, progress, known)
        kept.append(progress)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            run(dynamics, START, 10_000, after_chunk=after_chunk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert kept
    before = load(path, template(dynamics, START), known)
    for name, rows in kept[-1].rows.items():
        np.testing.assert_array_equal(before.rows[name], rows)
    np.testing.assert_array_equal(before.seconds, kept[-1].seconds)


def test_a_checkpoint_of_another_run_is_refused_by_what_differs(tmp_path):
    dynamics, path = Doubling(jnp.asarray(1.1)), tmp_path / "run.npz"
    done, known = run(dynamics, START, 3), identity(dynamics, START, steps=3)
    save(path, done, known)
    for other, what in (
        (identity(Doubling(jnp.asarray(1.2)), START, steps=3), "factor"),
        (identity(Doubling(jnp.asarray(1.1), bound=7.0), START, steps=3), "program"),
        (identity(dynamics, 2 * START, steps=4), "start, steps"),
    ):
        with pytest.raises(ValueError, match=rf"belongs to another run \(differs in {what}\)"):
            load(path, template(dynamics, START), other)
    remove(path)
    assert not list(tmp_path.iterdir())
    assert load(path, template(dynamics, START), known) is None


def test_runs_of_any_length_share_one_compilation():
    count = 0

    class Counting(Doubling):
        def step(self, state, t):
            nonlocal count
            count += 1
            return super().step(state, t)

    run(Counting(jnp.asarray(1.5)), START, 3, rows_per_chunk=4)
    before = count
    run(Counting(jnp.asarray(0.7)), START, 50, rows_per_chunk=4)
    assert count == before


def test_zero_steps_is_an_error():
    with pytest.raises(ValueError, match="steps must be at least 1"):
        run(Doubling(jnp.asarray(1.0)), START, 0)


def test_products_are_in_full_precision_on_every_device():
    """Those of a tracker or a theory too, not only those of a network."""

    class Turning(Doubling):
        def init(self, start):
            return start

        def step(self, state, t):
            return self.factor @ state, {"x": state}, jnp.asarray(int(Status.OK), jnp.int32)

    dynamics = Turning(jnp.eye(2, dtype=jnp.float32))
    carry = run(dynamics, jnp.ones(2, jnp.float32), 1).carry
    program = _run_chunk.lower(dynamics, carry, carry.t, carry.t, 3, 1, None).as_text()
    assert "HIGHEST" in program
    assert "DEFAULT" not in program


def test_compiled_programs_go_when_they_are_many_and_stay_when_they_are_few(tmp_path, monkeypatch):
    """A process whose mapped memory is in too many pieces cannot compile any more."""

    def kept():
        doubled = jax.jit(lambda x: 2 * x)
        doubled(1.0)
        run(Doubling(jnp.asarray(2.0)), START, 2)
        return doubled._cache_size() == 1

    monkeypatch.setattr(loop, "_MOST", tmp_path / "_MOST")
    assert kept()  # no such limit here
    monkeypatch.setattr(loop, "_MAPS", tmp_path / "_MAPS")
    (tmp_path / "_MAPS").write_text("a piece\n" * 6)
    (tmp_path / "_MOST").write_text("13")
    assert kept()
    (tmp_path / "_MOST").write_text("11")
    assert not kept()
