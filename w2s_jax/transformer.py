"""A small causal transformer, as its field writes it today: what in-context learners and language models are made of.

Pre-norm blocks with RMSNorm, rotary positions, causal attention and a SwiGLU or GELU layer, all without biases. Here
`L` is the number of places of a sequence, `width` that of the residual stream, and `heads * head_dim = width`. Import
it as `from w2s_jax import transformer`: the package itself imports no flax.

The parameters of a module are its `nnx.Param` state: `graph, params = nnx.split(module)` makes them a pytree, which
`jit`, `grad` and `vmap` (stacked networks) take, and `nnx.merge(graph, params)` a module again.
"""

import dataclasses
import functools
import math
from typing import Literal, NamedTuple, get_args, overload

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from w2s_jax.names import Activation
from w2s_jax.types import Key, Scalar, is_concrete

ComputeType = Literal["float32", "bfloat16", "float64"]


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Sizes and choices of a `Decoder`.

    Raises:
        ValueError: for a size or choice outside its range.

    >>> TransformerConfig(width=64, num_heads=4).head_dim
    16
    """

    num_layers: int = 3
    """Blocks, >= 1."""
    width: int = 64
    """Width of the residual stream, >= 2."""
    num_heads: int = 4
    """Attention heads, >= 1; width is a multiple of 2 num_heads."""
    mlp_width: int | None = None
    """Hidden units of a block's MLP, >= 1; None: 4 width for gelu, 8/3 width rounded up to a multiple of 8 for swiglu,
    which is nearly the same number of parameters."""
    activation: Activation = "swiglu"
    """swiglu or gelu."""
    max_length: int = 64
    """Places that a `Cache` holds and that a sequence may have, >= 1."""
    dropout: float = 0.0
    """Share of each sub-layer's output that is dropped, in [0, 1), where a key for it is given."""
    dtype: ComputeType = "float32"
    """Type to compute in. Parameters are float32, or float64 to compute in float64, which needs `jax_enable_x64`."""
    rope_base: float = 10_000.0
    """Base of the wavelengths of rotary positions, > 1: they run from 2 pi to 2 pi rope_base places."""

    def __post_init__(self) -> None:
        for name in ("num_layers", "num_heads", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.width < 1 or self.width % (2 * self.num_heads):
            raise ValueError(
                f"width must be a multiple of 2 num_heads = {2 * self.num_heads} (rotary positions turn pairs), "
                f"got {self.width}; change either."
            )
        if self.mlp_width is not None and self.mlp_width < 1:
            raise ValueError(f"mlp_width must be at least 1, got {self.mlp_width}; None chooses by the activation.")
        for name, kind in (("activation", Activation), ("dtype", ComputeType)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}; got {getattr(self, name)!r}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}; 0 drops nothing.")
        if not 1 < self.rope_base < math.inf:
            raise ValueError(f"rope_base must be finite and above 1, got {self.rope_base}; try 10000.")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.width // self.num_heads

    @property
    def hidden(self) -> int:
        """Hidden units of a block's MLP."""
        if self.mlp_width is not None:
            return self.mlp_width
        return 4 * self.width if self.activation == "gelu" else 8 * math.ceil(self.width / 3)

    @property
    def param_dtype(self) -> jnp.dtype:
        """Type of the parameters."""
        return jnp.dtype("float64" if self.dtype == "float64" else "float32")


class Cache(NamedTuple):
    """What attention needs of the places already read: encode a prompt once, then go on from it any number of times.

    It is never changed in place. To ask many questions after one prompt, `vmap` over the questions and not over it.
    """

    keys: Float[Array, "layers *b room heads head_dim"]
    """Rotated to their positions; places from `length` on are not read."""
    values: Float[Array, "layers *b room heads head_dim"]
    """As keys."""
    length: Int[Array, ""]
    """Places read, in [0, room]."""


def init_cache(config: TransformerConfig, batch_shape: tuple[int, ...] = (), length: int | None = None) -> Cache:
    """A cache that holds nothing yet.

    Args:
        config: sizes of the `Decoder` that will fill it.
        batch_shape: leading dims `*b` of its inputs.
        length: places that it has room for, in [1, max_length]; None: max_length. Attention pays for all of them.

    Returns:
        A `Cache` of length 0.

    Raises:
        ValueError: for a length out of range.

    >>> init_cache(TransformerConfig(max_length=8), (5,)).keys.shape
    (3, 5, 8, 4, 16)
    """
    room = config.max_length if length is None else length
    if not 1 <= room <= config.max_length:
        raise ValueError(f"length must be in [1, max_length = {config.max_length}], got {room}; None takes all of it.")
    shape = (config.num_layers, *batch_shape, room, config.num_heads, config.head_dim)
    return Cache(jnp.zeros(shape, config.dtype), jnp.zeros(shape, config.dtype), jnp.zeros((), jnp.int32))


class Decoder(nnx.Module):
    """Causal transformer from embeddings to hidden states; what embeds and what reads out are the caller's.

        h = x + Attention(RMSNorm(x)),    x' = h + MLP(RMSNorm(h)),    and RMSNorm after the last block

    Args:
        config: sizes and choices.
        rngs: parameters are drawn from its stream `params`: truncated normals of variance 1 / fan-in, divided by
            2 num_layers where a block writes to the residual stream.

    Raises:
        ValueError: for float64 without `jax_enable_x64`.

    References: Touvron et al. (arXiv 2302.13971) for the whole; Zhang and Sennrich (1910.07467), RMSNorm; Su et al.
    (2104.09864), rotary positions; Shazeer (2002.05202), SwiGLU.

    >>> decoder = Decoder(TransformerConfig(num_layers=1, width=8, num_heads=2), rngs=nnx.Rngs(0))
    >>> decoder(jnp.ones((5, 7, 8), "float32")).shape
    (5, 7, 8)
    """

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        if config.dtype == "float64" and not jax.config.read("jax_enable_x64"):
            raise ValueError("dtype float64 needs jax_enable_x64, which is off; turn it on or choose float32.")
        self.config = config
        self.blocks = nnx.List([Block(config, rngs=rngs) for _ in range(config.num_layers)])
        self.norm = _norm(config, rngs)

    @overload
    def __call__(self, inputs: Array, cache: None = None, *, dropout_key: Key | None = None) -> Array: ...
    @overload
    def __call__(self, inputs: Array, cache: Cache, *, dropout_key: Key | None = None) -> tuple[Array, Cache]: ...
    def __call__(
        self, inputs: Float[Array, "*b L width"], cache: Cache | None = None, *, dropout_key: Key | None = None
    ) -> Float[Array, "*b L width"] | tuple[Float[Array, "*b L width"], Cache]:
        """Hidden states of L places.

        Args:
            inputs: embeddings `[*b L width]`, L <= max_length, of any float type.
            cache: the places before these (batch shape `*b`); None: there are none. The caller sees to it that
                `cache.length` + L fit its room.
            dropout_key: a typed key turns dropout on; None is for use and for evaluation.

        Returns:
            `[*b L width]`, in the config's type; with a cache the pair of that and the cache that holds these too.

        Raises:
            ValueError: if L > max_length.
        """
        length, limit = inputs.shape[-2], self.config.max_length
        if length > limit:
            raise ValueError(
                f"a sequence must fit max_length = {limit} places, got {length}; shorten it or raise max_length."
            )
        start = jnp.zeros((), jnp.int32) if cache is None else cache.length
        angles = rotary_angles(self.config, start + jnp.arange(length))
        hidden, written = inputs.astype(self.config.dtype), []
        for i, block in enumerate(self.blocks):
            past = None if cache is None else (cache.keys[i], cache.values[i], jnp.arange(cache.keys.shape[-3]) < start)
            key = None if dropout_key is None else jax.random.fold_in(dropout_key, i)
            hidden, keys_values = block(hidden, angles, past, key)
            written.append(keys_values)
        hidden = self.norm(hidden)
        if cache is None:
            return hidden
        keys, values = (
            jax.lax.dynamic_update_slice_in_dim(old, jnp.stack(new), start, axis=-3)
            for old, new in zip((cache.keys, cache.values), zip(*written))
        )
        return hidden, Cache(keys, values, start + length)


class Block(nnx.Module):
    """Attention, then an MLP, each added to the residual stream."""

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        width, hidden = config.width, config.hidden
        into_residual = 1 / (2 * config.num_layers)
        self.config = config
        self.attention_norm, self.mlp_norm = _norm(config, rngs), _norm(config, rngs)
        self.qkv = _linear(config, width, 3 * width, rngs)
        self.attention_out = _linear(config, width, width, rngs, into_residual)
        self.mlp_in = _linear(config, width, 2 * hidden if config.activation == "swiglu" else hidden, rngs)
        self.mlp_out = _linear(config, hidden, width, rngs, into_residual)
        self.dropout = nnx.Dropout(config.dropout)

    def __call__(self, inputs, angles, past, key):
        """Outputs `[*b L width]`, and these places' keys and values; `past`: those before, and which of them count."""
        config = self.config
        heads = (*inputs.shape[:-1], config.num_heads, config.head_dim)
        queries, keys, values = jnp.split(self.qkv(self.attention_norm(inputs)), 3, axis=-1)
        queries, keys = rotate(queries.reshape(heads), angles), rotate(keys.reshape(heads), angles)
        values = values.reshape(heads)
        parts = [(keys, values, jnp.tri(inputs.shape[-2], dtype=bool))]
        if past is not None:
            parts.append((past[0], past[1], jnp.broadcast_to(past[2], (inputs.shape[-2], past[2].size))))
        mixed = attend(queries, parts).reshape(inputs.shape)
        hidden = inputs + self._drop(self.attention_out(mixed), key, 0)
        return hidden + self._drop(self._mlp(self.mlp_norm(hidden)), key, 1), (keys, values)

    def _mlp(self, inputs):
        hidden = self.mlp_in(inputs)
        if self.config.activation == "gelu":
            return self.mlp_out(jax.nn.gelu(hidden))
        gate, up = jnp.split(hidden, 2, axis=-1)
        return self.mlp_out(jax.nn.silu(gate) * up)

    def _drop(self, outputs, key, place: int):
        if key is None:
            return outputs
        return self.dropout(outputs, deterministic=False, rngs=nnx.Rngs(dropout=jax.random.fold_in(key, place)))


def rotary_angles(config: TransformerConfig, positions: Int[Array, "L"]) -> Float[Array, "L half"]:
    """The angles by which the pairs of a head are turned at each position; positions may have any origin."""
    half = config.head_dim // 2
    wave_numbers = config.rope_base ** (-jnp.arange(half, dtype=config.param_dtype) / half)
    return positions[:, None].astype(config.param_dtype) * wave_numbers[None, :]


def rotate(vectors: Float[Array, "*b L heads head_dim"], angles: Float[Array, "L half"]):
    """Rotary positions: each pair (first half, second half) of a head turned by its angle."""
    shape = (*(1,) * (vectors.ndim - 3), angles.shape[0], 1, angles.shape[1])
    cos, sin = jnp.cos(angles).reshape(shape), jnp.sin(angles).reshape(shape)
    first, second = jnp.split(vectors, 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(vectors.dtype)


def attend(
    queries: Float[Array, "*b L heads head_dim"], parts: list[tuple[Array, Array, Bool[Array, "L _"]]]
) -> Float[Array, "*b L heads head_dim"]:
    """Softmax attention over the places of all parts: (keys, values `[*b S heads head_dim]`, which of them count).

    In parts, so that under a `vmap` over queries what they share is neither copied nor joined to what they do not.
    """
    kind = jnp.promote_types(queries.dtype, jnp.float32)
    queries = queries * jnp.asarray(queries.shape[-1] ** -0.5, queries.dtype)
    scores = []
    for keys, _, mask in parts:
        score = jnp.einsum("...qhe,...khe->...hqk", queries, keys, preferred_element_type=kind)
        mask = mask.reshape(*(1,) * (score.ndim - 2), *mask.shape)
        scores.append(jnp.where(mask, score, -jnp.inf))
    weights = jax.nn.softmax(jnp.concatenate(scores, axis=-1)).astype(queries.dtype)
    ends = [sum(mask.shape[1] for _, _, mask in parts[: i + 1]) for i in range(len(parts) - 1)]
    mixed = [
        jnp.einsum("...hqk,...khe->...qhe", weight, values)
        for weight, (_, values, _) in zip(jnp.split(weights, ends, axis=-1), parts)
    ]
    return functools.reduce(jnp.add, mixed)


class LanguageModel(nnx.Module):
    """A `Decoder` over tokens: an embedding before it and a linear head after it.

    Args:
        config: of the decoder.
        vocab_size: number of tokens, >= 1.
        tied_head: whether the head is the embedding's transpose.
        rngs: as for `Decoder`.

    Raises:
        ValueError: if vocab_size < 1.

    >>> model = LanguageModel(TransformerConfig(num_layers=1, width=8, num_heads=2), 11, rngs=nnx.Rngs(0))
    >>> model(jnp.array([[1, 2, 3]])).shape
    (1, 3, 11)
    """

    def __init__(self, config: TransformerConfig, vocab_size: int, *, tied_head: bool = False, rngs: nnx.Rngs):
        if vocab_size < 1:
            raise ValueError(f"vocab_size must be at least 1, got {vocab_size}.")
        self.config = config
        self.embedding = nnx.Embed(
            vocab_size, config.width, dtype=jnp.dtype(config.dtype), param_dtype=config.param_dtype, rngs=rngs
        )
        self.decoder = Decoder(config, rngs=rngs)
        self.head = None if tied_head else _linear(config, config.width, vocab_size, rngs)

    @overload
    def __call__(
        self, ids: Array, cache: None = None, *, extra: Array | None = None, dropout_key: Key | None = None
    ) -> Array: ...
    @overload
    def __call__(
        self, ids: Array, cache: Cache, *, extra: Array | None = None, dropout_key: Key | None = None
    ) -> tuple[Array, Cache]: ...
    def __call__(
        self,
        ids: Int[Array, "*b L"],
        cache: Cache | None = None,
        *,
        extra: Float[Array, "*b L width"] | None = None,
        dropout_key: Key | None = None,
    ) -> Float[Array, "*b L vocab"] | tuple[Float[Array, "*b L vocab"], Cache]:
        """Logits of the token after each place.

        Args:
            ids: tokens `[*b L]`, in [0, vocab_size).
            cache, dropout_key: as for `Decoder`.
            extra: embeddings `[*b L width]` to be added to the tokens' own; None adds nothing.

        Returns:
            Logits `[*b L vocab]`, float32 or wider; with a cache the pair of them and the new cache.

        Raises:
            ValueError: if L > max_length.
        """
        inputs = self.embedding(ids)
        if extra is not None:
            inputs = inputs + extra.astype(inputs.dtype)
        if cache is None:
            return self._logits(self.decoder(inputs, dropout_key=dropout_key))
        hidden, cache = self.decoder(inputs, cache, dropout_key=dropout_key)
        return self._logits(hidden), cache

    def _logits(self, hidden):
        logits = self.embedding.attend(hidden) if self.head is None else self.head(hidden)
        return logits.astype(self.config.param_dtype)


def sample(
    key: Key, model: LanguageModel, prompt: Int[Array, "*b L0"], num_tokens: int, temperature: Scalar = 1.0
) -> Int[Array, "*b num_tokens"]:
    """Tokens after a prompt, each drawn from the model's distribution given all before it.

    Args:
        key: a typed key; token i is drawn with `fold_in(key, i)`.
        model: a `LanguageModel`.
        prompt: tokens `[*b L0]`, L0 >= 1.
        num_tokens: >= 1, static; L0 + num_tokens <= max_length.
        temperature: divides the logits, >= 0; a Python 0 takes the likeliest token, a traced one is > 0.

    Returns:
        Tokens `[*b num_tokens]`.

    Raises:
        ValueError: for a negative Python temperature, an empty prompt, num_tokens < 1, or more places than max_length.

    >>> model = LanguageModel(TransformerConfig(num_layers=1, width=8, num_heads=2), 11, rngs=nnx.Rngs(0))
    >>> sample(jax.random.key(0), model, jnp.array([[1, 2], [3, 4]]), 5).shape
    (2, 5)
    """
    greedy = is_concrete(temperature) and temperature == 0
    if is_concrete(temperature) and not temperature >= 0:
        raise ValueError(f"temperature must not be negative, got {temperature}; 0 takes the likeliest token.")
    places, limit = prompt.shape[-1] + num_tokens, model.config.max_length
    if prompt.shape[-1] < 1 or num_tokens < 1 or places > limit:
        raise ValueError(
            f"a prompt and its sample need at least one token each and at most max_length = {limit} places together, "
            f"got {prompt.shape[-1]} and {num_tokens}; shorten one or raise max_length."
        )

    def draw(logits, index):
        if greedy:
            return jnp.argmax(logits[..., -1, :], axis=-1)
        return jax.random.categorical(jax.random.fold_in(key, index), logits[..., -1, :] / temperature)

    def step(carry, index):
        token, cache = carry
        logits, cache = model(token[..., None], cache)
        token = draw(logits, index)
        return (token, cache), token

    logits, cache = model(prompt, init_cache(model.config, prompt.shape[:-1]))
    first = draw(logits, 0)
    _, rest = jax.lax.scan(step, (first, cache), jnp.arange(1, num_tokens))
    return jnp.concatenate([first[..., None], jnp.moveaxis(rest, 0, -1)], axis=-1)


def _norm(config: TransformerConfig, rngs: nnx.Rngs) -> nnx.RMSNorm:
    return nnx.RMSNorm(config.width, dtype=jnp.dtype(config.dtype), param_dtype=config.param_dtype, rngs=rngs)


def _linear(config: TransformerConfig, inputs: int, outputs: int, rngs: nnx.Rngs, variance: float = 1.0) -> nnx.Linear:
    return nnx.Linear(
        inputs,
        outputs,
        use_bias=False,
        dtype=jnp.dtype(config.dtype),
        param_dtype=config.param_dtype,
        kernel_init=nnx.initializers.variance_scaling(variance, "fan_in", "truncated_normal"),
        rngs=rngs,
    )
