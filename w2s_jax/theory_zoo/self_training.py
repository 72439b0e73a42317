r"""Iterated self-training and chains of students: ridge fits, each on the predictions of the one before.

MODEL (Wu, Yang and Sun, arXiv 2602.14029, for the setting and the shape of the path). Features x ~ N(0, I_d), true
labels y = beta* . x + noise, B^2 = ||beta*||^2. Model 0 is ridge on true labels. Model j is ridge,
(1/n_j) sum of squares + eta_j ||b||^2, on n_j fresh points labelled by model j - 1, with label noise of variance v_j
added where a stage draws its labels rather than copies predictions. gamma_j = d/n_j. Risk is the squared distance of
the coefficients from beta*.

EQUATIONS (derived, from those of `ridge_pair`). The distribution of a gram matrix S does not change under rotations. So
given model j - 1 only the means k_j = E (1/d) tr S (S + eta)^-1 and m_j = E (1/d) tr S^2 (S + eta)^-2 enter:

    c_j = E <b_j, beta*> = k_j c_{j-1},    a_j = E ||b_j||^2 = m_j a_{j-1} + v_j gamma_j (k_j - m_j)/eta_j,
    E R_j = B^2 - 2 c_j + a_j,             c_{-1} = a_{-1} = B^2.

Stages may differ in points, penalty and noise. This is exact with the exact k and m; with those of the Marchenko-Pastur
law, which are used here, it is off by O(1/d). For equal stages, with c, a of the teacher and u = v gamma (k - m)/eta,

    E R_j = B^2 - 2 c k^j + a m^j + u (1 - m^j)/(1 - m).

Signal is forgotten as k^j, error as m^j < k^j: what is gained comes first. E R_{j+1} - E R_j has the sign of
2 c (1 - k) (k/m)^j - [a (1 - m) - u], which grows in j, so the path falls and then rises. It falls for

    ceil( log( [a (1 - m) - u] / [2 c (1 - k)] ) / log(k/m) )

generations, and not at all where the first one does not gain. In the end everything is forgotten:
E R -> B^2 + u/(1 - m), nothing learned plus the noise of the last stages. Without a penalty and with n > d nothing is
forgotten: k = m = 1, and noise adds up without end. No chain beats the best first model, which is the posterior mean
given its labels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Real

from w2s_jax.theory_zoo.ridge_pair import ridge_stage, ridge_traces
from w2s_jax.types import Scalar, is_concrete


class SelfTraining(NamedTuple):
    """A ridge teacher, and equal stages of self-training that follow it."""

    signal: Scalar
    """B^2 = ||beta*||^2 > 0, squared label units."""
    noise_var: Scalar
    """Noise variance of the true labels, >= 0, squared label units."""
    teacher_ratio: Scalar
    """gamma_t = d/n_t > 0."""
    teacher_penalty: Scalar
    """eta_t >= 0."""
    ratio: Scalar
    """gamma = d/n >= 0 of every later stage, 0 for infinitely many points."""
    penalty: Scalar
    """eta >= 0 of every later stage."""
    pseudo_noise_var: Scalar = 0.0
    """Noise variance v >= 0 of pseudo-labels, squared label units; 0 where predictions are copied."""


def chain_risks(
    signal: Scalar, noise_vars: Float[Array, "J"], ratios: Float[Array, "J"], penalties: Float[Array, "J"]
) -> Float[Array, "J"]:
    """Mean excess risk of every model of a chain: the first has true labels, each later one those of the model before.

        E R_j = B^2 - 2 c_j + a_j,    c_j = k_j c_{j-1},    a_j = m_j a_{j-1} + v_j gamma_j (k_j - m_j)/eta_j

    Args:
        signal: B^2 = ||beta*||^2 > 0, squared label units, shape `[]`.
        noise_vars: v_j >= 0, noise variance of the labels of each stage, squared label units, `[J]`.
        ratios: gamma_j = d/n_j >= 0 of each stage, `[J]`; 0 for infinitely many points.
        penalties: eta_j >= 0 of each stage, `[J]`.

    Returns:
        Squared label units, `[J]`.

    Raises:
        ValueError: if a Python signal is not positive.

    Assumes: standard gaussian features, fresh points at every stage; n and d large together, off by O(1/d).

    Reference: derived, asymptotic; Wu, Yang and Sun (arXiv 2602.14029) for the setting.

    >>> stages = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.5, 0.25, 0.1]), jnp.array([0.0, 0.5, 0.2])
    >>> [round(float(risk), 4) for risk in chain_risks(1.0, *stages)]
    [1.0, 0.5629, 0.5228]
    """
    _check(signal=signal)

    def stage(moments, law):
        moments = ridge_stage(moments, *law)
        return moments, moments

    stages = jnp.stack([jnp.asarray(part, float) for part in (noise_vars, ratios, penalties)], 1)
    start = jnp.asarray(signal, stages.dtype)
    _, (inner, square) = jax.lax.scan(stage, (start, start), stages)
    return signal - 2 * inner + square


def self_training_risk(setting: SelfTraining, generation: Real[Array, "*g"] | Scalar) -> Float[Array, "..."]:
    """Mean excess risk after j generations of self-training; generation 0 is the teacher.

        E R_j = B^2 - 2 c k^j + a m^j + u (1 - m^j)/(1 - m)

    Args:
        setting: a `SelfTraining`.
        generation: j >= 0, any shape.

    Returns:
        Squared label units, of the shape of `generation`.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: as `chain_risks`.

    Reference: derived, asymptotic; Wu, Yang and Sun (arXiv 2602.14029) for the setting.

    >>> setting = SelfTraining(1.0, 1.0, 1 / 3, 0.0, 0.5, 0.2)
    >>> [f"{risk:.4f}" for risk in self_training_risk(setting, jnp.arange(5))]
    ['0.5000', '0.3811', '0.3883', '0.4517', '0.5341']
    """
    _check_setting(setting)
    _check(generation=generation)
    inner, square, added, k, m = _stages(setting)
    forgets = m < 1
    left = jnp.where(forgets, m, 0.5)
    power = jnp.where(forgets, left**generation, 1.0)
    summed = jnp.where(forgets, (1 - power) / (1 - left), generation)
    noise = jnp.where(summed > 0, added * jnp.where(summed > 0, summed, 1.0), 0.0)
    return setting.signal - 2 * inner * k**generation + square * power + noise


def self_training_first_gain(setting: SelfTraining) -> Float[Array, ""]:
    """What the first generation gains over the teacher: where this is not positive, no generation gains.

        E R_0 - E R_1 = a (1 - m) - u - 2 c (1 - k)

    Args:
        setting: a `SelfTraining`.

    Returns:
        Squared label units, shape `[]`; negative where self-training only loses.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: as `chain_risks`.

    Reference: derived, asymptotic.

    >>> [round(float(self_training_first_gain(SelfTraining(1.0, 1.0, 1 / 3, 0.0, 0.5, eta))), 4) for eta in (0.2, 2.0)]
    [0.1189, -0.0711]
    """
    _check_setting(setting)
    inner, square, added, k, m = _stages(setting)
    return square * (1 - m) - added - 2 * inner * (1 - k)


def self_training_best_generation(setting: SelfTraining) -> Float[Array, ""]:
    """The generation of the least risk: until then every one gains, after it every one loses.

        ceil( log( [a (1 - m) - u] / [2 c (1 - k)] ) / log(k/m) ),    0 where the first generation does not gain

    Args:
        setting: a `SelfTraining`.

    Returns:
        A whole number >= 0, shape `[]`; `inf` where no generation is the last to gain, which takes stages without a
        penalty and with fewer points than features, and a teacher worse than none.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: as `chain_risks`.

    Reference: derived, asymptotic; Wu, Yang and Sun (arXiv 2602.14029) for the claim that there may be one.

    >>> float(self_training_best_generation(SelfTraining(1.0, 1.0, 1 / 3, 0.0, 0.5, 0.2)))
    1.0
    """
    _check_setting(setting)
    inner, square, added, k, m = _stages(setting)
    gained, lost = square * (1 - m) - added, 2 * inner * (1 - k)
    gains = gained > lost
    turns = gains & (k > m)
    ratio, decay = jnp.where(turns, gained / jnp.where(lost > 0, lost, 1.0), 1.0), jnp.where(turns, k / m, 2.0)
    return jnp.where(turns, jnp.ceil(jnp.log(ratio) / jnp.log(decay)), jnp.where(gains, jnp.inf, 0.0))


def self_training_limit(setting: SelfTraining) -> Float[Array, ""]:
    """Mean excess risk after endless self-training: everything is forgotten, and what is left is noise.

        E R -> B^2 + u/(1 - m)

    Args:
        setting: a `SelfTraining`.

    Returns:
        Squared label units, shape `[]`. Without a penalty and with more points than features nothing is forgotten: the
        teacher's risk, or `inf` if pseudo-labels are noisy.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: as `chain_risks`.

    Reference: derived, asymptotic.

    >>> [float(self_training_limit(SelfTraining(1.0, 1.0, 0.5, 0.0, 0.5, eta))) for eta in (0.2, 0.0)]
    [1.0, 1.0]
    >>> round(float(self_training_limit(SelfTraining(1.0, 1.0, 0.5, 0.0, 0.5, 0.2, pseudo_noise_var=0.1))), 4)
    1.0993
    """
    _check_setting(setting)
    inner, square, added, _, m = _stages(setting)
    forgets = m < 1
    collapsed = setting.signal + added / jnp.where(forgets, 1 - m, 1.0)
    teacher = setting.signal - 2 * inner + square
    return jnp.where(forgets, collapsed, jnp.where(added > 0, jnp.inf, teacher))


def _stages(setting: SelfTraining):
    """c and a of the teacher; u, k and m of every later stage."""
    truth = setting.signal, setting.signal
    inner, square = ridge_stage(truth, setting.noise_var, setting.teacher_ratio, setting.teacher_penalty)
    _, added = ridge_stage((0.0, 0.0), setting.pseudo_noise_var, setting.ratio, setting.penalty)
    k, m, _ = ridge_traces(setting.ratio, setting.penalty)
    return inner, square, added, k, m


def _check_setting(setting: SelfTraining) -> None:
    _check(**setting._asdict())


def _check(**values) -> None:
    for name, value in values.items():
        strict = name in ("signal", "teacher_ratio")
        if is_concrete(value) and not (value > 0 if strict else value >= 0):
            raise ValueError(
                f"{name} must {'be positive' if strict else 'not be negative'}, got {value}; see its range."
            )
