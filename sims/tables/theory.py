"""Tables of closed forms, computed when the documents are written."""

import math

import jax

from sims.tables.sources import Sources, markdown
from w2s_jax import theory
from w2s_jax.relaxed import contaminated_prior
from w2s_jax.tasks import make_task
from w2s_jax.types import Task

NOISE_VAR, SHIFT = 0.25, 0.5
"""Label noise variance and concept shift of every task here."""


def statistical_dimension(sources: Sources) -> str:
    """That of the cone at a vertex of the hull, by the number of concepts."""
    sources.formulas()
    sizes = (2, 3, 4, 8, 16, 64)
    values = [f"{theory.hull_statistical_dimension(size):.4f}" for size in sizes]
    return _across("$K$", [f"{size}" for size in sizes], {"$\\delta_K$": values}, words=1)


@jax.enable_x64(True)
def contaminated_exponent(sources: Sources) -> str:
    """The exponent of two concepts and a perfect teacher, by the share of foreign examples."""
    sources.formulas()
    plain = make_task(
        num_concepts=2, dim=2, weak_accuracy=1.0, concept_shift=SHIFT, noise_var=NOISE_VAR, weakness="noisy"
    )
    after = 0.5 * math.log(4 / (1 + math.sqrt(1 + 2 * NOISE_VAR)))  # the limit from above: docs/theory.md 3.6
    found = {"0": _exponent(plain, 0.0), "$0+$": after}
    found |= {_bare(share): _exponent(plain, share) for share in (0.001, 0.01, 0.1, 0.2, 0.3, 0.4, 0.5)}
    values = [_bare(value, 3) for value in found.values()]
    return _across("$\\rho$", list(found), {"$\\kappa(\\rho)$": values})


@jax.enable_x64(True)
def one_example(sources: Sources) -> str:
    """Biases that no number of labels removes: source, one example, its own pair, EM and the hull."""
    sources.formulas()
    rows = []
    for words, accuracy in (("perfect", 1.0), ("`rotated`, $a = 0.7$", 0.7)):
        for size in (2, 4):
            task = _task(size, accuracy)
            refined = theory.one_example_refinement_prior(task) - task.target_prior
            after = theory.population_em_prior(task, 20) - task.target_prior
            biases = (
                theory.source_bias(task),
                (refined**2).sum(),
                theory.self_refinement_bias(task),
                (after**2).sum(),
                theory.hull_bias(task),
            )
            rows.append([f"{size}, {words}", *(_bare(float(bias), 4 if bias < 0.01 else 3) for bias in biases)])
    header = ["$K$, teacher", "source", "one fresh example", "self-refinement", "20 steps of EM", "hull"]
    return markdown(header, rows)


def _task(num_concepts: int, accuracy: float) -> Task:
    return make_task(
        num_concepts=num_concepts,
        dim=num_concepts + 1,
        weak_accuracy=accuracy,
        concept_shift=SHIFT,
        noise_var=NOISE_VAR,
    )


def _exponent(task: Task, share: float) -> float:
    mixed = task._replace(weak_prior=contaminated_prior(task.weak_prior, share))
    return float(theory.mixed_posterior_exponent(mixed))


def _across(name: str, labels: list[str], rows: dict[str, list[str]], words: int = 1) -> str:
    return markdown([name, *labels], [[key, *values] for key, values in rows.items()], words)


def _bare(value: float, digits: int | None = None) -> str:
    """Without the zero before the point, as the page on theory writes numbers."""
    if abs(value) < 1e-9:
        return "0"
    text = f"{value:g}" if digits is None else f"{value:.{digits}f}"
    return text.lstrip("0")
