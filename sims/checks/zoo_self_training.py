"""Theory zoo, self-training: chains of ridge fits from draws, each on the predictions of the one before."""

import jax.numpy as jnp
import numpy as np

from sims.checks.check import Check
from sims.checks.draws import normals
from w2s_jax import theory_zoo
from w2s_jax.rng import stream
from w2s_jax.theory_zoo import SelfTraining

DIM, COUNT = 64, 50
"""Features; chains in a batch."""
TARGET = np.eye(DIM)[0]
TEACHER = (1.0, 96, 0.05)
"""Noise variance, labels and penalty of every teacher."""
MANY, FEW, NOISY = (0.0, 80, 0.2), (0.0, 48, 0.05), (0.3, 128, 0.5)
"""The same of the stages that follow: more points than features, fewer of them, and noisy pseudo-labels."""
CHAIN = (TEACHER, (0.0, 160, 0.3), (0.2, 50, 0.1), (0.05, 100, 0.02))
LAST, LONG = (2.0, 64, 1.0), 7
"""Stages that forget fast, and how many leave next to nothing."""
LIMIT, ALLOWANCE = "to 1%", 0.01
"""What is left of O(1/d) at this size is 0.5%."""


def checks() -> list[Check]:
    """The rows of `theory_zoo.self_training`."""
    return [
        *(_row("chain of stages that differ", "chain_risks", lambda j=j: _chain()[j], CHAIN[: j + 1]) for j in (2, 3)),
        *(
            _row(
                f"self-training, generation {j}",
                "self_training_risk",
                lambda stage=stage, j=j: theory_zoo.self_training_risk(_setting(stage), j),
                (TEACHER, *[stage] * j),
            )
            for stage, j in ((MANY, 1), (MANY, 6), (FEW, 2), (NOISY, 3))
        ),
        *(
            Check(
                f"first gain of self-training, {_words(stage)}, to 2%",
                ("self_training_first_gain",),
                lambda stage=stage: theory_zoo.self_training_first_gain(_setting(stage)),
                lambda key, stage=stage: -np.diff(_path(key, (TEACHER, stage))),
                sharpen=2.0,
                allowance=2 * ALLOWANCE,  # a difference of two risks
            )
            for stage in (MANY, NOISY)
        ),
        Check(
            f"best generation of self-training, {_words(MANY)}",
            ("self_training_best_generation",),
            lambda: theory_zoo.self_training_best_generation(_setting(MANY)),
            lambda key: _path(key, (TEACHER, *[MANY] * 5)),
            reduce=np.argmin,
        ),
        _row(
            f"limit of self-training, by generation {LONG}",
            "self_training_limit",
            lambda: theory_zoo.self_training_limit(_setting(LAST)),
            (TEACHER, *[LAST] * LONG),
        ),
    ]


def _row(claim: str, form: str, predict, stages: tuple) -> Check:
    """The risk of the last model of a chain."""
    return Check(
        f"{claim}, {_words(stages[-1])}, {LIMIT}",
        (form,),
        predict,
        lambda key: _path(key, stages)[:, -1],
        allowance=ALLOWANCE,
    )


def _words(stage: tuple[float, int, float]) -> str:
    noise_var, size, penalty = stage
    return f"d = {DIM}, n = {size}, penalty {penalty}, noise {noise_var}"


def _setting(stage: tuple[float, int, float]) -> SelfTraining:
    noise_var, size, penalty = stage
    return SelfTraining(1.0, TEACHER[0], DIM / TEACHER[1], TEACHER[2], DIM / size, penalty, noise_var)


def _chain():
    noise_vars, sizes, penalties = (jnp.array(part, float) for part in zip(*CHAIN))
    return theory_zoo.chain_risks(1.0, noise_vars, DIM / sizes, penalties)


def _path(key, stages: tuple) -> np.ndarray:
    """Risks of every model of a chain `[r J]`, each fitted to fresh points."""
    coef, risks = np.broadcast_to(TARGET, (COUNT, DIM)), []
    for j, (noise_var, size, penalty) in enumerate(stages):
        drawn = normals(stream(key, f"stage {j}"), COUNT, size * (DIM + 1)).reshape(COUNT, size, DIM + 1)
        x, noise = drawn[..., :DIM], np.sqrt(noise_var) * drawn[..., DIM]
        transposed = x.transpose(0, 2, 1)
        cross = transposed @ (x @ coef[..., None] + noise[..., None])
        gram = transposed @ x + size * penalty * np.eye(DIM)
        coef = np.linalg.solve(gram, cross)[..., 0]
        risks.append(np.sum((coef - TARGET) ** 2, 1))
    return np.stack(risks, 1)
