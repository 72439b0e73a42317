"""w2s_jax: weak-to-strong generalization as small, pure JAX kernels.

Every function takes arrays (a typed `key` first where there is chance) and returns arrays or a NamedTuple of arrays,
so that it composes with the caller's own `jit`, `vmap` and `grad`. This page is the whole public surface; importing it
is light: jax and the kernels come with the first name that is used, flax with `incontext`, `alignment` and
`checkpoints` alone. No jax setting is changed and no backend started.

>>> import jax
>>> import w2s_jax as w2s
>>> task = w2s.make_task(num_concepts=4, dim=8, weak_accuracy=0.7, concept_shift=0.75)
>>> moments = w2s.sample_moments(jax.random.key(0), task, 256, labeler="weak")
>>> student = w2s.ridge_to_source(moments, task.source_coef, penalty=1.0)
>>> float(w2s.excess_risk(student, task.target_coef)) < float(w2s.excess_risk(task.source_coef, task.target_coef))
True
"""

import importlib
from typing import TYPE_CHECKING, Any

from w2s_jax._versions import check_installed

if TYPE_CHECKING:
    from w2s_jax import alignment, checkpoints, incontext, methods, statistics, theory, theory_zoo
    from w2s_jax.em import em_path, em_prior
    from w2s_jax.estimators import gradient_flow, least_squares, ridge_to_source
    from w2s_jax.hull import hull_least_squares, project_to_simplex
    from w2s_jax.pipeline import Refined, refine
    from w2s_jax.planning.plan import Plan, plan
    from w2s_jax.refinement import concept_log_posterior, leave_one_out_log_posterior, posterior_path, refine_labels
    from w2s_jax.relaxed import coherent_gram
    from w2s_jax.risk import excess_risk, misfit, performance_gap_recovered, sign_accuracy
    from w2s_jax.rng import replicate_key, stream
    from w2s_jax.sampling import (
        design_moments,
        moments,
        sample_dataset,
        sample_design,
        sample_features,
        sample_moments,
    )
    from w2s_jax.tasks import WEAKNESSES, make_task, random_task
    from w2s_jax.types import Dataset, Design, Moments, Task, stack

check_installed()

__version__ = "0.2.0"

__all__ = [
    "WEAKNESSES",
    "Dataset",
    "Design",
    "Moments",
    "Plan",
    "Refined",
    "Task",
    "__version__",
    "alignment",
    "checkpoints",
    "coherent_gram",
    "concept_log_posterior",
    "design_moments",
    "em_path",
    "em_prior",
    "excess_risk",
    "gradient_flow",
    "hull_least_squares",
    "incontext",
    "least_squares",
    "leave_one_out_log_posterior",
    "make_task",
    "methods",
    "misfit",
    "moments",
    "performance_gap_recovered",
    "plan",
    "posterior_path",
    "project_to_simplex",
    "random_task",
    "refine",
    "refine_labels",
    "replicate_key",
    "ridge_to_source",
    "sample_dataset",
    "sample_design",
    "sample_features",
    "sample_moments",
    "sign_accuracy",
    "stack",
    "statistics",
    "stream",
    "theory",
    "theory_zoo",
]

_MODULES = ("alignment", "checkpoints", "incontext", "methods", "statistics", "theory", "theory_zoo")
_NAMES_OF = {
    "em": "em_path em_prior",
    "estimators": "gradient_flow least_squares ridge_to_source",
    "hull": "hull_least_squares project_to_simplex",
    "pipeline": "Refined refine",
    "planning.plan": "Plan plan",
    "refinement": "concept_log_posterior leave_one_out_log_posterior posterior_path refine_labels",
    "relaxed": "coherent_gram",
    "risk": "excess_risk misfit performance_gap_recovered sign_accuracy",
    "rng": "replicate_key stream",
    "sampling": "design_moments moments sample_dataset sample_design sample_features sample_moments",
    "tasks": "WEAKNESSES make_task random_task",
    "types": "Dataset Design Moments Task stack",
}
_HOME = {name: module for module, names in _NAMES_OF.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """The public name, from its module (PEP 562)."""
    if name in _MODULES:
        return importlib.import_module(f"w2s_jax.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'w2s_jax' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"w2s_jax.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
