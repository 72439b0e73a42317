"""Theory zoo, surrogate to target: ridgeless students fitted to the labels of chosen coefficients."""

import functools

import jax.numpy as jnp
import numpy as np

from sims.checks.check import Check
from sims.checks.draws import fits, normals
from w2s_jax import theory_zoo
from w2s_jax.rng import stream

DIM, NUM_SAMPLES, COUNT = 240, 80, 250
LAM = np.arange(1, DIM + 1) ** -1.5
TARGET = np.sqrt(np.arange(1, DIM + 1) ** -1.5 / LAM)
"""Power laws: lambda_i = i^-1.5, and lambda_i beta*_i^2 = i^-1.5."""
SURROGATE = TARGET * np.linspace(1.3, 0.2, DIM)
WHERE = f"p = {DIM}, n = {NUM_SAMPLES}, power laws"
LIMIT = "to 1.5%"
ALLOWANCE = 0.015
"""What is left of O(1/n) at this size is 1%."""
SEEN = np.arange(DIM) < 40
LAM_FEW, TARGET_FEW, FEW = LAM[:8], TARGET[:8], (20, 8, 8000)
"""(n, p, fits in a batch) of the exact rows."""


def checks() -> list[Check]:
    """The rows of `theory_zoo.surrogate`."""
    return [*_exact(), *_limits(), *_best()]


def _exact() -> list[Check]:
    n, p, _ = FEW
    mask = np.arange(p) < 5
    where = f"n = {n}, p = {p}"
    return [
        Check(
            f"least squares on a surrogate's labels, {where}",
            ("surrogate_risk",),
            lambda: _risk(0.7 * TARGET_FEW, LAM_FEW, TARGET_FEW, n, 0.5),
            _few(0.7 * TARGET_FEW, np.ones(p, bool)),
        ),
        Check(
            f"weak teacher that sees 5 of 8 features, {where}",
            ("masked_teacher_risk",),
            lambda: theory_zoo.masked_teacher_risk(*_arrays(LAM_FEW, TARGET_FEW, mask), n, 0.5),
            _few(TARGET_FEW, mask),
        ),
    ]


def _few(labelled: np.ndarray, mask: np.ndarray):
    """Risks of least squares within a mask, on the noisy labels of `labelled`."""
    n, p, count = FEW

    def sample(key):
        drawn = normals(key, count, n * (p + 1)).reshape(count, n, p + 1)
        x = drawn[..., :p] * np.sqrt(LAM_FEW)
        labels = x @ labelled + np.sqrt(0.5) * drawn[..., p]
        coef = np.zeros((count, p))
        coef[:, mask] = fits(x[..., mask], labels)
        return (coef - TARGET_FEW) ** 2 @ LAM_FEW

    return sample


def _limits() -> list[Check]:
    return [
        Check(
            f"share of direction 40 that interpolation learns, {WHERE}, {LIMIT}",
            ("surrogate_shares",),
            lambda: theory_zoo.surrogate_shares(jnp.asarray(LAM), NUM_SAMPLES).shares[39],
            lambda key: _column(key, 39)[:, 39],
            allowance=ALLOWANCE,
        ),
        Check(
            f"interpolation of a surrogate's noisy labels, {WHERE}, {LIMIT}",
            ("surrogate_risk",),
            lambda: _risk(SURROGATE, noise_var=0.2),
            lambda key: _risks(key, SURROGATE[:, None], 0.2),
            allowance=ALLOWANCE,
        ),
        Check(
            f"interpolation of the labels of a fitted teacher that sees 40 features from 60 labels, {WHERE}, {LIMIT}",
            ("masked_student_risk",),
            lambda: theory_zoo.masked_student_risk(*_arrays(LAM, TARGET, SEEN), 60, NUM_SAMPLES, 0.2),
            lambda key: _taught(key, 60, 0.2),
            allowance=ALLOWANCE,
        ),
    ]


def _best() -> list[Check]:
    return [
        *(
            Check(
                f"coefficient {i} of the best surrogate over the truth's, {WHERE}, {LIMIT}",
                ("best_surrogate",),
                lambda i=i: _best_surrogate()[i - 1] / TARGET[i - 1],
                functools.partial(_normal_equation, i=i - 1),
                reduce=lambda mean: mean[0] / mean[1],
                allowance=ALLOWANCE,
            )
            for i in (20, 200)
        ),
        Check(
            f"risk of the best surrogate over that of true labels, {WHERE}, {LIMIT}",
            ("best_surrogate", "surrogate_risk"),
            lambda: _risk(_best_surrogate()) / _risk(TARGET),
            lambda key: _risks(key, np.stack([_best_surrogate(), TARGET], 1)),
            reduce=lambda mean: mean[0] / mean[1],
            allowance=ALLOWANCE,
        ),
        Check(
            f"least risk over the masks of the truth that keep the first features, {WHERE}, {LIMIT}",
            ("best_surrogate_mask",),
            lambda: _risk(np.asarray(theory_zoo.best_surrogate_mask(jnp.asarray(LAM), NUM_SAMPLES)) * TARGET),
            _prefixes,
            reduce=np.min,
            allowance=ALLOWANCE,
        ),
    ]


# --- Predictions ------------------------------------------------------------------------------------------------------


def _arrays(*values):
    return (jnp.asarray(value) for value in values)


def _risk(surrogate, lam=LAM, target=TARGET, n=NUM_SAMPLES, noise_var=0.0) -> float:
    return float(theory_zoo.surrogate_risk(*_arrays(lam, surrogate, target), n, noise_var))


def _best_surrogate() -> np.ndarray:
    return np.asarray(theory_zoo.best_surrogate(*_arrays(LAM, TARGET), NUM_SAMPLES))


# --- Interpolation of fewer labels than features ----------------------------------------------------------------------


def _draw(key):
    """Features `[r n p]` and unit noise `[r n]`."""
    drawn = normals(key, COUNT, NUM_SAMPLES * (DIM + 1)).reshape(COUNT, NUM_SAMPLES, DIM + 1)
    return drawn[..., :DIM] * np.sqrt(LAM), drawn[..., DIM]


def _interpolate(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Interpolators of minimum norm `[r p m]` of m sets of labels `[r n m]`."""
    transposed = x.transpose(0, 2, 1)
    return transposed @ np.linalg.solve(x @ transposed, labels)


def _errors(fits: np.ndarray) -> np.ndarray:
    """Risks `[r m]`."""
    return np.einsum("rpm,p->rm", (fits - TARGET[:, None]) ** 2, LAM)


def _risks(key, surrogates: np.ndarray, noise_var: float = 0.0) -> np.ndarray:
    """Risks of students of several surrogates `[p m]`, on the same examples `[r m]`."""
    x, noise = _draw(key)
    return _errors(_interpolate(x, x @ surrogates + np.sqrt(noise_var) * noise[..., None]))


def _taught(key, num_labels: int, noise_var: float) -> np.ndarray:
    """Risks of students of fitted teachers, both fitted here."""
    x, _ = _draw(stream(key, "student"))
    own, noise = (rows[:, :num_labels] for rows in _draw(stream(key, "teacher")))
    labels = own @ TARGET + np.sqrt(noise_var) * noise
    teacher = fits(own[..., SEEN], labels)
    return _errors(_interpolate(x, x[..., SEEN] @ teacher[..., None]))


def _column(key, i: int) -> np.ndarray:
    """What the fit makes of noiseless labels that are feature i `[r p]`: a column of the projection on the rows."""
    x, _ = _draw(key)
    return _interpolate(x, x[..., i : i + 1])[..., 0]


def _normal_equation(key, i: int) -> np.ndarray:
    """Both sides of the normal equation of one coefficient of the best surrogate `[r 2]`.

    Flipping the sign of a feature shows that other coefficients do not enter its mean.
    """
    column = _column(key, i)
    return np.stack([LAM[i] * column[:, i], column**2 @ LAM], 1)


def _prefixes(key) -> np.ndarray:
    """Risks of the masks that keep the first 8, 16, ... features `[r p/8]`."""
    x, _ = _draw(key)
    return _errors(_interpolate(x, np.cumsum(x * TARGET, 2)[:, :, 7::8]))
