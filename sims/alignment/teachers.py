"""Weak teachers: small models that learn the target's way from what they believe, and then label questions.

If a method needs them, each comes with the model before its alignment, which has the same beliefs and the source's
ways of answering, and with colleagues of its capability that have beliefs of their own.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from sims.alignment.spec import AlignmentSpec
from sims.alignment.strong import make_network
from w2s_jax.alignment.answers import Questions, Report, label, report_unprompted
from w2s_jax.alignment.combined import Combined, anchored_contrast, contrast, mixture
from w2s_jax.alignment.documents import document_loss, sample_document, to_examples
from w2s_jax.alignment.model import AnswerModel
from w2s_jax.alignment.world import ASK, TARGET, World, source_prior
from w2s_jax.rng import stream
from w2s_jax.training import Params, init_state, make_optimizer, train
from w2s_jax.types import Key, stack


class Weak(NamedTuple):
    """Weak teachers of a seed, by capability C."""

    labels: Int[Array, "C n a"]
    report: Report
    log_laws: Float[Array, "C n p vocab"]
    """Log probabilities of the teacher's next token along its own labels."""
    combined: dict[str, Int[Array, "C n a"]]
    """Labels of the methods that combine models: `ensemble` and both contrastive ones, where they are asked for."""


class _Member(NamedTuple):
    """One weak model before it is trained."""

    params: Params
    beliefs: Int[Array, "Q"]
    prior: Float[Array, "K"]
    key: Key


def beliefs(spec: AlignmentSpec, key: Key) -> Int[Array, "C Q"]:
    """What the teacher of each capability takes for true; more capability adds knowledge."""
    believe = partial(spec.world.believe, stream(key, "beliefs"))
    return jax.lax.map(believe, jnp.array(spec.capability))


def teach(
    spec: AlignmentSpec, key: Key, questions: Questions, strong: AnswerModel, believed: Int[Array, "C Q"]
) -> Weak:
    """Train a weak model on what it believes, for each capability; then let it label.

    Teachers of all capabilities start from the same parameters and read the same questions: they differ in beliefs
    alone.
    """
    world, asked = spec.world, questions.train
    target = jax.nn.one_hot(TARGET, world.num_concepts)
    graph = make_network(spec, spec.weak_width, key)[0]

    def one(given: tuple[Array, Array]) -> Weak:
        capability, own = given

        def member(key: Key, claims: Array, prior: Array) -> _Member:
            params = make_network(spec, spec.weak_width, stream(key, "init"))[1]
            return _Member(params, claims, prior, stream(key, "steps"))

        members, number = {"teacher": member(key, own, target)}, spec.colleagues if "ensemble" in spec.methods else 0
        if {"contrastive", "anchored_contrastive"} & set(spec.methods):
            members["unaligned"] = member(key, own, source_prior(world, spec.concept_shift))
        for i in range(number):
            own_key = jax.random.fold_in(stream(key, "colleagues"), i)
            claims = world.believe(stream(own_key, "beliefs"), capability)
            members[f"colleague {i}"] = member(own_key, claims, target)
        trained = jax.lax.map(partial(_train, spec, graph), stack(list(members.values())))
        models = {
            name: nnx.merge(graph, jax.tree.map(lambda leaf, i=i: leaf[i], trained)) for i, name in enumerate(members)
        }
        teacher, unaligned = models["teacher"], models.pop("unaligned", None)

        panels = {"ensemble": Combined(tuple(models.values()), mixture)}
        if unaligned is not None:
            rule = partial(contrast, alpha=spec.contrast, relative_top=spec.relative_top)
            panels["contrastive"] = Combined((teacher, unaligned), rule)
            rule = partial(anchored_contrast, strength=spec.anchored_contrast, relative_top=spec.relative_top)
            panels["anchored_contrastive"] = Combined((strong, teacher, unaligned), rule)
        own_key = stream(key, "labels")
        report, labels = report_unprompted(own_key, teacher, spec.world, questions, believed)
        chosen = {name: panel for name, panel in panels.items() if name in spec.methods}
        combined = {name: label(own_key, panel, world, asked) for name, panel in chosen.items()}
        return Weak(labels, report, label_laws(teacher, world, asked, labels), combined)

    return jax.lax.map(one, (jnp.array(spec.capability), believed))


def _train(spec: AlignmentSpec, graph: nnx.GraphDef, member: _Member) -> Params:
    world, training = spec.world, spec.weak_training
    optimizer = make_optimizer(training)

    def loss(params: Params, step_key: Key) -> Array:
        keys = jax.random.split(step_key, spec.weak_batch)
        documents = jax.vmap(lambda key: sample_document(key, world, member.beliefs, member.prior, 1))(keys)
        return document_loss(nnx.merge(graph, params), world, documents)

    start = init_state(member.params, optimizer)
    return train(member.key, start, loss, optimizer, training.num_steps)[0].params


def label_laws(
    model: AnswerModel, world: World, numbers: Int[Array, "n"], labels: Int[Array, "n a"]
) -> Float[Array, "n p vocab"]:
    """Log probabilities of a model for the token after each place of labelled questions but the last."""
    examples = to_examples(world, numbers, jnp.full(numbers.shape, ASK), labels)
    return jax.nn.log_softmax(model(examples[:, :-1]))
