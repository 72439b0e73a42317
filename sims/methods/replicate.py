"""One replicate of an arena: every method on every task, tuned on weak labels, at each budget."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.methods.disguise import disguised, draw_disguise, put_back
from sims.methods.relaxed import relaxed_tasks
from sims.methods.spec import BUDGETS, ArenaSpec
from w2s_jax import statistics
from w2s_jax.methods import Method, View, draw_view, known
from w2s_jax.methods.kinds import KINDS, Kind
from w2s_jax.methods.true_labels import true_shares
from w2s_jax.rng import replicate_key, stream
from w2s_jax.tasks import make_task
from w2s_jax.theory_zoo import copied_errors
from w2s_jax.types import Dataset, Key, Scalar, Task, stack

LEAST_ERRORS = 1e-5
"""A teacher with a smaller share of wrong signs makes none but for rounding."""
PER_EXAMPLE = ("weak_labels", "unaligned_labels", "weak_log_odds", "unaligned_log_odds", "true_labels")
"""Fields of a view that hold a number for each example."""
PER_MODEL = ("colleague_labels", "colleague_log_odds", "weak_concept_log_odds")
"""Fields of a view that hold a number for each example and colleague, or concept."""


class Outcome(NamedTuple):
    """Risks on the cells of the grid C, at the budgets B."""

    tuned: Float[Array, "*r C B M+1"]
    """Risk of every method, with the knobs that predict the held-out weak labels best; and of the teacher."""
    tried: Float[Array, "*r C B T"]
    """Risk with all values of the knobs, method after method."""
    rank: Float[Array, "*r C B N"]
    """Rank of the tuned risks of `ranked` methods, 1 for the lowest; ties share their mean rank."""
    misfit: Float[Array, "*r C B M"]
    """How far each tuned student is from the teacher."""
    copied: Float[Array, "*r C B M"] | None
    """Share of the teacher's errors that each tuned student repeats; None for labels that are not right or wrong."""


class Sums(NamedTuple):
    """What a block of replicates leaves behind; they merge without loss."""

    tuned: statistics.Summary
    tried_count: Float[Array, ""]
    tried_mean: Float[Array, "C B T"]
    tried_square: Float[Array, "C B T"]
    """sum (x - mean)^2."""
    rank: statistics.Summary
    """`[B N]`: a replicate's rank is its mean over the cells of the grid."""
    misfit_mean: Float[Array, "C B M"]
    misfit_square: Float[Array, "C B M"]
    """sum (x - mean)^2."""
    copied_mean: Float[Array, "C B M"] | None
    """NaN, as below, where the teacher makes no errors."""
    copied_square: Float[Array, "C B M"] | None
    """sum (x - mean)^2."""


def grid_of(spec: ArenaSpec) -> Task:
    """The tasks of all cells `[C]` in the order of the axes; and then the relaxed ones."""
    tasks = [
        make_task(
            num_concepts=spec.num_concepts,
            dim=spec.dim,
            weak_accuracy=accuracy,
            concept_shift=shift,
            noise_var=spec.noise_var,
            weakness=weakness,
        )
        for weakness in spec.weakness
        for accuracy in spec.weak_accuracy
        for shift in spec.concept_shift
        for _ in spec.true_label_share
    ]
    return stack([*tasks, *relaxed_tasks(spec)])


def replicate(spec: ArenaSpec, key: Key, tasks: Task) -> Outcome:
    """All methods on all cells, from the same draws."""
    if not spec.has_true_labels:
        return jax.lax.map(lambda task: _on_task(spec, key, task, 0.0), tasks)
    num_relaxed = tasks.noise_var.shape[0] - spec.num_cells
    repeats = spec.num_cells // len(spec.true_label_share)
    shares = jnp.array([*spec.true_label_share * repeats, *spec.true_label_share[-1:] * num_relaxed])
    return jax.lax.map(lambda cell: _on_task(spec, key, *cell), (tasks, shares))


def _on_task(spec: ArenaSpec, key: Key, task: Task, share: Scalar) -> Outcome:
    kind, view = KINDS[spec.labels], draw_view(key, task, spec.sample_size, spec.num_icl, spec.labels, share)
    target, held = kind.target(task), last(view, spec.sample_size - spec.num_fitted)
    teacher, tuned, tried, rank, misfit = kind.teacher(task), [], [], [], []
    for budget in BUDGETS:
        chosen, all_tried, away = [], [], []
        for name in spec.methods:
            coefs = _try(spec, name, key, first(view, spec.examples(name, budget)))
            risks = jax.vmap(lambda coef: kind.risk(coef, target, task))(coefs)
            best = jnp.argmin(_held_out(spec.method(name), kind, coefs, held))
            chosen.append(risks[best])
            all_tried.append(risks)
            away.append(kind.risk(coefs[best], teacher, task))
        tuned.append(jnp.stack([*chosen, kind.risk(teacher, target, task)]))
        tried.append(jnp.concatenate(all_tried))
        rivals = [risk for name, risk in zip(spec.methods, chosen) if name in ranked(spec)]
        rank.append(_ranks(jnp.stack(rivals)))
        misfit.append(jnp.stack(away))
    tuned, tried, rank, misfit = map(jnp.stack, (tuned, tried, rank, misfit))
    copied = copied_share(tuned[..., :-1], tuned[..., -1:], misfit) if spec.labels == "sign" else None
    return Outcome(tuned, tried, rank, misfit, copied)


def copied_share(risk: Float[Array, "*b M"], wrong: Float[Array, "*b 1"], misfit: Float[Array, "*b M"]) -> Array:
    """Share of a teacher's wrong signs that students repeat, from shares of inputs: where a student is wrong, where the
    teacher is, and where they differ; NaN where the teacher makes no errors but for rounding.

    >>> round(float(copied_share(jnp.array([0.2]), jnp.array([0.3]), jnp.array([0.24]))[0]), 4)
    0.4333
    """
    errs = wrong > LEAST_ERRORS
    return jnp.where(errs, copied_errors(1 - risk, 1 - jnp.where(errs, wrong, 0.5), 1 - misfit), jnp.nan)


def _held_out(method: Method, kind: Kind, coefs: Float[Array, "t d"], held: View) -> Float[Array, "t"]:
    """Loss by which knobs are chosen: of weak labels; for a method that sees true ones, of those if any is held out."""
    weak = kind.held_out(coefs, Dataset(held.features, known(held.weak_labels)))
    if "few_true_labels" not in method.sees:
        return weak
    few = known(held.few_true_labels)
    true = kind.held_out(coefs, Dataset(held.features, few.labels), true_shares(few))
    return jnp.where(few.given.sum() > 0, true, weak)


def _try(spec: ArenaSpec, name: str, key: Key, view: View) -> Float[Array, "t d"]:
    """The student with each combination of knob values; a plugin's has to work in disguise."""
    if spec.is_own(name):
        disguise = draw_disguise(stream(key, "disguise"), view)
        return put_back(_students(spec, name, disguised(view, disguise)), disguise)
    return _students(spec, name, view)


def _students(spec: ArenaSpec, name: str, view: View) -> Float[Array, "t d"]:
    method = spec.method(name)
    tried = method.candidates()
    knobs = {knob: jnp.array([values[knob] for values in tried]) for knob in method.knobs}
    return jax.vmap(lambda values: method(view, **values))(knobs) if knobs else method(view)[None]


def ranked(spec: ArenaSpec) -> list[str]:
    """Methods that compete: those that do not read the target."""
    return [name for name in spec.methods if not spec.method(name).reads_target]


def _ranks(risks: Float[Array, "N"]) -> Float[Array, "N"]:
    below = (risks[None] < risks[:, None]).sum(axis=1)
    equal = (risks[None] == risks[:, None]).sum(axis=1)
    return below + (equal + 1) / 2


def first(view: View, count: int) -> View:
    """The view of the first examples alone."""
    return _part(view, 0, count)


def last(view: View, count: int) -> View:
    """The view of the last examples alone."""
    return _part(view, len(view.features) - count, len(view.features))


def _part(view: View, start: int, stop: int) -> View:
    def cut(leaf: Array, axis: int = 0) -> Array:
        return jax.lax.slice_in_dim(leaf, start, stop, axis=axis)

    return view._replace(
        features=cut(view.features),
        chance=jax.tree.map(cut, view.chance),
        prompts=jax.tree.map(cut, view.prompts),
        weak_densities=jax.tree.map(cut, view.weak_densities),
        few_true_labels=jax.tree.map(cut, view.few_true_labels),
        **{name: None if (values := getattr(view, name)) is None else cut(values, 1) for name in PER_MODEL},
        **{name: None if (values := getattr(view, name)) is None else cut(values) for name in PER_EXAMPLE},
    )


def block_sums(spec: ArenaSpec, key: Key, first_replicate: Array, total: Array, tasks: Task) -> Sums:
    """Sums over replicates first_replicate, ..., + block_size - 1, of which only those below `total` count."""
    index = first_replicate + jnp.arange(spec.block_size)
    found = jax.lax.map(lambda i: replicate(spec, replicate_key(key, i), tasks), index)
    counts = (index < total).astype(float)
    share = counts / jnp.maximum(counts.sum(), 1)

    def moments(values: Array) -> tuple[Array, Array]:
        mean = jnp.tensordot(share, values, 1)
        return mean, jnp.tensordot(counts, jnp.square(values - mean[None]), 1)

    return Sums(
        statistics.summarize(found.tuned, counts),
        counts.sum(),
        *moments(found.tried),
        statistics.summarize(found.rank[:, : spec.num_cells].mean(axis=1), counts),
        *moments(found.misfit),
        *((None, None) if found.copied is None else moments(found.copied)),
    )
