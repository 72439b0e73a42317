"""Two-stage least squares in subspaces: identities, SciPy's angles."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import subspace_angles
from scipy.stats import ortho_group

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


def test_breakeven_in_general_position_is_where_the_risks_meet():
    noise_var, target = 8.0, 0.2 * TARGET
    breakeven = subspace_breakeven(WEAK, STRONG, target, 7, noise_var)
    assert jnp.isfinite(breakeven)
    risk = subspace_student_risk(WEAK, STRONG, target, 7, breakeven, noise_var)
    np.testing.assert_allclose(risk, subspace_risk(WEAK, target, 7, noise_var), rtol=1e-10)
    assert jnp.isinf(subspace_breakeven(WEAK, STRONG, 10 * TARGET, 700, 0.0))  # the student misses more of the target


def test_traced_counts_that_are_too_small_have_an_infinite_risk():
    assert all(jnp.isinf(student_risk(WEAK, STRONG, TARGET, 15, size, NOISE_VAR)) for size in (3, 4))
    assert jnp.isinf(jax.jit(subspace_student_variance)(3, 3, 1.0, 4, 30, NOISE_VAR))
