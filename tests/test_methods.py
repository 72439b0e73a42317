"""What each method computes from linear labels, by hand, and the views that methods see."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, optimize

import w2s_jax as w2s
from tests import arena_views
from tests.arena_views import DIM, NUM_CONCEPTS, NUM_ICL, NUM_SAMPLES, draw, make_task
from tests.helpers import assert_mean, assert_mean_sharply
from tests.test_methods_contract import assert_one_sentence
from w2s_jax.methods import View, bootstrapping, confidence, contrast, draw_view, known, teams
from w2s_jax.methods.contrastive import draw_answer
from w2s_jax.relaxed import power_law_spectrum
from w2s_jax.rng import stream
from w2s_jax.types import Dataset, Task

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
MANY = 30_000
run = partial(arena_views.run, "linear")


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task()


@pytest.fixture(scope="module")
def view(task) -> View:
    return draw(jax.random.key(0), task, NUM_SAMPLES, NUM_ICL)


# --- what they compute, by hand -------------------------------------------------------------------------------------


def seen(view: View):
    """Features, weak labels, source coefficients and concepts in NumPy."""
    source = known(view.source)
    return tuple(np.asarray(x) for x in (view.features, view.weak_labels, source.source_coef, source.concepts))


def ridge(features, labels, source_coef, penalty=0.0):
    gram = features.T @ features / len(labels)
    pull = features.T @ (labels - features @ source_coef) / len(labels)
    return source_coef + np.linalg.solve(gram + penalty * np.eye(len(gram)), pull)


def same(coef, expected, rtol=1e-8):
    np.testing.assert_allclose(coef, expected, rtol=rtol, atol=1e-10)


@pytest.mark.slow
def test_plain_students_and_controls(view):
    features, labels, source_coef, _ = seen(view)
    for penalty in (0.0, 0.3):
        same(run("naive_ft", view, penalty=penalty), ridge(features, labels, source_coef, penalty))
    mean = (labels + np.asarray(view.colleague_labels).sum(axis=0)) / (1 + len(view.colleague_labels))
    same(run("ensemble", view, penalty=0.3), ridge(features, mean, source_coef, 0.3))
    end = np.linalg.lstsq(features, labels)[0]
    decay = linalg.expm(-2 * 0.4 * features.T @ features / len(labels))  # gradient flow
    same(run("early_stopping", view, time=0.4), end + decay @ (source_coef - end))
    same(run("source", view), source_coef)
    same(run("ceiling", view), np.linalg.lstsq(features, np.asarray(view.true_labels))[0])
    own = features @ source_coef + 0.5 * np.asarray(view.chance.normal)
    same(run("self_label", view), np.linalg.lstsq(features, own)[0])


def test_bootstrapping_learns_from_the_model_before(view):
    features, labels, source_coef, _ = seen(view)
    models = [*np.asarray(view.middle_coef), source_coef]
    assert len(models) == bootstrapping.SIZES + 1
    for model in models:
        coef = ridge(features, labels, model, 0.7)
        labels = features @ coef
    same(run("bootstrapping", view, penalty=0.7), coef)


def test_aux_confidence_hardens_to_the_nearest_concept(view):
    features, labels, source_coef, concepts = seen(view)
    coef, answers = source_coef, concepts @ features.T
    for i in range(confidence.ROUNDS):
        own = features @ coef
        hard = np.array([min(column, key=lambda answer: abs(answer - o)) for column, o in zip(answers.T, own)])
        share = 0.6 * min(1, i / (confidence.ROUNDS / 10))
        coef = ridge(features, (1 - share) * labels + share * hard, source_coef, 0.2)
    same(run("aux_confidence", view, weight=0.6, penalty=0.2), coef)


def test_experts_begin_with_the_generalist(view):
    features, labels, source_coef, concepts = seen(view)
    own = features @ ridge(features, labels, source_coef, 0.3)
    others, rows, agreed = np.asarray(view.colleague_labels), [], 0
    for i, said in enumerate(own):
        label = min(others[:, i], key=lambda label, said=said: abs(label - said))
        answers = concepts @ features[i]
        agreed += np.abs(answers - label).argmin() == np.abs(answers - said).argmin()
        rows.append((abs(label - said), i, label))
    assert 0.3 * NUM_SAMPLES < agreed < NUM_SAMPLES  # a share that follows from the data
    rows = sorted(rows)[:agreed]
    expected = ridge(features[[i for _, i, _ in rows]], np.array([label for *_, label in rows]), source_coef, 0.3)
    same(run("experts", view, penalty=0.3), expected)


def test_experts_from_the_source_by_a_loop_over_examples(view):
    features, labels, source_coef, _ = seen(view)
    every = np.concatenate([labels[None], view.colleague_labels])
    coef = source_coef
    for _ in range(teams.ROUNDS):
        rows = []
        for i in range(NUM_SAMPLES):
            away = np.abs(every[:, i] - features[i] @ coef)
            rows.append((away.min(), i, every[away.argmin(), i]))
        rows = sorted(rows)[: int(np.floor(0.7 * (NUM_SAMPLES - 1))) + 1]  # those up to the 0.7 quantile
        coef = ridge(features[[i for _, i, _ in rows]], np.array([label for *_, label in rows]), source_coef, 0.3)
    same(run("experts_from_source", view, dropped=0.3, penalty=0.3), coef)


def test_selective_labels_what_it_knows(view):
    features, labels, source_coef, concepts = seen(view)
    prior = np.asarray(view.source.source_prior)
    answers = concepts @ features.T
    apart = prior @ answers**2 - (prior @ answers) ** 2
    num_known = int(np.ceil(0.3 * NUM_SAMPLES))
    known = set(np.argsort(apart)[:num_known].tolist())
    for smoothing in (0.0, 0.4):
        taught = []
        for i in range(NUM_SAMPLES):
            others = [j for j in range(NUM_SAMPLES) if j != i and j not in known]
            near = np.exp([-np.sum((features[i] - features[j]) ** 2) / (2 * DIM) for j in others])
            smooth = (1 - smoothing) * labels[i] + smoothing * near @ labels[others] / near.sum()
            taught.append(features[i] @ source_coef if i in known else smooth)
        expected = ridge(features, np.array(taught), source_coef, 0.2)
        same(run("selective", view, known_share=0.3, smoothing=smoothing, penalty=0.2), expected)


def test_limits_in_which_a_method_is_a_simpler_one(view):
    naive = run("naive_ft", view, penalty=0.2)
    same(run("aux_confidence", view, weight=0.0, penalty=0.2), naive)
    same(run("selective", view, known_share=0.0, smoothing=0.0, penalty=0.2), naive)
    same(run("selective", view, known_share=1.0, smoothing=0.5, penalty=0.2), view.source.source_coef)
    alike = view._replace(colleague_labels=jnp.broadcast_to(view.weak_labels, view.colleague_labels.shape))
    same(run("experts_from_source", alike, dropped=0.0, penalty=0.2), naive)


def test_contrastive_draws_where_alignment_made_answers_likelier(task, view):
    """By quadrature: the distribution function of aligned / unaligned^0.6, filtered, is uniform at what is drawn."""
    answers, aligned, unaligned = known(view.weak_densities)
    drawn = draw_answer(view.chance.uniform, answers, jnp.exp(contrast(aligned, unaligned, 0.4)))
    means, spread = np.asarray(view.features @ task.weak_concepts.T), np.sqrt(float(task.weak_noise_var))
    for i in range(NUM_SAMPLES):
        fine = np.linspace(means[i].min() - 4 * spread, means[i].max() + 4 * spread, 20_001)
        each = np.exp(-((fine[None] - means[i][:, None]) ** 2) / 2 / spread**2)
        after, before = (np.asarray(prior) @ each for prior in (task.weak_prior, task.source_prior))
        density = np.where(after >= 0.1 * after.max(), after / before**0.6, 0.0)
        below = np.interp(float(drawn[i]), fine, np.cumsum(density) / density.sum())
        assert abs(below - float(view.chance.uniform[i])) < 0.06  # a cell of the grid has as much at most
    same(run("contrastive", view, alpha=0.4), np.linalg.lstsq(np.asarray(view.features), np.asarray(drawn))[0])


@pytest.mark.parametrize(
    ("weakness", "weak_bias"), [("rotated", 2 - 2 * 0.6), ("confused", 2 - 2 * 0.6), ("shifted", 1 / 0.6**2 - 1)]
)
def test_anchored_contrast_leaves_the_square_of_what_alignment_changed(weakness, weak_bias):
    """The concepts other than the target's are the weak model's too, so its unaligned self errs by alpha_* of it:

        b - beta_Q = (1 - s) (beta_P - beta_Q) + s (1 - alpha_*) (b_w - beta_Q)

    without label noise, for every weakness, and at s = 1 the risk is b_w^2 (1 - alpha_*)^2.
    """
    task = make_task(weakness, noise_var=0.0)
    view = draw(jax.random.key(0), task, NUM_SAMPLES, NUM_ICL)
    risk = w2s.excess_risk(run("anchored_contrastive", view, strength=1.0), task.target_coef)
    np.testing.assert_allclose(risk, weak_bias * (1 - 0.5) ** 2, rtol=1e-8)
    source, target, weak = (np.asarray(x) for x in (task.source_coef, task.target_coef, task.weak_coef))
    expected = target + (1 - 0.7) * (source - target) + 0.7 * (1 - 0.5) * (weak - target)
    same(run("anchored_contrastive", view, strength=0.7), expected)


def test_reverse_kl_is_the_nearest_mixture(view):
    features, labels, _, concepts = seen(view)
    prior, scale = np.asarray(view.source.source_prior), 2 * float(view.source.noise_var) * 3.0
    distance = ((labels - concepts @ features.T) ** 2).mean(axis=1)

    def divergence(logits):
        weights = np.exp(logits - logits.max())
        weights /= weights.sum()
        return weights @ (np.log(weights / prior) + distance / scale)

    best = optimize.minimize(divergence, np.zeros(NUM_CONCEPTS), method="BFGS", options={"gtol": 1e-9}).x
    weights = np.exp(best - best.max()) / np.exp(best - best.max()).sum()
    assert weights.max() < 0.99  # a mixture indeed
    np.testing.assert_allclose(run("reverse_kl", view, temperature=3.0), weights @ concepts, atol=1e-5)


def test_no_mixture_of_concepts_is_nearer_than_that_of_the_hull(view):
    features, labels, _, concepts = seen(view)
    coef = np.asarray(run("hull", view))
    weights = np.linalg.lstsq(concepts.T, coef)[0]
    same(weights @ concepts, coef)
    assert weights.min() > -1e-9 and abs(weights.sum() - 1) < 1e-9
    slope = concepts @ features.T @ (features @ coef - labels) / NUM_SAMPLES
    assert slope.min() > slope @ weights - 1e-8  # towards no concept does the loss fall


def test_em_prior_is_em(task, view):
    for steps in (0.0, 1.0, 7.9):
        weights = w2s.em_prior(task, Dataset(view.features, view.weak_labels), int(steps))
        same(run("em_prior", view, steps=steps), weights @ task.concepts)


def learned(view: View, weights):
    """Least squares on labels of concepts drawn from weights `[n K]` by the view's uniforms."""
    features, _, _, concepts = seen(view)
    uniform, normal = (np.asarray(x) for x in view.chance)
    below = (np.cumsum(weights, axis=1) < (1 - uniform)[:, None]).sum(axis=1)
    chosen = np.minimum(below, NUM_CONCEPTS - 1)
    assert len(set(chosen.tolist())) > 1 or np.max(weights) == 1
    labels = (features * concepts[chosen]).sum(axis=1) + np.sqrt(float(known(view.source).noise_var)) * normal
    return np.linalg.lstsq(features, labels)[0]


def test_icl_refine_reads_each_prompt_and_self_refine_each_pair(task, view):
    features, labels, _, concepts = seen(view)
    away = (labels[:, None] - features @ concepts.T) ** 2
    for temperature in (1.0, 2.5):
        posterior = jax.vmap(partial(w2s.concept_log_posterior, task, temperature=temperature))(view.prompts)
        same(run("icl_refine", view, temperature=temperature), learned(view, np.exp(posterior)))
        joint = np.asarray(view.source.source_prior) * np.exp(-away / (2 * float(view.source.noise_var) * temperature))
        same(run("self_refine", view, temperature=temperature), learned(view, joint / joint.sum(axis=1, keepdims=True)))


def test_intent_refine_names_the_likeliest_concept(task, view):
    first = int(np.argmin(view.chance.uniform))
    prompt = jax.tree.map(lambda x: x[first], view.prompts)
    named = np.eye(NUM_CONCEPTS)[int(np.argmax(w2s.concept_log_posterior(task, prompt)))]
    same(run("intent_refine", view), learned(view, np.broadcast_to(named, (NUM_SAMPLES, NUM_CONCEPTS))))


# --- views ----------------------------------------------------------------------------------------------------------


def test_sizes_must_be_positive(key, task):
    for sizes in ((0, 1), (1, -3)):
        with pytest.raises(ValueError) as raised:
            draw_view(key, task, *sizes)
        assert_one_sentence(raised, "^num_samples and num_icl must be at least 1, got {} and {}.$".format(*sizes))


def test_the_source_hides_the_target(task, view):
    for name in ("concepts", "source_prior", "noise_var", "feature_var"):
        np.testing.assert_array_equal(getattr(view.source, name), getattr(task, name))
    for name in ("target_prior", "weak_concepts", "weak_prior", "weak_noise_var"):
        assert getattr(view.source, name) is None
    np.testing.assert_array_equal(view.source.source_coef, task.source_coef)


def test_every_field_has_a_draw_of_its_own(key, view):
    columns = [view.weak_labels - view.true_labels, *view.colleague_labels, view.prompts.labels[:, 0]]
    columns += [view.chance.normal, view.chance.uniform, *view.features.T, *view.prompts.features[:, 0].T]
    alike = np.abs(np.corrcoef(np.stack(columns)) - np.eye(len(columns)))
    assert alike.max() < 0.95
    assert len(np.unique(np.stack(columns))) == NUM_SAMPLES * len(columns)
    # Streams have names, so that a draw does not move with what else is drawn.
    np.testing.assert_array_equal(view.chance.uniform, jax.random.uniform(stream(key, "uniform"), (NUM_SAMPLES,)))
    features = w2s.sample_features(stream(key, "features"), NUM_SAMPLES, DIM)
    np.testing.assert_allclose(view.features, features, rtol=1e-10)


def uneven_task() -> Task:
    """A task in which nothing coincides: three mixtures, two noises, a variance for each feature."""
    fields = {
        "weak_prior": [0.5, 0.3, 0.2],
        "target_prior": [0.6, 0.0, 0.4],
        "weak_noise_var": 0.7,
        "feature_var": [0.5, 1.0, 1.5, 2.0, 0.7, 0.3],
    }
    return make_task()._replace(**{name: jnp.array(value) for name, value in fields.items()})


def labelled(task: Task, view: View):
    """Rows and labels of the teacher, of prompts and of the target: with the concepts, their prior and the noise."""
    weak = (task.weak_concepts, task.weak_prior, task.weak_noise_var)
    yield view.features, view.weak_labels, weak
    yield view.prompts.features[:, 0], view.prompts.labels[:, 0], weak
    yield view.features, view.true_labels, (task.concepts, task.target_prior, task.noise_var)


def silent(task: Task) -> Task:
    """With a teacher without label noise."""
    return task._replace(weak_noise_var=jnp.zeros_like(task.weak_noise_var))


def test_labels_follow_the_task():
    """Every row is a replicate: mean prior'B phi, and the spread of the noise and of the concepts around it."""
    task = uneven_task()
    view = draw(jax.random.key(11), task, MANY, 2)
    features, feature_var = np.asarray(view.features), np.asarray(task.feature_var)
    assert_mean(features, 0, scale=np.sqrt(feature_var))
    assert_mean(features**2, feature_var)
    assert_mean(view.chance.normal**2, 1)
    assert_mean(view.chance.uniform, 0.5)
    for rows, labels, (concepts, prior, noise_var) in labelled(task, view):
        coef = np.asarray(prior @ concepts)
        error = np.asarray(labels) - np.asarray(rows) @ coef
        apart = np.asarray(prior) @ ((np.asarray(concepts) - coef) ** 2 @ feature_var)
        assert_mean(error, 0, scale=error.std())
        assert_mean(error[:, None] * np.asarray(rows), 0, scale=error.std() * np.sqrt(feature_var))
        assert_mean_sharply(error**2, float(noise_var) + apart)
    # The distribution function of the aligned weak model is uniform at its own labels.
    answers, aligned, _ = (np.asarray(x) for x in known(view.weak_densities))
    mass = np.exp(aligned) / np.exp(aligned).sum(axis=1, keepdims=True)
    steps = (np.asarray(view.weak_labels)[:, None] - answers) / (answers[:, 1:2] - answers[:, :1]) + 0.5
    below = (mass * np.clip(steps, 0, 1)).sum(axis=1)
    assert_mean(below, 0.5)
    assert_mean_sharply(below**2, 1 / 3)


def test_a_prompt_shows_one_concept():
    """Without noise every label of a prompt is that of one weak concept; concepts come as often as the prior says."""
    task = silent(uneven_task())
    view = draw(jax.random.key(5), task, MANY, 2)
    answers = np.einsum("nmd,kd->nkm", view.prompts.features, task.weak_concepts)
    shown = np.abs(answers - np.asarray(view.prompts.labels)[:, None]).max(axis=2) < 1e-9
    np.testing.assert_array_equal(shown.sum(axis=1), 1)
    assert_mean(shown, task.weak_prior)


def colleagues(task: Task, seed: int = 0) -> np.ndarray:
    """Regression vectors of the teacher and its colleagues, from labels without noise."""
    view = draw(jax.random.key(seed), silent(task), NUM_SAMPLES, NUM_ICL)
    every = [view.weak_labels, *known(view.colleague_labels)]
    return np.stack([np.linalg.lstsq(np.asarray(view.features), np.asarray(labels))[0] for labels in every])


@pytest.mark.parametrize("weakness", ["rotated", "shifted", "confused", "noisy"])
def test_colleagues_are_as_accurate_and_err_elsewhere(weakness):
    task = make_task(weakness)
    teacher, *others = coefs = colleagues(task)
    same(teacher, task.weak_coef)
    assert len(others) == 2
    target, concepts = np.asarray(task.target_coef), np.asarray(task.concepts)
    for coef in others:
        same(np.linalg.norm(coef - target), np.linalg.norm(teacher - target))
        same(concepts @ coef, concepts @ teacher)
    apart = [np.linalg.norm(coefs[i] - coefs[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    if weakness in ("rotated", "shifted"):  # elsewhere than the teacher, and than each other
        assert min(apart) > 0.1
        again = colleagues(task, seed=1)
        same(again[0], teacher)
        assert np.linalg.norm(again[1] - coefs[1]) > 0.1
    else:  # nothing of their error lies outside the concepts
        assert max(apart) < 1e-8


def test_colleagues_are_as_accurate_with_uneven_features():
    task = w2s.make_task(num_concepts=NUM_CONCEPTS, dim=DIM, weak_accuracy=0.6, concept_shift=0.5)
    task = task._replace(feature_var=power_law_spectrum(DIM, 1.0))
    risks = [w2s.excess_risk(jnp.asarray(x), task.target_coef, task.feature_var) for x in colleagues(task)]
    same(risks[1:], risks[:1] * 2)


@pytest.mark.slow
def test_colleagues_have_noise_of_their_own(task):
    noisy, still = (draw(jax.random.key(3), t, MANY, 2) for t in (task, silent(task)))
    noises = [np.asarray(noisy.weak_labels - still.weak_labels)]
    noises += list(np.asarray(noisy.colleague_labels - still.colleague_labels))
    for i, one in enumerate(noises):
        assert_mean(one**2, 0.25)
        for other in noises[:i]:
            assert_mean(one * other, 0, scale=0.25)


def test_models_between_weak_and_strong(task, view):
    unaligned = np.linalg.lstsq(np.asarray(view.features), np.asarray(view.unaligned_labels))[0]
    same(unaligned, np.asarray(task.source_prior) @ np.asarray(task.weak_concepts))
    source_coef, count = np.asarray(task.source_coef), len(view.middle_coef)
    assert count == bootstrapping.SIZES
    for j, coef in enumerate(view.middle_coef, start=1):
        same(coef, unaligned + j / (count + 1) * (source_coef - unaligned))
    assert np.linalg.norm(unaligned - source_coef) > 0.1
