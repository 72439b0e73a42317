"""What a command prints beside its progress: the plan of a dry run, and the main numbers at the end."""

import importlib
import re
import shutil

import numpy as np
import pytest

from sims.risk_sweep import headline
from tests.helpers import files, of
from tests.test_bad_input import assert_refused
from tests.tiny import NETWORKS, TINY
from w2s_jax.results import open_results

pytestmark = pytest.mark.timeout(600)  # a test may wait for another worker to finish the sweep


def slow_but_risk(names):
    return [name if name == "risk_sweep" else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", slow_but_risk(TINY))
def test_a_dry_run_prints_the_plan_and_writes_nothing(name, capsys, tmp_path):
    sweep = TINY[name]
    assert sweep.run(tmp_path / "out", "--dry-run") == 0
    said = capsys.readouterr()
    assert not list(tmp_path.iterdir()) and not said.out
    disk = "disk: known when the networks are there" if name in NETWORKS else "disk: at most"
    assert re.search(r"\d blocks", said.err) and disk in said.err and "time: about" in said.err
    assert said.err.endswith(f"{sweep.path(tmp_path / 'out')} is not there; nothing was written\n")


def test_a_dry_run_says_what_is_there(capsys, finished, tmp_path):
    sweep, out = TINY["risk_sweep"], finished("risk_sweep").out
    before = files(out)
    assert sweep.run(out, "--dry-run") == 0
    assert "nothing to do" in capsys.readouterr().err
    assert sweep.run(out, "--dry-run", replicates=60) == 0
    assert re.search(r"holds \d+ blocks already; nothing was written", capsys.readouterr().err)
    assert files(out) == before


@pytest.mark.parametrize("name", slow_but_risk(TINY))
def test_main_numbers_are_those_of_the_store(name, finished):
    """Every number with its interval or error is in the store, in the cell that the lines before it name."""
    sweep, found = TINY[name], finished(name)
    module = importlib.import_module(sweep.command.__module__.replace("__main__", "headline"))
    lines = list(module.main_numbers(open_results(sweep.path(found.out)).load(), sweep.spec))
    numbers = [float(x) for line in lines for x in re.findall(r"  (-?\d+\.\d+)(?:  \[| ±)", line)]
    assert len(numbers) >= 2 and np.isfinite(numbers).all()
    assert not any("nan" in line for line in lines)


def test_the_demo_ends_with_what_it_found(capsys, finished, tmp_path):
    store = tmp_path / "risk_sweep.zarr"
    shutil.copytree(finished("risk_sweep").out / "risk_sweep.zarr", store)
    assert headline.main([str(store)]) == 0
    said = capsys.readouterr().out
    data = open_results(store)
    cell = data.sel(weakness="rotated", weak_accuracy=0.6, concept_shift=0.6, sample_size=20, num_icl=2)
    for method in ("weak", "naive_ft", "icl_refine_fresh", "ceiling"):
        mean, low, high = (float(of(method, cell[f"risk_{part}"])) for part in ("mean", "low", "high"))
        assert f"{mean:.4f}  [{low:.4f}, {high:.4f}]" in said
        assert f"{mean:.3f}" in said.splitlines()[0]
    assert re.search(r"refined with a fresh prompt .* PGR -?\d", said) and "its floor by theory" in said
    assert "picture" not in said and f'open_results("{store}")' in said and "next       python -m sims.methods" in said
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "risk_vs_weak_accuracy.png").touch()
    assert headline.main([str(store)]) == 0
    assert f"picture    {tmp_path}/figures/risk_vs_weak_accuracy.png" in capsys.readouterr().out
    assert_refused(capsys, headline.main([str(tmp_path / "none.zarr")]), "there is none at")
