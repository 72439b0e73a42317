"""How far an in-context learner is from exact Bayes, and what it seems to believe: measures of any predictor."""

import jax
from jaxtyping import Array, Float

from w2s_jax.hull import hull_least_squares
from w2s_jax.incontext import Predictor
from w2s_jax.predictive import Bins, kl, law_mean, randomized_pit
from w2s_jax.sampling import moments
from w2s_jax.types import Dataset, Key, Task


def kl_to_bayes(predictor: Predictor, bayes: Predictor, sequences: Dataset) -> Float[Array, "b m"]:
    """KL(Bayes || predictor) of every label, in nats: the predictor's loss per label where Bayes is right.

    Args:
        predictor: any, with the bins of `bayes`.
        bayes: the exact predictor.
        sequences: features `[b m d]`, labels `[b m]`; any that were drawn, in distribution or out of it.

    Returns:
        `[b m]`, by sequence and context length 0, ..., m - 1: the mean over the first axis is a curve, and its standard
        error that of b independent sequences.

    >>> import jax.numpy as jnp
    >>> from w2s_jax.incontext import BayesPredictor
    >>> from w2s_jax.predictive import make_bins
    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.25)
    >>> bayes = BayesPredictor(task, make_bins(5.0, 20))
    >>> jax.jit(kl_to_bayes)(bayes, bayes, Dataset(jnp.ones((1, 2, 3)), jnp.ones((1, 2)))).tolist()
    [[0.0, 0.0]]
    """
    return kl(jax.vmap(bayes.__call__)(*sequences), jax.vmap(predictor.__call__)(*sequences))


def mean_square_distance(predictor: Predictor, bayes: Predictor, bins: Bins, sequences: Dataset) -> Float[Array, "b m"]:
    """Squared distance of the two predicted means, in squared label units, by sequence and context length.

    >>> import jax.numpy as jnp
    >>> from w2s_jax.incontext import BayesPredictor
    >>> from w2s_jax.predictive import make_bins
    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.25)
    >>> bayes = BayesPredictor(task, make_bins(5.0, 200))
    >>> even = bayes._replace(task=task._replace(source_prior=jnp.array([0.5, 0.5])))
    >>> sequences = Dataset(jnp.array([[[2.0, 0.0, 0.0]]]), jnp.zeros((1, 1)))
    >>> jax.jit(mean_square_distance)(even, bayes, bayes.bins, sequences).round(3).tolist()  # (2 / 2 - 2 * 3 / 4)^2
    [[0.25]]
    """
    means = [law_mean(jax.vmap(each.__call__)(*sequences), bins) for each in (predictor, bayes)]
    return (means[0] - means[1]) ** 2


def concept_weights(
    predictor: Predictor, bins: Bins, task: Task, prompt: Dataset, queries: Float[Array, "n d"]
) -> Float[Array, "K"]:
    """The weights on the concepts that a predictor's answers imply: those of the mixture whose means are nearest.

        argmin_w (1/n) sum_i (mean_i - sum_k w_k beta_k . x_i)^2    over w >= 0, sum_k w_k = 1

    with mean_i the predicted mean at query x_i after the prompt. For `BayesPredictor` they are the concept posterior,
    up to the width of bins.

    Args:
        predictor: any.
        bins: those of the predictor.
        task: concepts `[K d]` are read.
        prompt: m >= 0 examples.
        queries: x `[n d]`, n >= K, drawn as features are; the more, the less bins and a network's errors weigh.

    Returns:
        Weights `[K]`, on the simplex.

    Reference: docs/transformers.md.

    >>> import jax.numpy as jnp
    >>> from w2s_jax.incontext import BayesPredictor
    >>> from w2s_jax.predictive import make_bins
    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.25)
    >>> bayes, nothing = BayesPredictor(task, make_bins(9.0, 500)), Dataset(jnp.zeros((0, 3)), jnp.zeros(0))
    >>> implied = jax.jit(concept_weights)(bayes, bayes.bins, task, nothing, jnp.eye(3))
    >>> implied.round(2).tolist()  # the source prior
    [0.75, 0.25]
    """
    return implied_weights(predictor.query(prompt, queries), bins, task, queries)


def implied_weights(
    log_laws: Float[Array, "n B"], bins: Bins, task: Task, queries: Float[Array, "n d"]
) -> Float[Array, "K"]:
    """`concept_weights` from given answers: log masses `[n B]` at queries `[n d]`."""
    return hull_least_squares(moments(Dataset(queries, law_mean(log_laws, bins))), task.concepts)


def calibration(key: Key, predictor: Predictor, bins: Bins, sequences: Dataset) -> Float[Array, "b m"]:
    """Position of every label in its predicted distribution: `randomized_pit`, uniform on [0, 1] for exact predictions.

    `predictive.interval_coverage` turns it into the share of labels inside central intervals, by context length.

    >>> import jax.numpy as jnp
    >>> from w2s_jax.incontext import BayesPredictor
    >>> from w2s_jax.predictive import make_bins
    >>> from w2s_jax.tasks import make_task
    >>> task = make_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=0.25)
    >>> bayes = BayesPredictor(task, make_bins(5.0, 20))
    >>> data = Dataset(jnp.ones((6, 4, 3)), jnp.ones((6, 4)))
    >>> jax.jit(calibration)(jax.random.key(0), bayes, bayes.bins, data).shape
    (6, 4)
    """
    return randomized_pit(key, jax.vmap(predictor.__call__)(*sequences), sequences.labels, bins)
