"""What the simulations of several checks share: tasks, regression vectors, and draws. Nothing of the theory.

Draws are a few compiled programs whose tasks are arguments, so that many rows share one; what remains is NumPy.
"""

import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import ortho_group

from w2s_jax.estimators import ridge_to_source
from w2s_jax.refinement import concept_evidence, concept_log_posterior
from w2s_jax.sampling import FeatureLaw, moments, sample_dataset, sample_features
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


def features(key: Key, task: Task, count: int, law: FeatureLaw = "gaussian") -> np.ndarray:
    """Features of a task `[r d]`."""
    unit = _unit_features(key, count * task.feature_var.shape[0], law)
    return unit.reshape(count, -1) * np.sqrt(np.asarray(task.feature_var))


def normals(key: Key, count: int, size: int) -> np.ndarray:
    """Standard normals `[r size]`."""
    return _unit_features(key, count * size, "gaussian").reshape(count, size)


@shared_program("size", "law")
def _unit_features(key, size, law):
    return sample_features(key, size, 1, law)


@shared_program("count", "law")
def log_likelihoods(key: Key, task: Task, count: int, assumed, law: FeatureLaw = "gaussian"):
    """log N(y; beta_k . phi, s_hat^2) of single weak examples `[K r]`, up to a term that all concepts share."""
    return concept_evidence(task, sample_dataset(key, task, count, "weak", law), assumed_noise_var=assumed)


def log_odds(key: Key, task: Task, count: int, rival: int = 1, assumed=None, law: FeatureLaw = "gaussian"):
    """Log odds of a rival against concept 0 on single weak examples."""
    evidence = log_likelihoods(key, task, count, task.noise_var if assumed is None else assumed, law)
    return evidence[rival] - evidence[0]


def posteriors(key: Key, task: Task, num_icl: int, count: int, assumed=None) -> np.ndarray:
    """Concept weights after each of `count` weak prompts `[r K]`."""
    return _posteriors(key, task, num_icl, count, task.noise_var if assumed is None else assumed)


@shared_program("num_icl", "count")
def _posteriors(key, task, num_icl, count, assumed):
    def one(prompt):
        return jnp.exp(concept_log_posterior(task, prompt, assumed_noise_var=assumed))

    return jax.vmap(one)(data_sets(key, task, num_icl, count))


@shared_program("num_samples", "count")
def naive_fits(key: Key, task: Task, num_samples: int, penalty: float, count: int):
    """Naive fine-tuning on `count` weak data sets `[r d]`, by the kernel."""
    source = task.source_prior @ task.concepts
    return jax.vmap(lambda data: ridge_to_source(moments(data), source, penalty))(
        data_sets(key, task, num_samples, count)
    )


def data_sets(key: Key, task: Task, num_samples: int, count: int) -> Dataset:
    """`count` weak data sets (or prompts) of `num_samples` examples each: features `[r n d]`, labels `[r n]`."""
    pool = sample_dataset(key, task, num_samples * count)
    return jax.tree.map(lambda x: x.reshape(count, num_samples, *x.shape[1:]), pool)
