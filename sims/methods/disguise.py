"""A view in which places say nothing: concepts and features in a random order, features with random signs.

In every task of the arena the target is the first concept, and concept k the k-th unit vector. A method that is not
ours must not win by this: it sees each replicate in an order of its own, and its coefficients are put back.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from w2s_jax.methods import View
from w2s_jax.rng import stream
from w2s_jax.types import Key


class Disguise(NamedTuple):
    """The order of K concepts and of d features, and the signs of these."""

    concepts: Int[Array, "K"]
    features: Int[Array, "d"]
    signs: Float[Array, "d"]


def draw_disguise(key: Key, view: View) -> Disguise:
    """An order for each replicate, the same in all of its tasks."""
    assert view.source is not None
    num_concepts, dim = view.source.concepts.shape
    return Disguise(
        jax.random.permutation(stream(key, "concept_order"), num_concepts),
        jax.random.permutation(stream(key, "feature_order"), dim),
        jax.random.rademacher(stream(key, "feature_signs"), (dim,), view.features.dtype),
    )


def disguised(view: View, by: Disguise) -> View:
    """The same examples and models, in the other order."""

    def turned(rows: Array) -> Array:
        return rows[..., by.features] * _signs(by, rows)

    source, prompts = view.source, view.prompts
    assert source is not None and prompts is not None and view.middle_coef is not None
    weak = view.weak_concept_log_odds
    return view._replace(
        features=turned(view.features),
        weak_concept_log_odds=None if weak is None else weak[by.concepts],
        source=source._replace(
            concepts=turned(source.concepts[by.concepts]),
            source_prior=source.source_prior[by.concepts],
            feature_var=source.feature_var[by.features],
        ),
        middle_coef=turned(view.middle_coef),
        prompts=prompts._replace(features=turned(prompts.features)),
    )


def put_back(coef: Float[Array, "*t d"], by: Disguise) -> Float[Array, "*t d"]:
    """Coefficients of the disguised features as those of the features themselves."""
    return jnp.zeros_like(coef).at[..., by.features].set(coef * _signs(by, coef))


def _signs(by: Disguise, rows: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    return jnp.broadcast_to(by.signs, rows.shape)
