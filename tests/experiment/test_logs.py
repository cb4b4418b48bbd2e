"""Logs hold the rows of the result while it is under way, without gaps or repetitions after an interruption."""

import importlib.util
import json

import numpy as np
import pytest

import eosmodel as eos
from eosmodel.cli import main

pytestmark = pytest.mark.usefixtures("lightly_compiled")
TOY = eos.objectives.valley()
STEPS = 250


def simulate(**options):
    return eos.simulate(TOY, "armijo", STEPS, progress=False, **options)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("every", [1, 3])
def test_chunks_together_are_the_result(every):
    chunks = []
    run = simulate(record_every=every, log=chunks.append)
    assert [chunk.sizes["step"] for chunk in chunks] == ([100, 100, 50] if every == 1 else [84])
    for name in ("step", "loss", "stepsize", "eigenvalues"):
        np.testing.assert_array_equal(np.concatenate([chunk[name] for chunk in chunks]), run[name])
    assert all(chunk.tuner == run.tuner for chunk in chunks)


def test_a_picture_follows_the_run(monkeypatch):
    pictures = []
    run = simulate(log=eos.plotting.live(pictures.append))
    lengths = []
    for figure in pictures:
        steps, loss = figure.axes[0].lines[0].get_data()  # every row
        np.testing.assert_allclose(loss, run.loss[: len(steps)])
        lengths.append(len(steps))
    assert lengths == [100, 200, 250]
    display = pytest.importorskip("IPython.display")
    shown = []
    for how in ("display", "update"):
        monkeypatch.setattr(
            display.DisplayHandle, how, lambda self, image, how=how: shown.append((how, image.data[:4]))
        )
    eos.simulate(TOY, "armijo", 150, progress=False, log=eos.plotting.live())
    assert shown == [("display", b"\x89PNG"), ("update", b"\x89PNG")]
    # The same as progress, beside a log, for runs and predictions.
    steps = []
    for verb in (eos.simulate, eos.predict):
        shown.clear()
        verb(TOY, "armijo", 150, progress="plot", log=lambda rows: steps.append(rows.sizes["step"]))
        assert shown == [("display", b"\x89PNG"), ("update", b"\x89PNG")]
        with pytest.raises(ValueError, match=f'{verb.__name__}: progress must be True, False, "plot" or the label'):
            verb(TOY, "armijo", 150, progress=2)
    assert steps == [100, 50] * 2


def test_lines_of_a_run_that_was_interrupted_and_of_seeds_and_theories(tmp_path):
    file, checkpoint = tmp_path / "log" / "run.jsonl", tmp_path / "run.npz"
    log = eos.logs.jsonl(file)

    def stop(rows):
        log(rows)
        if int(rows.step[0]) == 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(checkpoint=checkpoint, log=stop)
    assert len(lines(file)) == 200  # one chunk more than the checkpoint has
    run = simulate(checkpoint=checkpoint, log=eos.logs.jsonl(file))
    rows = lines(file)
    assert [row["step"] for row in rows] == list(range(STEPS))
    np.testing.assert_array_equal([row["loss"] for row in rows], run.loss)
    np.testing.assert_array_equal([row["eigenvalues_1"] for row in rows], run.eigenvalues[:, 0])
    assert "iterate_sharpness" not in rows[0]  # not measured
    batch = eos.simulate(TOY, eos.tuners.Constant(np.array([0.1, 0.2])), 3, progress=False, log=eos.logs.jsonl(file))
    assert [(row["tuner_step"], row["step"], row["loss"]) for row in lines(file)] == [
        (eta, step, float(batch.loss[i, step])) for i, eta in enumerate((0.1, 0.2)) for step in range(3)
    ]
    file.unlink()
    late = eos.predict(TOY, "constant:0.1", 40, theory="valley", progress=False, log=eos.logs.jsonl(file))
    assert [row["step"] for row in lines(file)] == late.loss.dropna("step").step.values.tolist()
    assert lines(file)[0]["step"] == 4
    assert lines(file)[0]["theory"] == "valley"


def test_the_command_line_writes_a_log_for_every_run_and_theory(tmp_path, fails):
    toy = ["--objective", "double-well", "--steps", "5", "--tuners", "armijo", "constant:0.1"]
    for kind in ("tensorboard", "wandb"):
        if importlib.util.find_spec(kind) is None:
            error = fails("train", *toy, "--log", kind, "--out", str(tmp_path / "other"))
            assert f"pip install 'eosmodel[{kind}]'" in error
            assert not (tmp_path / "other").exists()
    main(["compare", *toy, "--theories", "edge-only", "--log", "jsonl", "--out", str(tmp_path / "out")])
    logged = {path.name: lines(path) for path in (tmp_path / "out" / "log").iterdir()}
    assert sorted(logged) == ["armijo.jsonl", "armijo_edge-only.jsonl", "constant_0.1.jsonl"]
    assert all(len(rows) == 5 for rows in logged.values())


def test_tensorboard_reads_what_is_written(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = simulate(log=eos.logs.tensorboard(tmp_path))
    events = accumulator.EventAccumulator(str(tmp_path), {"tensors": 0})
    events.Reload()
    values = [(event.step, event.tensor_proto.float_val[0]) for event in events.Tensors("loss")]
    assert [step for step, _ in values] == list(range(STEPS))
    np.testing.assert_allclose([value for _, value in values], run.loss, rtol=1e-6)
