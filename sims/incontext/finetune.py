"""Fine-tuning at zero context: a network learns labels given their features alone, and its risk is followed.

The risk of a network f at zero context is E_x (mean label of f at x - beta_Q . x)^2, measured at the queries.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from sims.incontext.spec import InContextSpec
from w2s_jax.incontext import ConceptRegressor, cross_entropy
from w2s_jax.predictive import Bins, law_mean
from w2s_jax.training import Params, init_state, make_optimizer, train
from w2s_jax.types import Key

FITS_AT_ONCE = {"cpu": 1}
"""Networks that are fine-tuned side by side by `vmap`, by backend; 64 on others. On a core, one after another took 0.8
of the time of 16 at once."""


def make_network(spec, key: Key) -> tuple[nnx.GraphDef, Params]:
    """A strong network before any training: its structure, and its parameters."""
    network = ConceptRegressor(spec.network, spec.dim, spec.num_bins, rngs=nnx.Rngs(params=key))
    return nnx.split(network, nnx.Param)


def structure(spec) -> nnx.GraphDef:
    """Its structure alone, at no compute."""
    return nnx.split(nnx.eval_shape(lambda: nnx.merge(*make_network(spec, jax.random.key(0)))), nnx.Param)[0]


def zero_context_risk(
    network: ConceptRegressor, bins: Bins, queries: Float[Array, "q d"], target_coef: Float[Array, "d"]
) -> Float[Array, ""]:
    """Mean squared distance of the network's answers without a prompt from the target's."""
    laws = jax.vmap(network)(queries[:, None], jnp.zeros((queries.shape[0], 1)))[:, 0]
    return ((law_mean(laws, bins) - queries @ target_coef) ** 2).mean()


def fine_tune(
    spec: InContextSpec,
    key: Key,
    graph: nnx.GraphDef,
    params: Params,
    bins: Bins,
    features: Float[Array, "N d"],
    labels: Float[Array, "f N"],
    sizes: Int[Array, "f"],
    queries: Float[Array, "q d"],
    target_coef: Float[Array, "d"],
) -> Float[Array, "f T"]:
    """Fine-tune one copy of a network on each set of labels, and follow its risk.

    Args:
        key: chooses which examples a step sees; all fits draw the same share of their sample.
        labels, sizes: fit i learns the first `sizes[i]` of `labels[i]`.

    Returns:
        Risks after each of `spec.steps`, of which the first is no step at all.
    """
    optimizer = make_optimizer(spec.finetuning)
    risk = partial(zero_context_risk, bins=bins, queries=queries, target_coef=target_coef)

    def one(fit: tuple[Array, Array]) -> Float[Array, "T"]:
        own, size = fit

        def loss(params: Params, step_key: Key):
            places = (jax.random.uniform(step_key, (spec.finetune_batch,)) * size).astype(jnp.int32)
            network = nnx.merge(graph, params)
            return cross_entropy(network, bins, features[places][:, None], own[places][:, None])

        def look(state, _):
            state, _ = train(key, state, loss, optimizer, spec.finetune_steps // spec.finetune_looks)
            return state, risk(nnx.merge(graph, state.params))

        _, risks = jax.lax.scan(look, init_state(params, optimizer), length=spec.finetune_looks)
        return jnp.concatenate([risk(nnx.merge(graph, params))[None], risks])

    # Groups of one width, the last filled up with fits that are there already: one program for all of them.
    num_fits = labels.shape[0]
    groups = math.ceil(num_fits / FITS_AT_ONCE.get(jax.default_backend(), 64))
    width = math.ceil(num_fits / groups)
    lanes = jnp.arange(groups * width) % num_fits
    risks = jax.lax.map(jax.vmap(lambda lane: one((labels[lane], sizes[lane]))), lanes.reshape(groups, width))
    return risks.reshape(groups * width, -1)[:num_fits]
