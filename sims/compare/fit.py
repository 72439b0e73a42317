"""How well the predictions of a table hold over all of its rows, beside two that need no theory."""

import math
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2, norm

from sims.compare.predict import Prediction
from w2s_jax import statistics

LEVEL = 0.95
"""Coverage that intervals are meant to have."""
Z = float(norm.ppf((1 + LEVEL) / 2))


class Fit(NamedTuple):
    """Predicted against observed accuracy over the predicted rows; NaN where there are too few."""

    count: int
    """Rows with a prediction."""
    mean_error: float
    """Mean of observed less predicted."""
    sem: float
    """Its standard error, over rows."""
    rmse: float
    """Root of the mean square of the same."""
    teacher_rmse: float
    """The same for the prediction that the student is its teacher."""
    ceiling_rmse: float
    """The same for the prediction that the student is its ceiling, where that is known."""
    slope: float
    """Slope of the line of observed over predicted; 1 where predictions are calibrated."""
    correlation: float
    """Correlation of observed and predicted."""
    with_interval: int
    """Rows with n, and so an interval."""
    covered: float
    """Share of them inside their interval of 95%."""
    binomial_share: float
    """Share of the mean square error that sampling of test inputs explains; 1 where the model holds."""
    chi_square: float
    """Sum of the squared errors in units of their standard errors."""
    p_value: float
    """Probability of so large a sum where the model holds: the test of fit."""


def fit(predictions: list[Prediction]) -> Fit:
    """Summarize the rows that have a prediction.

    >>> from sims.compare.table import Row
    >>> rows = [Prediction(Row("", 0.7, seen, 1000), "", 0.7, 0.01) for seen in (0.69, 0.70, 0.72)]
    >>> found = fit(rows)
    >>> f"{found.mean_error:.3f} {found.rmse:.4f} {found.covered:.2f} {found.chi_square:.1f} {found.p_value:.2f}"
    '0.003 0.0129 0.67 5.0 0.17'
    """
    known = [one for one in predictions if not math.isnan(one.predicted)]
    observed, predicted, teacher, ceiling, error = (
        np.array([float("nan") if value is None else value for value in values])
        for values in (
            [one.row.student for one in known],
            [one.predicted for one in known],
            [one.row.teacher for one in known],
            [one.row.ceiling for one in known],
            [one.error for one in known],
        )
    )
    misses = observed - predicted
    total = statistics.summarize(misses[:, None]) if len(known) > 1 else None
    varied = len(known) > 2 and np.ptp(predicted) > 0 and np.ptp(observed) > 0
    measured = error > 0
    z = misses[measured] / error[measured]
    square = float(np.sum(z**2))
    return Fit(
        len(known),
        float(misses.mean()) if known else math.nan,
        float(statistics.sem(total)[0]) if total is not None else math.nan,
        _root_mean_square(misses),
        _root_mean_square(observed - teacher),
        _root_mean_square((observed - ceiling)[~np.isnan(ceiling)]),
        float(np.polyfit(predicted, observed, 1)[0]) if varied else math.nan,
        float(np.corrcoef(predicted, observed)[0, 1]) if varied else math.nan,
        len(z),
        float(np.mean(np.abs(z) <= Z)) if len(z) else math.nan,
        float(np.mean(error[measured] ** 2) / np.mean(misses[measured] ** 2)) if square > 0 else math.nan,
        square if len(z) else math.nan,
        float(chi2.sf(square, len(z))) if len(z) else math.nan,
    )


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else math.nan
