"""Strong networks: pre-trained on the source once, on single examples and then on documents, and kept for every sweep.

The network between weak and strong, which `bootstrapping` passes through, is made in the same way.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sims.alignment.spec import AlignmentSpec
from sims.training.fit import fit
from sims.training.pretrain import folder_name, pretrain_spec
from w2s_jax.alignment.documents import document_loss, sample_document
from w2s_jax.alignment.model import AnswerModel
from w2s_jax.alignment.world import source_prior
from w2s_jax.rng import replicate_key, seed_key, stream
from w2s_jax.training import Params, TrainingConfig, init_state, make_optimizer
from w2s_jax.types import Key

NETWORKS = "networks"
"""Folder of the networks, beside the stores."""


def make_network(spec: AlignmentSpec, width: int, key: Key) -> tuple[nnx.GraphDef, Params]:
    """A model before any training: its structure, and its parameters."""
    world = spec.world
    model = AnswerModel(spec.network(width), len(world.words), world.example_length, rngs=nnx.Rngs(params=key))
    return nnx.split(model, nnx.Param)


def structure(spec: AlignmentSpec, width: int) -> nnx.GraphDef:
    """Its structure alone, at no compute."""
    return nnx.split(nnx.eval_shape(lambda: nnx.merge(*make_network(spec, width, jax.random.key(0)))), nnx.Param)[0]


def pretrained(spec: AlignmentSpec, width: int, out: Path) -> Params:
    """Parameters of one network per seed, `[seeds ...]`; trained where they are not there yet."""
    own = decided_by(spec, width)
    groups = _groups(out / NETWORKS / folder_of(own), spec.replicates)
    trained = [_train(spec, own, seeds, folder) for seeds, folder in groups]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[: spec.replicates], *trained)


def decided_by(spec: AlignmentSpec, width: int) -> Any:
    """What decides the networks of one width."""
    single, documents = spec.pretrain_steps
    return pretrain_spec(spec, width=width, examples=spec.slots, single_steps=single, document_steps=documents)


def folder_of(own: Any) -> str:
    """Name of their folder."""
    return folder_name(own, own.task, own.width)


def _groups(folder: Path, count: int) -> list[tuple[range, Path]]:
    """Seeds that were or will be trained together, and where: a sweep with more seeds trains the missing ones."""
    groups, first = [], 0
    while first < count:
        there = sorted(folder.glob(f"seeds-{first}-*"))
        own = there[0] if there else folder / f"seeds-{first}-{count - 1}"
        groups.append((range(first, int(own.name.split("-")[2]) + 1), own))
        first = groups[-1][0].stop
    return groups


def _train(spec: AlignmentSpec, own: Any, seeds: range, folder: Path) -> Params:
    numbers = jnp.arange(seeds.start, seeds.stop)
    keys = jax.vmap(lambda seed: stream(replicate_key(seed_key(spec.seed), seed), "pretrain"))(numbers)
    graph = structure(spec, own.width)
    params = jax.vmap(lambda key: make_network(spec, own.width, stream(key, "init"))[1])(keys)
    for phase in _phases(spec):
        optimizer = make_optimizer(phase.training)
        state = fit(
            f"{spec.task}: {len(seeds)} networks of width {own.width}, {phase.name}",
            folder / phase.name,
            own,
            jax.vmap(partial(stream, name=phase.name))(keys),
            jax.vmap(partial(init_state, optimizer=optimizer))(params),
            partial(_loss, spec, graph, phase),
            optimizer,
            phase.training.num_steps,
            tokens_per_step=len(seeds) * phase.batch * phase.examples * spec.world.example_length,
        )
        params = state.params
    return jax.tree.map(lambda leaf: jax.device_put(leaf, jax.devices()[0]), params)


@dataclasses.dataclass(frozen=True)
class _Phase:
    """A part of pre-training."""

    name: str
    examples: int
    batch: int
    training: TrainingConfig


def _phases(spec: AlignmentSpec) -> tuple[_Phase, ...]:
    single_steps, document_steps = spec.pretrain_steps
    single = TrainingConfig(single_steps, spec.single_rate)
    # The rate falls to 0: at a positive rate the final noise would blur the comparison with exact Bayes.
    documents = TrainingConfig(document_steps, spec.document_rate, final_fraction=0.0)
    return (
        _Phase("single", 1, spec.single_batch, single),
        _Phase("documents", spec.slots, spec.document_batch, documents),
    )


def _loss(spec: AlignmentSpec, graph: nnx.GraphDef, phase: _Phase, params: Params, key: Key) -> jax.Array:
    world, claims = spec.world, jnp.asarray(spec.world.truth)
    prior = source_prior(world, spec.concept_shift)

    def draw(key: Key) -> jax.Array:
        return sample_document(key, world, claims, prior, phase.examples, spec.tag_share, spec.skill_share)

    documents = jax.vmap(draw)(jax.random.split(key, phase.batch))
    return document_loss(nnx.merge(graph, params), world, documents)
