"""Theory zoo, subspaces: a teacher and a student fitted from draws, each in the features that it sees."""

import jax.numpy as jnp
import numpy as np
from scipy.stats import ortho_group

from sims.checks.check import Check
from sims.checks.draws import fits, normals
from w2s_jax import theory_zoo
from w2s_jax.rng import stream

DIM, DIM_WEAK, DIM_STRONG, NOISE_VAR = 10, 5, 4, 0.5
TILTED = ortho_group.rvs(DIM, random_state=3)[:, :DIM_WEAK], ortho_group.rvs(DIM, random_state=4)[:, :DIM_STRONG]
"""Two subspaces in general position: no principal angle is 0 or a right angle."""
TARGET = np.linspace(-0.6, 0.7, DIM)
NUM_LABELS, NUM_PSEUDO, COUNT = 18, 14, 4000


def checks() -> list[Check]:
    """The rows of `theory_zoo.subspaces`."""
    weak, strong = TILTED
    apart = np.eye(DIM)[:, :DIM_WEAK], np.eye(DIM)[:, [0, 1, 8, 9]]  # they share two directions and the target
    inside = np.eye(DIM)[0] + 2 * np.eye(DIM)[1]
    where = f"D = {DIM}, d_w = {DIM_WEAK}, d_s = {DIM_STRONG}, n = {NUM_LABELS}"
    cell = (NUM_LABELS, NUM_PSEUDO, NOISE_VAR)
    return [
        Check(
            f"overlap of two subspaces in general position, {where}",
            ("subspace_overlap",),
            lambda: theory_zoo.subspace_overlap(*_arrays(*TILTED)),
            lambda key: _agreement(normals(key, 40_000, DIM)),
        ),
        Check(
            f"teacher in a subspace without the target, {where}",
            ("subspace_risk",),
            lambda: theory_zoo.subspace_risk(*_arrays(weak, TARGET), NUM_LABELS, NOISE_VAR),
            lambda key: _risks(key, weak, strong, TARGET)[:, 0],
        ),
        Check(
            f"student of that teacher, general position, {where}, N = {NUM_PSEUDO}",
            ("subspace_student_risk",),
            lambda: theory_zoo.subspace_student_risk(*_arrays(weak, strong, TARGET), *cell),
            lambda key: _risks(key, weak, strong, TARGET)[:, 1],
        ),
        Check(
            f"student whose subspace shares 2 directions and the target with the teacher's, {where}, N = {NUM_PSEUDO}",
            ("subspace_student_variance",),
            lambda: theory_zoo.subspace_student_variance(DIM_WEAK, DIM_STRONG, 2.0, *cell),
            lambda key: _risks(key, *apart, inside)[:, 1],
            sharpen=2,
        ),
        Check(
            f"the student at its own points, general position, {where}, N = {NUM_PSEUDO}",
            ("subspace_in_sample_risk",),
            lambda: theory_zoo.subspace_in_sample_risk(*_arrays(weak, strong, TARGET), *cell),
            lambda key: _risks(key, weak, strong, TARGET)[:, 2],
        ),
        Check(
            f"pseudo-labels from which the student wins, target shared, {where}",
            ("subspace_breakeven",),
            lambda: theory_zoo.subspace_breakeven(*_arrays(*apart, inside), NUM_LABELS, NOISE_VAR),
            lambda key: np.concatenate([_gain(key, apart, inside, size) for size in FEW_AND_MANY], 1),
            reduce=_where_gain_vanishes,
            sharpen=1.5,
        ),
        Check(
            f"performance gap recovered, target shared, {where}, N = 24",
            ("subspace_pgr",),
            lambda: theory_zoo.subspace_pgr(*_arrays(*apart, inside), NUM_LABELS, 24, NOISE_VAR),
            lambda key: _risks(key, *apart, inside, 24)[:, [0, 1, 3]],
            reduce=lambda mean: (mean[0] - mean[1]) / (mean[0] - mean[2]),
        ),
    ]


def _arrays(*values):
    return (jnp.asarray(value) for value in values)


def _agreement(features: np.ndarray) -> np.ndarray:
    """Inner product of what the two subspaces see of a feature vector: of mean tr P_w P_s."""
    weak, strong = TILTED
    return np.sum((features @ weak @ weak.T) * (features @ strong @ strong.T), 1)


def _risks(key, weak, strong, target, num_pseudo: int = NUM_PSEUDO) -> np.ndarray:
    """Risks of teacher, student, student at its own points, and ceiling `[r 4]`."""
    drawn = normals(key, COUNT, (NUM_LABELS + num_pseudo) * (DIM + 1)).reshape(COUNT, -1, DIM + 1)
    (x, noise), (fresh, fresh_noise) = (
        (rows[..., :DIM], np.sqrt(NOISE_VAR) * rows[..., DIM]) for rows in np.split(drawn, [NUM_LABELS], axis=1)
    )
    teacher = _fit(x, weak, x @ target + noise)
    student = _fit(fresh, strong, np.einsum("rnd,rd->rn", fresh, teacher))
    ceiling = _fit(fresh, strong, fresh @ target + fresh_noise)
    own = np.mean(np.einsum("rnd,rd->rn", fresh, student - target) ** 2, 1)
    risks = [np.sum((coef - target) ** 2, 1) for coef in (teacher, student, ceiling)]
    return np.stack([*risks[:2], own, risks[2]], 1)


def _fit(features: np.ndarray, basis: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Least squares on the coordinates in a subspace, in those of the whole space `[r D]`."""
    return fits(features @ basis, labels) @ basis.T


FEW_AND_MANY = (10, 24)


def _gain(key, bases, target, num_pseudo: int) -> np.ndarray:
    """Teacher's risk less the student's `[r 1]`."""
    risks = _risks(stream(key, str(num_pseudo)), *bases, target, num_pseudo)
    return risks[:, :1] - risks[:, 1:2]


def _where_gain_vanishes(mean: np.ndarray) -> float:
    """The gain is a line in the variance factor 1/(N - d_s - 1) of a fit: where that line crosses 0."""
    few, many = (1 / (size - DIM_STRONG - 1) for size in FEW_AND_MANY)
    crossing = few + (many - few) * mean[0] / (mean[0] - mean[1])
    return DIM_STRONG + 1 + 1 / crossing
