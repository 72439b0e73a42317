"""What `python -m sims.verify` checks: one file for each part of the theory."""

from sims.checks import (
    bounds,
    crossover,
    finite_sample,
    mixed_prompts,
    one_example,
    population,
    posterior,
    posterior_mean,
    risk,
    students,
    zoo_accuracy,
    zoo_benign_classification,
    zoo_misfit,
    zoo_random_features,
    zoo_ridge_pair,
    zoo_scaling_laws,
    zoo_self_training,
    zoo_spurious,
    zoo_subspaces,
    zoo_surrogate,
    zoo_true_labels,
)
from sims.checks.check import Check

PARTS = (
    population,
    finite_sample,
    risk,
    students,
    posterior,
    posterior_mean,
    bounds,
    mixed_prompts,
    one_example,
    crossover,
    zoo_subspaces,
    zoo_surrogate,
    zoo_ridge_pair,
    zoo_misfit,
    zoo_random_features,
    zoo_benign_classification,
    zoo_accuracy,
    zoo_true_labels,
    zoo_scaling_laws,
    zoo_self_training,
    zoo_spurious,
)


def all_checks() -> list[Check]:
    """Every row of the table, in the order of docs/theory.md as far as it goes, and then of docs/theory_zoo.md."""
    return [check for part in PARTS for check in part.checks()]
