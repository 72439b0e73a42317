"""Weak labels, in prompts and in the sample: one concept throughout, or one drawn for each example."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sims.risk_sweep.designs import Rows
from sims.risk_sweep.spec import SweepSpec
from sims.risk_sweep.world import Reading, World, wrong_concepts
from w2s_jax.mixture_labels import choose_label
from w2s_jax.relaxed import contaminated_prior
from w2s_jax.rng import normals, stream
from w2s_jax.sampling import design_moments, evenly_spread, linear_labels, sample_features
from w2s_jax.tasks import latent_dim
from w2s_jax.types import Dataset, Design, Scalar, Task


class Prompts(NamedTuple):
    """Draws of many prompts, in canonical coordinates. Row j * n + i is example j of prompt i."""

    features: Float[Array, "m*n l"]
    noise: Float[Array, "m*n"]
    concept: Float[Array, "m*n"] | None
    """A uniform for each example, which picks its concept; None where a teacher shows one concept alone."""
    shown: Float[Array, "K m*n"] | None
    """One-hot: the wrong concept that a mistaken teacher shows throughout its prompt; 0 where it is not mistaken."""


def draw_prompts(spec: SweepSpec, world: World, name: str, num_prompts: int) -> Prompts:
    """Everything random about prompts, for any teacher.

    Canonical coordinates are all that a posterior reads of a prompt: those of a rotated gaussian are gaussian again,
    and in the frame of the axes they are the first few of independent features.
    """
    key, size = stream(world.key, name), latent_dim(spec.num_concepts, spec.dim)
    total = max(spec.num_icl) * num_prompts
    unit = sample_features(stream(key, "features"), size, max(total, 1), spec.features)[:, :total]
    features = unit.T * jnp.sqrt(world.latent_teachers.feature_var[0])[None, :]
    noise = normals(stream(key, "noise"), (total,))
    if not spec.mixes_weak:
        return Prompts(features, noise, None, None)
    mistaken = jax.random.uniform(stream(key, "mistake"), (num_prompts,)) < world.reading.weak_prior_error
    log_wrong = jnp.log(wrong_concepts(spec.num_concepts))
    wrong = jax.random.categorical(stream(key, "wrong_concept"), log_wrong, shape=(num_prompts,))
    shown = jax.nn.one_hot(wrong, spec.num_concepts, axis=0) * mistaken[None, :]
    concept = jax.random.uniform(stream(key, "concept"), (total,))
    return Prompts(features, noise, concept, jnp.tile(shown, (1, max(spec.num_icl))))


def label_prompts(teacher: Task, prompts: Prompts, reading: Reading) -> Dataset:
    """The examples of all prompts, labelled by a teacher in canonical coordinates."""
    features, noise = prompts.features, prompts.noise
    if prompts.concept is None or prompts.shown is None:
        return Dataset(features, linear_labels(features, noise, teacher.weak_coef, teacher.weak_noise_var))
    mistaken = prompts.shown.sum(axis=0, keepdims=True)
    law = (1 - mistaken) * teacher.weak_prior[:, None] + prompts.shown
    law = contaminated_prior(law.T, reading.contamination).T
    means = choose_label(prompts.concept, law, teacher.weak_concepts @ features.T)
    return Dataset(features, means + jnp.sqrt(teacher.weak_noise_var) * noise)


def weak_sample(spec: SweepSpec, world: World, teacher: Task, num_samples: int) -> Dataset:
    """The first examples of the sample, labelled by a teacher in R^d."""
    law = Law(teacher.weak_prior, teacher.weak_concepts, teacher.weak_coef, teacher.weak_noise_var)
    return _sample(world, num_samples, law, "weak_concept" if spec.mixes_weak else None)


def target_sample(spec: SweepSpec, world: World, num_samples: int) -> Dataset:
    """The first examples of the sample with labels of the target."""
    law = Law(world.target_prior, world.concepts, world.target_coef, spec.noise_var)
    return _sample(world, num_samples, law, "target_concept" if spec.mixes_target else None)


def examples(world: World) -> Rows:
    """The sample's rows; only methods that `SweepSpec.reads_rows` names may ask for them."""
    assert world.designs.rows is not None, "moments were drawn without the examples"
    return world.designs.rows


class Law(NamedTuple):
    """A distribution of labels: its mixture of concepts, the mean of that, and its noise."""

    prior: Float[Array, "K"]
    concepts: Float[Array, "K d"]
    coef: Float[Array, "d"]
    noise_var: Scalar


def _sample(world: World, num_samples: int, law: Law, name: str | None) -> Dataset:
    """Labels of the first examples, their concepts drawn one by one from the stream `name`; None: there is but one."""
    rows = examples(world)
    features, noise = rows.features[:num_samples], rows.weak_noise[:num_samples]
    if name is None:
        return Dataset(features, linear_labels(features, noise, law.coef, law.noise_var))
    uniforms = jax.random.uniform(stream(world.key, name), rows.weak_noise.shape)[:num_samples]
    weights = jnp.broadcast_to(law.prior[:, None], (law.prior.shape[0], num_samples))
    means = choose_label(uniforms, weights, law.concepts @ features.T)
    return Dataset(features, means + jnp.sqrt(law.noise_var) * noise)


def weak_cross(spec: SweepSpec, world: World) -> Float[Array, "W N d"]:
    """Phi'y/n of the sample under every teacher, for every sample size: O(d^2) each where labels do not mix."""
    if spec.mixes_weak:
        mixed = [
            jax.vmap(lambda teacher, n=n: _cross(weak_sample(spec, world, teacher, n)))(world.teachers)
            for n in spec.sample_size
        ]
        return jnp.stack(mixed, axis=1)

    def cross(teacher, design):
        return design_moments(design, teacher.weak_coef, teacher.weak_noise_var).cross

    return jax.vmap(jax.vmap(cross, (None, 0)), (0, None))(world.teachers, world.designs.weak)


def target_cross(spec: SweepSpec, world: World) -> Float[Array, "N d"]:
    """Phi'y/n of the sample with labels of the target, for every sample size."""
    if spec.mixes_target:
        return jnp.stack([_cross(target_sample(spec, world, n)) for n in spec.sample_size])
    return jax.vmap(lambda design: design_moments(design, world.target_coef, spec.noise_var).cross)(world.designs.weak)


def mixed_cross(spec: SweepSpec, world: World) -> Float[Array, "W N X d"]:
    """Phi'y/n of the sample with weak labels of which a share is true, for every sample size and share.

    Two designs, of the examples with true labels and of the rest, serve all teachers: O(d^2) each.
    """
    per_size = []
    for n in spec.sample_size:
        true = jnp.stack([evenly_spread(n, share) for share in spec.true_label_share])
        if spec.mixes_weak or spec.mixes_target:
            target = target_sample(spec, world, n)

            def mixed(teacher, n=n, true=true, target=target):
                weak = weak_sample(spec, world, teacher, n)
                return jnp.where(true > 0, target.labels[None], weak.labels[None]) @ target.features / n

            per_size.append(jax.vmap(mixed)(world.teachers))
            continue
        rows = examples(world)
        designs = [jax.vmap(_share_of, (None, 0, None))(rows, part, n) for part in (true, 1 - true)]
        own = jax.vmap(lambda design: design_moments(design, world.target_coef, spec.noise_var).cross)(designs[0])

        def cross(teacher, design):
            return design_moments(design, teacher.weak_coef, teacher.weak_noise_var).cross

        weak = jax.vmap(jax.vmap(cross, (None, 0)), (0, None))(world.teachers, designs[1])
        per_size.append(own[None] + weak)
    return jnp.stack(per_size, axis=1)


def _share_of(rows: Rows, part: Float[Array, "n"], num_samples: int) -> Design:
    """What the examples with part = 1 give to the moments of the first `num_samples`."""
    features = part[:, None] * rows.features[:num_samples]
    noise = rows.weak_noise[:num_samples] @ features
    return Design(features.T @ features / num_samples, noise / num_samples, jnp.asarray(num_samples, part.dtype))


def _cross(dataset: Dataset) -> Float[Array, "d"]:
    return dataset.labels @ dataset.features / dataset.labels.shape[0]
