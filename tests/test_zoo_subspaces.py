"""Two-stage least squares in subspaces: identities, SciPy's angles, and functions as promised.

Simulated fits are rows of `sims/checks/zoo_subspaces.py`, which the slow suite runs.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.stats import ortho_group

from tests.test_theory_population import assert_slopes, refusals
from w2s_jax.theory_zoo import (
    subspace_breakeven,
    subspace_in_sample_risk,
    subspace_overlap,
    subspace_pgr,
    subspace_risk,
    subspace_student_risk,
    subspace_student_variance,
)

DIM, NOISE_VAR = 9, 0.4
WEAK = jnp.asarray(ortho_group.rvs(DIM, random_state=1)[:, :4])
STRONG = jnp.asarray(ortho_group.rvs(DIM, random_state=2)[:, :3])
TARGET = jnp.asarray(np.linspace(-0.5, 0.8, DIM))
student_risk = jax.jit(subspace_student_risk)


def test_overlap_is_the_sum_of_squared_cosines_of_scipy():
    angles = subspace_angles(np.asarray(WEAK), np.asarray(STRONG))
    np.testing.assert_allclose(subspace_overlap(WEAK, STRONG), np.sum(np.cos(angles) ** 2), rtol=1e-10)
    np.testing.assert_allclose(subspace_overlap(WEAK, WEAK), 4.0, rtol=1e-10)


def test_student_risk_is_its_second_moments_written_with_projections():
    p_w, p_s, target, n, size = np.asarray(WEAK @ WEAK.T), np.asarray(STRONG @ STRONG.T), np.asarray(TARGET), 15, 11
    missed = target - p_w @ target
    teacher_cov = (NOISE_VAR + missed @ missed) / (n - 5) * p_w
    second = teacher_cov + np.outer(p_w @ target, p_w @ target)  # of the teacher's coefficients
    bias = p_s @ p_w @ target - target
    unseen = np.trace((np.eye(DIM) - p_s) @ second)
    expected = bias @ bias + np.trace(p_s @ teacher_cov) + 3 / (size - 4) * unseen
    np.testing.assert_allclose(student_risk(WEAK, STRONG, TARGET, n, size, NOISE_VAR), expected, rtol=1e-10)


def test_dimensions_are_enough_where_both_subspaces_hold_the_target():
    angles = np.array([0.3, 1.1])  # a shared direction with the target, then two principal angles
    weak, strong = np.zeros((2, DIM, 3))
    weak[0, 0] = strong[0, 0] = 1
    for i, angle in enumerate(angles, 1):
        weak[i, i] = 1
        strong[i, i], strong[i + 2, i] = np.cos(angle), np.sin(angle)
    expected = subspace_student_variance(3, 3, 1 + np.sum(np.cos(angles) ** 2), 12, 30, NOISE_VAR)
    found = student_risk(jnp.asarray(weak), jnp.asarray(strong), 2.0 * jnp.eye(DIM)[0], 12, 30, NOISE_VAR)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_student_that_sees_what_its_teacher_sees_is_its_teacher():
    frame = jnp.asarray(ortho_group.rvs(DIM, random_state=5))
    teacher = subspace_risk(frame[:, :3], TARGET, 12, NOISE_VAR)
    args = frame[:, :3], frame[:, :6], TARGET, 12
    np.testing.assert_allclose(subspace_student_risk(*args, 10, NOISE_VAR), teacher, rtol=1e-10)
    np.testing.assert_allclose(subspace_in_sample_risk(*args, 10, NOISE_VAR), teacher, rtol=1e-10)
    np.testing.assert_allclose(subspace_pgr(*args, 10, NOISE_VAR), 0, atol=1e-10)
    assert jnp.isinf(subspace_breakeven(*args, NOISE_VAR))
    # And of a full and perfect teacher it is the ceiling without noise.
    student = subspace_student_risk(jnp.eye(DIM), STRONG, TARGET, 20, 9, 0.0)
    np.testing.assert_allclose(student, subspace_risk(STRONG, TARGET, 9, 0.0), rtol=1e-10)


def test_orthogonal_subspaces_leave_only_the_factor():
    """No overlap and no target: the student's whole risk is the teacher's times d_s/(N - d_s - 1)."""
    weak, strong, nothing = jnp.eye(DIM)[:, :4], jnp.eye(DIM)[:, 4:7], jnp.zeros(DIM)
    ratio = subspace_student_risk(weak, strong, nothing, 12, 34, 1.0) / subspace_risk(weak, nothing, 12, 1.0)
    np.testing.assert_allclose(ratio, 3 / 30, rtol=1e-10)
    own = subspace_in_sample_risk(weak, strong, nothing, 12, 34, 1.0) / subspace_risk(weak, nothing, 12, 1.0)
    np.testing.assert_allclose(own, 3 / 34, rtol=1e-10)


@pytest.mark.parametrize("columns", [[0, 1, 2], [0, 1, 8]])
def test_the_student_wins_beyond_2d_plus_1_where_both_hold_the_target(columns):
    noise_var = 2.0
    weak, strong, target = jnp.eye(DIM)[:, :4], jnp.eye(DIM)[:, columns], 3.0 * jnp.eye(DIM)[0]
    breakeven = subspace_breakeven(weak, strong, target, 14, noise_var)
    np.testing.assert_allclose(breakeven, 7.0, rtol=1e-10)
    teacher = subspace_risk(weak, target, 14, noise_var)
    risks = [float(subspace_student_risk(weak, strong, target, 14, size, noise_var)) for size in (6, 7, 8)]
    assert risks[0] > teacher > risks[2]
    np.testing.assert_allclose(risks[1], teacher, rtol=1e-10)


def test_breakeven_in_general_position_is_where_the_risks_meet():
    noise_var, target = 8.0, 0.2 * TARGET
    breakeven = subspace_breakeven(WEAK, STRONG, target, 7, noise_var)
    assert jnp.isfinite(breakeven)
    risk = subspace_student_risk(WEAK, STRONG, target, 7, breakeven, noise_var)
    np.testing.assert_allclose(risk, subspace_risk(WEAK, target, 7, noise_var), rtol=1e-10)
    assert jnp.isinf(subspace_breakeven(WEAK, STRONG, 10 * TARGET, 700, 0.0))  # the student misses more of the target


def test_pgr_tends_to_one_minus_the_relative_overlap():
    weak, strong, target = jnp.eye(DIM)[:, :4], jnp.eye(DIM)[:, [0, 7, 8]], jnp.eye(DIM)[0]
    np.testing.assert_allclose(subspace_pgr(weak, strong, target, 14, jnp.inf, 1.0), 0.75, rtol=1e-10)


def test_traced_counts_are_one_program_and_differentiable():
    sizes = jnp.array([3.0, 4.0, 6.0, 20.0, jnp.inf])

    @jax.jit
    def risk(size, noise_var=NOISE_VAR):
        return subspace_student_risk(WEAK, STRONG, TARGET, 15, size, noise_var)

    batch = jax.vmap(risk)(sizes)
    assert jnp.all(jnp.isinf(batch[:2]))
    np.testing.assert_allclose(batch[2:], [risk(float(size)) for size in sizes[2:]], rtol=1e-12)
    assert_slopes(risk, [(9.0, NOISE_VAR), (9.0, 0.0)], rtol=1e-6, step=1e-5)
    assert jnp.isinf(jax.jit(subspace_student_variance)(3, 3, 1.0, 4, 30, NOISE_VAR))


test_bad_input = refusals(
    (lambda: subspace_risk(WEAK, TARGET, 5, 1.0), r"num_labels must exceed .* = 5, got 5"),
    (lambda: subspace_breakeven(WEAK, STRONG, TARGET, 5, 1.0), r"num_labels must exceed .* = 5, got 5"),
    (lambda: subspace_student_risk(WEAK, STRONG, TARGET, 9, 4, 1.0), "num_pseudo_labels must exceed .* = 4, got 4"),
    (lambda: subspace_risk(WEAK, TARGET, 9, -1.0), "noise_var must not be negative, got -1"),
    (lambda: subspace_student_variance(3, 5, 4.0, 9, 9, 1.0), r"overlap must be in \[0, dim_weak\], got 4.0 with"),
)
