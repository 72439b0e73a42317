"""Risks of an estimate that is given (3.8, 3.9): misfit and sign accuracy."""

import jax.numpy as jnp
import numpy as np

import w2s_jax
from sims.checks.check import Check
from sims.checks.draws import features, source_coef, target_coef, turned_task, weak_coef
from sims.checks.population import ROWS, squared_errors


def checks() -> list[Check]:
    """The rows of the closed forms in `w2s_jax.risk`."""
    task = turned_task(0.7, num_concepts=3, dim=6, weak_accuracy=0.6, concept_shift=0.5)
    concepts = np.asarray(task.concepts)
    student = (concepts @ weak_coef(task)) @ concepts  # the projection on a linear class that contains the target

    weak, target, source = (jnp.asarray(coef(task)) for coef in (weak_coef, target_coef, source_coef))

    def predicted_risk():
        weak_risk = w2s_jax.excess_risk(weak, target, task.feature_var)
        return weak_risk - w2s_jax.misfit(jnp.asarray(student), weak, task.feature_var)

    def agreement(key):
        phi = features(key, task, ROWS)
        return np.prod(np.sign(phi @ np.stack([source, target], 1)), axis=1) > 0

    return [
        Check(
            "risk of the projection on a linear class: the teacher's less the misfit, rotated, a = 0.6, s = 0.7",
            ("excess_risk", "misfit"),
            predicted_risk,
            squared_errors(task, student),
        ),
        Check(
            "sign accuracy of the source, K = 3, shift 0.5",
            ("sign_accuracy",),
            lambda: w2s_jax.sign_accuracy(source, target),
            agreement,
        ),
    ]
