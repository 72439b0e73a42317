"""The comparison of methods: what it refuses, its budgets, and what a store of it then says."""

import dataclasses
import hashlib
import json

import jax
import numpy as np
import pytest

from sims import evidence, report
from sims.alignment.spec import METHODS as WORLD_METHODS
from sims.engine.checked import from_json, identity, to_json
from sims.methods import __main__ as methods
from sims.methods.replicate import first, grid_of
from sims.methods.spec import OF_WORLDS, PRESETS, ArenaSpec, presets
from tests.arena_views import draw, of_examples
from tests.helpers import assert_same_trees, load, of
from tests.test_evidence import about, rows_of
from tests.tiny import ARENA
from w2s_jax.methods import LABELS, METHODS
from w2s_jax.names import TRUE_LABEL_METHODS
from w2s_jax.rng import replicate_key
from w2s_jax.tasks import make_task

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
TINY = ARENA.spec
NUMBERS = TINY.methods
"""Methods that learn from numbers."""
FITTED = 24
"""Three quarters of its examples."""


def test_examples_by_hand():
    assert set(OF_WORLDS) == set(WORLD_METHODS) - set(METHODS)
    assert TINY.num_fitted == FITTED
    # Naive fine-tuning reads each of 24 examples three times, so that every method has 72 reads.
    expected = {
        "source": 24,  # costs nothing, and has no more examples than there are
        "naive_ft": 24,
        "icl_refine": 12,  # (1 + 2) + 3
        "aux_confidence": 2,  # 8 * (1 + 3)
    }
    assert {name: TINY.examples(name, "compute") for name in expected} == expected
    assert TINY.matched_least == 2
    assert dataclasses.replace(TINY, num_icl=8).examples("icl_refine", "compute") == 6  # (1 + 8) + 3
    assert dataclasses.replace(TINY, sample_size=35).num_fitted == 26
    # Examples that are too few for one method are enough without it.
    cheap = dataclasses.replace(TINY, methods=("naive_ft", "self_refine"), sample_size=8)
    assert cheap.matched_least == 4  # 6 are fitted, of which a method at 4 reads each affords 6 * 3 // 4


def test_presets_can_be_run():
    for labels in LABELS:
        for name, spec in presets(labels).items():
            assert spec.labels == labels
            able = tuple(name for name, method in METHODS.items() if labels in method.labels)
            assert spec.methods == tuple(name for name in able if name not in TRUE_LABEL_METHODS)
            assert spec.matched_least >= 2
            assert dataclasses.replace(spec, labels="linear", methods=NUMBERS) == PRESETS[name]
            assert presets(labels, few=True)[name].methods == able
    assert PRESETS["quick"].num_cells == 5 * 4 * 4


def test_stores_from_before_there_were_signs_are_of_numbers():
    newer = ("labels", "definitions", "plugin", "true_label_share")
    older = {name: value for name, value in dataclasses.asdict(TINY).items() if name not in newer}
    of_then = dataclasses.replace(TINY, definitions=1)
    assert from_json(ArenaSpec, json.dumps(older)) == of_then and from_json(ArenaSpec, to_json(TINY)) == TINY
    del older["replicates"]
    assert identity(of_then) == hashlib.sha256(json.dumps(older, sort_keys=True).encode()).hexdigest()[:16]
    assert identity(TINY) not in (identity(dataclasses.replace(TINY, labels="sign")), identity(of_then))


def test_the_list_names_every_method(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert methods.main(["--list"]) == 0
    said = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert [line.split(":")[0] for line in said.splitlines() if not line.startswith(" ")] == list(METHODS)
    for method in METHODS.values():
        assert method.about in said and method.reference in said
        assert all(f"    {name} = {knob.default:g} in [" in said for name, knob in method.knobs.items())
    assert said.count("(reads the target)") == 1
    assert "    costs  an example: 1 strong answers after m weak examples; 1 fits\n" in said
    assert "    strength = 1 in [0, inf], tried: 0.5, 0.75, 1, 1.25; of the change\n" in said
    assert said.count("    labels linear, sign\n") == sum(method.labels == LABELS for method in METHODS.values())
    assert said.count("    with a language model: yes") > said.count("    with a language model: no: ") == 7
    assert "    sign   with a language model: yes\n" in said
    assert "    sign   sees   source, weak_log_odds, unaligned_log_odds\n" in said


def test_the_grid_is_that_of_its_axes_and_then_of_what_is_relaxed():
    spec = dataclasses.replace(
        TINY, weakness=("noisy", "rotated"), concept_shift=(0.2, 0.5), relaxed=("label_noise", "target_mixture")
    )
    tasks = jax.jit(lambda: grid_of(spec))()
    cells = [(w, a, s) for w in spec.weakness for a in spec.weak_accuracy for s in spec.concept_shift]
    assert len(cells) == spec.num_cells and tasks.noise_var.shape == (len(cells) + 8,)
    np.testing.assert_allclose(tasks.source_prior[:, 0], [1 - s for *_, s in cells] + [0.5] * 8)
    noise = [0.25 / a**2 if w == "noisy" else 0.25 for w, a, _ in cells]
    np.testing.assert_allclose(tasks.weak_noise_var, noise + [0.25, 0.5, 1.0, 2.0] + [0.25] * 4)
    np.testing.assert_allclose(tasks.target_prior[:, 0], [1.0] * (len(cells) + 4) + [1.0, 0.9, 0.8, 0.6])
    np.testing.assert_allclose(tasks.weak_coef[len(cells) :, 0], [0.7] * 5 + [0.63, 0.56, 0.42])


@pytest.mark.slow
def test_the_first_examples_of_a_view(key):
    view = jax.tree.map(np.asarray, draw(key, task_of(0.5), 12, 4))
    assert_same_trees(first(view, 5), of_examples(view, range(5)))


# --- the whole sweep ------------------------------------------------------------------------------------------------


def task_of(accuracy: float):
    return make_task(num_concepts=TINY.num_concepts, dim=TINY.dim, weak_accuracy=accuracy, concept_shift=0.5)


@pytest.fixture(scope="module")
def data(finished):
    """A finished sweep of every method."""
    return finished("methods").data


@pytest.mark.slow
def test_a_relaxed_task_begins_where_the_grid_is(data):
    for part in ("mean", "sem"):
        relaxed = data[f"relaxed_risk_{part}"]
        start = relaxed.sel(assumption="wrong_concept", level=0)
        cell = data[f"risk_{part}"].sel(weakness="rotated", weak_accuracy=0.7, concept_shift=0.5)
        np.testing.assert_allclose(start, cell, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(data.relaxed_level.sel(assumption="wrong_concept"), [0.0, 0.1, 0.2, 0.4])
    # A teacher that shows another concept with probability r: (1 - r) b_w + r / 2 of each of the two others.
    expected = [(1 - 0.7 * (1 - r)) ** 2 + 0.51 * (1 - r) ** 2 + r**2 / 2 for r in (0.0, 0.1, 0.2, 0.4)]
    np.testing.assert_allclose(data.relaxed_weak_risk.values[0], expected, rtol=1e-10)
    np.testing.assert_allclose(of("source", data.relaxed_risk_mean), 0.5**2 * 1.5, rtol=1e-10)
    naive = of("naive_ft", data.relaxed_risk_mean)
    assert (np.diff(naive.sel(tuning="oracle", budget="examples").values) != 0).all()


@pytest.mark.slow
def test_risks_are_known_up_to_an_error(data):
    assert np.isfinite(data.risk_mean).all() and (data.risk_mean > 0).all()
    assert (data.risk_sem.drop_sel({"method": "source"}) > 0).all()
    np.testing.assert_allclose(of("source", data.risk_mean), 0.5**2 * 1.5, rtol=1e-10)  # reads no example
    np.testing.assert_allclose(of("source", data.risk_sem), 0, atol=1e-12)
    np.testing.assert_allclose(data.weak_risk.values.ravel(), [2 - 2 * a for a in TINY.weak_accuracy], rtol=1e-10)
    # Covariances are those of one replicate.
    cov = data.risk_cov.values
    np.testing.assert_allclose(cov, cov.swapaxes(-1, -2), rtol=1e-12, atol=1e-15)
    variance = np.diagonal(cov, axis1=-2, axis2=-1)
    np.testing.assert_allclose(variance, 8 * data.risk_sem.sel(tuning="weak_labels") ** 2, rtol=1e-9, atol=1e-18)
    assert (np.linalg.eigvalsh(cov)[..., 0] > -1e-12 * variance.sum(axis=-1)).all()
    # Ranks are those of methods that do not read the target.
    rivals = [name for name in NUMBERS if not METHODS[name].reads_target]
    assert np.isnan(of("ceiling", data.rank_mean)).all() and np.isnan(of("ceiling", data.rank_sem)).all()
    rank = data.rank_mean.sel({"method": rivals})
    np.testing.assert_allclose(rank.mean("method"), (len(rivals) + 1) / 2, rtol=1e-12)
    assert ((rank >= 1) & (rank <= len(rivals))).all()
    assert (data.rank_sem.sel({"method": rivals}) >= 0).all()


@pytest.mark.slow
def test_an_oracle_is_not_beaten(data):
    """By its mean over replicates; a choice made in each of them may be lucky."""
    mean, sem = (data[name].sel(tuning=["oracle", "weak_labels"]) for name in ("risk_mean", "risk_sem"))
    gain = mean.sel(tuning="weak_labels") - mean.sel(tuning="oracle")
    noise = np.sqrt((sem**2).sum("tuning"))
    assert (gain > -5 * noise - 1e-12).all()
    assert (gain > 0).any()
    for name in NUMBERS:
        if len(METHODS[name].candidates()) == 1:  # nothing to choose
            for one in (mean, sem):
                np.testing.assert_allclose(*of(name, one).transpose("tuning", ...).values, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_gaps_recovered_are_ratios_of_mean_risks(data):
    risk = data.risk_mean.sel(tuning="weak_labels")
    gap = data.weak_risk - of("ceiling", risk).drop_vars("method")
    assert (gap.sel(weak_accuracy=0.5) > 0).all()
    expected = ((data.weak_risk - risk) / gap).where(gap > 0).transpose(*data.pgr.dims)
    np.testing.assert_allclose(data.pgr, expected, rtol=1e-9, atol=1e-12)
    known_gap = ~np.isnan(data.pgr).values
    assert ((data.pgr_low <= data.pgr + 1e-12) & (data.pgr <= data.pgr_high + 1e-12)).values[known_gap].all()
    np.testing.assert_allclose(of("ceiling", data.pgr).sel(weak_accuracy=0.5), 1, rtol=1e-9)


@pytest.mark.slow
def test_budgets_are_what_the_specification_says(data):
    assert data.reads.values.tolist() == [METHODS[name].cost.reads(2) for name in NUMBERS]
    assert data.fits.values.tolist() == [METHODS[name].cost.fits for name in NUMBERS]
    assert data.method.values[data.reads_target.values].tolist() == ["ceiling"]
    assert (data.examples.sel(budget="examples") == FITTED).all()
    spent = data.examples.sel(budget="compute") * data.reads
    assert (spent <= 3 * FITTED).all()  # none spends more than naive fine-tuning
    could = (data.examples.sel(budget="compute") + 1) * data.reads > 3 * FITTED
    assert (could | (data.examples.sel(budget="compute") == FITTED)).all()  # nor less than it might
    same = data.examples.sel(budget="compute") == FITTED
    risk = data.risk_mean.isel(method=np.flatnonzero(same))
    np.testing.assert_allclose(risk.sel(budget="examples"), risk.sel(budget="compute"), rtol=1e-9)


# --- signs ----------------------------------------------------------------------------------------------------------

FEW = ("source", "naive_ft", "contrastive", "experts", "hull")


@pytest.fixture(scope="module")
def signs(tmp_path_factory):
    """A finished sweep of some methods that learn from signs."""
    out = tmp_path_factory.mktemp("signs")
    assert ARENA.run(out, labels="sign", methods=FEW) == 0
    assert [path.name for path in out.glob("*.zarr")] == ["methods_sign.zarr"]
    return load(out / "methods_sign.zarr")


@pytest.mark.slow
def test_risks_of_signs_are_shares_of_inputs(signs):
    assert "share of inputs" in signs.risk_mean.attrs["long_name"]
    assert "pgr" not in signs  # without a ceiling there is no gap
    # The angle of a mixture of weight 1/2 on the target and 1/4 on two others, and that of the teacher.
    np.testing.assert_allclose(of("source", signs.risk_mean), np.arctan2(np.sqrt(2) / 4, 0.5) / np.pi, rtol=1e-9)
    np.testing.assert_allclose(signs.weak_risk.values.ravel(), np.arccos(TINY.weak_accuracy) / np.pi, rtol=1e-9)
    assert ((signs.risk_mean > 0) & (signs.risk_mean < 1)).all()


MATCHED = {("linear", "naive_ft"): 24, ("linear", "self_refine"): 18, ("sign", "naive_ft"): 24, ("sign", "experts"): 10}
"""Examples that methods fit at equal compute."""


def risk_and_loss(kind: str, coef, target, held, labels) -> tuple[float, float]:
    """The risk of a student, and its loss on held-out weak labels: squared errors, or an angle and a log loss."""
    if kind == "linear":
        return np.sum((coef - target) ** 2), np.mean((held @ coef - labels) ** 2)
    cosine = coef @ target / np.linalg.norm(coef) / np.linalg.norm(target)
    return np.arccos(cosine) / np.pi, np.logaddexp(0, -labels * (held @ coef)).mean()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), MATCHED)
def test_risks_are_those_of_a_loop(request, kind, name):
    """Replicate by replicate, candidate by candidate: the method is called, and NumPy chooses."""
    data = request.getfixturevalue("data" if kind == "linear" else "signs")
    method, linear = METHODS[name].on(kind), kind == "linear"
    fit = jax.jit(lambda view, knobs: method(view, **knobs))
    for accuracy in TINY.weak_accuracy if linear else (0.7,):
        task = task_of(accuracy)
        target = np.asarray(task.target_coef)
        keys = [replicate_key(jax.random.key(TINY.seed), i) for i in range(TINY.replicates)]
        views = [jax.tree.map(np.asarray, draw(key, task, TINY.sample_size, TINY.num_icl, kind)) for key in keys]
        for budget, count in (("examples", FITTED), ("compute", MATCHED[kind, name])):
            outcomes = []
            for view in views:
                held, labels = view.features[FITTED:], view.weak_labels[FITTED:]
                coefs = [np.asarray(fit(of_examples(view, range(count)), knobs)) for knobs in method.candidates()]
                outcomes.append([risk_and_loss(kind, coef, target, held, labels) for coef in coefs])
            risks, losses = np.moveaxis(np.array(outcomes), -1, 0)
            tuned = np.take_along_axis(risks, losses.argmin(axis=1)[:, None], axis=1)[:, 0]
            chosen = {"weak_labels": tuned, "oracle": risks[:, risks.mean(axis=0).argmin()]}
            for tuning, values in chosen.items():
                cell = {"budget": budget, "weak_accuracy": accuracy, "method": name, "tuning": tuning}
                mean, sem = (data[f"risk_{part}"].sel(cell).item() for part in ("mean", "sem"))
                np.testing.assert_allclose(mean, values.mean(), rtol=1e-8 if linear else 1e-6)
                expected = values.std(ddof=1) / np.sqrt(len(values))
                np.testing.assert_allclose(sem, expected, rtol=1e-7 if linear else 1e-5)


WRONG = {"naive_ft": 0.5, "bootstrapping": 0.5, "contrastive": 0.5} | dict.fromkeys(
    ("hull", "reverse_kl", "ensemble", "icl_refine", "anchored_contrastive"), 2.0
)
"""Methods and a factor by which their risks of signs are better than claimed, or no better than naive fine-tuning's."""


@pytest.mark.parametrize("method", WRONG)
def test_a_claim_about_signs_would_not_hold_of_other_risks(method):
    """tests/test_evidence.py has that it holds of those that are committed."""
    name, changed = "methods_sign", ("risk_mean", method)
    rows = rows_of(f"{name}-quick")
    for row in rows:
        if (row["variable"], row["method"]) == changed:
            row["value"] = str(WRONG[method] * float(row["value"]))
    claims = report.evaluate(evidence.build(about(f"{name}-quick"), rows), name, "quick")
    assert any(method in claim["claim"] for claim in claims if not claim["holds"])
