"""One line of the table: what a closed form predicts, and a simulation of it that draws until it is precise enough."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from w2s_jax import statistics
from w2s_jax.rng import replicate_key, seed_key, stream
from w2s_jax.types import Key

MIN_SAMPLES = 1000
"""Fewer samples make no normal error."""
MAX_BATCHES = 500
"""Where a simulation gives up: a row that has not reached its standard error by then is not ok."""
MAX_Z = 5.0
ROUND_OFF = 1e-10
"""Relative error of float64 arithmetic on either side: no standard error is taken to be smaller."""


class Check(NamedTuple):
    """A claim of the theory and its simulation."""

    claim: str
    """One line with the parameters of the cell; it also names the random stream."""
    forms: tuple[str, ...]
    """Functions of `w2s_jax.theory` (or of `w2s_jax`) that the prediction calls."""
    predict: Callable[[], Any]
    """The prediction; looks its functions up when it is called."""
    sample: Callable[[Key], np.ndarray]
    """A batch of independent samples, `[r]` or `[r c]`."""
    reduce: Callable[[np.ndarray], Any] | None = None
    """From the means of the c columns to the value that is predicted; the mean itself by default."""
    scale: float | None = None
    """What the standard error is a share of; the size of the prediction by default."""
    sharpen: float = 1.0
    """How many times smaller the standard error must be, where a constant hides in a small part of the value."""
    allowance: float = 0.0
    """Share of the scale by which an asymptotic form may miss at this cell; the claim says why."""
    is_bound: bool = False
    """Whether the prediction is an upper bound rather than the value."""


class Simulation(NamedTuple):
    """What was drawn for a check."""

    value: float
    sem: float
    count: int
    scale: float
    precise: bool
    """Whether the standard error that was wanted has been reached."""


class Outcome(NamedTuple):
    """A finished line of the table."""

    claim: str
    forms: tuple[str, ...]
    predicted: float
    simulated: float
    sem: float
    z: float
    ok: bool
    count: int
    scale: float


def simulate(check: Check, seed: int, precision: float) -> Simulation:
    """Draw batches until the standard error is `precision` times the scale over `check.sharpen`."""
    scale = abs(float(check.predict())) if check.scale is None else check.scale
    wanted = precision * scale / check.sharpen
    key = stream(seed_key(seed), check.claim)

    def batch(index: int) -> statistics.Summary:
        samples = np.asarray(check.sample(replicate_key(key, index)), np.float64)
        return statistics.summarize(samples.reshape(len(samples), -1))

    total, drawn = batch(0), 1
    while True:
        value, sem = _by_sigma_points(check.reduce, total.mean, statistics.covariance(total) / total.count)
        enough = bool(total.count >= MIN_SAMPLES)
        precise = enough and sem <= wanted
        hopeless = drawn == MAX_BATCHES or (enough and not math.isfinite(wanted * sem))
        if precise or hopeless:
            return Simulation(value, sem, int(total.count), scale, precise)
        total, drawn = statistics.merge(total, batch(drawn)), drawn + 1


def judge(check: Check, simulation: Simulation) -> Outcome:
    """Set the prediction against what was drawn."""
    predicted = float(check.predict())
    size = simulation.scale
    deviation = simulation.value - predicted
    beyond = math.copysign(max(abs(deviation) - check.allowance * size, 0.0), deviation)
    if check.is_bound:
        beyond = max(beyond, 0.0)
    sem = max(simulation.sem, ROUND_OFF * size)
    z = beyond / sem if sem > 0 else math.nan
    ok = simulation.precise and abs(z) <= MAX_Z  # NaN is not
    return Outcome(check.claim, check.forms, predicted, simulation.value, simulation.sem, z, ok, simulation.count, size)


def _by_sigma_points(reduce, mean: np.ndarray, cov: np.ndarray) -> tuple[float, float]:
    """(value, its standard error) of a function of means: the delta method, by steps of one standard error.

    Along each principal axis of the error the function is read one standard error to either side of the mean: half the
    difference is its share of the standard error, half the second difference that of the bias, which is taken off.
    """
    if reduce is None:
        return float(mean[0]), float(np.sqrt(cov[0, 0]))
    sizes, axes = np.linalg.eigh(cov)
    steps = np.sqrt(np.maximum(sizes, 0.0)) * axes
    here = float(reduce(mean))
    ahead, behind = (np.array([float(reduce(mean + sign * step)) for step in steps.T]) for sign in (1, -1))
    change = (ahead - behind) / 2
    largest = np.abs(change).max()  # taken out: values may be as small as 1e-250
    sem = largest * np.linalg.norm(change / largest) if largest > 0 else 0.0
    return here - float(np.sum(ahead + behind - 2 * here)) / 2, float(sem)
