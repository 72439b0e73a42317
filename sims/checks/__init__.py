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
)


def all_checks() -> list[Check]:
    """Every row of the table, in the order of docs/theory.md as far as it goes."""
    return [check for part in PARTS for check in part.checks()]
