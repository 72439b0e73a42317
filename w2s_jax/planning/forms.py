"""The closed forms that a plan reads, of one task, as functions to compile: everything of a task is an argument.

Each line names its function of `w2s_jax.theory`; what is done here beside calling them is choosing the best penalty and
stating an error.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax import theory, theory_zoo
from w2s_jax.risk import performance_gap_recovered, sign_accuracy
from w2s_jax.tasks import make_task
from w2s_jax.theory.misalignment import distances, rival_moments
from w2s_jax.types import Scalar, Task

FITTED: tuple[str, ...] = ("naive_ft", "icl_refine_shared", "icl_refine_fresh", "span", "hull", "ceiling")
"""Methods whose risk depends on the number of labels, in the order of every array here."""
SURE = 2.0
"""Standard errors by which a weight of the hull must clear 0 for its large-sample risk to be used."""

ONCE, OFTEN = ({"xla_backend_optimization_level": level} for level in (0, 1))
"""For programs that run on a few numbers, a time or two or at each of many prompt lengths: most of what a user waits
for is their compilation."""
build = jax.jit(make_task, static_argnames=("num_concepts", "dim", "weakness"), compiler_options=ONCE)


class Naive(NamedTuple):
    """Naive fine-tuning at its best penalty of a path."""

    risk: Float[Array, ""]
    error: Float[Array, ""]
    """Stated error: the term of order 1/n, which the risk contains; 0 where the best penalty is 0."""
    penalty: Float[Array, ""]


def naive(task: Task, num_samples: Scalar, penalties: Float[Array, "p"]) -> Naive:
    """`ridge_risk` with `ridge_risk_correction` at the best penalty; exactly `least_squares_risk` where that is 0."""
    plain = penalties == 0
    some = jnp.where(plain, 1.0, penalties)
    ridge, correction = (
        jax.vmap(lambda penalty, form=form: form(task, num_samples, penalty))(some)
        for form in (theory.ridge_risk, theory.ridge_risk_correction)
    )
    risk = jnp.where(plain, theory.least_squares_risk(task, num_samples), ridge)
    best = jnp.argmin(risk)
    term = jnp.where(plain, 0.0, correction)[best]
    return Naive(jnp.maximum(risk[best] + term, theory.population_ridge_floor(task)), jnp.abs(term), penalties[best])


class Refined(NamedTuple):
    """Refinement with one shared prompt, and with a fresh one for each label."""

    misalignment: Float[Array, "2"]
    error: Float[Array, "2"]
    """Stated error of the misalignment, which is that of the risk."""
    risk: Float[Array, "2"]


def refined(task: Task, num_samples: Scalar, num_icl: Scalar) -> Refined:
    """`misalignment` and, from it, `refined_risk`; NaN where no closed form is."""
    level = jnp.stack(distances(rival_moments(task, num_icl, None)))  # from the same moments, which are slow to compile
    most = jnp.stack([theory.misalignment_bound(task, num_icl, prompts) for prompts in ("shared", "fresh")])
    least = jnp.minimum(task.noise_var, task.weak_noise_var)
    stated = 5e-3 if task.concepts.shape[-2] > 3 else 1e-3  # the docstring of `misalignment`
    error = jnp.fmin(jnp.where(least >= 0.25, stated / 10, stated), most)
    error = jnp.where(jnp.asarray(num_icl) > 0, error, 0.0)  # without examples it is the source prior's
    return Refined(level, error, saturated(task, num_samples, level))


def saturated(task: Task, num_samples: Scalar, misalignment: Float[Array, "2"]) -> Float[Array, "2"]:
    """`refined_risk` at a shared and a fresh misalignment, whose rivals are alike."""
    spread = theory.label_spread(misalignment[0], misalignment[1], task.concepts.shape[-2])
    return jnp.stack([theory.refined_risk(task, num_samples, misalignment[i], spread[i]) for i in range(2)])


class Risks(NamedTuple):
    """What `FITTED` methods reach on n labels."""

    risk: Float[Array, "6"]
    """NaN where it is not known."""
    naive_error: Float[Array, ""]
    """Stated error of the first, naive fine-tuning."""


def risks(task: Task, num_samples: Scalar, misalignment: Float[Array, "2"], penalties: Float[Array, "p"]) -> Risks:
    """The risk of `FITTED` methods on n labels."""
    perfect = task._replace(weak_concepts=task.concepts, weak_noise_var=task.noise_var)
    shared, fresh = saturated(task, num_samples, misalignment)
    best = naive(task, num_samples, penalties)
    found = [
        best.risk,
        shared,
        fresh,
        theory.span_risk(task, num_samples),
        jnp.where(_on_its_face(task, num_samples), theory.hull_risk(task, num_samples), jnp.nan),
        theory.least_squares_risk(perfect, num_samples),
    ]
    return Risks(jnp.stack(found), best.error)


def _on_its_face(task: Task, num_samples: Scalar):
    """Whether n labels leave no doubt which concepts have a weight in the hull: others are out, or just at 0."""
    weights, coordinates = theory.hull_weights(task), task.concepts @ task.weak_coef
    largest = jnp.argmax(weights)
    margin = jnp.abs(coordinates - (coordinates[largest] - weights[largest]))
    error = jnp.sqrt((task.weak_noise_var + theory.hull_misfit(task)) / num_samples)
    at_zero = margin <= float(jnp.finfo(margin.dtype).eps) ** 0.5
    return jnp.all(at_zero | (margin >= SURE * error))


class Limits(NamedTuple):
    """What more labels lead to, and what needs none."""

    risk: Float[Array, "6"]
    """Risk of `FITTED` methods with infinitely many labels."""
    sign_accuracy: Float[Array, "6"]
    """Their sign accuracy then; NaN for a shared prompt, whose student is random."""
    source: Float[Array, "2"]
    """Risk and sign accuracy of the source."""
    weak: Float[Array, "2"]
    """The same of the weak teacher."""
    floor: Float[Array, "2"]
    """The same of naive fine-tuning at the best of all penalties."""


def limits(task: Task, misalignment: Float[Array, "2"], penalties: Float[Array, "p"]) -> Limits:
    """Infinitely many labels: `population_ridge_risk` on the path, misalignments, `span_bias`, `hull_bias`."""
    path = jax.vmap(lambda penalty: theory.population_ridge_risk(task, penalty))(penalties)
    eta = penalties[jnp.argmin(path)]
    num_concepts, scale = task.concepts.shape[-2], jnp.mean(task.feature_var)
    # the mean posterior of a fresh prompt is 1 - missing at the target and spread evenly over the rivals
    missing = jnp.sqrt(misalignment[1] * (num_concepts - 1) / num_concepts)
    mean_weights = (1 - missing) * task.target_prior + missing * (1 - task.target_prior) / (num_concepts - 1)
    fitted = jnp.stack(
        [
            (task.weak_coef + eta * task.source_coef) / (1 + eta),
            jnp.full_like(task.weak_coef, jnp.nan),
            mean_weights @ task.concepts,
            (task.concepts @ task.weak_coef) @ task.concepts,
            theory.hull_weights(task) @ task.concepts,
            task.target_coef,
        ]
    )
    risk = [jnp.min(path), *(scale * misalignment), theory.span_bias(task), theory.hull_bias(task), jnp.zeros_like(eta)]
    share = 1 / (1 + theory.population_best_penalty(task) / scale)
    others = jnp.stack([task.source_coef, task.weak_coef, share * task.weak_coef + (1 - share) * task.source_coef])
    accuracy = sign_accuracy(jnp.concatenate([fitted, others]), task.target_coef)
    return Limits(
        jnp.stack(risk),
        accuracy[:-3],
        jnp.stack([theory.source_bias(task), accuracy[-3]]),
        jnp.stack([theory.weak_bias(task), accuracy[-2]]),
        jnp.stack([theory.population_ridge_floor(task), accuracy[-1]]),
    )


class Known(NamedTuple):
    """All that is known once misalignments are."""

    limits: Limits
    risks: Risks
    """At each number of labels, `[n]` in front."""
    gaps: Float[Array, "9"]
    """Performance gap recovered at the first number of labels: of `FITTED` methods, source, weak and the floor."""


def known(
    task: Task, num_samples: Float[Array, "n"], misalignment: Float[Array, "2"], penalties: Float[Array, "p"]
) -> Known:
    """`limits`, `risks` and what they come to, as one program, since they share much of what is slow to compile."""
    held = limits(task, misalignment, penalties)
    found = jax.vmap(risks, (None, 0, None, None))(task, num_samples, misalignment, penalties)
    reached = jnp.concatenate([found.risk[0], jnp.stack([held.source[0], held.weak[0], held.floor[0]])])
    return Known(held, found, performance_gap_recovered(held.weak[0], reached, found.risk[0, -1]))


class WithTrue(NamedTuple):
    """Least squares where some labels are true, on all labels and on the true ones alone."""

    risk: Float[Array, "2"]
    limit: Float[Array, "2"]
    """Risk with infinitely many labels, the same share of them true."""
    sign_accuracy: Float[Array, "2"]
    """Sign accuracy then."""
    gaps: Float[Array, "2"]
    """Performance gap recovered on n labels."""


def with_true(task: Task, num_samples: Scalar, num_true: Scalar) -> WithTrue:
    """`mixed_labels_risk`, and `least_squares_risk` of as many labels of the target; NaN where there are too few."""
    perfect = task._replace(weak_concepts=task.concepts, weak_noise_var=task.noise_var)
    alone = theory.least_squares_risk(perfect, num_true)
    left = 1 - num_true / num_samples
    fitted = jnp.stack([task.target_coef + left * (task.weak_coef - task.target_coef), task.target_coef])
    weak, ceiling = theory.weak_bias(task), theory.least_squares_risk(perfect, num_samples)
    risk = jnp.stack(
        [theory.mixed_labels_risk(task, num_samples, num_true), jnp.where(jnp.isfinite(alone), alone, jnp.nan)]
    )
    return WithTrue(
        risk,
        jnp.stack([left**2 * weak, jnp.zeros_like(alone)]),
        sign_accuracy(fitted, task.target_coef),
        performance_gap_recovered(weak, risk, ceiling),
    )


def path(start: Scalar, teacher: Scalar, agreement: Scalar) -> Float[Array, "6"]:
    """Best accuracy and its progress, gain at first over the start and the teacher, and the agreements possible."""
    best = theory_zoo.best_accuracy(start, teacher, agreement)
    low, high = theory_zoo.agreement_range(start, teacher)
    gains = theory_zoo.first_gain(start, teacher, agreement), theory_zoo.first_gain(teacher, start, agreement)
    return jnp.stack([best.accuracy, best.progress, *gains, low, high])


refined_of = jax.jit(refined, compiler_options=OFTEN)
known_of, with_true_of, path_of = (jax.jit(form, compiler_options=ONCE) for form in (known, with_true, path))
