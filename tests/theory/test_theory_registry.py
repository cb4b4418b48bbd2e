"""Theories by name: their parameters and what they need, and that nothing but the registry knows a name.

A theory with a parameter is registered for the test alone and must then be found wherever theories are.
"""

import ast
import json
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eosmodel as eos
from eosmodel._checks import check_range
from eosmodel.cli import main
from eosmodel.commands.list import listing
from eosmodel.dynamics import AbstractDynamics, divergence_bound, status_of
from eosmodel.objectives import DiagonalQuadratic
from eosmodel.rays import steepest
from eosmodel.studies import validation
from eosmodel.theory import AbstractTheory, AbstractWholeTheory, from_spec, of_labels, parse
from eosmodel.theory.registry import THEORIES, Entry, parameters
from eosmodel.tuners import Constant, Polyak

pytestmark = pytest.mark.usefixtures("lightly_compiled")

BOWL = DiagonalQuadratic(jnp.array([4.0, 1.0, 0.5]), start=jnp.ones(3))
ON_BOWL = ["--objective", "diagonal-quadratic:eigenvalues=4/1,start=1/1", "--steps", "12", "--modes", "1"]
TINY = {"data": "digits", "samples": 40, "net": "mlp", "width": 4, "depth": 1, "activation": "tanh", "init_scale": 0.5}


class Pinned(AbstractDynamics):
    """Descent itself, of which a constant sharpness is said."""

    objective: eos.objectives.AbstractObjective
    tuner: eos.tuners.AbstractTuner
    sharpness: float

    def init(self, start):
        return start, self.tuner.init(start.dtype), divergence_bound(self.objective(start), 1e6)

    def step(self, state, t):
        weights, memory, bound = state
        value, gradient = jax.value_and_grad(self.objective)(weights)
        sharpness = jnp.asarray(self.sharpness, value.dtype)
        line = steepest(self.objective, weights, value, gradient, t, sharpness)
        stepsize, memory, _ = self.tuner(line, memory)
        row = {"loss": value, "stepsize": stepsize, "sharpness": sharpness}
        status = status_of(value, stepsize, jnp.linalg.norm(gradient), bound)
        return (weights - stepsize * gradient, memory, bound), row, status


class PinnedTheory(AbstractWholeTheory):
    """λ = foo, whatever happens."""

    foo: float = 1.0

    def __check_init__(self):
        check_range("PinnedTheory", "foo", self.foo, 0, low_open=True)

    def dynamics(self, objective, tuner, modes):
        return Pinned(objective, tuner, self.foo)


@pytest.fixture
def pinned(monkeypatch):
    monkeypatch.setitem(THEORIES, "mine", Entry(PinnedTheory, "a constant sharpness"))


@pytest.mark.parametrize("name", THEORIES)
def test_every_theory_is_made_from_its_name_and_from_its_parameters_as_they_are_listed(name):
    factory, description = THEORIES[name]
    assert issubclass(factory, AbstractTheory)
    assert description
    assert factory.__doc__
    plain = from_spec(name)
    assert type(plain) is factory
    written = ",".join(f"{key}={value}" for key, value in parameters(name).items() if value is not None)
    assert from_spec(f"{name}:{written}") == plain
    assert parse(name) == (name, {})
    if "modes" in parameters(name):
        assert from_spec(f"{name}:modes=2").modes == 2


@pytest.mark.parametrize(
    ("factory", "given", "said"),
    [
        (eos.theory.OscillationTheory, {"force": "cubist"}, "force must be one of even, cubic, got 'cubist'"),
        (eos.theory.OscillationTheory, {"noise": -1.0}, r"noise must lie in \[0, inf\], got -1"),
        (eos.theory.OscillationTheory, {"threshold": "high"}, "threshold must be a number, got 'high'"),
        (eos.theory.OscillationTheory, {"after": 1.5}, "after must be an integer, got 1.5"),
        (eos.theory.CentralFlowTheory, {"stride": 0}, r"stride must lie in \[1, inf\], got 0"),
        (eos.theory.CentralFlowTheory, {"modes": 0}, r"modes must lie in \[1, inf\], got 0"),
        (eos.theory.RodFlowTheory, {"modes": -1}, r"modes must lie in \[1, inf\], got -1"),
        (eos.theory.GradientFlowTheory, {"modes": 2.5}, "modes must be an integer, got 2.5"),
        (eos.theory.EdgeOnlyTheory, {"modes": 0}, r"modes must lie in \[1, inf\], got 0"),
    ],
)
def test_a_parameter_out_of_range_is_named_with_its_value_and_what_is_allowed(factory, given, said):
    with pytest.raises(ValueError, match=f"^{factory.__name__}: {said}"):
        factory(**given)


def test_labels_of_a_dataset_are_theories_or_left_out():
    found = of_labels(["edge-only", "theory", "oscillation:after=20", "oscillation:after=-1", "valley"])
    assert list(found) == ["oscillation:after=20", "valley", "edge-only"]
    assert [theory.needs_run for theory in found.values()] == [False, True, False]
    assert [theory.ignores_tuner for theory in found.values()] == [False, False, True]


def test_what_a_theory_is_not_made_for_is_refused(monkeypatch, fails, tmp_path):
    two = eos.tuners.Constant(jnp.array([0.1, 0.2]))
    with pytest.raises(ValueError, match="theory 'valley-frozen' takes one run at a time; give seeds"):
        eos.predict(BOWL, two, 5, theory="valley-frozen", progress=False)
    with pytest.raises(ValueError, match="theory 'valley' takes one run at a time and has no members"):
        eos.predict(BOWL, Constant(0.1), 5, theory="valley", members=2, progress=False)
    noisy = eos.objectives.MiniBatches(eos.objectives.mlp(eos.data.digits(40), width=4), 10)
    monkeypatch.setitem(THEORIES, "mine", Entry(PinnedTheory, "a constant sharpness"))
    with pytest.raises(ValueError, match="theory 'mine' knows no noise; of a stochastic objective ask oscillation"):
        eos.predict(noisy, Constant(0.1), 5, theory="mine:foo=2", progress=False)

    class Fitted(PinnedTheory):
        needs_run: ClassVar[bool] = True
        needs_every_row: ClassVar[bool] = True

    monkeypatch.setitem(THEORIES, "mine", Entry(Fitted, "a constant sharpness, fitted"))
    command = ["compare", *ON_BOWL, "--record-every", "2", "--theories", "mine:foo=2", "--out", str(tmp_path / "new")]
    assert "--theories mine:foo=2 reads the run row by row and needs --record-every 1" in fails(*command)
    with pytest.raises(ValueError, match="theory 'mine:foo=2' is fitted to the run"):
        validation.make_plan(["sorting"], ["ce"], ["greedy"], ["oscillation", "mine:foo=2"], seeds=[0], steps=5)


def test_a_theory_of_ones_own_is_found_by_its_name_and_its_parameter(pinned):
    assert "a constant sharpness [foo=1.0]" in listing()
    assert parse("mine:foo=2") == ("mine", {"foo": 2.0})
    assert from_spec("mine:3").foo == 3.0
    with pytest.raises(ValueError, match=r"theory 'mine:foo=-1': PinnedTheory: foo must lie in \(0, inf\], got -1"):
        parse("mine:foo=-1")
    with pytest.raises(ValueError, match="theory 'mine:bar=2' has no parameter 'bar'; it has: foo"):
        parse("mine:bar=2")


def test_a_theory_of_ones_own_is_predicted_and_compared(pinned):
    run = eos.simulate(BOWL, Polyak(), 12, progress=False)
    by_name = eos.predict(BOWL, Polyak(), 12, theory="mine:foo=2", progress=False)
    by_object = eos.predict(BOWL, Polyak(), 12, theory=PinnedTheory(2.0), progress=False)
    for said in (by_name, by_object):
        np.testing.assert_array_equal(said.sharpness, 2.0)
        np.testing.assert_allclose(said.loss, run.loss, rtol=1e-12)
    (row,) = eos.compare(run, by_name).rows()
    (entry,) = row["theories"].values()
    assert entry["sharpness_error"] == pytest.approx(np.log(2))  # the bowl's λ is 4
    assert entry["loss_error"] == pytest.approx(0, abs=1e-12)
    together = eos.predict(BOWL, Polyak(), 12, theory="mine:foo=2", members=3, progress=False)
    assert together.loss.dims == ("member", "step")


def test_a_theory_of_ones_own_is_compared_by_the_command_line_and_on_its_page(pinned, tmp_path, capsys):
    out = tmp_path / "run"
    main(["compare", *ON_BOWL, "--tuners", "constant:0.1", "--theories", "mine:foo=2", "edge-only", "--out", str(out)])
    theory = eos.record.load(out / "theory.nc")
    assert theory.theory.values.tolist() == ["mine:foo=2", "edge-only"]
    np.testing.assert_array_equal(theory.sharpness.sel(theory="mine:foo=2"), 2.0)
    (row,) = json.loads((out / "scoreboard.json").read_text())["rows"]
    assert row["theories"]["mine:foo=2"]["sharpness_error"] == pytest.approx(np.log(2), rel=1e-5)
    assert "mine:foo=2" in (out / "report.html").read_text()
    assert "mine:foo=2" in capsys.readouterr().out


def test_a_theory_of_ones_own_is_validated(pinned, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(validation.WORKLOADS, "tiny", TINY)
    out = tmp_path / "validation"
    command = ["--workloads", "tiny", "--losses", "mse", "--tuners", "constant", "--seeds", "0", "--steps", "12"]
    main(["validate", *command, "--members", "1", "--theories", "mine:foo=2", "gradient-flow", "--out", str(out)])
    found = eos.record.load(out / "validation.nc")
    assert found.theory.values.tolist() == ["mine:foo=2", "gradient-flow"]
    said = found.sel(theory="mine:foo=2").squeeze()
    assert float(said.loss_error) < 1e-4
    assert float(said.sharpness_error) > 0.1
    assert "mine:foo=2" in capsys.readouterr().out
    assert "mine:foo=2" in (out / "validation.html").read_text()


def test_a_theory_for_constant_steps_is_asked_of_no_other_rule(monkeypatch):
    class ForConstantSteps(PinnedTheory):
        constant_steps_only: ClassVar[bool] = True

    monkeypatch.setitem(THEORIES, "mine", Entry(ForConstantSteps, "a constant sharpness for constant steps"))
    monkeypatch.setitem(validation.WORKLOADS, "tiny", TINY)
    plan = validation.make_plan(["tiny"], ["mse"], ["armijo"], ["mine"], seeds=[0], steps=6, members=1)
    block = validation.compute(plan.blocks[0].config)
    assert block.theory_status.values.ravel().tolist() == [int(eos.Status.NOT_RUN)]
    assert np.isnan(block.sharpness_error).all()


def test_no_module_compares_the_name_of_a_theory():
    root = Path(eos.__file__).parent
    names = set(THEORIES)
    assert not [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in sorted(root.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if names & {literal.value for literal in _compared(node) if isinstance(literal.value, str)}
    ]


def test_a_comparison_with_a_name_would_be_found():
    for code in ("x == 'valley'", "'valley' in x", "x in ('a', 'valley')", "x.startswith('valley')", "x.get('valley')"):
        assert "valley" in {literal.value for node in ast.walk(ast.parse(code)) for literal in _compared(node)}
    match = ast.parse("match x:\n    case 'valley':\n        pass")
    assert "valley" in {literal.value for node in ast.walk(match) for literal in _compared(node)}
    assert not [literal for node in ast.walk(ast.parse("f(theory='valley')")) for literal in _compared(node)]


def _compared(node):
    """The literals that a node compares something with, or looks up."""
    parts = []
    if isinstance(node, ast.Compare):
        parts = [node.left, *node.comparators]
    elif isinstance(node, ast.MatchValue):
        parts = [node.value]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        parts = node.args if node.func.attr in ("startswith", "endswith", "get") else []
    return [inner for part in parts for inner in ast.walk(part) if isinstance(inner, ast.Constant)]
