"""Distributions put together from those of several models, token by token.

    ensemble               P = (1/T) sum_t P_t                           the mean of T teachers, each alike
    contrastive            log P ~ log P_aligned - (1 - alpha) log P_unaligned
                           over tokens with P_aligned >= relative_top max P_aligned, and 0 on all others
    anchored_contrastive   log P ~ log P_strong + strength (log P_aligned - log P_unaligned)
                           over tokens with P_strong >= relative_top max P_strong, and 0 on all others

The second reads the weak model alone, after and before its alignment: what it wrongly believed before it still
believes, since alpha > 0 divides out only a part of it and its filter keeps what the aligned model holds likely. The
third moves the strong model by what alignment changed in a weak one: errors of the weak model that were there before
cancel. The filter is that of contrastive decoding (Li et al., arXiv 2210.15097): a token that one finds absurd is not
saved by a ratio of two small numbers.
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
    """Several models that answer together, used in place of one `AnswerModel`.

    The caches of its models are a tuple.
    """

    models: tuple[AnswerModel, ...]
    """One or more of one vocabulary and example length; their sizes may differ."""
    rule: Callable[[Float[Array, "T *b vocab"]], Float[Array, "*b vocab"]]
    """Log probabilities of the next token by each model -> logits of the combined answer."""

    def new_cache(self, num_examples: int) -> Any:
        """Caches with room for `num_examples` examples."""
        return tuple(model.new_cache(num_examples) for model in self.models)

    def __call__(self, ids: Int[Array, "*b L"], cache: Any) -> tuple[Float[Array, "*b L vocab"], Any]:
        """Logits of the token after each place, and the caches."""
        logits, caches = zip(*(model(ids, own) for model, own in zip(self.models, cache)))
        return self.rule(jax.nn.log_softmax(jnp.stack(logits), axis=-1)), caches


def mixture(log_laws: Float[Array, "T *b vocab"]) -> Float[Array, "*b vocab"]:
    """Logits of the arithmetic mean.

    Args:
        log_laws: of T >= 1 models.

    Returns:
        Log probabilities of the mean, whose weights are all 1/T.

    Reference: weak ensembles, arXiv 2410.04571, which adds up class probabilities with weights log((1 - e)/e) of models
        that are boosted on true labels (github.com/Aakriti05/weak-to-strong, ada_predict.py). Here no true label is
        seen, nothing is boosted and all weights are equal; token by token derived.

    >>> laws = jnp.log(jnp.array([[0.9, 0.1], [0.5, 0.5]]))
    >>> [f"{share:.2f}" for share in jax.nn.softmax(mixture(laws))]
    ['0.70', '0.30']
    """
    return jax.nn.logsumexp(log_laws, axis=0) - jnp.log(len(log_laws))


def contrast(
    log_laws: Float[Array, "two *b vocab"], alpha: Scalar = 0.4, relative_top: Scalar = 0.1
) -> Float[Array, "*b vocab"]:
    """Logits of the aligned weak model against what it was before.

    Args:
        log_laws: of the aligned and the unaligned weak model, in this order.
        alpha: in [0, 1]; 1 leaves the aligned distribution, but for its filter, 0 takes the whole ratio.
        relative_top: in [0, 1]; 0 keeps all tokens, 1 the likeliest of the aligned model alone.

    Returns:
        Logits; -inf for the tokens that are left out, of which the aligned model's likeliest never is one.

    Reference: Jiang et al. (arXiv 2510.07884), as released (github.com/jianghoucheng/ConG, generation/utils.py,
        `_contrastive_decoding`; alpha 0.4 in launch_parallel_cd.sh, relative_top 0.1).

    >>> aligned, unaligned = jnp.log(jnp.array([[0.6, 0.38, 0.02], [0.8, 0.1, 0.1]]))
    >>> law = jax.nn.softmax(contrast(jnp.stack([aligned, unaligned])))
    >>> [f"{share:.2f}" for share in law]  # the third is too rare beside 0.6
    ['0.31', '0.69', '0.00']
    """
    aligned, unaligned = log_laws
    return _filtered(aligned - (1 - alpha) * unaligned, aligned, relative_top)


def anchored_contrast(
    log_laws: Float[Array, "three *b vocab"], strength: Scalar = 1.0, relative_top: Scalar = 0.1
) -> Float[Array, "*b vocab"]:
    """Logits of the strong model moved by what alignment changed in a weak one.

    Args:
        log_laws: of the strong, the aligned weak and the unaligned weak model, in this order.
        strength: of the change, >= 0; 0 leaves the strong distribution, but for its filter.
        relative_top: in [0, 1]; 0 keeps all tokens, 1 the likeliest alone.

    Returns:
        Logits; -inf for the tokens that are left out, of which the strong model's likeliest never is one.

    Reference: derived from `contrast`; strong logits moved by those of a weak pair are also proxy tuning (Liu et al.,
        arXiv 2401.08565).

    >>> strong, aligned, unaligned = jnp.log(jnp.array([[0.6, 0.38, 0.02], [0.2, 0.4, 0.4], [0.4, 0.2, 0.4]]))
    >>> law = jax.nn.softmax(anchored_contrast(jnp.stack([strong, aligned, unaligned])))
    >>> law.round(2).tolist()  # 0.6 / 2 and 0.38 x 2; the third is too rare beside 0.6
    [0.28, 0.72, 0.0]
    """
    strong, aligned, unaligned = log_laws
    return _filtered(strong + strength * (aligned - unaligned), strong, relative_top)


def _filtered(logits: Array, judge: Array, relative_top: Scalar) -> Array:
    """Without the tokens that a model finds less likely than a share of its likeliest."""
    return jnp.where(judge >= judge.max(axis=-1, keepdims=True) + jnp.log(relative_top), logits, -jnp.inf)
