"""Phase diagrams: against closed forms, in chunks, resumed, refined, refused, and drawn."""

import json
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import eosmodel as eos
from eosmodel import plotting
from eosmodel.analysis import Regime, flip, phase, probe
from eosmodel.analysis.parameters import Family, find
from eosmodel.objectives import AbstractObjective, TwoLayerScalar, valley
from eosmodel.results import record
from eosmodel.theory import FastMap

FAST = FastMap(eos.tuners.Polyak())
SETTINGS = {"c": (0.3, 1.0, 9), "A": (4.0, 40.0, 9), "steps": 400, "progress": False}


@pytest.fixture(scope="module")
def diagram():
    return eos.phase_diagram(FAST, **SETTINGS).dataset


def data(dataset):
    return dataset.drop_attrs(deep=False)


def test_polyak_is_stable_below_the_flip_in_closed_form(diagram):
    """4c² − (A + 3/2)c + A/2 < 0 is unstable; within about 0.02 in c of the curve nothing is said."""
    c, A = np.meshgrid(diagram.c, diagram.A)
    gap = (4 * c**2 - (A + 1.5) * c + A / 2) / (A + 1.5)
    stable, unstable = gap > 0.02, gap < -0.02
    assert stable.sum() > 20
    assert unstable.sum() > 20
    assert set(diagram.period.values[stable]) == {1}
    assert 1 not in set(diagram.period.values[unstable])
    assert set(diagram.regime.values[unstable]) <= {Regime.PERIODIC, Regime.CHAOTIC, Regime.UNDECIDED}
    assert (diagram.regime == Regime.CHAOTIC).any()
    assert np.all(diagram.lyapunov.values[diagram.regime == Regime.CHAOTIC] > 0)


def test_a_dataset_says_what_it_is(diagram):
    assert diagram.regime.dims == ("A", "c")
    assert diagram.regime.attrs["flag_meanings"].split()[int(Regime.CHAOTIC) + 1] == "chaotic"
    assert diagram.edge_exponent.attrs["symbol"] == "Λ"
    assert (diagram.done == 1).all()
    config = json.loads(diagram.attrs["config"])
    assert (config["system"], config["tuner"], config["steps"]) == ("FastMap", "Polyak", 400)
    np.testing.assert_allclose(diagram.c, np.linspace(0.3, 1.0, 9))


def test_chunks_change_nothing(diagram):
    other = eos.phase_diagram(FAST, **SETTINGS, chunk=27).dataset
    xr.testing.assert_identical(data(other), data(diagram))


def test_other_numbers_are_not_compiled_again():
    traces = []

    def mean(result):
        traces.append(0)
        return result.s

    settings = {"observables": mean, "progress": False}
    eos.phase_diagram(FAST, c=(0.3, 1.0, 4), A=(4.0, 40.0, 4), steps=100, **settings)
    before = len(traces)
    other = FastMap(eos.tuners.Polyak(max=30.0), kappa=0.2)
    eos.phase_diagram(other, c=(0.4, 0.9, 4), A=(5.0, 9.0, 4), steps=200, **settings)
    # Once more for its shape, which is looked at before anything is computed.
    assert len(traces) <= before + 1


@pytest.mark.parametrize("refine", [0, 2])
def test_an_interrupted_diagram_resumes_bit_for_bit(tmp_path, monkeypatch, refine):
    settings = SETTINGS | {"chunk": 20, "refine": refine}
    whole = eos.phase_diagram(FAST, **settings, path=tmp_path / "whole.nc").dataset
    sweep = phase.sweep

    def broken(stop):
        def interrupted(*args, **kwargs):
            for count, result in enumerate(sweep(*args, **kwargs)):
                if count == stop:
                    raise KeyboardInterrupt
                yield result

        return interrupted

    for stop in (2, 1, 1):
        monkeypatch.setattr(phase, "sweep", broken(stop))
        with pytest.raises(KeyboardInterrupt):
            eos.phase_diagram(FAST, **settings, path=tmp_path / "broken.nc")
        partial = record.load(tmp_path / "broken.nc")
        assert 0 < int((partial.done == 1).sum()) < int((whole.done == 1).sum())
        # −1 is a regime, and NaN a number that some orbits have: only `done` says that a point was not reached.
        assert (partial.regime.values[partial.done.values == 0] == Regime.UNDECIDED).all()
    monkeypatch.undo()
    resumed = eos.phase_diagram(FAST, **settings, path=tmp_path / "broken.nc").dataset
    xr.testing.assert_identical(data(resumed), data(whole))
    xr.testing.assert_identical(data(record.load(tmp_path / "broken.nc")), data(whole))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.nc", "whole.nc"]
    with pytest.raises(ValueError, match=r"broken\.nc holds another diagram \(differs in steps\)"):
        eos.phase_diagram(FAST, **(settings | {"steps": 401}), path=tmp_path / "broken.nc")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"system": eos.theory.FastMap(eos.tuners.Polyak(max=2.0))}, r"[\w.]*max"),
        ({"system": eos.theory.FastMap(eos.tuners.CDAT()), "c": None, "sigma": (1.0, 2.0, 3)}, ".*program.*sigma"),
        ({"c": (0.3, 1.1, 3)}, "c"),
        ({"bound": 1e8}, "bound"),
        ({"refine": 1}, "c, A, refine|A, c, refine"),
        ({"observables": ("s",)}, "observables, program"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_file_of_another_diagram_is_refused_by_what_differs(tmp_path, change, named):
    def plan(system=FAST, c=(0.3, 1.0, 3), steps=400, refine=0, bound=1e10, observables=("regime",), **axes):
        axes |= {"A": (4.0, 40.0, 3)} if c is None else {"c": c, "A": (4.0, 40.0, 3)}
        options = {"steps": steps, "refine": refine, "bound": bound, "observables": observables}
        return phase.make_plan(system, None, axes, **options)

    record.save(plan().dataset, tmp_path / "phase.nc")
    with pytest.raises(ValueError, match=rf"holds another diagram \(differs in ({named})\)"):
        plan(**change).run(path=tmp_path / "phase.nc", progress=False)


def test_a_tuner_of_several_runs_has_no_diagram():
    with pytest.raises(ValueError, match="max of the tuner must be one number; an axis varies it"):
        eos.phase_diagram(eos.theory.FastMap(eos.tuners.Polyak(max=np.ones(2))), c=(0.3, 1, 2), A=(4, 40, 2))


def test_a_diagram_says_what_it_is_of():
    tuner = eos.tuners.Polyak(c=0.7, max=2.0)
    options = {"steps": 400, "refine": 0, "bound": 1e10, "observables": ("regime",)}
    dataset = phase.make_plan(eos.theory.FastMap(tuner), None, {"c": (0.3, 1, 3), "A": (4, 40, 3)}, **options).dataset
    assert dataset.tuner.item() == "polyak:max=2"  # c is an axis
    assert dataset.attrs["tuner"] == "Polyak(c=0.7, f_star=0, max=2)"
    assert dataset.attrs["system"].startswith("FastMap(")
    assert "\n" not in dataset.attrs["system"]


def test_refinement_agrees_with_the_fine_grid_where_both_computed():
    settings = {"steps": 400, "progress": False, "chunk": 64}
    coarse = eos.phase_diagram(FAST, c=(0.3, 1.0, 5), A=(4.0, 40.0, 5, "log"), refine=2, **settings).dataset
    fine = eos.phase_diagram(FAST, c=(0.3, 1.0, 17), A=(4.0, 40.0, 17, "log"), **settings).dataset
    xr.testing.assert_equal(coarse.coords.to_dataset(), fine.coords.to_dataset())
    computed = coarse.done.values == 1
    assert 25 < computed.sum() < computed.size
    for name in ("regime", "period", "edge_exponent", "lyapunov"):
        np.testing.assert_array_equal(coarse[name].values[computed], fine[name].values[computed])
    # The corners are always computed, and every cell of the first level whose corners differ has all its middles.
    assert computed[::4, ::4].all()
    code = (fine.regime * 100 + fine.period).values[::4, ::4]
    for i, j in np.ndindex(4, 4):
        if len(np.unique(code[i : i + 2, j : j + 2])) > 1:
            assert computed[4 * i : 4 * i + 5 : 2, 4 * j : 4 * j + 5 : 2].all()
    # What was left out has the value of a computed point next to it.
    assert set(coarse.regime.values[~computed]) <= set(coarse.regime.values[computed])


def final_output(result):
    return result.state[0] * result.state[1]


def test_overflow_is_a_regime_and_a_function_of_ones_own_an_observable():
    """Pytest turns warnings into errors, so that there are none; ηλ₀ > 4 diverges in either precision."""
    toy = TwoLayerScalar(jnp.asarray([1.0, 1e-3], jnp.float32))
    axes = {"step": [0.5, 1.0, 4.5, 1e3, 1e30], "start[0]": [1.0, 1.5]}
    result = eos.phase_diagram(
        toy, eos.tuners.Constant, axes, observables=("regime", "final_loss", final_output), progress=False
    ).dataset
    assert (result.regime.values[:, 2:] == Regime.DIVERGED).all()
    assert (result.regime.values[:, 0] == Regime.CONVERGED).all()
    assert result.final_loss.isnull().values[:, 2:].all()
    assert result.final_output.dtype == result.final_loss.dtype == np.float32
    assert abs(float(result.final_output[0, 0])) < 1e-10
    assert "lyapunov" not in result


def test_memory_is_bounded_by_the_chunk():
    """A hundred thousand orbits of 1000 steps are 100 MB for one number a step."""
    settings = {"observables": "s", "steps": 1000, "progress": False, "chunk": 4096}
    eos.phase_diagram(FAST, c=(0.3, 1.0, 64), A=(4.0, 40.0, 64), **settings)
    tracemalloc.start()
    eos.phase_diagram(FAST, c=(0.3, 1.0, 200), A=(4.0, 40.0, 100), **settings)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"c": (1.0, 0.3, 9)}, ["axis c", "from low to high", "1.0 to 0.3"]),
        ({"c": (0.3, 1.0, 0)}, ["axis c", "count", "0"]),
        ({"c": (0.3, 1.0, 1)}, ["axis c", "count"]),
        ({"c": []}, ["axis c", "at least 2 increasing"]),
        ({"c": [0.5, 0.4]}, ["axis c", "increasing"]),
        ({"c": (0.3, np.nan, 9)}, ["axis c", "nan"]),
        ({"c": (-1.0, 1.0, 9)}, ["axis c reaches -1", "Polyak: c must lie in (0, inf)"]),
        ({"A": (0.0, 1.0, 9)}, ["axis A reaches 0", "FastMap: A"]),
        ({"A": (0.0, 1.0, 9, "log")}, ["axis A", "above 0"]),
        ({"A": (1.0, 2.0, 9, "cubic")}, ["linear or log", "cubic"]),
        ({"c": (0.3, 1.0, 10**7), "A": (1.0, 2.0, 10**7)}, ["100000000000000 points", "memory"]),
        ({"c": (0.3, 1.0, 10**13)}, ["10000000000000 points", "memory"]),
        ({"observables": ("regime", "entropy")}, ["entropy", "edge_exponent"]),
        ({"observables": ()}, ["at least one"]),
        ({"observables": ("s", lambda result: result.state)}, ["must be a scalar"]),
        ({"observables": "s", "refine": 1}, ["refine", "regime"]),
        ({"refine": -1}, ["refine"]),
        ({"steps": 10}, ["steps", "64", "10"]),
        ({"chunk": 0}, ["chunk"]),
        ({"bound": 1.0}, ["bound"]),
    ],
)
def test_bad_input_is_refused_before_anything_is_computed(change, words, tmp_path, monkeypatch):
    monkeypatch.setattr(phase, "sweep", lambda *args, **kwargs: pytest.fail("computed"))
    with pytest.raises(ValueError, match="phase_diagram") as error:
        eos.phase_diagram(FAST, **(SETTINGS | {"path": tmp_path / "d.nc"} | change))
    assert all(word in str(error.value) for word in words), error.value
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("system", "tuner", "names", "words"),
    [
        (FAST, None, ("c", "sigma"), ["no parameter 'sigma'", "tuner.c", "map.A"]),
        (FAST, None, ("c", "kapa"), ["did you mean kappa"]),
        (FAST, None, ("c", "tuner.c"), ["one parameter"]),
        (FAST, None, ("c",), ["two axes"]),
        (FAST, eos.tuners.Polyak(), ("c", "A"), ["its own tuner"]),
        (valley(), None, ("b", "gamma"), ["tuner"]),
        (valley(), eos.tuners.Constant, ("step", "mu"), ["mu[0]"]),
        (valley(), eos.tuners.Constant, ("step", "mu[3]"), ["mu", "1 numbers"]),
        (valley(), eos.tuners.Constant, ("step[0]", "b"), ["one number"]),
        (valley(), eos.tuners.Constant, ("step", "b[["), ["no parameter"]),
        (jnp.sin, eos.tuners.Constant, ("step", "b"), ["system must be"]),
        (eos.objective(lambda w: jnp.sum(w**2), jnp.ones(30)), eos.tuners.Constant, ("step", "start[0]"), ["30", "24"]),
    ],
)
def test_wrong_systems_and_names_are_refused(system, tuner, names, words):
    with pytest.raises(ValueError, match="phase_diagram") as error:
        eos.phase_diagram(system, tuner, dict.fromkeys(names, (0.1, 0.2, 3)), progress=False)
    assert all(word in str(error.value) for word in words), error.value


def test_a_name_that_two_parts_have_must_say_which():
    class Stepped(AbstractObjective):
        step: float = 2.0

        def loss(self, weights):
            return 0.5 * self.step * jnp.sum(weights**2)

        def initial(self, seed=None):
            return jnp.ones(1)

    made = probe(Stepped(), eos.tuners.Constant())
    with pytest.raises(ValueError, match=r"tuner\.step or objective\.step"):
        find(made, "step")
    assert float(find(made, "tuner.step").put(made, 0.7).tuner.step) == pytest.approx(0.7)


def test_a_probe_is_a_family_for_the_other_analyses():
    """The flip of Polyak's fast map, by Newton's method on the family in c."""
    made = probe(FastMap(eos.tuners.Polyak(), A=20.0))
    result = flip(Family(made, find(made, "c")), [np.log(30.0)], 0.5)
    exact = (21.5 - np.sqrt(21.5**2 - 160)) / 8
    assert result.converged
    assert result.parameter == pytest.approx(exact, rel=1e-8)


def test_pictures_show_what_the_dataset_holds(diagram):
    figure = eos.analysis.PhaseDiagram(diagram).plot()
    (ax,) = figure.axes
    mesh = ax.collections[0]
    colors = np.array([to_hex(c) for c in mesh.to_rgba(mesh.get_array().ravel())]).reshape(diagram.regime.shape)
    legend = ax.get_legend()
    shown = {
        text.get_text(): to_hex(patch.get_facecolor())
        for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)
    }
    assert set(colors[diagram.regime == Regime.CHAOTIC]) == {shown["chaotic"]}
    assert set(colors[(diagram.period == 1).values]) == {shown["period 1"]}
    assert len(set(shown.values())) == len(shown)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("c", "A")
    assert "chaotic" in {text.get_text() for text in ax.texts}
    figure.canvas.draw()
    named = {"edge_exponent": "Λ: edge exponent", "lyapunov": "largest Lyapunov exponent per step", "period": "period"}
    for name, label in named.items():
        ax = Figure().subplots()
        drawn = plotting.phase_diagram(diagram, name, axes=ax)
        assert drawn.axes[1].get_ylabel().startswith(label)
        np.testing.assert_array_equal(np.ma.filled(ax.collections[0].get_array(), np.nan), diagram[name])
        drawn.canvas.draw()
    with pytest.raises(ValueError, match="observable must be one of"):
        plotting.phase_diagram(diagram, "entropy")


def test_a_logarithmic_axis_is_drawn_as_one(diagram):
    other = diagram.assign_coords(A=("A", np.geomspace(1, 100, 9), {"symbol": "A"}))
    (ax,) = plotting.phase_diagram(other).axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "log")
