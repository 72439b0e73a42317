"""Spurious correlations: a teacher that reads a feature of the group, and students whose pools are balanced otherwise.

Theory: docs/theory_zoo.md, spurious correlations.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sims.theory_sweep.spec import TheorySpec
from sims.theory_sweep.studies.study import Study
from w2s_jax.rng import stream
from w2s_jax.theory_zoo import GroupFeatures, gaussian_groups
from w2s_jax.types import Key

DIM, NUM_LABELS, NUM_PSEUDO = 40, 320, 240
"""Core features; labels of the teacher; pseudo-labels of a student."""
LABELLED = 0.1
"""Share of the minority among the labels."""
MINORITY = (0.02, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
"""Shares of the minority in the pool with pseudo-labels."""
SHIFT = np.array([2.5, 0.0])
WEAK_VIEW = np.array([[1.0], [0.0]])
STRONG_VIEWS = {"core": np.zeros((2, 0)), "tilted": np.array([[0.5], [np.sqrt(0.75)]])}
"""What students see of the group: nothing, or a direction at 60 degrees to that of their teacher."""
TESTS = {"majority": 0.0, "minority": 1.0}
QUANTITIES = tuple(f"{model}_{test}_risk" for model in ("teacher", "student") for test in TESTS)


def groups(view: str, minority: float) -> GroupFeatures:
    """What theory knows of a set of points."""
    return gaussian_groups(minority, *map(jnp.asarray, (SHIFT, WEAK_VIEW, STRONG_VIEWS[view])))


def simulate(spec: TheorySpec, key: Key, inputs) -> Float[Array, "S u 4"]:
    """Risks of teacher and student on either group, by what the student sees and by its pool's balance."""
    core, xi = _points(stream(key, "labelled"), LABELLED, NUM_LABELS)
    noise = jnp.sqrt(spec.noise_var) * jax.random.normal(stream(key, "noise"), (NUM_LABELS,))
    # Both models hold the truth, so that their errors are fits of the noise alone.
    teacher = _fit(_rows(core, xi, WEAK_VIEW), noise)
    of_teacher = _risks(teacher, WEAK_VIEW)

    def of_student(view, minority):
        core, xi = _points(stream(key, "unlabelled"), minority, NUM_PSEUDO)
        student = _fit(_rows(core, xi, view), _rows(core, xi, WEAK_VIEW) @ teacher)
        return jnp.concatenate([of_teacher, _risks(student, view)])

    shares = jnp.array(MINORITY)
    return jnp.stack([jax.vmap(lambda u, v=view: of_student(v, u))(shares) for view in STRONG_VIEWS.values()])


def _points(key: Key, minority, size: int) -> tuple[Array, Array]:
    """Core features `[n d]` and group features `[n 2]`; the same draws at every balance."""
    rare = jax.random.uniform(stream(key, "group"), (size, 1)) < minority
    xi = jax.random.normal(stream(key, "features"), (size, 2)) + rare * jnp.asarray(SHIFT)[None]
    return jax.random.normal(stream(key, "core"), (size, DIM)), xi


def _rows(core: Array, xi: Array, view: np.ndarray) -> Float[Array, "n D"]:
    """Products of core features with 1 and what is seen of the group."""
    seen = jnp.concatenate([jnp.ones((len(xi), 1)), xi @ jnp.asarray(view)], 1)
    return (core[:, :, None] * seen[:, None, :]).reshape(len(core), -1)


def _fit(rows: Float[Array, "n D"], labels: Float[Array, "n"]) -> Float[Array, "D"]:
    return jnp.linalg.solve(rows.T @ rows, rows.T @ labels)


def _risks(error: Float[Array, "D"], view: np.ndarray) -> Float[Array, "2"]:
    """Mean squared error on either group."""
    by_core, found = error.reshape(DIM, -1), []
    for minority in TESTS.values():
        mean = np.concatenate([[1.0], minority * SHIFT @ view])
        second = np.outer(mean, mean)
        second[1:, 1:] += view.T @ view
        found.append(jnp.sum(by_core @ jnp.asarray(second) * by_core))
    return jnp.stack(found)


def axes(spec: TheorySpec) -> dict[str, tuple]:
    """What the student sees of the group, share of the minority in its pool."""
    return {"view": tuple(STRONG_VIEWS), "minority": MINORITY}


STUDY = Study(axes, lambda spec: QUANTITIES, simulate, seconds=0.01)
