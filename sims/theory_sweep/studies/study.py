"""What a study of a theory sweep is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from sims.theory_sweep.spec import TheorySpec
from w2s_jax.types import Key


class Study(NamedTuple):
    """One part of the theory, simulated."""

    axes: Callable[[TheorySpec], dict[str, tuple]]
    """Names and values of its axes, in order."""
    quantities: Callable[[TheorySpec], tuple[str, ...]]
    """What it measures in every cell: the last axis of a replicate."""
    simulate: Callable[[TheorySpec, Key, Any], Float[Array, "..."]]
    """(spec, key of the replicate, inputs) -> `[*axes quantities]`."""
    seconds: float
    """Rough time of one replicate on one core, at the quick preset."""
    inputs: Callable[[TheorySpec], Any] = lambda spec: ()
    """What it wants traced: a pytree of arrays."""
    holes: Callable[[TheorySpec], np.ndarray | bool] = lambda spec: False
    """Where it leaves cells out by design (NaN): True there, of the shape that `simulate` gives."""
