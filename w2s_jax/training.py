"""Training as a pure function: a state in, a state and what was measured out, many steps in one `lax.scan`.

What a step sees of chance is addressed by its number, `fold_in(key, step)`, data made on the device included. A run
cut into chunks, resumed from any of them or carried out in one piece therefore takes the same steps to the bit. Import
it as `from w2s_jax import training`: the package itself imports no optax.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from w2s_jax.names import OPTIMIZERS, Optimizer
from w2s_jax.types import Key

Params = Any
"""A pytree of arrays."""
MUON_RMS = 2 / 3
"""Root mean square of what a step of muon adds to a matrix, in learning rates. AdamW's settles near 0.2 (Liu et al.,
arXiv 2502.16982); networks of width 64 learned as fast at half of this."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained.

    Raises:
        ValueError: for a field outside its range.

    >>> TrainingConfig(num_steps=1000).warmup
    50
    """

    num_steps: int
    """Optimizer steps in all, >= 1; the learning rate has its schedule over them."""
    learning_rate: float = 1e-3
    """Its peak, > 0."""
    warmup_steps: int | None = None
    """Steps of linear warm-up from 0, in [0, num_steps]; None: a twentieth of num_steps."""
    final_fraction: float = 0.1
    """Learning rate at the end of the cosine, over its peak; in [0, 1], and 1 holds it constant."""
    weight_decay: float = 0.01
    """Decoupled weight decay of matrices, >= 0, in units of the learning rate; scales of norms are not decayed."""
    clip_norm: float = 1.0
    """Global norm to which larger gradients are scaled down, > 0."""
    optimizer: Optimizer = "adamw"
    """adamw; or muon, which moves matrices between layers in orthogonal steps, and all else as Adam does."""

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {self.num_steps}.")
        if self.warmup_steps is not None and not 0 <= self.warmup_steps <= self.num_steps:
            raise ValueError(
                f"warmup_steps must be in [0, num_steps = {self.num_steps}], got {self.warmup_steps}; None chooses."
            )
        for name in ("learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}.")
        if not 0 <= self.final_fraction <= 1:
            raise ValueError(f"final_fraction must be in [0, 1], got {self.final_fraction}; 1 holds the rate constant.")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be adamw or muon, got {self.optimizer!r}; choose one of these.")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be finite and >= 0, got {self.weight_decay}; 0 decays nothing.")

    @property
    def warmup(self) -> int:
        """Steps of warm-up."""
        return self.num_steps // 20 if self.warmup_steps is None else self.warmup_steps


def make_schedule(config: TrainingConfig) -> optax.Schedule:
    """The learning rate by step: linear warm-up to its peak, then a cosine to final_fraction of it.

    >>> schedule = make_schedule(TrainingConfig(num_steps=100, learning_rate=1.0, warmup_steps=10))
    >>> [round(float(schedule(step)), 3) for step in (0, 5, 10, 100)]
    [0.0, 0.5, 1.0, 0.1]
    """
    # Built of its two parts: optax's own warm-up-cosine schedule wants a cosine of one step at least.
    rise = optax.linear_schedule(0.0, config.learning_rate, config.warmup)
    fall = optax.cosine_decay_schedule(
        config.learning_rate, max(config.num_steps - config.warmup, 1), alpha=config.final_fraction
    )
    return optax.join_schedules([rise, fall], [config.warmup])


def make_optimizer(config: TrainingConfig) -> optax.GradientTransformation:
    """AdamW or Muon after clipping by global norm, at the rates of `make_schedule`.

    Muon replaces the step of a matrix G = U S V' (its averaged gradient) by one along U V', by a Newton-Schulz
    iteration, so that all directions move alike. It is for matrices between layers: embeddings (whose path has a part
    that starts with `embed`), the head, and vectors take Adam's steps, with Nesterov's momentum and without decay.

    Args:
        config: a `TrainingConfig`.

    Returns:
        An optax gradient transformation; optax's own defaults but for b2 = 0.95, as is usual for short runs of
        transformers, and the size of Muon's steps, `MUON_RMS`.

    Reference: Loshchilov and Hutter (arXiv 1711.05101); Jordan et al., "Muon: an optimizer for hidden layers in neural
    networks" (2024).

    >>> optimizer = make_optimizer(TrainingConfig(num_steps=10))
    >>> int(init_state({"weight": jnp.zeros((2, 2))}, optimizer).step)
    0
    """
    schedule, decay = make_schedule(config), config.weight_decay
    if config.optimizer == "adamw":
        steps = optax.adamw(schedule, b2=0.95, weight_decay=decay, mask=_is_matrix)
    else:
        steps = optax.contrib.muon(
            schedule,
            adam_b2=0.95,
            weight_decay=decay,
            consistent_rms=MUON_RMS,
            muon_weight_dimension_numbers=_between_layers,
        )
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), steps)


class TrainState(NamedTuple):
    """All that the next step needs, so all that a checkpoint holds."""

    params: Params
    opt_state: Any
    step: Int[Array, ""]
    """Steps taken."""


class Metrics(NamedTuple):
    """What was measured at each step, before it was taken."""

    loss: Float[Array, "*b num_steps"]
    grad_norm: Float[Array, "*b num_steps"]
    """Global norm of the gradient, before it is clipped."""
    extra: dict[str, Array]
    """Auxiliary outputs of the loss function, each `[num_steps ...]`."""


def init_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))


def train(
    key: Key,
    state: TrainState,
    loss: Callable[[Params, Key], Any],
    optimizer: optax.GradientTransformation,
    num_steps: int,
) -> tuple[TrainState, Metrics]:
    """Take optimizer steps; the caller's `jit` makes them one program, its `vmap` over keys and states many networks.

    Args:
        key: a typed key, the same for all chunks of a run; step s passes `fold_in(key, s)` to the loss.
        state: from `init_state` or from a call before.
        loss: (params, key) -> a scalar, or a scalar and a dict of arrays to report. It makes its own batch.
        optimizer: of which state holds the state.
        num_steps: >= 0, static; steps state.step, ..., state.step + num_steps - 1 are taken.

    Returns:
        The state after them, and `Metrics` with an axis of num_steps.

    Raises:
        ValueError: if num_steps < 0.

    >>> optimizer = make_optimizer(TrainingConfig(num_steps=100, learning_rate=0.1))
    >>> state = init_state({"x": jnp.ones(3)}, optimizer)
    >>> state, metrics = train(jax.random.key(0), state, lambda params, key: (params["x"] ** 2).sum(), optimizer, 100)
    >>> int(state.step), bool(metrics.loss[-1] < 0.01 * metrics.loss[0])
    (100, True)
    """
    if num_steps < 0:
        raise ValueError(f"num_steps must not be negative, got {num_steps}.")

    def with_report(params: Params, step_key: Key):
        value = loss(params, step_key)
        return value if isinstance(value, tuple) else (value, {})

    def step(state: TrainState, _):
        step_key = jax.random.fold_in(key, state.step)
        (value, report), gradient = jax.value_and_grad(with_report, has_aux=True)(state.params, step_key)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, opt_state, state.step + 1), Metrics(value, optax.tree.norm(gradient), report)

    return jax.lax.scan(step, state, length=num_steps)


def _is_matrix(params: Params):
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) >= 2, params)


def _between_layers(params: Params):
    """Which parameters Muon moves: matrices of the blocks, by optax's word for a matrix; None for all others."""

    def kind(path, leaf) -> optax.contrib.MuonDimensionNumbers | None:
        parts = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
        outer = any(part.startswith("embed") or part == "head" for part in parts)
        return None if outer or jnp.ndim(leaf) != 2 else optax.contrib.MuonDimensionNumbers()

    return jax.tree_util.tree_map_with_path(kind, params)
