"""What a finished posterior sweep claims (docs/theory.md 3.6)."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import xarray as xr

from sims.engine.claims import Claim
from w2s_jax import theory
from w2s_jax.tasks import make_task


def posterior_claims(data: xr.Dataset, spec: Any) -> Iterator[Claim]:
    """What a posterior sweep must show (docs/theory.md 3.6)."""
    yield Claim("independent prompts in every cell", int(data.num_prompts.min()), ">=", spec.replicates)
    fits = list(fitted_exponents(data, spec))
    for num_concepts in spec.num_concepts:
        mine = [fit for fit in fits if fit["num_concepts"] == num_concepts]
        if not mine:
            continue
        worst = max(mine, key=lambda fit: abs(fit["ratio"] - 1))
        where = ", ".join(f"{k} {v}" for k, v in worst.items() if k not in ("ratio", "sem", "num_concepts"))
        text = (
            f"K = {num_concepts}: largest |fitted exponent / kappa - 1| of {len(mine)} fits with kappa n_icl in [3, 8]"
        )
        # With several rivals the contests are not quite separate yet at these lengths: a stated 12.5%, not 10%.
        bound = 0.10 if num_concepts == 2 else 0.125
        yield Claim(text, abs(worst["ratio"] - 1), "<=", bound, worst["sem"], where)
        apart = [
            (abs(a["ratio"] - b["ratio"]), a)
            for a in mine
            for b in mine
            if a["concept_shift"] < b["concept_shift"]
            and all(a[k] == b[k] for k in ("weakness", "weak_accuracy", "prompts"))
        ]
        if apart:
            worst_pair = max(apart, key=lambda pair: pair[0])
            text = f"K = {num_concepts}: largest difference of fitted exponent / kappa between concept shifts"
            where = ", ".join(f"{k} {worst_pair[1][k]}" for k in ("weakness", "weak_accuracy", "prompts"))
            yield Claim(text, worst_pair[0], "<=", 0.10, None, where)
    rotated = {"num_concepts": 4, "weakness": "rotated", "weak_accuracy": 0.7, "concept_shift": 0.1}
    if all(value in getattr(spec, axis) for axis, value in rotated.items()) and "balanced" in spec.assumed_noise:
        cell = data.shared_misalignment_mean.sel(rotated)
        start, text = float(cell.sel(assumed_noise="task", num_icl=0)), "rotated, a = 0.7, shift 0.1, K = 4"
        rise = float(cell.sel(assumed_noise="task").max()) / start
        kept = float(cell.sel(assumed_noise="balanced").max()) / start
        yield Claim(f"{text}: overconfidence, highest shared misalignment over that of an empty prompt", rise, ">=", 10)
        yield Claim(f"{text}: the same with the balanced noise variance", kept, "<=", rise / 3)


def fitted_exponents(data: xr.Dataset, spec: Any) -> Iterator[dict[str, Any]]:
    """Fitted over predicted exponents, with standard errors: an SEM-weighted line through log misalignment.

    Shared prompts: log R + (1/2) log n_icl falls as kappa n_icl; fresh prompts: log R + log n_icl as 2 kappa n_icl.
    Only lengths with kappa n_icl in [3, 8] are fitted, and only where there are five.
    """
    data, exponent = data.sel(assumed_noise="task"), jax.jit(theory.posterior_exponent)
    for num_concepts in spec.num_concepts:
        for weakness in spec.weakness:
            for accuracy in spec.weak_accuracy:
                for shift in spec.concept_shift:
                    law = dict(  # noqa: C408  (keyword arguments of make_task)
                        num_concepts=num_concepts, weakness=weakness, weak_accuracy=accuracy, concept_shift=shift
                    )
                    task = make_task(dim=num_concepts + 1, noise_var=spec.noise_var, **law)
                    kappa = float(exponent(task))
                    lengths = [length for length in spec.num_icl if 3 <= kappa * length <= 8]
                    for prompts, power in (("shared", 1), ("fresh", 2)):
                        cell = data.sel(law).sel(num_icl=lengths)
                        fit = fit_exponent(
                            np.array(lengths),
                            cell[f"{prompts}_misalignment_mean"].values,
                            cell[f"{prompts}_misalignment_sem"].values,
                            kappa,
                            power,
                        )
                        if fit is not None:
                            yield {**law, "prompts": prompts, "ratio": fit[0], "sem": fit[1]}


def fit_exponent(
    lengths: np.ndarray, mean: np.ndarray, sem: np.ndarray, kappa: float, power: int
) -> tuple[float, float] | None:
    """(fitted / predicted exponent, its standard error), or None with fewer than five lengths in range."""
    used = (kappa * lengths >= 3) & (kappa * lengths <= 8) & (mean > 3 * sem)
    if used.sum() < 5:
        return None
    n, weight = lengths[used].astype(float), mean[used] / sem[used]
    height = np.log(mean[used]) + power / 2 * np.log(n)
    matrix = np.stack([np.ones_like(n), n], axis=1) * weight[:, None]
    covariance = np.linalg.inv(matrix.T @ matrix)
    slope = (covariance @ matrix.T @ (height * weight))[1]
    return float(-slope / (power * kappa)), float(np.sqrt(covariance[1, 1]) / (power * kappa))
