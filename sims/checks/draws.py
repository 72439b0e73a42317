"""What the simulations of several checks share: tasks, regression vectors, and draws. Nothing of the theory.

Draws are NumPy's, of any size without compilation; what reads them, kernels of `w2s_jax`, is compiled once a shape.
"""

import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax
from scipy.stats import ortho_group

from w2s_jax.estimators import ridge_to_source
from w2s_jax.refinement import concept_evidence
from w2s_jax.sampling import FeatureLaw, moments
from w2s_jax.tasks import make_task
from w2s_jax.types import Dataset, Key, Moments, Task


def shared_program(*static: str):
    """`jax.jit` into NumPy arrays; threads that ask for one program at the same time wait for one compilation."""

    def decorate(function):
        compiled, lock = jax.jit(function, static_argnames=static), threading.Lock()

        @functools.wraps(function)
        def call(*args, **options):
            with lock:
                result = compiled(*args, **options)
            return jax.tree.map(np.asarray, result)

        return call

    return decorate


# --- Tasks ------------------------------------------------------------------------------------------------------------


def changed(task: Task, **fields) -> Task:
    """The task with some fields replaced by arrays or numbers."""
    return task._replace(**{name: jnp.asarray(value, float) for name, value in fields.items()})


def turned_task(feature_var: float | np.ndarray = 1.0, **options) -> Task:
    """`make_task` in a random frame, its source prior uneven and its features of the given variance."""
    task = make_task(**options)
    num_concepts, dim = task.concepts.shape
    frame = ortho_group.rvs(dim, random_state=7)
    own = np.asarray(task.source_prior)[:1]
    uneven = np.linspace(1, 2, num_concepts - 1)
    return changed(
        task,
        concepts=np.asarray(task.concepts) @ frame,
        weak_concepts=np.asarray(task.weak_concepts) @ frame,
        source_prior=np.concatenate([own, (1 - own) * uneven / uneven.sum()]),
        feature_var=np.broadcast_to(feature_var, (dim,)),
    )


def two_concepts(accuracy: float, shift: float, noise_var: float = 0.25, weakness="rotated", dim: int = 3) -> Task:
    """The task for which the mean posterior is known exactly."""
    return make_task(
        num_concepts=2, dim=dim, weak_accuracy=accuracy, concept_shift=shift, noise_var=noise_var, weakness=weakness
    )


def mixing(task: Task, *weak_prior: float) -> Task:
    """The same task with a teacher that draws its concept from `weak_prior`."""
    return changed(task, weak_prior=weak_prior)


def mixture_task(task: Task, *prior: float) -> Task:
    """The same task where both target and teacher mix the concepts."""
    return changed(task, weak_prior=prior, target_prior=prior)


def target_coef(task: Task) -> np.ndarray:
    """beta_Q."""
    return np.asarray(task.target_prior) @ np.asarray(task.concepts)


def source_coef(task: Task) -> np.ndarray:
    """beta_P."""
    return np.asarray(task.source_prior) @ np.asarray(task.concepts)


def weak_coef(task: Task) -> np.ndarray:
    """beta_w."""
    return np.asarray(task.weak_prior) @ np.asarray(task.weak_concepts)


def population_moments(task: Task) -> Moments:
    """The moments of infinitely many weak labels."""
    var = np.asarray(task.feature_var)
    return Moments(jnp.asarray(np.diag(var)), jnp.asarray(var * weak_coef(task)), jnp.asarray(1.0))


def risks_of(task: Task, coefs: np.ndarray) -> np.ndarray:
    """s ||b - beta_Q||^2 of coefficients `[r d]`."""
    return (coefs - target_coef(task)) ** 2 @ np.asarray(task.feature_var)


# --- Draws ------------------------------------------------------------------------------------------------------------


def generator(key: Key) -> np.random.Generator:
    """NumPy's generator at the address that a key is."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())


def normals(key: Key, count: int, size: int) -> np.ndarray:
    """Standard normals `[r size]`."""
    return generator(key).standard_normal((count, size))


def features(key: Key, task: Task, count: int, law: FeatureLaw = "gaussian") -> np.ndarray:
    """Features of a task `[r d]`."""
    return _features(generator(key), task, (count,), law)


def _features(rng: np.random.Generator, task: Task, shape: tuple[int, ...], law: FeatureLaw) -> np.ndarray:
    size = (*shape, task.feature_var.shape[0])
    unit = rng.standard_normal(size) if law == "gaussian" else rng.uniform(-1, 1, size)
    return unit * np.sqrt(np.asarray(task.feature_var))


def data_sets(key: Key, task: Task, num_samples: int, count: int, law: FeatureLaw = "gaussian") -> Dataset:
    """`count` weak data sets (or prompts) of `num_samples` examples each: features `[r n d]`, labels `[r n]`."""
    rng = generator(key)
    phi = _features(rng, task, (count, num_samples), law)
    shown = np.searchsorted(np.cumsum(np.asarray(task.weak_prior))[:-1], rng.random((count, num_samples)), side="right")
    answers = np.take_along_axis(phi @ np.asarray(task.weak_concepts).T, shown[..., None], axis=2)[..., 0]
    noise = np.sqrt(float(task.weak_noise_var)) * rng.standard_normal((count, num_samples))
    return Dataset(phi, answers + noise)


def weak_moments(key: Key, task: Task, num_samples: int, count: int) -> Moments:
    """Moments of `count` weak data sets, at a cost that does not depend on the number of examples, which is large.

    The examples of each concept have a Wishart matrix, drawn by its Bartlett factor.
    """
    rng, d = generator(key), task.feature_var.shape[0]
    root_var, noise = np.sqrt(np.asarray(task.feature_var)), np.sqrt(float(task.weak_noise_var))
    gram, cross = np.zeros((count, d, d)), np.zeros((count, d))
    prior = np.asarray(task.weak_prior)
    for concept, sizes in zip(np.asarray(task.weak_concepts), rng.multinomial(num_samples, prior, count).T):
        if sizes.any():
            factor = np.tril(rng.standard_normal((count, d, d)), -1)
            factor[:, range(d), range(d)] = np.sqrt(rng.chisquare(sizes[:, None] - np.arange(d)))
            factor *= root_var[:, None]
            own = factor @ factor.transpose(0, 2, 1)
            gram += own
            cross += own @ concept + noise * (factor @ rng.standard_normal((count, d, 1)))[..., 0]
    return Moments(gram / num_samples, cross / num_samples, np.full(count, float(num_samples)))


def log_likelihoods(
    key: Key, task: Task, num_icl: int, count: int, assumed=None, law: FeatureLaw = "gaussian"
) -> np.ndarray:
    """log N(y; beta_k . phi, s_hat^2) of weak prompts `[K r]`, up to a term that all concepts share."""
    features, labels = data_sets(key, task, num_icl, count, law)
    pool = Dataset(features.reshape(-1, features.shape[2]), labels.reshape(-1))
    by_example = _evidence(task, pool, task.noise_var if assumed is None else assumed)
    return by_example.reshape(len(by_example), count, num_icl).sum(axis=2)


@shared_program()
def _evidence(task, data, assumed):
    return concept_evidence(task, data, assumed_noise_var=assumed)


def log_odds(key: Key, task: Task, count: int, rival: int = 1, assumed=None, law: FeatureLaw = "gaussian"):
    """Log odds of a rival against concept 0 on single weak examples."""
    evidence = log_likelihoods(key, task, 1, count, assumed, law)
    return evidence[rival] - evidence[0]


def posteriors(key: Key, task: Task, num_icl: int, count: int, assumed=None) -> np.ndarray:
    """Concept weights after each of `count` weak prompts `[r K]`."""
    return softmax(np.log(task.source_prior) + log_likelihoods(key, task, num_icl, count, assumed).T, axis=1)


def naive_fits(key: Key, task: Task, num_samples: int, penalty: float, count: int) -> np.ndarray:
    """Naive fine-tuning on `count` weak data sets `[r d]`, by the kernel."""
    return _ridge_fits(data_sets(key, task, num_samples, count), source_coef(task), penalty)


@shared_program()
def _ridge_fits(data, source, penalty):
    return jax.vmap(lambda one: ridge_to_source(moments(one), source, penalty))(data)


def solve(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Solutions of many linear systems `[r d]`."""
    return np.linalg.solve(matrices, vectors[..., None])[..., 0]


def fits(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Least squares on data sets of more examples than features: `[r n d]` and `[r n]` to `[r d]`."""
    transposed = features.transpose(0, 2, 1)
    return solve(transposed @ features, (transposed @ labels[..., None])[..., 0])
