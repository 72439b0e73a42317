"""Closed forms to compare every simulated curve with; they share no code with the kernels, so that they can
check them.

One idea a file: `population` (biases, the shrinkage path, its floor), `finite_sample` (ridge and least squares on n
labels), `hull` and `span` (least squares over the hull and the span of the concepts), `posterior` (the exponent of the
concept posterior), `posterior_mean` (its mean: one rival alone, asymptotic, bounded), `misalignment` (its mean
exactly, by `one_factor` and `race`), `sampled_misalignment` (where no closed form is), `mixed_prompts` and
`mixed_prompts_mean` (the same for prompts whose examples come from several concepts), `one_example` (refinement by one
example, for any mixture), `em` (from there to maximum likelihood) and `crossover` (how long a prompt must be).
Derivations and references: docs/theory.md, whose numbers 3.x the docstrings cite.

Every function but `sampled_misalignment` is traceable; those of a `Task` take one or a batch of them (`closed_form`).
"""

from w2s_jax.theory.crossover import lambert_w, refinement_crossover, refinement_crossover_asymptotic
from w2s_jax.theory.em import em_first_step_risk, em_limit_risk, population_em_prior
from w2s_jax.theory.finite_sample import (
    least_squares_risk,
    mixed_labels_risk,
    refined_risk,
    ridge_risk,
    ridge_risk_correction,
)
from w2s_jax.theory.hull import hull_bias, hull_misfit, hull_risk, hull_statistical_dimension, hull_weights
from w2s_jax.theory.misalignment import label_spread, misalignment, refined_label_spread
from w2s_jax.theory.mixed_prompts import (
    contamination_threshold,
    mixed_posterior_exponent,
    mixed_posterior_exponents,
    winner_takes_all_misalignment,
)
from w2s_jax.theory.mixed_prompts_mean import mixed_misalignment, mixed_rival_weights, wrong_prompt_misalignment
from w2s_jax.theory.one_example import (
    one_example_refinement_prior,
    one_example_spread,
    one_example_transition,
    self_refinement_bias,
    self_refinement_coef,
)
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
    misalignment_asymptotic,
    misalignment_bound,
    posterior_error_bound,
    rival_weights_asymptotic,
)
from w2s_jax.theory.sampled_misalignment import SampledMisalignment, sampled_misalignment
from w2s_jax.theory.span import span_bias, span_misfit, span_risk

__all__ = [
    "PosteriorExponents",
    "SampledMisalignment",
    "balanced_noise_var",
    "bias_inner_product",
    "contamination_threshold",
    "em_first_step_risk",
    "em_limit_risk",
    "expected_rival_weights",
    "hull_bias",
    "hull_misfit",
    "hull_risk",
    "hull_statistical_dimension",
    "hull_weights",
    "label_spread",
    "lambert_w",
    "least_squares_risk",
    "misalignment",
    "misalignment_asymptotic",
    "misalignment_bound",
    "mixed_labels_risk",
    "mixed_misalignment",
    "mixed_posterior_exponent",
    "mixed_posterior_exponents",
    "mixed_rival_weights",
    "one_example_refinement_prior",
    "one_example_spread",
    "one_example_transition",
    "population_best_penalty",
    "population_em_prior",
    "population_flow_risk",
    "population_ridge_floor",
    "population_ridge_risk",
    "posterior_error_bound",
    "posterior_exponent",
    "posterior_exponents",
    "refined_label_spread",
    "refined_risk",
    "refinement_crossover",
    "refinement_crossover_asymptotic",
    "ridge_risk",
    "ridge_risk_correction",
    "rival_weights_asymptotic",
    "sampled_misalignment",
    "self_refinement_bias",
    "self_refinement_coef",
    "source_bias",
    "span_bias",
    "span_misfit",
    "span_risk",
    "uniform_posterior_exponent",
    "weak_bias",
    "winner_takes_all_misalignment",
    "wrong_prompt_misalignment",
]
