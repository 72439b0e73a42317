"""The blocks of a transformer, and the `Decoder` that runs them."""

from typing import overload

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from w2s_jax.transformer.attention import Cache, attend, rotary_angles, rotate
from w2s_jax.transformer.config import TransformerConfig
from w2s_jax.types import Key, stack


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
    (2104.09864), rotary positions; Shazeer (2002.05202), SwiGLU; Ainslie et al. (2305.13245), grouped heads.

    >>> decoder = Decoder(TransformerConfig(num_layers=1, width=8, num_heads=2), rngs=nnx.Rngs(0))
    >>> decoder(jnp.ones((5, 7, 8), "float32")).shape
    (5, 7, 8)
    """

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        if config.dtype == "float64" and not jax.config.read("jax_enable_x64"):
            raise ValueError("dtype float64 needs jax_enable_x64, which is off; turn it on or choose float32.")
        self.config = config
        blocks = [Block(config, rngs=rngs) for _ in range(config.num_layers)]
        if config.scan_layers:
            self.blocks = nnx.merge(nnx.graphdef(blocks[0]), stack(nnx.state(block) for block in blocks))
        else:
            self.blocks = nnx.List(blocks)
        self.norm = _norm(config, config.width, rngs)

    @overload
    def __call__(
        self, inputs: Array, cache: None = None, *, prefix: Cache | None = None, dropout_key: Key | None = None
    ) -> Array: ...
    @overload
    def __call__(
        self, inputs: Array, cache: Cache, *, prefix: Cache | None = None, dropout_key: Key | None = None
    ) -> tuple[Array, Cache]: ...
    def __call__(
        self,
        inputs: Float[Array, "*b L width"],
        cache: Cache | None = None,
        *,
        prefix: Cache | None = None,
        dropout_key: Key | None = None,
    ) -> Float[Array, "*b L width"] | tuple[Float[Array, "*b L width"], Cache]:
        """Hidden states of L places.

        Args:
            inputs: embeddings `[*b L width]`, L <= max_length, of any float type.
            cache: the places before these (batch shape `*b`); None: there are none. The caller sees to it that
                `cache.length` + L fit its room.
            prefix: places before those of the cache that all rows share (batch shape `()`); it is read alone.
            dropout_key: a typed key turns dropout on; None is for use and for evaluation.

        Returns:
            `[*b L width]`, in the config's type; with a cache the pair of that and the cache that holds these too.

        Raises:
            ValueError: if L > max_length.
        """
        return self.upper(inputs, 0, cache, prefix=prefix, dropout_key=dropout_key)

    def lower(
        self,
        inputs: Float[Array, "*b L width"],
        layer: int,
        cache: Cache | None = None,
        *,
        prefix: Cache | None = None,
        dropout_key: Key | None = None,
    ) -> Float[Array, "*b L width"] | tuple[Float[Array, "*b L width"], Cache]:
        """The residual stream before block `layer`, in [0, num_layers]; caches hold the blocks below it alone."""
        hidden, new = self._run(inputs, range(layer), cache, prefix, dropout_key)
        return hidden if cache is None else (hidden, _extend(cache, new))

    def upper(
        self,
        stream: Float[Array, "*b L width"],
        layer: int,
        cache: Cache | None = None,
        *,
        prefix: Cache | None = None,
        dropout_key: Key | None = None,
    ) -> Float[Array, "*b L width"] | tuple[Float[Array, "*b L width"], Cache]:
        """Hidden states from the residual stream before block `layer`; caches hold that block and those above it."""
        layers = range(layer, self.config.num_layers)
        hidden, new = self._run(stream, layers, cache, prefix, dropout_key)
        hidden = self.norm(hidden)
        return hidden if cache is None else (hidden, _extend(cache, new))

    def begin(
        self,
        inputs: Float[Array, "*b L width"],
        room: int,
        *,
        prefix: Cache | None = None,
        below: Cache | None = None,
    ) -> tuple[Float[Array, "*b L width"], Cache]:
        """As a call with an empty cache of `room` >= L places, without paying for places that hold nothing yet.

        Where `lower` has read these places already, `inputs` are its stream and `below` is its cache, of some first
        blocks; the others go on from there.
        """
        layer, length = 0 if below is None else below.keys.shape[0], inputs.shape[-2]
        above = None if prefix is None else prefix.above(layer)
        hidden, new = self._run(inputs, range(layer, self.config.num_layers), None, above, None)
        if room < length:
            raise ValueError(f"room must be at least the {length} places that are read, got {room}.")
        if below is not None:
            new = (jnp.concatenate([old[..., :length, :, :], more]) for old, more in zip(below[:2], new))
        keys, values = (jnp.pad(a, (*[(0, 0)] * (a.ndim - 3), (0, room - length), (0, 0), (0, 0))) for a in new)
        return self.norm(hidden), Cache(keys, values, jnp.asarray(length, jnp.int32))

    def _run(self, inputs, layers: range, cache: Cache | None, prefix: Cache | None, dropout_key: Key | None):
        """The residual stream after these layers, and their new keys and values `[layers *b L heads head_dim]`."""
        length, limit = inputs.shape[-2], self.config.max_length
        if length > limit:
            raise ValueError(
                f"a sequence must fit max_length = {limit} places, got {length}; shorten it or raise max_length."
            )
        for layer in (layers.start, layers.stop):
            if not 0 <= layer <= self.config.num_layers:
                raise ValueError(f"layer must be in [0, num_layers = {self.config.num_layers}], got {layer}.")
        pasts = [past for past in (cache, prefix) if past is not None]
        start = jnp.zeros((), jnp.int32)
        for past in pasts:
            start = start + past.length
        angles = rotary_angles(self.config, start + jnp.arange(length))
        masks = [jnp.arange(past.keys.shape[-3]) < past.length for past in pasts]
        stored = [(past.keys, past.values) for past in pasts]

        def run(block, hidden, i, stored):
            parts = [(keys, values, mask) for (keys, values), mask in zip(stored, masks)]
            key = None if dropout_key is None else jax.random.fold_in(dropout_key, i)
            return block(hidden, angles, parts, key)

        hidden = inputs.astype(self.config.dtype)
        if self.config.scan_layers:
            graph, params = nnx.split(self.blocks)
            params = jax.tree.map(lambda leaf: leaf[layers.start : layers.stop], params)

            def step(hidden, layer):
                params, i, stored = layer
                return run(nnx.merge(graph, params), hidden, i, stored)

            return jax.lax.scan(step, hidden, (params, jnp.arange(layers.start, layers.stop), stored))
        written = []
        for i in layers:
            own = [(keys[i - layers.start], values[i - layers.start]) for keys, values in stored]
            hidden, keys_values = run(self.blocks[i], hidden, i, own)
            written.append(keys_values)
        return hidden, tuple(jnp.stack(new) for new in zip(*written))


def _extend(cache: Cache, new) -> Cache:
    """The cache with new keys and values `[layers *b L heads head_dim]` after those that it holds."""
    keys, values = (
        jax.lax.dynamic_update_slice_in_dim(old, more, cache.length, axis=-3)
        for old, more in zip((cache.keys, cache.values), new)
    )
    return Cache(keys, values, cache.length + new[0].shape[-3])


class Block(nnx.Module):
    """Attention, then an MLP, each added to the residual stream.

    The columns of `qkv` are all queries, then all keys, then all values; those of `mlp_in` the gate, then what it
    multiplies (with gelu there is no gate).

    >>> config = TransformerConfig(width=16, num_heads=4, num_kv_heads=2, qkv_bias=True)
    >>> Block(config, rngs=nnx.Rngs(0)).qkv.kernel.shape
    (16, 32)
    """

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        width, hidden = config.width, config.hidden
        inner, shared = config.num_heads * config.head_dim, config.kv_heads * config.head_dim
        into_residual = 1 / (2 * config.num_layers)
        self.config = config
        self.attention_norm, self.mlp_norm = _norm(config, width, rngs), _norm(config, width, rngs)
        self.qkv = linear(config, width, inner + 2 * shared, rngs, use_bias=config.qkv_bias)
        self.attention_out = linear(config, inner, width, rngs, into_residual)
        self.mlp_in = linear(config, width, 2 * hidden if config.activation == "swiglu" else hidden, rngs)
        self.mlp_out = linear(config, hidden, width, rngs, into_residual)
        self.dropout = nnx.Dropout(config.dropout)
        if config.qk_norm:
            self.query_norm, self.key_norm = (_norm(config, config.head_dim, rngs) for _ in range(2))

    def __call__(self, inputs, angles, past, key):
        """Outputs `[*b L width]`, and these places' keys and values; `past`: parts to attend to that come before."""
        config, places = self.config, inputs.shape[:-1]
        inner, shared = config.num_heads * config.head_dim, config.kv_heads * config.head_dim
        projected = jnp.split(self.qkv(self.attention_norm(inputs)), (inner, inner + shared), axis=-1)
        queries, keys, values = (part.reshape(*places, -1, config.head_dim) for part in projected)
        if config.qk_norm:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        queries, keys = rotate(queries, angles), rotate(keys, angles)
        parts = [(keys, values, jnp.tri(places[-1], dtype=bool))]
        for old_keys, old_values, mask in past:
            parts.append((old_keys, old_values, jnp.broadcast_to(mask, (places[-1], mask.size))))
        mixed = attend(queries, parts).reshape(*places, inner)
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


def _norm(config: TransformerConfig, width: int, rngs: nnx.Rngs) -> nnx.RMSNorm:
    dtype, param_dtype = jnp.dtype(config.dtype), config.param_dtype
    return nnx.RMSNorm(width, epsilon=config.norm_eps, dtype=dtype, param_dtype=param_dtype, rngs=rngs)


def linear(
    config: TransformerConfig,
    inputs: int,
    outputs: int,
    rngs: nnx.Rngs,
    variance: float = 1.0,
    *,
    use_bias: bool = False,
) -> nnx.Linear:
    """A linear layer, of weights of that variance over the number of inputs."""
    return nnx.Linear(
        inputs,
        outputs,
        use_bias=use_bias,
        dtype=jnp.dtype(config.dtype),
        param_dtype=config.param_dtype,
        kernel_init=nnx.initializers.variance_scaling(variance, "fan_in", "truncated_normal"),
        rngs=rngs,
    )
