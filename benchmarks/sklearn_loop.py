"""scikit-learn's rival: one task after the other, both fits by its `Ridge`, the posterior in NumPy.

Written as a user of scikit-learn who cares about speed would: inputs are not checked again, no intercept, one Cholesky
factorisation a fit. `Ridge` does not divide its loss by n, so its alpha is n times the penalty; pulled to the source
instead of to zero it fits what the source leaves over. Without penalty it is least squares, faster than
`LinearRegression`, which decomposes the n x d features.
"""

import numpy as np

from benchmarks import numpy_loop
from benchmarks.numpy_loop import Draws
from benchmarks.workload import MeanRisks, Workload


def mean_risks(workload: Workload, num_replicates: int, seed: int = 0, dtype=np.float32) -> MeanRisks:
    """Mean risks over `num_replicates` passes through the grid, every task with draws of its own."""
    from sklearn import config_context

    with config_context(assume_finite=True, skip_parameter_validation=True):
        return numpy_loop.mean_risks(workload, num_replicates, seed, dtype, fit=fit)


def fit(workload: Workload, draws: Draws, source_coef: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of naive fine-tuning and of refinement on one task's labels."""
    from sklearn.linear_model import Ridge

    features, alpha = draws.features, workload.num_samples * workload.penalty
    naive = Ridge(alpha=alpha, fit_intercept=False, solver="cholesky")
    naive.fit(features, draws.labels - features @ source_coef)
    student = Ridge(alpha=0.0, fit_intercept=False, solver="cholesky").fit(features, draws.refined)
    return source_coef + naive.coef_, student.coef_
