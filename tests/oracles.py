"""Dense NumPy copies of what the kernels compute: the plainest way to write each, with no care for speed."""

import numpy as np
from scipy import integrate, special, stats


def log_posterior(task, features, labels, noise_var=None, temperature=1.0) -> np.ndarray:
    """log w_k prop. to log alpha_k + sum_j log N(y_j; beta_k . phi_j, s_hat^2) / temperature, one concept at a time."""
    scale = np.sqrt(task.noise_var if noise_var is None else noise_var)
    with np.errstate(divide="ignore"):
        log_prior = np.log(np.asarray(task.source_prior))
    likelihood = [
        sum(stats.norm.logpdf(y, loc=concept @ phi, scale=scale) for phi, y in zip(features, labels))
        for concept in np.asarray(task.concepts)
    ]
    joint = log_prior + np.array(likelihood) / temperature
    return joint - special.logsumexp(joint)


def marchenko_pastur_mean(function, gamma: float) -> float:
    """Mean of a function over the limit of the eigenvalues of a gram matrix, d/n = gamma, by adaptive quadrature."""
    low, high = (1 - np.sqrt(gamma)) ** 2, (1 + np.sqrt(gamma)) ** 2

    def in_angle(angle):
        x = low + (high - low) * np.sin(angle) ** 2
        return function(x) * (high - low) ** 2 * np.sin(2 * angle) ** 2 / (4 * np.pi * gamma * x)

    bulk = integrate.quad(in_angle, 0, np.pi / 2, epsabs=1e-13, epsrel=1e-12, limit=500)[0]
    return bulk + ((1 - 1 / gamma) * function(0.0) if gamma > 1 else 0.0)


def moment_law(concepts, prior, noise_var, feature_var, num_samples) -> tuple[np.ndarray, np.ndarray]:
    """Exact mean and covariance of (upper triangle of gram, cross), for gaussian features and mixture labels.

    One row gives x = (phi phi', phi y), y = beta_k . phi + sigma eps, k ~ prior independent of phi. By Isserlis, with
    L = diag(feature_var), b = sum_k prior_k beta_k and v = L b,

        E x = (L, v)
        Cov(phi_i phi_j, phi_k phi_l) = L_ik L_jl + L_il L_jk
        Cov(phi_i phi_j, phi_l y) = L_il v_j + L_jl v_i
        E y^2 phi phi' = sum_k prior_k [(sigma^2 + beta_k' L beta_k) L + 2 L beta_k beta_k' L]
    """
    concepts, prior, feature_var = (np.asarray(x, np.float64) for x in (concepts, prior, feature_var))
    dim = feature_var.size
    eye = np.diag(feature_var)
    rendered = concepts * feature_var  # L beta_k
    mean = prior @ rendered
    i, j = np.triu_indices(dim)
    gram = eye[np.ix_(i, i)] * eye[np.ix_(j, j)] + eye[np.ix_(i, j)] * eye[np.ix_(j, i)]
    mixed = eye[i] * mean[j][:, None] + eye[j] * mean[i][:, None]
    energy = float(noise_var) + (concepts * rendered).sum(axis=1)
    cross = (prior @ energy) * eye + 2 * np.einsum("k,ki,kj->ij", prior, rendered, rendered) - np.outer(mean, mean)
    covariance = np.block([[gram, mixed], [mixed.T, cross]]) / num_samples
    return np.concatenate([eye[i, j], mean]), covariance


def moment_vector(moments) -> np.ndarray:
    """The coordinates of `moment_law`, for moments with one leading axis of replicates."""
    i, j = np.triu_indices(moments.cross.shape[-1])
    return np.concatenate([np.asarray(moments.gram)[:, i, j], np.asarray(moments.cross)], axis=1)
