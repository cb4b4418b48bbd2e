"""Tables of comma-separated values hold what the datasets hold, read by pandas."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import eosmodel as eos
from eosmodel.cli import main
from eosmodel.results import record

DIVERGES = eos.objective(lambda w: (w**4).sum(), np.array([1.0, 0.3]))


@pytest.mark.usefixtures("lightly_compiled")
def test_a_table_is_the_dataset(tmp_path):
    run = eos.simulate(DIVERGES, eos.tuners.Constant(np.array([0.1, 2.0])), 12, modes=2, progress=False)
    table = pd.read_csv(record.to_csv(run, tmp_path / "run.csv"))
    last = run.steps.values
    assert list(table.groupby("tuner_step").size()) == list(last)  # no rows after the end
    assert list(table.groupby("tuner_step").status.first()) == ["ok", "diverged"]
    for i in (0, 1):
        mine = table[table.tuner_step == [0.1, 2.0][i]]
        np.testing.assert_allclose(mine.loss, run.loss[i, : last[i]], rtol=1e-15)
        for mode in (1, 2):
            values = run.eigenvalues.sel(mode=mode)[i, : last[i]]
            np.testing.assert_allclose(mine[f"eigenvalues_{mode}"], values, rtol=1e-15)
    assert set(table.step) == set(range(12))


def test_every_dataset_of_a_folder_is_exported(tmp_path, capsys, fails):
    grid = xr.Dataset({"regime": (("A", "c"), [[1, 2, 3], [4, 5, 6]])}, {"A": [0.5, 1.5], "c": [1, 2, 3]})
    record.save(grid, tmp_path / "phase.nc")
    record.save(xr.Dataset({"loss": ("step", [2.0, 1.0]), "status": 0}, {"step": [0, 5]}), tmp_path / "experiment.nc")
    main(["export", str(tmp_path)])
    assert [line.split("/")[-1] for line in capsys.readouterr().out.splitlines()] == ["experiment.csv", "phase.csv"]
    table = pd.read_csv(tmp_path / "phase.csv")
    xr.testing.assert_equal(table.set_index(["A", "c"]).to_xarray(), grid)
    assert (tmp_path / "experiment.csv").read_text() == "step,loss,status\n0,2.0,ok\n5,1.0,ok\n"
    (tmp_path / "empty").mkdir()
    assert "no dataset (.nc) in" in fails("export", str(tmp_path / "empty"))
    assert "name a folder" in fails("export")
