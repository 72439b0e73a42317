"""Closed forms beside which every simulated curve is drawn; they share no code with the kernels, so that they can
check them.

One idea a file: `population` (biases, the shrinkage path, its floor), `finite_sample` (ridge and least squares on n
labels), `posterior` (the exponent of the concept posterior), `posterior_mean` (its mean: exact, asymptotic, bounded)
and `crossover` (how long a prompt must be). Derivations and references: docs/theory.md, whose numbers 3.x the
docstrings cite.

Every function takes one `Task`, is traceable, and is batched with `jax.vmap`.
"""

from w2s_jax.theory.crossover import lambert_w, refinement_crossover
from w2s_jax.theory.finite_sample import least_squares_risk, refined_risk, ridge_risk
from w2s_jax.theory.population import (
    bias_inner_product,
    population_best_penalty,
    population_flow_risk,
    population_ridge_floor,
    population_ridge_risk,
    source_bias,
    weak_bias,
)
from w2s_jax.theory.posterior import (
    PosteriorExponents,
    balanced_noise_var,
    posterior_exponent,
    posterior_exponents,
    uniform_posterior_exponent,
)
from w2s_jax.theory.posterior_mean import (
    expected_rival_weights,
    misalignment,
    misalignment_asymptotic,
    misalignment_bound,
    posterior_error_bound,
    refined_label_spread,
    rival_weights_asymptotic,
)

__all__ = [
    "PosteriorExponents",
    "balanced_noise_var",
    "bias_inner_product",
    "expected_rival_weights",
    "lambert_w",
    "least_squares_risk",
    "misalignment",
    "misalignment_asymptotic",
    "misalignment_bound",
    "population_best_penalty",
    "population_flow_risk",
    "population_ridge_floor",
    "population_ridge_risk",
    "posterior_error_bound",
    "posterior_exponent",
    "posterior_exponents",
    "refined_label_spread",
    "refined_risk",
    "refinement_crossover",
    "ridge_risk",
    "rival_weights_asymptotic",
    "source_bias",
    "uniform_posterior_exponent",
    "weak_bias",
]
