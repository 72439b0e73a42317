"""Figures: what they read, refuse and draw. Most results are made by hand; the slow test draws those of real sweeps."""

import dataclasses
import json
import shutil

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from figures import curves, data, make, phase, risk_lines, style
from sims.risk_sweep.methods import METHODS as SIMULATED
from sims.risk_sweep.results import VARIABLES
from sims.risk_sweep.spec import GRID_AXES, SweepSpec
from tests.panels import assert_drawn, stored, stub
from tests.test_bad_input import assert_refused
from tests.test_house import run_python
from w2s_jax import theory
from w2s_jax.statistics import confidence_interval
from w2s_jax.tasks import make_task

METHODS = ("source", "weak", "ceiling", "naive_ft", "icl_refine_shared", "icl_refine_fresh")
CONFIG = {"dim": 8, "num_concepts": 2, "noise_var": 0.25, "task_law": "fixed"}
COORDS = {
    "weakness": ["noisy", "rotated"],
    "weak_accuracy": [0.5, 0.8],
    "sample_size": [4, 64],
    "concept_shift": [0.25, 0.75],
    "num_icl": [0, 4],
    "method": list(METHODS),
    "method_2": list(METHODS),
    "penalty": [0.0, 0.1, 1.0, 10.0],
}


def risk_dataset() -> xr.Dataset:
    """A risk sweep with the dims that its writer gives to what figures read, and numbers drawn at random."""
    draw, variables = np.random.default_rng(0), {}
    for name in ("risk_mean", "risk_sem", "misalignment_mean", "naive_path_mean", "naive_path_sem", "num_replicates"):
        dims = (*VARIABLES[name][0], *GRID_AXES)
        values = draw.uniform(0.1, 1.0, [len(COORDS[dim]) for dim in dims])
        variables[name] = (dims, values / 100 if name.endswith("sem") else values)
    variables["num_replicates"][1][:] = 400
    pair = xr.DataArray(np.eye(len(METHODS)), dims=VARIABLES["risk_cov"][0])
    dataset = xr.Dataset(variables, COORDS, {"config": json.dumps(CONFIG), "complete": 400})
    cov = pair * xr.ones_like(dataset["risk_mean"].isel(method=0, drop=True))
    return dataset.assign(risk_cov=cov)


def results(**config) -> data.Results:
    return data.Results("risk_sweep", risk_dataset(), {**CONFIG, **config})


@pytest.fixture
def folder(tmp_path):
    """A folder of results that holds a risk sweep and nothing else."""
    stored(risk_dataset(), tmp_path, "risk_sweep")
    return tmp_path


def run(capsys, *argv) -> tuple[int, str, str]:
    return make.main([str(a) for a in argv]), *capsys.readouterr()


def heights_of(polygon) -> np.ndarray:
    return np.asarray(polygon.get_paths()[0].vertices)[:, 1]


# --- Style -------------------------------------------------------------------------------------------------------


def test_every_method_has_a_look_of_its_own():
    assert set(SIMULATED) <= set(style.METHODS)
    for part in ("label", "color", "marker"):
        values = [getattr(look, part) for look in style.METHODS.values()]
        assert len(set(values)) == len(values), part
    assert style.look("some_new_method") == style.look("some_new_method")
    assert style.look("some_new_method").label == "some new method"
    assert len(set(style.ordered_colors(8))) == 8 <= len(style.MARKERS)


def test_band_is_the_interval_of_95_percent_and_stays_on_a_logarithmic_axis():
    with style.style():
        panel = style.new_figure(2, 2)[1][0, 0]
        heights = heights_of(style.band(panel, np.arange(3.0), np.ones(3), np.full(3, 0.1), np.full(3, 10**6), "red"))
        assert (heights.min(), heights.max()) == pytest.approx((1 - 0.196, 1 + 0.196), abs=1e-4)
        panel.set_yscale("log")
        heights = heights_of(style.band(panel, np.arange(2.0), np.ones(2), np.full(2, 5.0), np.full(2, 100), "red"))
    assert (heights > 0).all()


def test_user_settings_do_not_reach_a_figure():
    with mpl.rc_context({"font.size": 40, "axes.grid": True}), style.style():
        assert mpl.rcParams["font.size"] == 7 and not mpl.rcParams["axes.grid"]


# --- Reading results ---------------------------------------------------------------------------------------------


def test_tasks_are_those_of_the_store():
    tasks = results().tasks(np.array([0.5, 0.8]), 0.25)
    assert tasks.noise_var.shape == (2, 2)
    expected = make_task(num_concepts=2, dim=8, weak_accuracy=0.8, concept_shift=0.25, weakness="rotated")
    for got, want in zip(tasks, expected):
        np.testing.assert_allclose(got[0, 1], want, rtol=1e-12)
    noisy = make_task(num_concepts=2, dim=8, weak_accuracy=0.5, concept_shift=0.25, weakness="noisy")
    np.testing.assert_allclose(tasks.weak_noise_var[1, 0], noisy.weak_noise_var, rtol=1e-12)


def test_batches_leave_no_task_out():
    values = np.arange(2.5 * data.BATCH)
    np.testing.assert_array_equal(data.in_batches(lambda x: x + 1, values), values + 1)


def test_opened_store_has_data_and_configuration(folder):
    opened = data.open_results(folder, "risk_sweep")
    assert opened.config == CONFIG
    assert opened.weaknesses == ["rotated", "noisy"]  # the order of the package, not of the store
    xr.testing.assert_equal(opened.data["risk_mean"], risk_dataset()["risk_mean"])
    nearest = {"weak_accuracy": 0.8, "sample_size": 64, "num_icl": 4}
    assert opened.nearest(weak_accuracy=0.7, sample_size=1024, num_icl=16) == nearest


def test_axes_are_read_in_order_whatever_order_they_were_asked_for():
    values = xr.Dataset({"risk": (("a", "name"), [[1.0, 2.0], [3.0, 4.0]])}, {"a": [0.9, 0.5], "name": ["z", "b"]})
    ordered = data._in_order(values)
    assert ordered.a.values.tolist() == [0.5, 0.9] and ordered.name.values.tolist() == ["z", "b"]
    assert ordered.risk.values.tolist() == [[3.0, 4.0], [1.0, 2.0]]


def test_relaxed_risk_sweep_has_no_closed_forms():
    def has(**config) -> bool:
        return data.Results("risk_sweep", xr.Dataset(), config).has_closed_forms

    assert has()  # a store made before the settings came
    assert has(task_law="fixed", features="gaussian", spectrum=0.0, target_prior=[], temperature=1.0)
    for setting in ({"coherence": 0.2}, {"target_prior": [0.6, 0.4]}, {"refined_labels": "mean"}):
        assert not has(**setting), setting


def test_every_setting_of_a_risk_sweep_is_known_to_the_closed_forms():
    fields = {field.name: field.default for field in dataclasses.fields(SweepSpec)}
    assert sorted(fields) == sorted([*data.ASSUMED, *data.READ, *data.HARMLESS])
    for name, assumed in data.ASSUMED.items():
        default = fields[name]
        assert (list(default) if isinstance(default, tuple) else default) == assumed, name


def test_unfinished_store_says_how_to_go_on(tmp_path):
    with pytest.raises(data.MissingResultError, match=r"not finished; go on with: python -m sims\.risk_sweep"):
        stored(risk_dataset().assign_attrs(complete=0), tmp_path, "risk_sweep")


def test_corrupt_store_is_refused(folder, capsys):
    (folder / "risk_sweep.zarr" / "zarr.json").write_text("{")
    assert_refused(capsys, make.main(["--results", str(folder)]), "readable zarr group", folder / "figures")


# --- The command -------------------------------------------------------------------------------------------------


def test_list_names_every_figure_and_what_it_needs(folder, capsys):
    code, out, _ = run(capsys, "--results", folder, "--list")
    assert code == 0 and "ready" in out
    assert all(f"{name}\n" in out for name in make.FIGURES)
    for sweep in ("posterior_sweep", "language"):
        assert f"python -m sims.{sweep} --preset quick --out {folder}" in out


def test_what_has_results_is_drawn_and_the_rest_is_named(folder, capsys, monkeypatch):
    stub(monkeypatch)
    code, out, _ = run(capsys, "--results", folder)
    assert code == 0
    drawn = [name for name, entry in make.FIGURES.items() if entry.store in ("risk_sweep", None)]
    assert_drawn(folder, drawn, least=1)
    assert str(folder / "figures" / "phase_diagram.pdf") in out
    *_, last = out.splitlines()
    assert out.count("not drawn") == 1 and last.startswith("not drawn, since their results are not there: ")
    assert last.split(": ")[1].split(";")[0].split(", ") == [name for name in make.FIGURES if name not in drawn]
    assert f"python -m figures.make --results {folder} --list" in last
    assert run(capsys, "--results", folder, "--out", folder / "new" / "out", "--only", "phase_diagram")[0] == 0
    assert {path.name for path in (folder / "new" / "out").iterdir()} == {"phase_diagram.pdf", "phase_diagram.png"}


def test_the_backend_of_a_notebook_does_not_stop_the_command():
    found = run_python(
        "from figures import make; make.main(['--list']); import matplotlib.figure",
        MPLBACKEND="module://matplotlib_inline.backend_inline",
    )
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--only", "overconfidence"], "sims.posterior_sweep"),
        (["--only", "riskvs"], "got 'riskvs'; did you mean risk_vs_sample_size or risk_vs_weak_accuracy or"),
        (["--results", "{folder}/absent"], "--results must be a folder of stores"),
        (["--results", "{folder}/risk_sweep.zarr/zarr.json"], "is a file"),
        (["--results", "{folder}/risk_sweep.zarr"], "did you mean --results {folder}?"),
        (["--out", "{folder}/risk_sweep.zarr/zarr.json"], "--out must be a folder"),
        (["--out", "{folder}/risk_sweep.zarr/zarr.json/figures"], "--out must be a folder"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(folder, capsys, monkeypatch, argv, words):
    stub(monkeypatch)
    before = sorted(folder.rglob("*"))
    code, out, err = run(capsys, "--results", folder, *(a.format(folder=folder) for a in argv))
    assert code == 2 and not out
    assert words.format(folder=folder) in err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_method_that_a_figure_needs_and_the_store_lacks(tmp_path, capsys, monkeypatch):
    stub(monkeypatch, *(name for name in make.FIGURES if name != "phase_diagram"))
    stored(risk_dataset().sel({"method": ["naive_ft"], "method_2": ["naive_ft"]}), tmp_path, "risk_sweep")
    code, out, _ = run(capsys, "--results", tmp_path)
    assert code == 0 and "not drawn: phase_diagram: this figure needs method icl_refine_fresh" in out
    assert_refused(capsys, make.main(["--results", str(tmp_path), "--only", "phase_diagram"]), "icl_refine_fresh")


# --- What is drawn -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_curves_show_the_store_at_the_cut():
    held = results()
    with style.style():
        figure = risk_lines.risk_vs_weak_accuracy_grid(held)
    panel = figure.axes[held.weaknesses.index("rotated")]
    drawn = {line.get_label(): line for line in panel.lines}
    cut = held.at(weakness="rotated", sample_size=64, concept_shift=0.25, num_icl=4)
    for method in METHODS:
        line = drawn[style.look(method).label]
        assert line.get_color() == style.look(method).color
        np.testing.assert_array_equal(line.get_ydata(), cut["risk_mean"].sel({"method": method}))
    # the store's own mean is random here: the closed forms must not depend on it
    task = make_task(num_concepts=2, dim=8, weak_accuracy=0.8, concept_shift=0.25)
    ends = [line.get_ydata()[-1] for line in panel.lines if line.get_color() == "black"]
    assert np.isclose(ends, float(theory.population_ridge_floor(task)), rtol=1e-6, atol=0).any()


def test_closed_forms_are_not_drawn_for_random_tasks():
    with style.style():
        figure = risk_lines.risk_vs_weak_accuracy_grid(results(task_law="random"))
    assert not [line for axes in figure.axes for line in axes.lines if line.get_color() == "black"]


def test_verdict_is_paired():
    dataset = risk_dataset().sel(weakness="rotated", sample_size=64, num_icl=4)
    pair = list(phase.RIVALS)
    dataset["risk_mean"].loc[{"method": pair[0]}] = 0.5
    dataset["risk_mean"].loc[{"method": pair[1]}] = 0.4
    far_apart = phase.judge(dataset)
    np.testing.assert_allclose(far_apart.decades, np.log10(0.5 / 0.4))
    sem = np.sqrt(2 / 400)  # unit variances, independent
    assert (far_apart.certain == (confidence_interval(0.1, sem, 400)[0] > 0)).all()
    dataset["risk_cov"].loc[{"method": pair[0], "method_2": pair[1]}] = 0.999
    dataset["risk_cov"].loc[{"method": pair[1], "method_2": pair[0]}] = 0.999
    assert phase.judge(dataset).certain.all()


def test_cell_edges_lie_half_way():
    np.testing.assert_allclose(phase.edges(np.array([0.1, 0.3, 0.7])), [0.0, 0.2, 0.5, 0.9])


def test_naive_curve_is_the_least_over_the_penalties():
    tasks, path = results().tasks(np.array([0.5, 0.8]), 0.25), (0.1, 1.0, 10.0)
    task = make_task(num_concepts=2, dim=8, weak_accuracy=0.8, concept_shift=0.25)
    expected = min(float(theory.ridge_risk(task, 64, penalty)) for penalty in path)
    assert curves.ridge_at_best(tasks, 64, path)[0, 1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("few_pixels")
def test_a_figure_is_drawn_alike_every_time_without_the_date():
    first, second = (make.draw(make.FIGURES["naive_ft_trap"], results()) for _ in range(2))
    assert first == second and set(first) == {"pdf", "png"}
    assert first["pdf"].startswith(b"%PDF") and first["png"].startswith(b"\x89PNG")
    assert b"CreationDate" not in first["pdf"]


@pytest.mark.slow
@pytest.mark.usefixtures("few_pixels")
def test_every_figure_is_drawn_from_small_sweeps(finished, tmp_path, capsys):
    for sweep in (made := ("risk_sweep", "posterior_sweep")):
        shutil.copytree(finished(sweep).out / f"{sweep}.zarr", tmp_path / f"{sweep}.zarr")
    code, printed, _ = run(capsys, "--results", tmp_path)
    assert code == 0 and printed.count("not drawn") == 1
    assert_drawn(tmp_path, [name for name, entry in make.FIGURES.items() if entry.store in (*made, None)])
