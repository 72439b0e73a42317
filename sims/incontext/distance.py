"""How far a network is from exact Bayesian inference, on sequences of one seed: in distribution and out of it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.incontext.spec import InContextSpec
from sims.incontext.world import task_of, turned
from w2s_jax.incontext import BayesPredictor, ConceptRegressor, sample_sequence
from w2s_jax.incontext_measures import implied_weights
from w2s_jax.predictive import Bins, interval_coverage, kl, law_mean, randomized_pit, share_outside
from w2s_jax.refinement import posterior_path
from w2s_jax.rng import stream
from w2s_jax.sampling import sample_features
from w2s_jax.types import Dataset, Key, Task, stack

LAWS = ("in_distribution", "rotated", "shifted", "noisy", "unseen_prior")
"""Distributions of the sequences: the source's; those of three kinds of weak teacher; a source with one rival alone."""
LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Levels of the central intervals whose coverage is measured."""

WEIGHING_QUERIES = 128
"""Queries from whose answers a network's concept weights are estimated."""


class Distance(NamedTuple):
    """Means over the sequences of a seed, by distribution and context length M = 0, ..., max_icl."""

    kl: Float[Array, "L M"]
    """KL(Bayes || network), nats."""
    mean_square: Float[Array, "L M"]
    """Squared distance of the two predicted means, squared label units."""
    coverage: Float[Array, "c M"]
    """Share of labels inside the network's central intervals, in distribution."""
    outside: Float[Array, ""]
    """Share of the source's labels beyond the bins."""


class Trace(NamedTuple):
    """Weights on the target concept after the first examples of weak prompts, by teacher and prompt length T."""

    network: Float[Array, "W T"]
    bayes: Float[Array, "W T"]
    gap: Float[Array, "W T"]
    """Mean absolute difference of the two, prompt by prompt."""


def measure_distance(
    spec: InContextSpec, key: Key, network: ConceptRegressor, bins: Bins, source: Task, concept_shift: float
) -> Distance:
    """Distances to the Bayes predictor of the source that the network was trained on."""
    bayes, length = BayesPredictor(source, bins), spec.max_icl + 1

    def draw(law: str) -> Dataset:
        task, labeler = source, "source"
        if law == "unseen_prior":
            rival = jax.nn.one_hot(spec.num_concepts - 1, spec.num_concepts)
            task = source._replace(source_prior=rival)
        elif law != "in_distribution":
            weak = task_of(spec, concept_shift, spec.prompt_accuracy, law)
            task, labeler = turned(stream(key, "teacher"), weak), "weak"
        keys = jax.vmap(jax.random.fold_in, (None, 0))(stream(key, law), jnp.arange(spec.sequences))
        return jax.vmap(lambda one: sample_sequence(one, task, length, labeler))(keys)

    drawn = [draw(law) for law in LAWS]

    def answers(sequences: Dataset) -> tuple[Array, Array, Array]:
        """KL and squared distance of the means, averaged over sequences; and the network's distributions."""
        laws, exact = jax.vmap(network)(*sequences), jax.vmap(bayes.__call__)(*sequences)
        apart = law_mean(laws, bins) - law_mean(exact, bins)
        return kl(exact, laws).mean(axis=0), (apart**2).mean(axis=0), laws

    divergence, mean_square, laws = jax.lax.map(answers, stack(drawn))
    pit = randomized_pit(stream(key, "pit"), laws[0], drawn[0].labels, bins)
    coverage = interval_coverage(pit, jnp.array(LEVELS))
    return Distance(divergence, mean_square, coverage, share_outside(bins, drawn[0].labels))


def trace_weights(spec: InContextSpec, key: Key, network: ConceptRegressor, bins: Bins, teachers: Task) -> Trace:
    """Weight on the target along weak prompts, as the network's answers imply it and as Bayes has it."""
    longest = max(spec.num_icl)
    queries = sample_features(stream(key, "queries"), WEIGHING_QUERIES, spec.dim)

    def of_prompt(number: Array, teacher: Task) -> tuple[Array, Array]:
        prompt = sample_sequence(jax.random.fold_in(key, number), teacher, max(longest, 1), "weak")
        laws = network.query_path(prompt, spec.trace_lengths, queries)
        weights = jax.vmap(lambda law: implied_weights(law, bins, teacher, queries))(laws)
        exact = posterior_path(teacher, prompt, lengths=spec.trace_lengths)
        return weights[:, 0], jnp.exp(exact[:, 0])

    def of_teacher(teacher: Task) -> Trace:
        found, exact = jax.vmap(of_prompt, (0, None))(jnp.arange(spec.prompts), teacher)
        return Trace(found.mean(axis=0), exact.mean(axis=0), jnp.abs(found - exact).mean(axis=0))

    return jax.lax.map(of_teacher, teachers)
