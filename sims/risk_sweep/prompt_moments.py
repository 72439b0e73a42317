"""Moments of the concept posterior over many prompts a replicate, drawn so that no rare mistake is missed.

What refinement does depends on its prompt through the concept weights w alone, and the prompt is independent of the
sample. So the first two moments of u = w - e_1 over prompts, times what the sample says of them (`least_squares.py`),
are the mean risk, and the mean misalignments. A prompt costs far less than a sample: a replicate reads many.

Where the posterior hardly ever errs, these moments are carried by rare prompts. Half of what follows makes them
common: a rival k beats the first concept when the log likelihood ratio L_k, a quadratic form in the gaussian examples,
is large; tilted by e^(t L_k), the examples are gaussian again, with another covariance. One prompt in K is drawn as it
is, and one in K for each rival, tilted to where the rival is as likely to win as to lose. A prompt of m examples counts

    v = K / (1 + sum_k e^(t_k L_k - m Lambda_k)) <= K,      Lambda_k = log E e^(t_k l_k) of one example

(the balance heuristic of Veach and Guibas 1995), which keeps every mean what it is. Derived, docs/theory.md 2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.risk_sweep.labels import Prompts, draw_prompts, label_prompts
from sims.risk_sweep.spec import SweepSpec
from sims.risk_sweep.world import Reading, World
from w2s_jax.refinement import concept_evidence, prompt_evidence
from w2s_jax.types import Task


class PromptMoments(NamedTuple):
    """Means over prompts of u = w - e_1, for concept weights w; those of one replicate, each free of bias."""

    first: Float[Array, "*b K"]
    """E u."""
    second: Float[Array, "*b K K"]
    """E u u'."""
    pair: Float[Array, "*b K K"]
    """E u E u': that of two independent prompts."""


class Proposal(NamedTuple):
    """How examples are drawn for each rival: stretched along two directions of (unit features, unit noise)."""

    directions: Float[Array, "R 2 D"]
    """Orthonormal."""
    stretch: Float[Array, "R 2"]
    """By how much a standard normal along each grows, less 1."""
    tilt: Float[Array, "R"]
    """t_k, in [0, 1]; 0 leaves examples as they are."""
    log_mean: Float[Array, "R"]
    """Lambda_k."""


def proposal(teacher: Task, reading: Reading) -> Proposal:
    """The tilt of each rival that leaves its log likelihood ratio without drift, for a teacher of one concept.

    One example's l = x z / s^2, with x = (beta_k - beta_1) . phi and z = y - (beta_k + beta_1) . phi / 2, and s^2 the
    noise variance that the posterior assumes, times its temperature. With variances a, b and covariance c of (x, z),
    E e^(t l) = ((1 - t c / s^2)^2 - t^2 a b / s^4)^(-1/2) is least at t = -c s^2 / (a b - c^2). Above 1 a tilt gains
    nothing, as w_k <= e^L alpha_k / alpha_1; where c >= 0 the rival wins often enough.
    """
    scale = jnp.sqrt(teacher.feature_var)
    rivals, first = teacher.concepts[1:], teacher.concepts[:1]
    quiet = jnp.zeros_like(rivals[:, :1])
    x = jnp.concatenate([(rivals - first) * scale[None], quiet], axis=1)
    z = jnp.concatenate(
        [(teacher.weak_coef[None] - (rivals + first) / 2) * scale[None], quiet + jnp.sqrt(teacher.weak_noise_var)],
        axis=1,
    )
    length_x, length_z, both = jnp.linalg.norm(x, axis=1), jnp.linalg.norm(z, axis=1), (x * z).sum(axis=1)
    product, noise_var = length_x * length_z, reading.assumed_noise_var * reading.temperature
    tilt = jnp.clip(-both * noise_var / (product**2 - both**2), 0.0, 1.0)
    # x z' + z x' has the eigenvectors x/|x| +- z/|z|, of eigenvalues x . z +- |x| |z|.
    unit_x, unit_z = x / length_x[:, None], z / length_z[:, None]
    directions = jnp.stack([unit_x + unit_z, unit_x - unit_z], axis=1)
    directions = directions / jnp.linalg.norm(directions, axis=2, keepdims=True)
    precision = 1 - (tilt / noise_var)[:, None] * jnp.stack([both + product, both - product], axis=1)
    return Proposal(directions, 1 / jnp.sqrt(precision) - 1, tilt, -0.5 * jnp.log(precision).sum(axis=1))


def prompt_moments(spec: SweepSpec, world: World) -> tuple[PromptMoments, PromptMoments]:
    """Moments over the prompts of a replicate, `*b` = `[W S I]`: of the posterior, and of its likeliest concept.

    Where weak labels mix concepts or features are not gaussian, prompts are drawn as they are, with v = 1.
    """
    rounds, concepts = spec.prompt_rounds, spec.num_concepts
    prompts = draw_prompts(spec, world, "prompt_rounds", rounds * concepts)
    tilts = spec.features == "gaussian" and not spec.mixes_weak
    longest, lengths = max(spec.num_icl), jnp.array(spec.num_icl, prompts.noise.dtype)

    def per_teacher(teacher):
        own = proposal(teacher, world.reading)
        if not tilts:
            own = own._replace(stretch=0 * own.stretch, tilt=0 * own.tilt, log_mean=0 * own.log_mean)
        drawn = _stretched(prompts, own, jnp.sqrt(teacher.feature_var), (longest, concepts, rounds))
        by_example = concept_evidence(
            teacher, label_prompts(teacher, drawn, world.reading), assumed_noise_var=world.reading.assumed_noise_var
        )
        by_example = by_example.reshape(concepts, longest, concepts * rounds) / world.reading.temperature
        evidence = prompt_evidence(by_example, spec.num_icl)  # [I K P]
        ahead = own.tilt[None, :, None] * (evidence[:, 1:] - evidence[:, :1])
        grown = jnp.exp(ahead - (lengths[:, None] * own.log_mean[None])[:, :, None]).sum(axis=1, keepdims=True)
        counts = concepts / (1 + grown)  # [I 1 P]

        def per_source(prior):
            log_joint = jnp.log(prior)[None, :, None] + evidence
            likeliest = jax.nn.one_hot(jnp.argmax(log_joint, axis=1), concepts, axis=1, dtype=evidence.dtype)
            return tuple(_moments(w, counts, rounds) for w in (jax.nn.softmax(log_joint, axis=1), likeliest))

        return jax.vmap(per_source)(world.source_prior)

    # One teacher at a time: its prompts stay in cache, and memory does not grow with the grid.
    return jax.lax.map(per_teacher, world.latent_teachers)


def _stretched(prompts: Prompts, own: Proposal, scale: Float[Array, "l"], shape: tuple[int, int, int]) -> Prompts:
    """The prompts as the proposals would have drawn them: prompt c * rounds + g is one of proposal c, 0 as it is."""
    unit = jnp.concatenate([(prompts.features / scale[None]).T, prompts.noise[None]])
    unit = unit.reshape(unit.shape[0], *shape)  # [D m C G]
    seen = jnp.einsum("rbd,dmrg->rbmg", own.directions, unit[:, :, 1:]) * own.stretch[:, :, None, None]
    moved = unit.at[:, :, 1:].add(jnp.einsum("rbd,rbmg->dmrg", own.directions, seen)).reshape(unit.shape[0], -1)
    return prompts._replace(features=moved[:-1].T * scale[None], noise=moved[-1])


def _moments(weights: Float[Array, "I K P"], counts: Float[Array, "I 1 P"], rounds: int) -> PromptMoments:
    away = weights.at[:, 0].add(-1.0)
    counted = away * counts
    by_round = counted.reshape(*counted.shape[:2], -1, rounds).mean(axis=2)  # [I K G], each free of bias
    first = by_round.mean(axis=2)
    # Products of two different rounds: the square of their sum, without their squares.
    square = rounds * first[:, :, None] * first[:, None, :]
    pair = (square - by_round @ by_round.mT / rounds) / (rounds - 1)
    return PromptMoments(first, counted @ away.mT / weights.shape[2], pair)
