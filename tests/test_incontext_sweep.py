"""The in-context sweep: what it refuses, what a seed draws, how networks are fine-tuned, and what a store then says."""

import dataclasses
import re
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from flax import nnx
from scipy import stats

from sims.incontext import finetune
from sims.incontext.spec import SMOKE
from sims.incontext.strong import NETWORKS, pretrained, warn_of_narrow_bins
from sims.incontext.world import bins_of, draw_world, task_of
from tests.helpers import files, of
from tests.tiny import INCONTEXT, UNOPTIMISED
from w2s_jax.types import stack

TINY = INCONTEXT.spec


@pytest.mark.parametrize(("limit", "warned"), [(1.5, True), (5.0, False)])
def test_bins_that_miss_labels_are_named_with_the_share_lost(capsys, limit, warned):
    spec = dataclasses.replace(TINY, bin_limit=limit)
    warn_of_narrow_bins(spec)
    said = capsys.readouterr().err
    if not warned:
        assert not said
        return
    share = float(re.search(r"miss ([\d.]+)% of the weak labels", said)[1]) / 100
    expected = 2 * stats.norm.sf(limit / np.sqrt(1 + spec.noise_var))  # teachers are of length 1
    assert abs(share - expected) < 5 * np.sqrt(expected / 20_000)
    assert said.startswith(f"warning: bins on [-{limit:g}, {limit:g}] miss") and said.count("\n") == 1


# --- what a seed draws ----------------------------------------------------------------------------------------------

SEED = dataclasses.replace(SMOKE, dim=5, num_concepts=2, noise_var=1e-4, weak_accuracy=(0.4, 0.8), sample_size=(4, 16))
FEWER = dataclasses.replace(SEED, weak_accuracy=(0.8,), sample_size=(16,), num_icl=(2,), replicates=9)


def teachers_of(spec):
    return stack([task_of(spec, 0.5, accuracy, spec.weakness) for accuracy in spec.weak_accuracy])


@pytest.fixture(scope="module")
def worlds():
    """What a seed draws, the same on a smaller grid, and what another seed draws."""

    @partial(jax.jit, compiler_options=UNOPTIMISED)
    def draw(key):
        return draw_world(SEED, key, teachers_of(SEED)), draw_world(FEWER, key, teachers_of(FEWER))

    return (*draw(jax.random.key(0)), draw(jax.random.key(1))[0])


@pytest.mark.slow
def test_teachers_are_turned_outside_the_concepts_alone(worlds):
    drawn, plain = worlds[0], teachers_of(SEED)
    inside, outside = np.split(np.asarray(drawn.teachers.weak_concepts), [SEED.num_concepts], axis=-1)
    np.testing.assert_array_equal(inside, plain.weak_concepts[..., : SEED.num_concepts])
    before = np.asarray(plain.weak_concepts[..., SEED.num_concepts :])
    np.testing.assert_allclose(outside @ outside.swapaxes(1, 2), before @ before.swapaxes(1, 2), rtol=1e-10, atol=1e-12)
    assert np.abs(outside - before).max() > 0.1
    coef = np.asarray(drawn.teachers.weak_coef)
    np.testing.assert_allclose(np.linalg.norm(coef, axis=1), 1.0, rtol=1e-10)
    accuracy = (coef * np.asarray(drawn.teachers.target_coef)).sum(axis=1)
    np.testing.assert_allclose(accuracy, SEED.weak_accuracy, rtol=1e-10)
    # Teachers of one seed err in one direction, those of another seed in another.
    directions = outside[:, 0] / np.linalg.norm(outside[:, 0], axis=-1, keepdims=True)
    np.testing.assert_allclose(directions[0], directions[1], rtol=1e-10)
    other = np.asarray(worlds[2].teachers.weak_concepts)[:, 0, SEED.num_concepts :]
    assert np.abs(other[0] / np.linalg.norm(other[0]) - directions[0]).max() > 0.1


def test_teachers_label_the_same_features_with_the_same_noise(worlds):
    drawn, coef = worlds[0], np.asarray(worlds[0].teachers.weak_coef)
    samples = [(np.broadcast_to(drawn.features, (2, *drawn.features.shape)), drawn.weak_labels)]
    samples += [(np.asarray(prompt.features), prompt.labels) for prompt in (drawn.shared, drawn.fresh)]
    noises = []
    for features, labels in samples:
        np.testing.assert_array_equal(features[0], features[1])
        noise = np.asarray(labels) - np.einsum("w...d,wd->w...", features, coef)
        np.testing.assert_allclose(noise[0], noise[1], atol=1e-12)
        noises.append(noise[0].ravel())
    noises.append(np.asarray(drawn.target_labels - drawn.features @ drawn.teachers.target_coef[0]))
    every = np.concatenate(noises) / np.sqrt(SEED.noise_var)
    assert np.unique(every).size == every.size  # no noise is used twice
    assert stats.kstest(every, "norm").pvalue > 1e-3


def test_a_clean_prompt_names_its_concept(worlds):
    prompts, concepts = worlds[0].clean, np.asarray(worlds[0].teachers.concepts[0])
    misses = np.abs(np.einsum("kmd,jd->kjm", prompts.features, concepts) - prompts.labels[:, None]).max(axis=-1)
    np.testing.assert_array_equal(misses < 6 * np.sqrt(SEED.noise_var), np.eye(SEED.num_concepts, dtype=bool))


def test_a_seed_draws_the_same_whatever_else_is_on_the_grid(worlds):
    """Samples and prompts are nested: those of another grid with the same largest sizes are the same arrays."""
    drawn, other, _ = worlds
    of_teachers = ("teachers", "weak_labels", "shared", "fresh")
    for name in drawn._fields:
        ours, theirs = jax.tree.leaves(getattr(drawn, name)), jax.tree.leaves(getattr(other, name))
        for a, b in zip(ours, theirs):
            np.testing.assert_allclose(a[1:] if name in of_teachers else a, b, rtol=1e-12, atol=1e-14, err_msg=name)


# --- fine-tuning ----------------------------------------------------------------------------------------------------

FITTED = dataclasses.replace(
    TINY, finetune_steps=60, finetune_looks=3, finetune_batch=16, finetune_rate=1e-2, num_bins=16
)
NUM, FEW = 24, 6


class Fits:
    """Three fits of a network that was never trained: to the target, to few labels of it, and to its opposite.

    Two at once: the last group is filled up with one that is there already.
    """

    def __init__(self):
        draws = np.random.default_rng(0)
        self.graph = finetune.structure(FITTED)
        make = jax.jit(lambda key: finetune.make_network(FITTED, key)[1], compiler_options=UNOPTIMISED)
        self.params = make(jax.random.key(0))
        self.bins, self.coef = bins_of(FITTED), jnp.array([1.0, 0.0, 0.0])
        self.features = jnp.asarray(draws.standard_normal((NUM, 3)))
        self.queries = jnp.asarray(draws.standard_normal((64, 3)))
        answers = self.features @ self.coef + 0.1 * draws.standard_normal(NUM)
        self.labels, self.sizes = jnp.stack([answers, answers, -answers]), jnp.array([NUM, FEW, NUM])
        self.fit = jax.jit(self.traced, compiler_options=UNOPTIMISED)
        self.risks = np.asarray(self.fit(self.labels, self.sizes))

    def traced(self, labels, sizes):
        """The risks of fits to `labels`."""
        given = self.graph, self.params, self.bins, self.features, labels, sizes, self.queries, self.coef
        return finetune.fine_tune(FITTED, jax.random.key(1), *given)


@pytest.fixture(scope="module")
def fits():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "FITS_AT_ONCE", {"cpu": 2})
        return Fits()


@pytest.mark.slow
def test_a_fit_to_the_target_lowers_the_risk(fits):
    risks = fits.risks
    assert risks.shape == (3, len(FITTED.steps))
    network = nnx.merge(fits.graph, fits.params)
    untouched = finetune.zero_context_risk(network, fits.bins, fits.queries, fits.coef)
    np.testing.assert_allclose(risks[:, 0], untouched, rtol=1e-5)
    assert np.all(np.diff(risks[0]) < 0) and risks[0, -1] < 0.5 * risks[0, 0]
    assert np.all(np.diff(risks[2]) > 0) and risks[2, -1] > 1.5 * risks[2, 0]


def test_a_fit_sees_no_label_beyond_its_size(fits):
    beyond = fits.labels.at[1, FEW:].set(jnp.nan)
    np.testing.assert_array_equal(fits.fit(beyond, fits.sizes), fits.risks)
    within = np.asarray(fits.fit(fits.labels.at[1, FEW - 1].set(jnp.nan), fits.sizes))
    assert np.all(np.isnan(within[1, 1:]))
    np.testing.assert_array_equal(within[[0, 2]], fits.risks[[0, 2]])


@pytest.mark.slow
def test_a_fit_alone_is_that_among_others(fits):
    assert np.abs(fits.risks[0, 1:] - fits.risks[1, 1:]).min() > 1e-3  # fits do differ
    alone = [fits.fit(fits.labels[i : i + 1], fits.sizes[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(alone, fits.risks, rtol=1e-4)
    all_at_once = jax.jit(lambda labels, sizes: fits.traced(labels, sizes))(fits.labels, fits.sizes)
    np.testing.assert_allclose(all_at_once, fits.risks, rtol=1e-4)


# --- the whole sweep ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(finished):
    """A finished sweep."""
    return finished("incontext")


@pytest.fixture(scope="module")
def data(done):
    return done.data


@pytest.mark.slow
def test_results_are_finite_and_risks_positive_and_what_bins_miss_is_said(done):
    data = done.data
    assert all(np.isfinite(array.values).all() for array in data.variables.values() if array.dtype.kind == "f")
    assert np.all(data.kl_to_bayes > 0) and np.all(data.risk > 0)
    assert re.search(r"^warning: bins on \[-3, 3\] miss 3\.\d+% of the weak labels", done.said, re.MULTILINE)


@pytest.mark.slow
def test_the_risk_is_that_at_the_best_step(data):
    at_best = data.risk_path.sel(step=data.best_step)
    xr.testing.assert_equal(data.risk.drop_vars("step", errors="ignore"), at_best.drop_vars("step"))
    mean = data.risk_path.mean("seed")
    np.testing.assert_array_equal(data.risk.mean("seed"), mean.min("step"))
    assert np.unique(data.best_step).size > 1


@pytest.mark.slow
def test_the_closed_forms_are_where_they_belong(data):
    weak = of("weak", data.risk).transpose("weak_accuracy", ...)
    for risks, accuracy in zip(weak, TINY.weak_accuracy):
        np.testing.assert_allclose(risks, 2 - 2 * accuracy, rtol=1e-10)
    shift = TINY.concept_shift[0]
    empty = data.bayes_misalignment.sel(num_icl=0)  # without a prompt Bayes is the source, ||alpha - q||^2
    np.testing.assert_allclose(empty, shift**2 * (1 + 1 / (TINY.num_concepts - 1)), rtol=1e-6)
    prior = data.concept_weight.sel(predictor="bayes", prompt_length=0)
    np.testing.assert_allclose(prior, 1 - shift, rtol=1e-6)
    # Without a prompt Bayes names the likeliest of the prior; a prompt moves it somewhere.
    assert (data.bayes_named_concept.sel(num_icl=0) == (0 if 1 - shift > shift / 3 else 1)).all()
    assert np.unique(data.bayes_named_concept).size > 1 and data.bayes_named_concept.dims == data.named_concept.dims


@pytest.mark.slow
def test_cells_that_name_the_same_concept_learn_from_the_same_labels(data):
    path = of("intent_refine", data.risk_path).sel(concept_shift=0.5)
    named = data.named_concept.sel(concept_shift=0.5)
    assert np.isin(named, range(TINY.num_concepts)).all()
    for seed in data.seed.values:
        cells = path.sel(seed=seed).stack(cell=("weak_accuracy", "num_icl")).transpose("cell", ...)
        names = named.sel(seed=seed).stack(cell=("weak_accuracy", "num_icl")).values
        for concept in np.unique(names):
            same = cells.values[names == concept]
            np.testing.assert_array_equal(same, np.broadcast_to(same[0], same.shape))


@pytest.mark.slow
def test_more_replicates_extend_and_do_not_redraw(done, tmp_path):
    data, copied = done.data, shutil.copytree(done.out, tmp_path / "copy")
    networks = files(copied / NETWORKS)
    assert INCONTEXT.run(copied, replicates=3) == 0
    longer = INCONTEXT.load(copied)
    assert longer.sizes["seed"] == 3
    # Not `risk`: its stopping step is that of the mean over seeds, which one more may move.
    seeded = [name for name in data.data_vars if "seed" in data[name].dims and name != "risk"]
    assert {"risk_path", "kl_to_bayes", "concept_weight", "named_concept"} <= set(seeded)
    for name in seeded:
        xr.testing.assert_equal(longer[name].isel(seed=slice(2)), data[name])
    new, old = (longer.kl_to_bayes.sel(seed=seed) for seed in (2, 1))
    assert np.all(new.values != old.values)
    assert files(copied / NETWORKS) == networks


@pytest.mark.slow
def test_a_trained_network_answers_without_a_prompt_as_the_source_does(tmp_path):
    """Its risk at step 0 is then ||beta_P - beta_Q||^2; that of a network before training is far from it."""
    larger = {"bin_limit": 5.0, "num_bins": 32, "layers": 2, "width": 32, "pretrain_steps": 600, "pretrain_batch": 64}
    spec = dataclasses.replace(TINY, concept_shift=(0.25,), queries=1024, **larger)
    shift = spec.concept_shift[0]
    expected = shift**2 * (1 + 1 / (spec.num_concepts - 1))
    target = task_of(spec, shift).target_coef
    queries = jnp.asarray(np.random.default_rng(0).standard_normal((spec.queries, spec.dim)))

    @jax.jit
    def risk(params):
        return finetune.zero_context_risk(nnx.merge(finetune.structure(spec), params), bins_of(spec), queries, target)

    trained = jax.tree.map(lambda leaf: leaf[0], pretrained(spec, shift, tmp_path))
    before, after = float(risk(finetune.make_network(spec, jax.random.key(0))[1])), float(risk(trained))
    assert abs(after - expected) < 0.02
    assert before > 4 * expected
