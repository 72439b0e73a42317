"""Claims that consist of several facts, each known or not independently of the others."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Array, Int

from w2s_jax.alignment.world import believe_with_errors
from w2s_jax.types import Key, Scalar


def believe_each_with_errors(
    truths: Int[np.ndarray, "F Q"], sizes: Sequence[int]
) -> Callable[[Key, Scalar], Int[Array, "Q"]]:
    """Beliefs in which each fact is held as in `believe_with_errors`, the facts independently of one another.

    Equation: z = (f_1 sizes_2 + f_2) sizes_3 + ..., so the last fact changes fastest, as in `itertools.product`.
        P(z right) is about capability^F, P(a given fact right) is capability.

    Args:
        truths: the right value of each fact f of each question q, `0 <= truths[f, q] < sizes[f]`.
        sizes: number of values of each fact, >= 2.

    Returns:
        (key, capability) -> claims. More capability under the same key adds knowledge and changes none.

    >>> import jax
    >>> believe = believe_each_with_errors(np.array([[1, 0], [2, 1]]), (2, 3))
    >>> believe(jax.random.key(0), 1.0).tolist()
    [5, 1]
    """
    holders = [believe_with_errors(truth, size) for truth, size in zip(truths, sizes)]

    def believe(key: Key, capability: Scalar) -> Int[Array, "Q"]:
        claims = holders[0](jax.random.fold_in(key, 0), capability)
        for fact, (holder, size) in enumerate(zip(holders[1:], sizes[1:]), 1):
            claims = claims * size + holder(jax.random.fold_in(key, fact), capability)
        return claims

    return believe
