"""Laws put together from those of several models, token by token.

    ensemble       log P ~ (1/T) sum_t log P_t                                      the geometric mean of T teachers
    contrastive    log P ~ log P_strong + strength (log P_aligned - log P_unaligned)
                   over tokens with P_strong >= relative_top max P_strong, and 0 on all others

The second moves the strong model by what alignment changed in a weak one: errors of the weak model that were there
before cancel. Its filter is that of contrastive decoding (Li et al., arXiv 2210.15097): a token that the strong model
finds absurd is not saved by a ratio of two small numbers.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from w2s_jax.alignment.model import AnswerModel
from w2s_jax.types import Scalar


@dataclasses.dataclass(frozen=True)
class Combined:
    """Several models that answer together; what asks and decodes an `AnswerModel` takes it as one.

    The caches of its models are a tuple.
    """

    models: tuple[AnswerModel, ...]
    """One or more of one vocabulary and example length; their sizes may differ."""
    rule: Callable[[Float[Array, "T *b vocab"]], Float[Array, "*b vocab"]]
    """Their log laws of the next token -> logits of their common law."""

    def new_cache(self, num_examples: int) -> Any:
        """Caches with room for so many examples."""
        return tuple(model.new_cache(num_examples) for model in self.models)

    def __call__(self, ids: Int[Array, "*b L"], cache: Any) -> tuple[Float[Array, "*b L vocab"], Any]:
        """Logits of the token after each place, and the caches."""
        logits, caches = zip(*(model(ids, own) for model, own in zip(self.models, cache)))
        return self.rule(jax.nn.log_softmax(jnp.stack(logits), axis=-1)), caches


def mean_log_law(log_laws: Float[Array, "T *b vocab"]) -> Float[Array, "*b vocab"]:
    """Logits of the geometric mean.

    Args:
        log_laws: of T >= 1 models.

    Returns:
        Logits; softmax makes them a law.

    Reference: weak ensembles, arXiv 2410.04571, which averages class probabilities; for strings derived.

    >>> laws = jnp.log(jnp.array([[0.9, 0.1], [0.5, 0.5]]))
    >>> jax.nn.softmax(mean_log_law(laws)).round(2).tolist()  # odds sqrt(9 x 1)
    [0.75, 0.25]
    """
    return log_laws.mean(axis=0)


def contrast(
    log_laws: Float[Array, "three *b vocab"], strength: Scalar = 1.0, relative_top: Scalar = 0.1
) -> Float[Array, "*b vocab"]:
    """Logits of the strong law moved by what alignment changed in a weak one.

    Args:
        log_laws: of the strong, the aligned weak and the unaligned weak model, in this order.
        strength: of the change, >= 0; 0 leaves the strong law, but for its filter.
        relative_top: in [0, 1]; 0 keeps all tokens, 1 the likeliest alone.

    Returns:
        Logits; -inf for the tokens that are left out, of which the strong model's likeliest never is one.

    Reference: Jiang et al. (arXiv 2510.07884), token by token; the filter: Li et al. (arXiv 2210.15097).

    >>> strong, aligned, unaligned = jnp.log(jnp.array([[0.6, 0.38, 0.02], [0.2, 0.4, 0.4], [0.4, 0.2, 0.4]]))
    >>> law = jax.nn.softmax(contrast(jnp.stack([strong, aligned, unaligned])))
    >>> law.round(2).tolist()  # 0.6 / 2 and 0.38 x 2; the third is too rare beside 0.6
    [0.28, 0.72, 0.0]
    """
    strong, aligned, unaligned = log_laws
    moved = strong + strength * (aligned - unaligned)
    return jnp.where(strong >= strong.max(axis=-1, keepdims=True) + jnp.log(relative_top), moved, -jnp.inf)
