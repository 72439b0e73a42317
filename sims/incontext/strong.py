"""Strong networks: pre-trained on the source once, and kept beside the store for every sweep that needs the same."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sims.engine.run import say
from sims.incontext.finetune import make_network
from sims.incontext.spec import InContextSpec
from sims.incontext.world import bins_of, task_of
from sims.training.fit import fit
from sims.training.pretrain import folder_name, pretrain_spec
from w2s_jax import incontext
from w2s_jax.predictive import share_outside
from w2s_jax.rng import seed_key, stream
from w2s_jax.training import Params, init_state, make_optimizer
from w2s_jax.types import Key

NETWORKS = "networks"
"""Folder of the networks, beside the stores."""
TOO_FAR_OUT = 1e-3
"""Warn when more than this share of labels falls outside the bins."""


def pretrained(spec: InContextSpec, concept_shift: float, out: Path) -> Params:
    """Parameters of the networks of one concept shift, `[networks ...]`; trained where they are not there yet."""
    own = pretrain_spec(spec, concept_shift=concept_shift)
    folder = out / NETWORKS / folder_of(own)
    trained = [_pretrain(spec, own, number, folder / str(number)) for number in range(spec.networks)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trained)


def folder_of(own: Any) -> str:
    """Name of the folder of the networks that a `pretrain_spec` decides."""
    return folder_name(own, "shift", f"{own.concept_shift:g}")


def _pretrain(spec: InContextSpec, own: Any, number: int, folder: Path) -> Params:
    key = jax.random.fold_in(stream(seed_key(own.seed), "pretrain"), number)
    graph, params = make_network(spec, stream(key, "init"))
    optimizer = make_optimizer(spec.pretraining)
    state = fit(
        f"pre-training, concept shift {own.concept_shift:g}, network {number + 1} of {spec.networks}",
        folder,
        own,
        stream(key, "steps"),
        init_state(params, optimizer),
        pretraining_loss(own, graph),
        optimizer,
        own.pretrain_steps,
        tokens_per_step=own.pretrain_batch * (own.max_icl + 1),
    )
    return state.params


def pretraining_loss(own: Any, graph: nnx.GraphDef) -> Callable[[Params, Key], jax.Array]:
    """(parameters, key of a step) -> the loss of a network of this structure on its own source."""
    task, bins, length = task_of(own, own.concept_shift), bins_of(own), own.max_icl + 1

    def loss(params: Params, key: Key) -> jax.Array:
        return incontext.loss(key, nnx.merge(graph, params), task, bins, own.pretrain_batch, length)

    return loss


def warn_of_narrow_bins(spec: InContextSpec) -> None:
    """Warn if many labels fall outside the bins: the outer bins count them, but their values are lost."""
    key, num = seed_key(spec.seed), 20_000
    accuracies, shift = spec.weak_accuracy, spec.concept_shift[0]
    worst = task_of(spec, shift, min(accuracies), spec.weakness)
    draw = jax.jit(partial(incontext.sample_sequence, length=num, labeler="weak"))
    share = float(np.asarray(share_outside(bins_of(spec), draw(stream(key, "bins"), worst).labels)))
    if share > TOO_FAR_OUT:
        say(
            f"warning: bins on [-{spec.bin_limit:g}, {spec.bin_limit:g}] miss {share:.2%} of the weak labels, "
            f"which the outer bins take: raise bin_limit."
        )
