"""Drawing what methods see of a task: every label that any of them may ask for, of the same examples."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from w2s_jax.gradients import no_gradient
from w2s_jax.methods.bootstrapping import SIZES
from w2s_jax.methods.method import LABELS, Chance, Densities, FewLabels, Labels, View
from w2s_jax.methods.signs import draw_signs, log_odds, logit_concepts, nearest_logit
from w2s_jax.rng import stream
from w2s_jax.sampling import CONCEPTS_JUMP, evenly_spread, sample_features
from w2s_jax.types import Dataset, Key, Scalar, Task

COLLEAGUES = 2
"""Further teachers."""
ANSWERS, REACH = 64, 3.0
"""Points in a grid of answers, and how many standard deviations of the noise it goes beyond the weak concepts' answers.
All with a tenth of the top density is within 2.15 of them, or 2.8 where no concept has over a fifth of the weight."""


def draw_view(
    key: Key, task: Task, num_samples: int, num_icl: int, labels: Labels = "linear", true_label_share: Scalar = 0.0
) -> View:
    """Everything there is to be seen of n examples of a task.

    The colleagues are as accurate as the teacher (exactly so where what lies in the concepts' span is uncorrelated with
    the rest, as in every task of the arena). The part of their error that no concept explains points in a direction of
    their own, the rest they share with the teacher. The unaligned weak model weighs its concepts as the source does,
    and model j of J between weak and strong is pre-trained to concepts on the way,
    beta^w_k + j/(J+1) (beta_k - beta^w_k).

    Sign labels are drawn from the same features: of concept k +1 has the log odds beta_k.phi/sigma, for the teacher
    beta^w_k.phi/sigma_w. Models between are then those of log odds on the way. What a weak model deems how likely is
    given by log odds of signs, and by densities of numbers on a grid of answers (noise variances > 0).

    Args:
        key: a typed key; every field has a stream of its own.
        task: a `Task`; its features are gaussian with variances feature_var.
        num_samples: n >= 1, static.
        num_icl: examples in a prompt, m >= 1, static.
        labels: `linear` or `sign`, static; signs need noise variances > 0.
        true_label_share: share of the examples that also have a true label, in [0, 1]. They are spread evenly, so that
            the first examples alone have the same share, to within one label.

    Returns:
        A `View` with all fields, but for log odds of linear labels, and unaligned labels and densities of signs.

    Raises:
        ValueError: if a size is not positive, or labels are of an unknown kind.

    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=4, weak_accuracy=0.6, concept_shift=0.5)
    >>> draw_view(jax.random.key(0), task, 10, 3).prompts.features.shape
    (10, 3, 4)
    """
    if num_samples < 1 or num_icl < 1:
        raise ValueError(f"num_samples and num_icl must be at least 1, got {num_samples} and {num_icl}.")
    if labels not in LABELS:
        raise ValueError(f"labels must be among {', '.join(LABELS)}, got {labels!r}; choose from the list.")
    task = task._replace(
        weak_prior=no_gradient(CONCEPTS_JUMP, task.weak_prior),
        target_prior=no_gradient(CONCEPTS_JUMP, task.target_prior),
    )
    dim, scale = task.concepts.shape[1], jnp.sqrt(task.feature_var)
    features = sample_features(stream(key, "features"), num_samples, dim) * scale[None]
    shown = sample_features(stream(key, "prompt_features"), num_samples * num_icl, dim) * scale[None]
    chosen = jax.random.categorical(stream(key, "prompt_concepts"), jnp.log(task.weak_prior), shape=(num_samples,))
    prompt_means = (task.weak_concepts[jnp.repeat(chosen, num_icl)] * shown).sum(axis=1)
    draw = _draw_numbers if labels == "linear" else _draw_signs
    prompt_labels = draw(stream(key, "prompt_noise"), prompt_means, task.weak_noise_var)
    hidden = ("target_prior", "weak_concepts", "weak_prior", "weak_noise_var")
    source = task._replace(**dict.fromkeys(hidden))

    def answers(key: Key, concepts: Float[Array, "K d"], prior: Float[Array, "K"], noise_var: Scalar) -> Array:
        """Labels of a mixture: a concept is drawn for each example."""
        chosen = jax.random.categorical(stream(key, "concepts"), jnp.log(prior), shape=(num_samples,))
        return draw(stream(key, "noise"), (concepts[chosen] * features).sum(axis=1), noise_var)

    def weak(key: Key, concepts: Float[Array, "K d"]) -> Float[Array, "n"]:
        return answers(key, concepts, task.weak_prior, task.weak_noise_var)

    keys = jax.vmap(lambda t: jax.random.fold_in(stream(key, "colleagues"), t))(jnp.arange(COLLEAGUES))
    colleagues = jax.vmap(lambda key: _turned(stream(key, "turn"), task))(keys)
    true_labels = answers(stream(key, "true"), task.concepts, task.target_prior, task.noise_var)
    return View(
        features=features,
        chance=Chance(
            jax.random.uniform(stream(key, "uniform"), (num_samples,)),
            jax.random.normal(stream(key, "normal"), (num_samples,)),
        ),
        source=source,
        weak_labels=weak(stream(key, "weak"), task.weak_concepts),
        colleague_labels=jax.vmap(weak)(keys, colleagues),
        prompts=Dataset(shown.reshape(num_samples, num_icl, dim), prompt_labels.reshape(num_samples, num_icl)),
        few_true_labels=few_of(true_labels, true_label_share),
        true_labels=true_labels,
        **(_models if labels == "linear" else _models_of_signs)(task, features, colleagues),
    )


def few_of(labels: Float[Array, "n"], share: Scalar) -> FewLabels:
    """The labels of a share of the examples, spread evenly.

    >>> few_of(jnp.arange(1.0, 9.0), 0.25).labels.tolist()
    [0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 8.0]
    """
    given = evenly_spread(len(labels), jnp.asarray(share, labels.dtype))
    return FewLabels(given * labels, given)


def _models(task: Task, features: Float[Array, "n d"], _) -> dict[str, Any]:
    """What models other than the strong one know."""
    return {
        "weak_densities": _densities(task, features),
        "unaligned_labels": features @ (task.source_prior @ task.weak_concepts),
        "middle_coef": jnp.einsum("k,jkd->jd", task.source_prior, _between(task.weak_concepts, task.concepts)),
    }


def _densities(task: Task, features: Float[Array, "n d"]) -> Densities:
    means, spread = features @ task.weak_concepts.T, jnp.sqrt(task.weak_noise_var)
    low, high = means.min(axis=1) - REACH * spread, means.max(axis=1) + REACH * spread
    places = ((jnp.arange(ANSWERS) + 0.5) / ANSWERS)[None]
    grid = low[:, None] + (high - low)[:, None] * places
    each = -jnp.square(grid[None] - means.T[:, :, None]) / (2 * task.weak_noise_var)

    def mixed(prior: Float[Array, "K"]) -> Float[Array, "n G"]:
        return logsumexp(jnp.log(prior)[:, None, None] + each, axis=0)

    return Densities(grid, mixed(task.weak_prior), mixed(task.source_prior))


def _models_of_signs(task: Task, features: Float[Array, "n d"], colleagues: Float[Array, "T K d"]) -> dict[str, Any]:
    weak = logit_concepts(task.weak_concepts, task.weak_noise_var)
    between = _between(weak, logit_concepts(task.concepts, task.noise_var))
    return {
        "weak_concept_log_odds": weak @ features.T,
        "weak_log_odds": log_odds(weak @ features.T, task.weak_prior),
        "unaligned_log_odds": log_odds(weak @ features.T, task.source_prior),
        "colleague_log_odds": jax.vmap(
            lambda concepts: log_odds(logit_concepts(concepts, task.weak_noise_var) @ features.T, task.weak_prior)
        )(colleagues),
        "middle_coef": jax.vmap(lambda concepts: nearest_logit(concepts, task.source_prior, task.feature_var))(between),
    }


def _between(weak: Float[Array, "K d"], strong: Float[Array, "K d"]) -> Float[Array, "J K d"]:
    steps = jnp.arange(1, SIZES + 1) / (SIZES + 1)
    return weak[None] + steps[:, None, None] * (strong - weak)[None]


def _draw_numbers(key: Key, means: Float[Array, "n"], noise_var: Scalar) -> Float[Array, "n"]:
    return means + jnp.sqrt(noise_var) * jax.random.normal(key, means.shape)


def _draw_signs(key: Key, means: Float[Array, "n"], noise_var: Scalar) -> Float[Array, "n"]:
    return draw_signs(key, means / jnp.sqrt(noise_var))


def _turned(key: Key, task: Task) -> Float[Array, "K d"]:
    """Weak concepts whose errors outside the concepts' span point elsewhere, each row's in one new direction.

    The risk of such an error is the same: lengths are in units of the features' spread.
    """
    frame, _ = jnp.linalg.qr(task.concepts.T)
    error = task.weak_concepts - task.concepts
    outside = error - error @ frame @ frame.T
    direction = jax.random.normal(key, frame.shape[:1])
    direction = direction - frame @ (frame.T @ direction)
    size = jnp.sqrt(jnp.square(direction) @ task.feature_var)
    direction = jnp.where(size > 1e-6, direction / jnp.where(size > 1e-6, size, 1.0), 0.0)
    return task.weak_concepts - outside + jnp.sqrt(jnp.square(outside) @ task.feature_var)[:, None] * direction[None]
