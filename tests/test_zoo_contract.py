"""What every closed form of the zoo promises: its numbers have ranges, arrays of them are one program, it is smooth.

Simulations of all forms, here and in `w2s_jax.theory`, are rows of `sims/checks/`, which test_verify.py runs.
"""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_theory_population import refusals
from w2s_jax import theory_zoo as zoo
from w2s_jax.theory_zoo import Bilevel, Exponents, FeatureRidge, LinearClass, Schedule, Score, SelfTraining, TwoLevel

rng = np.random.default_rng(0)
LAM, TARGET, OTHER = (jnp.asarray(row) for row in rng.uniform(0.3, 1.5, (3, 16)))
ROWS = jnp.asarray(rng.normal(size=(16, 16)))
WEAK, STRONG = (jnp.asarray(np.linalg.qr(rows)[0][:, :size]) for rows, size in ((ROWS, 3), (ROWS.T, 2)))
VIEWS = jnp.array([1.5, 0.5]), jnp.array([[1.0], [0.0]]), jnp.array([[0.6], [0.8]])
GROUPS = [zoo.gaussian_groups(share, *VIEWS, num_nodes=4) for share in (0.2, 0.6, 0.5)]
NUMBERS = """
    cosine 0.3, start_accuracy 0.8, teacher_accuracy 0.7, agreement 0.66, progress 0.4, accuracy 0.8, minority 0.2,
    true_share 0.3, ceiling_accuracy 0.8, naive_accuracy 0.65, naive_agreement 0.9, teacher_risk 0.4,
    label_correlation 0.6, teacher_correlation 0.7, favoured_overlap 0.2, other_overlap 0.1, dim_weak 3, dim_strong 4,
    overlap 1.2, dim 20, num_samples 14, num_labels 120, num_pseudo_labels 9, num_pseudo 90, num_ceiling_labels 12,
    noise_var 0.8, label_noise_var 0.5, radius 0.4, bound 0.3, capacity 2, source 0.75, time 0.7, width 5,
    generation 2.5, signal 1.5, ratio 0.6, penalty 0.2, teacher_ratio 0.7, teacher_penalty 0.1, student_ratio 0.4,
    student_penalty 0.3
"""
VALUES = {
    **{name: float(value) for name, value in (pair.split() for pair in NUMBERS.split(","))},
    **dict.fromkeys(("feature_var", "eigenvalues", "noise_vars"), LAM),
    **dict.fromkeys(("target", "target_coef", "ratios"), TARGET),
    **dict.fromkeys(("variances", "surrogate", "teacher_coef", "student_coef", "penalties"), OTHER),
    **dict(zip(("shift", "weak_view", "strong_view"), VIEWS)),
    **dict(zip(("labelled", "unlabelled", "tested"), GROUPS)),
    **{"mask": LAM > 0.8, "basis": WEAK, "weak_basis": WEAK, "strong_basis": STRONG},
}
"""Arguments by their names."""
RECORDS = [
    LinearClass(ROWS[:3], TARGET, ROWS[0] + 0.1 * OTHER, ROWS @ ROWS.T),
    Bilevel(60.0, 400.0, 5.0, 0.3),
    TwoLevel(20.0, 2.0, 12.0, 1.0, 0.1),
    SelfTraining(1.0, 1.0, 0.75, 0.02, 0.6, 0.2, 0.3),
    Score(0.3, 0.2),
    FeatureRidge(9.0, 0.02, 8.0),
    Schedule(0.4, 1.2, 1.1),
    Exponents(1.2, 2.5, 0.3, 0.5),
]
TEACHERS = [FeatureRidge(4.0, 0.1, 5.0), Schedule(0.8, 1.8, 1.0), Exponents(1.0, 1.4, 0.3, 1.0)]
"""Arguments by their types; teachers have others than students."""
SPECIAL = {
    "best_student_schedule": {"teacher": Schedule(1.2, 0.7, 1.0)},
    "subspace_breakeven": {"target": 0.2 * TARGET, "num_labels": 7.0, "noise_var": 8.0},
}
WHOLE = ("best_surrogate_mask", "power_law_spectrum", "self_training_best_generation")
"""Forms that take or give whole numbers."""
FORMS = [name for name in zoo.__all__ if inspect.isfunction(getattr(zoo, name)) and name not in WHOLE]


def point(name: str) -> dict:
    """Arguments of a form where it is smooth."""
    given = VALUES | SPECIAL.get(name, {})
    found = {}
    for each, parameter in inspect.signature(getattr(zoo, name)).parameters.items():
        records = TEACHERS if each == "teacher" else RECORDS
        if parameter.annotation is not int:
            found[each] = given[each] if each in given else next(r for r in records if type(r) is parameter.annotation)
    return found


SHARES = ("accuracy", "agreement", "minority", "progress", "_share", "_risk", "_correlation", "_overlap", "_weight")
"""Endings of names of numbers in [0, 1]."""
POSITIVE = ("num_samples", "num_pseudo", "dim", "signal", "teacher_ratio", "radius", "bound", "capacity", "source")
"""Numbers that may not be 0 either."""
UNCHECKED = {
    "classification_error": {"survival", "contamination"},
    "score_correlation": {"survival", "contamination"},
}
"""Numbers whose range is not checked."""


@pytest.mark.parametrize("name", FORMS)
def test_a_number_out_of_its_range_is_refused_by_its_name(name):
    leaves, structure = jax.tree_util.tree_flatten_with_path(point(name))
    for place, (path, value) in enumerate(leaves):
        field = getattr(path[-1], "name", None) or path[-1].key
        if isinstance(value, float) and field not in UNCHECKED.get(name, ()):
            for wrong in (math.nan, -1.5, *[1.5] * field.endswith(SHARES), *[0.0] * (field in POSITIVE)):
                given = [wrong if at == place else leaf for at, (_, leaf) in enumerate(leaves)]
                with pytest.raises(ValueError, match=f"{field}.*, got ") as refused:
                    getattr(zoo, name)(**jax.tree.unflatten(structure, given))
                assert str(refused.value).endswith(".") and "\n" not in str(refused.value)


test_numbers_that_do_not_go_together_are_refused = refusals(
    (lambda: zoo.implicit_penalty(Bilevel(10, 10, 2, 0.5)), r"num_samples must be in \[1, dim\), got 10 and 10"),
    (lambda: zoo.implicit_penalty(Bilevel(5, 10, 10, 0.5)), r"num_favoured must be in \[1, dim\), got 10 and"),
    (lambda: zoo.success_exponent(Exponents(1.0, 0.9, 0.1, 0.2)), "0 <= favoured < samples < dim"),
    (lambda: zoo.random_teacher_risk(jnp.ones(6), 7), r"width must be in \[0, 6\], got 7"),
    (lambda: zoo.spectrum_teacher_risk(jnp.ones(3), jnp.ones(3), 3), r"width must be in \(0, 3\), got 3"),
    (lambda: zoo.stopped_risk(TwoLevel(20, 21, 12, 1.0, 0.1)), r"must be in \[1, dim\], got 21 and 12"),
    (lambda: zoo.stopped_risk(TwoLevel(20, 2, 12, 1.0, 2.0)), "0 <= trailing <= leading"),
    (lambda: zoo.subspace_risk(WEAK, TARGET, 4, 1.0), "num_labels must exceed .* = 4, got 4"),
    (lambda: zoo.subspace_student_risk(WEAK, STRONG, TARGET, 9, 3, 1.0), "num_pseudo_labels must exceed .* = 3, got 3"),
    (lambda: zoo.subspace_student_variance(3, 5, 4.0, 9, 9, 1.0), r"overlap must be in \[0, dim_weak\], got 4.0 with"),
    (lambda: zoo.mixed_label_student(0.5, 0.4, 0.4), "ceiling_accuracy must be over 0.5, got 0.4"),
    (lambda: zoo.mixed_label_student(0.5, 0.8, 0.7, 0.5), "naive_agreement must be over 0.5, got 0.5"),
    (lambda: zoo.mixed_label_student(0.5, 0.7, 0.8), "between 1 - ceiling_accuracy = 0.3 and .* 0.7, got 0.8"),
    (lambda: zoo.copied_errors(0.8, 1, 0.8), "teacher_accuracy must be under 1, got 1"),
    (lambda: zoo.projected_risk(RECORDS[0]._replace(strong_map=jnp.ones((17, 16)))), "strong_map must .* got 17 x 16"),
    (lambda: zoo.gaussian_groups(0.5, *VIEWS, 0), "num_nodes must be at least 1, got 0"),
    (lambda: zoo.power_law_spectrum(1.0, 0.5, 4), "capacity must be more than 1, got 1.0; the eigenvalues must"),
    (lambda: zoo.feature_ridge_exponent(2.0, 0.5, Schedule(0.0)), "penalty of a Schedule must be positive, got 0"),
    (lambda: zoo.tuned_accuracy(80, 0.7, 0.66, 0.5), "start_accuracy must be .*, got 80; a percentage is 100 times"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_derivatives_are_differences(name):
    """In each number, and along a random direction of the arrays, by one program for all points."""
    leaves, structure = jax.tree.flatten(point(name))

    def along(steps):
        draw, numbers, moved = np.random.default_rng(1), iter(steps), []
        for leaf in leaves:
            if isinstance(leaf, float):
                moved.append(leaf * (1 + next(numbers)))
            elif leaf.dtype == bool:
                moved.append(leaf)
            else:
                direction = draw.normal(size=leaf.shape)
                square = leaf.shape == leaf.shape[::-1] and leaf.ndim == 2
                moved.append(leaf * (1 + steps[-1] * (direction + direction.T if square else direction)))
        found = jax.tree.leaves(getattr(zoo, name)(**jax.tree.unflatten(structure, moved)))
        return sum((draw.normal(size=leaf.shape) * leaf).sum() for leaf in found)

    count, step = sum(isinstance(leaf, float) for leaf in leaves) + 1, 1e-5
    moves = step * jnp.concatenate([jnp.eye(count), -jnp.eye(count), jnp.zeros((1, count))])
    compiled = jax.jit(jax.vmap(jax.value_and_grad(along)), compiler_options={"xla_backend_optimization_level": 0})
    values, slopes = compiled(moves)
    differences = (values[:count] - values[count:-1]) / (2 * step)
    np.testing.assert_allclose(slopes[-1], differences, rtol=1e-5, atol=1e-7)


EDGES = {
    "agreement everywhere": lambda g: zoo.tuned_accuracy(0.7, 0.7, 1 - g, 0.5) + zoo.first_gain(0.7, 0.7, 1 - g),
    "the best of equals": lambda g: zoo.best_accuracy(0.7, 0.7, 1 - g).accuracy,
    "a teacher without a penalty": lambda eta: zoo.ridge_pair_student_risk(1.5, 0.8, 0.7, eta, 0.4, 0.3),
    "a student without a penalty": lambda eta: zoo.ridge_pair_student_risk(1.5, 0.8, 0.7, 0.1, 0.4, eta),
    "self-training without a penalty": lambda eta: zoo.self_training_risk(RECORDS[3]._replace(penalty=eta), 2),
    "clean labels": lambda v: zoo.subspace_student_risk(WEAK, STRONG, TARGET, 15.0, 9.0, v),
}


@pytest.mark.slow
def test_derivatives_are_finite_at_the_edges():
    for name, form in EDGES.items():
        assert jnp.isfinite(jax.jit(jax.grad(form))(0.0)), name
