"""What a finished theory sweep claims: each study against its closed form."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from sims.engine.claims import Claim, worst
from sims.theory_sweep.spec import TheorySpec
from sims.theory_sweep.studies import (
    accuracy_plane,
    contamination,
    em_ladder,
    hull,
    misfit,
    mixture_target,
    proportional,
    scaling_laws,
    self_training,
    spurious,
)
from sims.theory_sweep.studies.prompts import PROMPTS_AT_ONCE
from w2s_jax import theory, theory_zoo

_compiled = functools.cache(jax.jit)
"""A closed form at many cells is one program, and not one for each of its operations."""
_exact_misalignment = jax.jit(theory.mixed_misalignment, static_argnames="prompts")

TELLING = 100
"""A mean that fewer simulated prompts than about this make up has no normal error."""


def theory_claims(data: xr.Dataset, spec: TheorySpec) -> Iterator[Claim]:
    """What a theory sweep must show (docs/theory.md 3.3 to 3.8, docs/theory_zoo.md)."""
    yield Claim("independent replicates of every study", int(data.num_replicates), ">=", spec.replicates)
    for name, claims in CLAIMS.items():
        if name in spec.studies:
            yield from claims(data, spec)


def _hull(data: xr.Dataset, spec: TheorySpec) -> Iterator[Claim]:
    size = max(spec.hull_sample_size)
    for law in hull.LAWS:
        z = []
        for num_concepts in spec.hull_num_concepts:
            task = hull.task(spec, law, num_concepts)
            noise = spec.noise_var + float(_compiled(theory.hull_misfit)(task))
            limit = theory.hull_statistical_dimension(num_concepts) if law == "vertex" else num_concepts - 1
            mean, sem = _cell(data, "hull", "distance", law=law, num_concepts=num_concepts, sample_size=size)
            z.append((mean / (noise * limit / size) - 1, sem / (noise * limit / size)))
        worst = int(np.argmax([abs(gap) for gap, _ in z]))
        text = f"hull, {law}: largest |n E distance / ((sigma_w^2 + misfit) dimension) - 1| at n = {size}"
        bound = max(0.03, 5 * z[worst][1])
        yield Claim(text, abs(z[worst][0]), "<=", bound, z[worst][1], f"K {spec.hull_num_concepts[worst]}")


def _em_ladder(data: xr.Dataset, spec: TheorySpec) -> Iterator[Claim]:
    task, size, steps = em_ladder.task(spec, "mixture"), max(spec.em_sample_size), max(spec.em_steps)

    def against(num_steps: int, expected: float) -> tuple[float, float]:
        cell = {"target": "mixture", "sample_size": size, "num_steps": num_steps}
        mean, sem = _cell(data, "em_ladder", "em_risk", **cell)
        return abs(mean / expected - 1), sem / expected

    if 1 in spec.em_steps:
        gap, sem = against(1, float(_compiled(theory.em_first_step_risk)(task, size)))
        yield Claim("EM, T = 1: |risk / that of one-example refinement - 1|", gap, "<=", 5 * sem, sem)
    gap, sem = against(steps, float(_compiled(theory.em_limit_risk)(task, size)))
    yield Claim(f"EM, T = {steps}, n = {size}: |risk / (tr J I^-1 J'/n) - 1|", gap, "<=", 0.05, sem)


def _mixture_target(data: xr.Dataset, spec: TheorySpec) -> Iterator[Claim]:
    for weight in spec.target_weight:
        target = np.array([weight, 1 - weight])
        fresh = [_fresh(data, "mixture_target", target, target_weight=weight, num_icl=m) for m in spec.num_icl]
        dip, end = min(fresh), fresh[-1]
        sem = float(np.hypot(dip[1], end[1]))
        text = f"mixture target {weight}: fresh misalignment of the longest prompt minus its least"
        yield Claim(text, end[0] - dip[0], ">=", 5 * sem, sem)
    z = [
        _against_exact(data, "mixture_target", mixture_target.task(spec, weight), m, target_weight=weight)
        for weight in spec.target_weight
        for m in spec.num_icl
        if m > 0
    ]
    yield Claim("mixture target: largest |z| of the shared misalignment against the exact integral", max(z), "<=", 5)


def _contamination(data: xr.Dataset, spec: TheorySpec) -> Iterator[Claim]:
    z = [
        _against_exact(
            data, "contamination", contamination.task(spec, 2, rho), m, num_concepts=2, contamination=rho
        )
        for rho in spec.contamination
        for m in spec.num_icl
        if m > 0
    ]  # fmt: skip
    text = "contamination, K = 2: largest |z| of the shared misalignment against the exact integral"
    yield Claim(text, max(z), "<=", 5)
    small = [rho for rho in spec.contamination if 0 < rho <= 0.1]
    if small:
        longest, shortest = max(spec.num_icl), min(m for m in spec.num_icl if m >= 1 / max(small))
        where = {"num_concepts": 4, "contamination": max(small)}
        falls = [_cell(data, "contamination", "shared_misalignment", **where, num_icl=m) for m in (shortest, longest)]
        text = f"contamination {max(small)}, K = 4: misalignment at {longest} examples over that at {shortest}"
        yield Claim(text, falls[1][0] / falls[0][0], "<=", 0.5)


def _misfit(data: xr.Dataset, spec: TheorySpec) -> Iterator[Claim]:
    z: dict[str, list[float]] = {"span": [], "hull": []}
    strict = []
    for weakness in misfit.axes(spec)["weakness"]:
        for accuracy in spec.weak_accuracy:
            task, cell = misfit.task(spec, weakness, accuracy), {"weakness": weakness, "weak_accuracy": accuracy}
            for student, found in z.items():
                weights = {"weak_risk": 1, f"{student}_risk": -1, f"{student}_misfit": -1}
                gap, sem = _contrast(data, "misfit", weights, **cell)
                # A hull that finds its vertex in every replicate has no error at all.
                found.append((gap + 2 * misfit.estimation_risk(task, student)) / max(sem, 1e-9))
                if student == "hull" and weakness == "confused":
                    strict.append(gap)
    text = "gain minus misfit plus twice the estimation risk, in standard errors"
    yield Claim(f"span: largest |{text}|", max(map(abs, z["span"])), "<=", 5)
    yield Claim(f"hull: least {text}", min(z["hull"]), ">=", -5)
    yield Claim("hull, confused teacher: largest gain minus misfit", max(strict), ">=", 0.1)


def _proportional(data: xr.Dataset, spec: TheorySpec) -> Iterator[Claim]:
    task, gaps, z = proportional.task(spec), [], []
    for ratio in spec.aspect_ratio:
        n = proportional.sample_size(ratio)
        for penalty in proportional.PENALTIES:
            mean, sem = _cell(data, "proportional", "risk", aspect_ratio=ratio, penalty=penalty)
            if penalty > 0:
                gaps.append(abs(mean / float(_compiled(theory.ridge_risk)(task, n, penalty)) - 1))
            elif np.isfinite(mean):
                z.append(abs(mean - float(_compiled(theory.least_squares_risk)(task, n))) / sem)
    text = f"penalty > 0, d/n in [{min(spec.aspect_ratio)}, {max(spec.aspect_ratio)}], d = {proportional.DIM}"
    yield Claim(f"{text}: largest |risk / Marchenko-Pastur - 1|", max(gaps), "<=", 0.05)
    yield Claim("no penalty, away from d = n: largest |z| against the exact risk", max(z), "<=", 5)


def _accuracy_plane(data: xr.Dataset, spec: TheorySpec) -> Iterator[Claim]:
    rates = accuracy_plane.rates(spec)
    simulated = data["accuracy_plane_mean"].sel(accuracy_plane_quantity="best_accuracy")
    best = np.asarray(_compiled(theory_zoo.best_accuracy)(*map(jnp.asarray, rates)).accuracy)
    text = "accuracy plane: largest |best accuracy - that foretold from three rates|"
    yield worst(text, np.abs(simulated - best), "<=", 0.002)
    beyond = best - np.maximum(rates[0], rates[1])
    passes = simulated - np.maximum(rates[0], rates[1])
    text = "accuracy plane: least gain over start and teacher where at least 0.01 is foretold"
    yield worst(text, passes.where(xr.DataArray(beyond >= 0.01, dims=passes.dims), 1.0), ">=", 0.005)


def _scaling_laws(data: xr.Dataset, spec: TheorySpec) -> Iterator[Claim]:
    spectrum = theory_zoo.power_law_spectrum(scaling_laws.CAPACITY, scaling_laws.SOURCE, scaling_laws.DIM)
    beyond = {}
    for size in spec.scaling_sample_size:
        grown = scaling_laws.learners(float(size))
        for teacher in scaling_laws.TEACHERS:
            given = *spectrum, spec.noise_var, grown[teacher]
            limits = (
                _compiled(theory_zoo.feature_ridge_risk)(*given),
                _compiled(theory_zoo.feature_ridge_student_risk)(*given, grown["student"]),
            )
            for quantity, limit in zip(scaling_laws.QUANTITIES, limits):
                mean, sem = _cell(data, "scaling_laws", quantity, teacher=teacher, sample_size=size)
                gap = abs(mean / float(limit) - 1) - scaling_laws.FINITE_SIZE / size
                beyond[size, teacher, quantity] = gap * float(limit) / sem
    size, *where = max(beyond, key=lambda cell: beyond[cell])
    text = f"scaling laws: largest |risk / equivalent - 1| beyond {scaling_laws.FINITE_SIZE}/n, in standard errors"
    yield Claim(text, beyond[size, *where], "<=", 5, None, f"{', '.join(where)}, n = {size}")
    sizes = [size for size in spec.scaling_sample_size if size >= 32]
    if len(sizes) > 1:
        ends = [
            _cell(data, "scaling_laws", name, teacher="small penalty", sample_size=size)
            for name in scaling_laws.QUANTITIES
            for size in (min(sizes), max(sizes))
        ]
        width = np.log(max(sizes) / min(sizes))
        teacher, student = (np.log(start[0] / end[0]) / width for start, end in (ends[:2], ends[2:]))
        sem = float(np.sqrt(sum((sem / mean) ** 2 for mean, sem in ends)) / width)  # as if independent: too large
        text = "scaling laws, teacher of a small penalty: its student's exponent minus its own"
        yield Claim(text, float(student - teacher), ">=", 0.4, sem, f"n = {min(sizes)} to {max(sizes)}")


def _self_training(data: xr.Dataset, spec: TheorySpec) -> Iterator[Claim]:
    gaps, turns = [], []
    for noise_var in self_training.PSEUDO_NOISE:
        for penalty in self_training.PENALTIES:
            law, where = self_training.setting(spec, penalty, noise_var), {"pseudo_noise_var": noise_var}
            path = [
                _cell(data, "self_training", "risk", **where, penalty=penalty, generation=j)
                for j in range(self_training.GENERATIONS + 1)
            ]
            for j, (mean, sem) in enumerate(path):
                expected = float(_compiled(theory_zoo.self_training_risk)(law, j))
                gaps.append(max(abs(mean - expected) - 5 * sem, 0.0) / expected)
            best = min(int(_compiled(theory_zoo.self_training_best_generation)(law)), self_training.GENERATIONS)
            turns.append(path[best][0] - min(mean for mean, _ in path) - 5 * path[best][1])
    text = f"self-training, d = {self_training.DIM}: largest |risk / limit - 1|, five standard errors taken off"
    yield Claim(text, max(gaps), "<=", 0.04)
    yield Claim(
        "self-training: risk of the best generation over the least, five standard errors off", max(turns), "<=", 0
    )


def _spurious(data: xr.Dataset, spec: TheorySpec) -> Iterator[Claim]:
    gaps, sizes = [], (spurious.DIM, spurious.NUM_LABELS)
    for view in spurious.STRONG_VIEWS:
        labelled = spurious.groups(view, spurious.LABELLED)
        for test, share in spurious.TESTS.items():
            tested = spurious.groups(view, share)
            for minority in spurious.MINORITY:
                pool = spurious.groups(view, minority)
                expected = {
                    "teacher": _compiled(theory_zoo.spurious_teacher_risk)(labelled, tested, *sizes, spec.noise_var),
                    "student": _compiled(theory_zoo.spurious_student_risk)(
                        labelled, pool, tested, *sizes, spurious.NUM_PSEUDO, spec.noise_var
                    ),
                }
                for model, value in expected.items():
                    mean, sem = _cell(data, "spurious", f"{model}_{test}_risk", view=view, minority=minority)
                    gaps.append(max(abs(mean - float(value)) - 5 * sem, 0.0) / float(value))
    text = f"spurious features, d = {spurious.DIM}: largest |risk / limit - 1|, five standard errors taken off"
    yield Claim(text, max(gaps), "<=", 0.03)


CLAIMS = {
    "hull": _hull,
    "em_ladder": _em_ladder,
    "mixture_target": _mixture_target,
    "contamination": _contamination,
    "misfit": _misfit,
    "proportional": _proportional,
    "accuracy_plane": _accuracy_plane,
    "scaling_laws": _scaling_laws,
    "self_training": _self_training,
    "spurious": _spurious,
}
"""The claims of each study; `relaxed` has its closed forms in the risk sweep's tests."""


def _cell(data: xr.Dataset, study: str, quantity: str, **where) -> tuple[float, float]:
    at = {f"{study}_{axis}": value for axis, value in where.items()} | {f"{study}_quantity": quantity}
    return tuple(float(data[f"{study}_{part}"].sel(at)) for part in ("mean", "sem"))


def _contrast(data: xr.Dataset, study: str, weights: dict[str, float], **where) -> tuple[float, float]:
    """A weighted sum of quantities, with its standard error from their covariance."""
    at = {f"{study}_{axis}": value for axis, value in where.items()}
    vector = np.array([weights.get(str(name), 0) for name in data[f"{study}_quantity"].values])
    variance = vector @ data[f"{study}_cov"].sel(at).values @ vector / int(data.num_replicates)
    return float(data[f"{study}_mean"].sel(at).values @ vector), float(np.sqrt(variance))


def _fresh(data: xr.Dataset, study: str, target: np.ndarray, **where) -> tuple[float, float]:
    """||E w - q||^2, free of the bias of a finite mean, with its standard error."""
    at = {f"{study}_{axis}": value for axis, value in where.items()}
    count, size = int(data.num_replicates), len(target)
    gap = data[f"{study}_mean"].sel(at).values[:size] - target
    cov = data[f"{study}_cov"].sel(at).values[:size, :size]
    return float(gap @ gap - np.trace(cov) / count), float(2 * np.sqrt(max(gap @ cov @ gap, 0) / count))


def _against_exact(data: xr.Dataset, study: str, task, num_icl: int, **where) -> float:
    """|z| of the shared misalignment against the exact integral for two concepts; 0 where hardly a prompt has any."""
    mean, sem = _cell(data, study, "shared_misalignment", **where, num_icl=num_icl)
    exact = float(_exact_misalignment(task, float(num_icl), prompts="shared"))
    sem = max(sem, 1e-5 * exact)  # what single precision leaves of a mean that has all but ceased to vary
    telling = exact * PROMPTS_AT_ONCE * int(data.num_replicates) >= TELLING
    return abs(mean - exact) / sem if telling else 0.0
