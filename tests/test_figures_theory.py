"""Figures of the theory sweep: that their tasks are those simulated, and what is drawn of results of its own writer."""

import functools
import re

import numpy as np
import pytest
import xarray as xr

from figures import assumptions, curves, data, make, misfit, mixtures, oracles, scaling_laws, self_training, spurious
from figures.style import style
from sims.theory_sweep import job, studies
from sims.theory_sweep.spec import TheorySpec
from tests.helpers import assert_mean
from tests.panels import shows, written
from w2s_jax import theory, theory_zoo
from w2s_jax.statistics import pgr_interval, summarize
from w2s_jax.tasks import make_task

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compile_in_a_hurry")]  # many closed forms

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
    scaling_sample_size=(16, 64),
)
COUNT = 400


def random_sums() -> dict:
    """A block as the sweep sums it, with means drawn at random and standard errors of 0.01."""
    draw, sums = np.random.default_rng(0), {}
    for name, study in studies.STUDIES.items():
        size = len(study.quantities(SPEC))
        mean = draw.uniform(0.1, 1.0, (*map(len, study.axes(SPEC).values()), size))
        if name == "em_ladder":
            mean *= 1e-3  # under the path of population EM, which is drawn down to it
        if name == "proportional":
            mean[1, 0] = np.nan
        comoment = np.broadcast_to((COUNT - 1) * COUNT * 1e-4 * np.eye(size), (*mean.shape, size))
        sums |= {f"{name}.count": np.array(COUNT), f"{name}.mean": mean, f"{name}.comoment": comoment}
    return sums


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> data.Results:
    folder, sums = tmp_path_factory.mktemp("results"), random_sums()
    return written(job.assemble, SPEC, lambda block, chunk: sums, [COUNT], folder, "theory_sweep")


@pytest.fixture(scope="module")
def panels_of(results):
    """`panels_of(name)`: the panels of a figure, drawn once."""

    def draw(name: str) -> list:
        with style():
            return make.FIGURES[name].draw(results).axes

    return functools.cache(draw)


def drawn(panel) -> list[np.ndarray]:
    """Heights of everything drawn in a panel, lines and points."""
    return [np.asarray(line.get_ydata(), float) for line in panel.lines]


def assert_ends(panel, *heights, rtol: float = 1e-4) -> None:
    """A line or a point of a panel ends at each of these heights."""
    ends = [y[-1] for y in drawn(panel)]
    for height in heights:
        assert np.isclose(ends, float(height), rtol=rtol).any(), height


def test_missing_study_is_named_with_its_command(results):
    fewer = results._replace(data=results.data.drop_vars(["hull_mean", "hull_sem", "hull_cov"]))
    sentence = (
        "this figure needs the study hull, which theory_sweep.zarr does not hold; "
        "make it with: python -m sims.theory_sweep --preset quick --out ANOTHER_FOLDER --studies hull"
    )
    with pytest.raises(data.MissingResultError, match=f"^{re.escape(sentence)}$"):
        oracles.hull_statistical_dimension(fewer)


# --- Tasks are those of the sweep ----------------------------------------------------------------------------------


def assert_same_task(got, want):
    for field, a, b in zip(got._fields, got, want):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6, err_msg=field)


def test_tasks_are_those_that_the_studies_simulate(results):
    for law in studies.hull.LAWS:
        assert_same_task(oracles.hull_task(law, 4, SPEC.noise_var), studies.hull.task(SPEC, law, 4))
    for target in studies.em_ladder.TARGETS:
        assert_same_task(oracles.em_task(results, target), studies.em_ladder.task(SPEC, target))
    mixture = mixtures.target_tasks(results, np.array([0.75]))
    assert_same_task(curves.one(mixture, 0), studies.mixture_target.task(SPEC, 0.75))
    foreign = mixtures.foreign_tasks(results, 4, np.array([0.0, 0.2]))
    for place, share in enumerate((0.0, 0.2)):
        assert_same_task(curves.one(foreign, place), studies.contamination.task(SPEC, 4, share))
    assert_same_task(make_task(**assumptions.PROPORTIONAL, noise_var=SPEC.noise_var), studies.proportional.task(SPEC))
    sizes = {"num_concepts": misfit.NUM_CONCEPTS, "dim": misfit.DIM, "noise_var": SPEC.noise_var}
    confused = data.make_tasks(["confused"], 0.3, misfit.CONCEPT_SHIFT, **sizes)
    assert_same_task(curves.one(confused, 0), studies.misfit.task(SPEC, "confused", 0.3))


def test_constants_are_those_of_the_studies():
    for ours, study, names in (
        (misfit, studies.misfit, ["SAMPLE_SIZE"]),
        (mixtures, studies.prompts, ["PROMPTS_AT_ONCE"]),
        (scaling_laws, studies.scaling_laws, ["CAPACITY", "SOURCE", "DIM"]),
        (spurious, studies.spurious, ["DIM", "NUM_LABELS", "NUM_PSEUDO", "LABELLED", "TESTS"]),
    ):
        assert [getattr(ours, name) for name in names] == [getattr(study, name) for name in names]
    cell = studies.relaxed.base(SPEC)
    for text in (
        f"{cell.weakness[0]} teacher, weak accuracy {cell.weak_accuracy[0]:g}",
        f"concept shift {cell.concept_shift[0]:g}, prompts of {cell.num_icl[0]}",
        f"n = {cell.sample_size[0]}, d = {cell.dim}, K = {cell.num_concepts}",
    ):
        assert text in assumptions.RELAXED
    for knob, values in studies.relaxed.SETTINGS.items():
        neutral = assumptions.KNOBS[knob].neutral
        assert neutral in values
        assert knob == "target_weight" or getattr(cell, knob) == neutral
    assert set(assumptions.METHODS) == set(cell.methods)
    teachers, student = scaling_laws.learners(64.0)
    assert {**teachers, "student": student} == studies.scaling_laws.learners(64.0)
    signs = [quantity for quantity in studies.misfit.QUANTITIES if quantity.endswith("sign_accuracy")]
    assert [quantity.split("_sign")[0] for quantity in signs] == list(misfit.LEARNERS)


# --- What is drawn -----------------------------------------------------------------------------------------------


def test_hull_is_measured_in_units_of_its_noise(results, panels_of):
    left, right = panels_of("hull_statistical_dimension")
    study = results.study("hull").sel(quantity="distance", sample_size=4096)["mean"]
    assert shows(left, 4096 * study.sel(law="vertex").values / SPEC.noise_var)
    a, k = 0.5, np.array(SPEC.hull_num_concepts)
    assert shows(right, 4096 * study.sel(law="interior").values / (SPEC.noise_var + 1 - a**2 + (1 - a) ** 2 / k))
    assert shows(left, [theory.hull_statistical_dimension(k) for k in (2, 3, 4)])
    assert shows(right, [1, 2, 3])


def test_ladder_goes_from_the_source_over_refinement(results, panels_of):
    panel = panels_of("em_ladder")[0]
    risk = results.study("em_ladder").sel(target="mixture", sample_size=256, quantity="em_risk")["mean"]
    assert shows(panel, risk.values)
    task = oracles.em_task(results, "mixture")
    assert shows(panel, [float(theory.em_first_step_risk(task, 256.0))])
    assert shows(panel, [float(theory.em_limit_risk(task, 256.0))] * 2)
    population = [theory.population_em_prior(task, steps) for steps in (0, 1, 2)]
    expected = [float(((prior - task.target_prior) ** 2).sum()) for prior in population]
    paths = [y for y in drawn(panel) if len(y) > 2 and np.isclose(y[0], expected[0], rtol=1e-6)]
    assert any(np.allclose(y[:3], expected[: len(y[:3])], rtol=1e-6) for y in paths)


def test_population_path_stops_under_what_is_shown(results):
    task = oracles.em_task(results, "one concept")
    path = list(oracles._population_path(task, 0.01, 50))
    assert len(path) < 50 and path[-1] < 0.01 <= path[-2]


def test_mixture_target_shows_both_kinds_of_prompts(results, panels_of):
    shared, fresh = panels_of("mixture_target")
    study = results.study("mixture_target").sel(target_weight=0.75)
    assert shows(shared, study["mean"].sel(quantity="shared_misalignment").values)
    gap = study["mean"].sel(quantity=["weight_0", "weight_1"]).values - [0.75, 0.25]
    assert shows(fresh, np.square(gap).sum(-1) - 2e-4)
    for panel in (shared, fresh):
        assert shows(panel, [0.125, 0.125])  # winner takes all: 2 (1 - q)^2
    assert_ends(fresh, theory.mixed_misalignment(studies.mixture_target.task(SPEC, 0.75), 8.0, "fresh"))


def test_fresh_misalignment_is_free_of_bias_and_knows_its_error():
    draw = np.random.default_rng(0)
    target, spread, count = np.array([0.6, 0.4]), np.array([[0.04, -0.02], [-0.02, 0.03]]), 50
    for centre in ([0.6, 0.4], [0.7, 0.3]):
        samples = draw.multivariate_normal(centre, spread, (count, 4000))
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


def test_contamination_shows_the_store_the_integral_and_the_threshold(results, panels_of):
    panels = panels_of("contamination")
    study = results.study("contamination").sel(num_concepts=2, contamination=0.2)
    assert shows(panels[0], study["mean"].sel(quantity="shared_misalignment").values)
    task = studies.contamination.task(SPEC, 2, 0.2)
    assert_ends(panels[0], theory.mixed_misalignment(task, 8.0, "shared"))
    rings = [line for line in panels[0].lines if line.get_marker() == "o" and line.get_markerfacecolor() == "none"]
    assert [float(ring.get_xdata()[0]) for ring in rings] == [5.0]  # 1/rho
    on_curve = float(theory.mixed_misalignment(task, 5.0, "shared"))
    assert float(rings[0].get_ydata()[0]) == pytest.approx(on_curve, rel=1e-3)
    threshold = float(theory.contamination_threshold(studies.contamination.task(SPEC, 4, 0.0)))
    assert any(np.allclose(line.get_xdata(), threshold) for line in panels[5].lines)
    assert shows(panels[5], [float(theory.mixed_posterior_exponent(studies.contamination.task(SPEC, 4, 0.2)))])


def test_relaxed_assumptions_shows_the_best_penalty_by_its_mean(results, panels_of):
    panels = panels_of("relaxed_assumptions")
    titles = [panel.get_title(loc="left") for panel in panels]
    panel = panels[next(i for i, title in enumerate(titles) if title.endswith(assumptions.KNOBS["coherence"].title))]
    study = results.study("relaxed")
    held = study.sel(setting=[s for s in study["setting"].values if s.startswith("coherence")])["mean"]
    naive = [q for q in study["quantity"].values if q.startswith("naive_ft_")]
    assert shows(panel, held.sel(quantity=naive).values.min(-1))
    for method in {*assumptions.METHODS} - {"naive_ft"}:
        assert shows(panel, held.sel(quantity=method).values), method


def test_misfit_shows_gain_gap_and_accuracy(results, panels_of):
    panels = panels_of("misfit_grid")
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
    front = panels_of("misfit")
    assert len(front) == 6 and shows(front[1], gained.values) and shows(front[3 + 1], recovered[np.isfinite(low)])


def test_gain_less_misfit_is_paired():
    quantities = ["weak_risk", "span_risk", "span_misfit"]
    cov = np.array([[[0.0, 0.0, 0.0], [0.0, 0.04, -0.04], [0.0, -0.04, 0.04]]])
    study = xr.Dataset(
        {"mean": (("a", "quantity"), [[1.0, 0.4, 0.6]]), "cov": (("a", "quantity", "quantity_2"), cov)},
        {"quantity": quantities, "quantity_2": quantities},
    )
    departs, gained, sem = misfit.gain(study, "span", COUNT)
    assert (departs[0], gained[0], sem[0]) == (0.6, 0.6, 0.0)


def test_proportional_limit_shows_the_store_and_its_limits(results, panels_of):
    panel = panels_of("proportional_limit")[0]
    study = results.study("proportional").sel(quantity="risk")["mean"]
    assert shows(panel, study.sel(penalty=0.1).values)
    assert shows(panel, study.sel(penalty=0.0).values[[0, 2]])  # without a penalty n = d is left out
    task, num_samples = studies.proportional.task(SPEC), 48 / (2.0 * 1.1)
    assert_ends(panel, theory.ridge_risk(task, num_samples, 0.1), theory.least_squares_risk(task, num_samples))


def test_scaling_laws_show_the_store_its_equivalents_and_exponents(results, panels_of):
    panels, laws = panels_of("scaling_laws"), studies.scaling_laws
    spectrum = theory_zoo.power_law_spectrum(laws.CAPACITY, laws.SOURCE, laws.DIM)
    for panel, teacher in zip(panels, laws.TEACHERS):
        study = results.study("scaling_laws").sel(teacher=teacher)["mean"]
        for quantity in laws.QUANTITIES:
            assert shows(panel, study.sel(quantity=quantity).values)
        grown = laws.learners(64 * 1.2)
        given = *spectrum, SPEC.noise_var, grown[teacher]
        student = theory_zoo.feature_ridge_student_risk(*given, grown["student"])
        assert_ends(panel, theory_zoo.feature_ridge_risk(*given), student)
    teacher, student = [y[-1] for y in drawn(panels[2]) if len(y) > 2][:2]
    best = 2 * laws.SOURCE * laws.BEST_PENALTY
    np.testing.assert_allclose([teacher, student], [0, best], atol=1e-6)  # a penalty that falls too fast


def test_self_training_shows_paths_turns_and_the_collapse(results, panels_of):
    study = results.study("self_training").sel(quantity="risk")["mean"]
    for panel, noise_var in zip(panels_of("self_training"), studies.self_training.PSEUDO_NOISE, strict=True):
        rings = [line for line in panel.lines if line.get_marker() == "o" and line.get_markerfacecolor() == "none"]
        for penalty, ring in zip(studies.self_training.PENALTIES, rings, strict=True):
            assert shows(panel, study.sel(pseudo_noise_var=noise_var, penalty=penalty).values)
            law = studies.self_training.setting(SPEC, penalty, noise_var)
            assert self_training.setting(results, penalty, noise_var) == law
            assert_ends(panel, theory_zoo.self_training_risk(law, studies.self_training.GENERATIONS))
            assert shows(panel, [float(theory_zoo.self_training_limit(law))] * 2)
            best = float(theory_zoo.self_training_best_generation(law))
            assert float(ring.get_xdata()[0]) == min(best, studies.self_training.GENERATIONS)


def test_spurious_shows_students_and_their_teacher_on_either_group(results, panels_of):
    study, design = results.study("spurious")["mean"], studies.spurious
    sizes = design.DIM, design.NUM_LABELS
    for panel, (test, share) in zip(panels_of("spurious"), design.TESTS.items(), strict=True):
        for view in design.STRONG_VIEWS:
            assert shows(panel, study.sel(view=view, quantity=f"student_{test}_risk").values)
            labelled, pool, tested = (design.groups(view, s) for s in (design.LABELLED, 1.0, share))
            for ours, study_groups in zip(spurious.groups(view, 0.3), design.groups(view, 0.3)):
                np.testing.assert_array_equal(ours, study_groups)
            given = *sizes, design.NUM_PSEUDO, SPEC.noise_var
            assert_ends(panel, theory_zoo.spurious_student_risk(labelled, pool, tested, *given), rtol=1e-3)
        teacher = float(theory_zoo.spurious_teacher_risk(labelled, tested, *sizes, SPEC.noise_var))
        assert any(len(y) > 2 and np.allclose(y, teacher, rtol=1e-3) for y in drawn(panel))


def test_the_accuracy_plane_shows_the_store_and_the_best_student(results, panels_of):
    study = results.study("accuracy_plane").sel(quantity="best_accuracy")["mean"]
    upper, lower = np.array(panels_of("accuracy_plane")).reshape(2, -1)
    rates = studies.accuracy_plane.rates(SPEC)
    for b, start in enumerate(SPEC.start_accuracy):
        assert upper[b].collections  # the regions
        dots = next(line for line in upper[b].lines if line.get_marker() == ".")
        np.testing.assert_allclose(dots.get_ydata(), rates[2][b].ravel(), rtol=1e-6)
        for teacher in SPEC.teacher_accuracy:
            cells = study.sel(start_accuracy=start, teacher_accuracy=teacher)
            assert shows(lower[b], cells.values - start)
            low, high = theory_zoo.agreement_range(start, teacher)
            best = theory_zoo.best_accuracy(start, teacher, low + 0.995 * (high - low)).accuracy - start
            assert any(np.isclose(y[-1], float(best), atol=1e-6) for y in drawn(lower[b]) if len(y) == 100)
