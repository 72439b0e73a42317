"""Figures of the theory sweep: how a study is read, that its tasks are those simulated, and what is drawn."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from figures import assumptions, data, make, misfit, mixtures, oracles, style
from sims.risk_sweep.spec import SweepSpec
from sims.theory_sweep.spec import TheorySpec
from sims.theory_sweep.studies import STUDIES, contamination, em_ladder, hull, mixture_target, proportional, relaxed
from sims.theory_sweep.studies import misfit as misfit_study
from sims.theory_sweep.studies import prompts as prompts_study
from tests.helpers import assert_mean
from tests.panels import assert_drawn, assert_same_bytes, shows
from tests.test_house import run_python
from w2s_jax import theory
from w2s_jax.statistics import pgr_interval, summarize
from w2s_jax.tasks import make_task

SPEC = TheorySpec(
    hull_num_concepts=(2, 4),
    hull_sample_size=(64, 4096),
    em_steps=(0, 1, 4),
    em_sample_size=(256,),
    target_prior=(0.6, 0.4),
    target_weight=(0.75,),
    contamination=(0.0, 0.2),
    num_icl=(0, 1, 8),
    weak_accuracy=(0.2, 0.8),
    aspect_ratio=(0.5, 1.0, 2.0),
)
COUNT = 400
NAMES = [name for name, entry in make.FIGURES.items() if entry.store == "theory_sweep"]


def theory_dataset() -> xr.Dataset:
    """A theory sweep with the axes of a real one and numbers drawn at random."""
    draw = np.random.default_rng(0)
    variables, coords = {}, {}
    for name, study in STUDIES.items():
        axes = {f"{name}_{axis}": np.array(values) for axis, values in study.axes(SPEC).items()}
        quantities = np.array(study.quantities(SPEC))
        coords |= axes | {f"{name}_quantity": quantities, f"{name}_quantity_2": quantities}
        dims, size = (*axes, f"{name}_quantity"), len(quantities)
        mean = draw.uniform(0.1, 1.0, [len(coords[dim]) for dim in dims])
        if name == "em_ladder":
            mean *= 1e-3  # under the path of population EM, which is drawn down to it
        if name == "proportional":
            mean[1, 0] = np.nan
        variables[f"{name}_mean"] = (dims, mean)
        variables[f"{name}_sem"] = (dims, np.full(mean.shape, 0.01))
        cov = np.broadcast_to(COUNT * 1e-4 * np.eye(size), (*mean.shape, size))
        variables[f"{name}_cov"] = ((*dims, f"{name}_quantity_2"), cov)
    variables["num_replicates"] = ((), COUNT)
    config = {"noise_var": SPEC.noise_var, "target_prior": list(SPEC.target_prior)}
    return xr.Dataset(variables, coords, {"config": json.dumps(config), "complete": COUNT})


pytestmark = pytest.mark.slow  # many closed forms, compiled and drawn


@pytest.fixture(scope="module")
def results() -> data.Results:
    dataset = theory_dataset()
    return data.Results("theory_sweep", dataset, json.loads(dataset.attrs["config"]))


def panels_of(draw, results) -> list:
    with style.style():
        return draw(results).axes


def drawn(axes) -> list[np.ndarray]:
    """Heights of everything drawn in a panel, lines and points."""
    return [np.asarray(line.get_ydata(), float) for line in axes.lines]


# --- Reading a study ---------------------------------------------------------------------------------------------


def test_study_has_plain_names(results):
    study = results.study("contamination")
    assert set(study.data_vars) == {"mean", "sem", "cov"}
    assert study["mean"].dims == ("num_concepts", "contamination", "num_icl", "quantity")
    assert study["cov"].dims[-2:] == ("quantity", "quantity_2")
    assert study["contamination"].values.tolist() == [0.0, 0.2]
    np.testing.assert_array_equal(study["mean"].values, results.data["contamination_mean"].values)


def test_missing_study_is_named_with_its_command(tmp_path, capsys, monkeypatch):
    for name in make.FIGURES:
        if name != "hull_statistical_dimension":
            monkeypatch.setitem(make.FIGURES, name, make.FIGURES[name]._replace(draw=lambda _: Figure(figsize=(1, 1))))
    fewer = theory_dataset()
    fewer = fewer.drop_vars([v for v in fewer.variables if str(v).startswith("hull")])
    fewer.to_zarr(tmp_path / "theory_sweep.zarr", zarr_format=3, consolidated=False)
    sentence = (
        "this figure needs the study hull, which theory_sweep.zarr does not hold; "
        "make it with: python -m sims.theory_sweep --preset quick --out ANOTHER_FOLDER --studies hull\n"
    )
    assert make.main(["--results", str(tmp_path), "--only", "hull_statistical_dimension"]) == 2
    assert capsys.readouterr().err == f"error: {sentence}"
    assert not (tmp_path / "figures").exists()
    assert make.main(["--results", str(tmp_path)]) == 0
    assert f"not drawn: hull_statistical_dimension: {sentence}" in capsys.readouterr().out
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {*NAMES} - {"hull_statistical_dimension"}


def test_relaxed_risk_sweep_has_no_closed_forms():
    def has(**config) -> bool:
        return data.Results("risk_sweep", xr.Dataset(), config).has_closed_forms

    assert has()  # a store made before the settings came
    assert has(task_law="fixed", features="gaussian", spectrum=0.0, target_prior=[], temperature=1.0)
    relaxed = ({"coherence": 0.2}, {"features": "uniform"}, {"temperature": 2.0}, {"target_prior": [0.6, 0.4]})
    for setting in (*relaxed, {"refined_labels": "mean"}):
        assert not has(**setting), setting


def test_every_setting_of_a_risk_sweep_is_known_to_the_closed_forms():
    fields = {field.name: field.default for field in dataclasses.fields(SweepSpec)}
    assert sorted(fields) == sorted([*data.ASSUMED, *data.READ, *data.HARMLESS])
    for name, assumed in data.ASSUMED.items():
        default = fields[name]
        assert (list(default) if isinstance(default, tuple) else default) == assumed, name


def test_axes_are_drawn_in_order_whatever_order_they_were_asked_for():
    values = xr.Dataset({"risk": (("a", "name"), [[1.0, 2.0], [3.0, 4.0]])}, {"a": [0.9, 0.5], "name": ["z", "b"]})
    ordered = data._in_order(values)
    assert ordered.a.values.tolist() == [0.5, 0.9] and ordered.name.values.tolist() == ["z", "b"]
    assert ordered.risk.values.tolist() == [[3.0, 4.0], [1.0, 2.0]]


def test_the_path_of_a_store_is_not_taken_for_a_folder_of_stores(capsys, tmp_path):
    store = tmp_path / "risk_sweep.zarr"
    store.mkdir()
    assert make.main(["--results", str(store)]) == 2
    assert f"did you mean --results {tmp_path}?" in capsys.readouterr().err
    assert not list(store.iterdir())


def test_the_backend_of_a_notebook_does_not_stop_the_command():
    found = run_python(
        "from figures import make; make.main(['--list']); import matplotlib.figure",
        MPLBACKEND="module://matplotlib_inline.backend_inline",
    )
    assert found.returncode == 0, found.stderr


# --- Tasks are those of the sweep ----------------------------------------------------------------------------------


def assert_same_task(got, want):
    for field, a, b in zip(got._fields, got, want):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6, err_msg=field)


def test_tasks_are_those_that_the_studies_simulate(results):
    for law in hull.LAWS:
        assert_same_task(oracles.hull_task(law, 4, SPEC.noise_var), hull.task(SPEC, law, 4))
    for target in em_ladder.TARGETS:
        assert_same_task(oracles.em_task(results, target), em_ladder.task(SPEC, target))
    mixture = mixtures.target_tasks(results, np.array([0.75]))
    assert_same_task(jax.tree.map(lambda leaf: leaf[0], mixture), mixture_target.task(SPEC, 0.75))
    foreign = mixtures.foreign_tasks(results, 4, np.array([0.0, 0.2]))
    for i, share in enumerate((0.0, 0.2)):
        assert_same_task(jax.tree.map(lambda leaf, i=i: leaf[i], foreign), contamination.task(SPEC, 4, share))
    task = make_task(**assumptions.PROPORTIONAL, noise_var=SPEC.noise_var)
    assert_same_task(task, proportional.task(SPEC))
    law = {"num_concepts": misfit.NUM_CONCEPTS, "dim": misfit.DIM, "noise_var": SPEC.noise_var}
    confused = data.make_tasks(["confused"], [0.3], misfit.CONCEPT_SHIFT, **law)
    confused = jax.tree.map(lambda leaf: leaf[0, 0], confused)
    assert_same_task(confused, misfit_study.task(SPEC, "confused", 0.3))


def test_constants_are_those_of_the_studies():
    assert misfit.SAMPLE_SIZE == misfit_study.SAMPLE_SIZE
    assert mixtures.PROMPTS_AT_ONCE == prompts_study.PROMPTS_AT_ONCE
    cell = relaxed.base(SPEC)
    for text in (
        f"{cell.weakness[0]} teacher, weak accuracy {cell.weak_accuracy[0]:g}",
        f"concept shift {cell.concept_shift[0]:g}, prompts of {cell.num_icl[0]}",
        f"n = {cell.sample_size[0]}, d = {cell.dim}, K = {cell.num_concepts}",
    ):
        assert text in assumptions.RELAXED
    for knob, values in relaxed.SETTINGS.items():
        neutral = assumptions.KNOBS[knob].neutral
        assert neutral in values
        if knob != "target_weight":
            assert getattr(cell, knob) == neutral
    assert set(assumptions.METHODS) == set(cell.methods)
    assert [f.split("_sign")[0] for f in misfit_study.QUANTITIES if f.endswith("sign_accuracy")] == list(
        misfit.LEARNERS
    )


# --- What is drawn -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_pixels")
@pytest.mark.parametrize("name", NAMES)
def test_bytes_are_stable(name, results):
    assert_same_bytes(name, results)


def test_hull_is_measured_in_units_of_its_noise(results):
    left, right = panels_of(oracles.hull_statistical_dimension, results)
    study = results.study("hull").sel(quantity="distance", sample_size=4096)["mean"]
    assert shows(left, 4096 * study.sel(law="vertex").values / SPEC.noise_var)
    a, k = 0.5, np.array(SPEC.hull_num_concepts)
    assert shows(right, 4096 * study.sel(law="interior").values / (SPEC.noise_var + 1 - a**2 + (1 - a) ** 2 / k))
    assert shows(left, [theory.hull_statistical_dimension(k) for k in (2, 3, 4)])
    assert shows(right, [1, 2, 3])


def test_ladder_goes_from_the_source_over_refinement(results):
    panel = panels_of(oracles.em_ladder, results)[0]
    risk = results.study("em_ladder").sel(target="mixture", sample_size=256, quantity="em_risk")["mean"]
    assert shows(panel, risk.values)
    task = oracles.em_task(results, "mixture")
    assert shows(panel, [float(theory.em_first_step_risk(task, 256.0))])
    assert shows(panel, [float(theory.em_limit_risk(task, 256.0))] * 2)
    population = [theory.population_em_prior(task, steps) for steps in (0, 1, 2)]
    expected = [float(jnp.sum((prior - task.target_prior) ** 2)) for prior in population]
    paths = [y for y in drawn(panel) if len(y) > 2 and np.isclose(y[0], expected[0], rtol=1e-6)]
    assert any(np.allclose(y[:3], expected[: len(y[:3])], rtol=1e-6) for y in paths)


def test_population_path_stops_under_what_is_shown(results):
    task = oracles.em_task(results, "one concept")
    path = list(oracles._population_path(task, 0.01, 50))
    assert len(path) < 50
    assert path[-1] < 0.01 <= path[-2]


def test_mixture_target_shows_both_kinds_of_prompts(results):
    shared, fresh = panels_of(mixtures.mixture_target, results)
    study = results.study("mixture_target").sel(target_weight=0.75)
    assert shows(shared, study["mean"].sel(quantity="shared_misalignment").values)
    gap = study["mean"].sel(quantity=["weight_0", "weight_1"]).values - [0.75, 0.25]
    assert shows(fresh, np.square(gap).sum(-1) - 2e-4)
    for panel in (shared, fresh):
        assert shows(panel, [0.125, 0.125])  # winner takes all: 2 (1 - q)^2
    task = mixture_target.task(SPEC, 0.75)
    ends = [y[-1] for y in drawn(fresh)]
    assert np.isclose(ends, float(theory.mixed_misalignment(task, 8.0, "fresh")), rtol=1e-4).any()


def test_fresh_misalignment_is_free_of_bias_and_knows_its_error():
    draw = np.random.default_rng(0)
    target, law, count = np.array([0.6, 0.4]), np.array([[0.04, -0.02], [-0.02, 0.03]]), 50
    for centre in ([0.6, 0.4], [0.7, 0.3]):
        samples = draw.multivariate_normal(centre, law, (count, 4000))
        summary = summarize(samples)
        names = ["weight_0", "weight_1"]
        cov = summary.comoment / (count - 1)
        study = xr.Dataset(
            {"mean": (("r", "quantity"), summary.mean), "cov": (("r", "quantity", "quantity_2"), cov)},
            {"quantity": names, "quantity_2": names},
        )
        mean, sem = mixtures.simulated(study, target, "fresh", count)
        assert_mean(mean, np.square(centre - target).sum(), scale=0.02)
        ratio = np.sqrt(np.square(sem).mean()) / mean.std()
        assert 0.95 < ratio < (1.05 if centre[0] > target[0] else 1.7)  # where the mean is on target it errs upward


def test_contamination_shows_the_store_the_integral_and_the_threshold(results):
    panels = panels_of(mixtures.contamination, results)
    study = results.study("contamination").sel(num_concepts=2, contamination=0.2)
    assert shows(panels[0], study["mean"].sel(quantity="shared_misalignment").values)
    task = contamination.task(SPEC, 2, 0.2)
    expected = float(theory.mixed_misalignment(task, 8.0, "shared"))
    assert any(np.isclose(y[-1], expected, rtol=1e-4) for y in drawn(panels[0]))
    rings = [line for line in panels[0].lines if line.get_marker() == "o" and line.get_markerfacecolor() == "none"]
    assert [float(ring.get_xdata()[0]) for ring in rings] == [5.0]  # 1/rho
    on_curve = float(theory.mixed_misalignment(task, 5.0, "shared"))
    assert float(rings[0].get_ydata()[0]) == pytest.approx(on_curve, rel=1e-3)
    clean = contamination.task(SPEC, 4, 0.0)
    threshold = float(theory.contamination_threshold(clean))
    assert any(np.allclose(line.get_xdata(), threshold) for line in panels[5].lines)
    assert shows(panels[5], [float(theory.mixed_posterior_exponent(contamination.task(SPEC, 4, 0.2)))])


def test_relaxed_assumptions_shows_the_best_penalty_by_its_mean(results):
    panels = panels_of(assumptions.relaxed_assumptions, results)
    titles = [panel.get_title(loc="left") for panel in panels]
    panel = panels[next(i for i, title in enumerate(titles) if title.endswith(assumptions.KNOBS["coherence"].title))]
    study = results.study("relaxed")
    held = study.sel(setting=[s for s in study["setting"].values if s.startswith("coherence")])["mean"]
    naive = [q for q in study["quantity"].values if q.startswith("naive_ft_")]
    assert shows(panel, held.sel(quantity=naive).values.min(-1))
    for method in {*assumptions.METHODS} - {"naive_ft"}:
        assert shows(panel, held.sel(quantity=method).values), method


def test_misfit_shows_gain_gap_and_accuracy(results):
    panels = panels_of(misfit.misfit, results)
    study = results.study("misfit").sel(weakness="confused")
    column = [str(w) for w in results.study("misfit")["weakness"].values].index("confused")
    gained = study["mean"].sel(quantity="weak_risk") - study["mean"].sel(quantity="hull_risk")
    assert shows(panels[column], gained.values)
    names = ["weak_risk", "hull_risk", "ceiling_risk"]
    recovered, low, _ = pgr_interval(
        study["mean"].sel(quantity=names).values, study["cov"].sel(quantity=names, quantity_2=names).values, COUNT
    )
    assert shows(panels[5 + column], recovered[np.isfinite(low)])
    assert shows(panels[10 + column], study["mean"].sel(quantity="hull_sign_accuracy").values)
    assert any("no gap" in text.get_text() for text in panels[5 + 2].texts)


def test_gain_less_misfit_is_paired():
    quantities = ["weak_risk", "span_risk", "span_misfit"]
    cov = np.array([[[0.0, 0.0, 0.0], [0.0, 0.04, -0.04], [0.0, -0.04, 0.04]]])
    study = xr.Dataset(
        {"mean": (("a", "quantity"), [[1.0, 0.4, 0.6]]), "cov": (("a", "quantity", "quantity_2"), cov)},
        {"quantity": quantities, "quantity_2": quantities},
    )
    departs, gained, sem = misfit.gain(study, "span", COUNT)
    assert (departs[0], gained[0], sem[0]) == (0.6, 0.6, 0.0)


def test_proportional_limit_shows_the_store_and_its_limits(results):
    panel = panels_of(assumptions.proportional_limit, results)[0]
    study = results.study("proportional").sel(quantity="risk")["mean"]
    assert shows(panel, study.sel(penalty=0.1).values)
    assert shows(panel, study.sel(penalty=0.0).values[[0, 2]])  # without a penalty n = d is left out
    task, (ratio,) = proportional.task(SPEC), [2.0 * 1.1]
    ends = [float(theory.ridge_risk(task, 48 / ratio, 0.1)), float(theory.least_squares_risk(task, 48 / ratio))]
    for end in ends:
        assert any(np.isclose(y[-1], end, rtol=1e-4) for y in drawn(panel))


def test_colours_of_an_ordered_quantity_differ():
    for count in (1, 2, 5, 8):
        assert len(set(style.ordered_colors(count))) == count
    assert len(style.MARKERS) >= 8


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_figure_is_drawn_from_a_small_sweep(tmp_path, capsys):
    from sims.theory_sweep import __main__ as theory_sweep

    out = ["--out", str(tmp_path)]
    assert theory_sweep.main(["--preset", "smoke", "--replicates", "20", "--block-size", "10", *out]) == 0
    assert make.main(["--results", str(tmp_path)]) == 0
    assert_drawn(tmp_path, NAMES, least=5000)
