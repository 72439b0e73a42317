"""A `LanguageModel`: an embedding, a `Decoder`, and a head."""

import dataclasses
from typing import overload

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from w2s_jax.transformer.attention import Cache
from w2s_jax.transformer.config import TransformerConfig
from w2s_jax.transformer.decoder import Decoder, linear
from w2s_jax.types import Key, stack


class LanguageModel(nnx.Module):
    """A `Decoder` over tokens: an embedding before it and a linear head after it.

    To make one whose parameters come from elsewhere, without drawing any: `blank_model`, then `nnx.update` with a state
    of the same paths and shapes.

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
        self.head = None if tied_head else linear(config, config.width, vocab_size, rngs)

    @overload
    def __call__(
        self,
        ids: Array,
        cache: None = None,
        *,
        extra: Array | None = None,
        prefix: Cache | None = None,
        dropout_key: Key | None = None,
    ) -> Array: ...
    @overload
    def __call__(
        self,
        ids: Array,
        cache: Cache,
        *,
        extra: Array | None = None,
        prefix: Cache | None = None,
        dropout_key: Key | None = None,
    ) -> tuple[Array, Cache]: ...
    def __call__(
        self,
        ids: Int[Array, "*b L"],
        cache: Cache | None = None,
        *,
        extra: Float[Array, "*b L width"] | None = None,
        prefix: Cache | None = None,
        dropout_key: Key | None = None,
    ) -> Float[Array, "*b L vocab"] | tuple[Float[Array, "*b L vocab"], Cache]:
        """Logits of the token after each place.

        Args:
            ids: tokens `[*b L]`, in [0, vocab_size).
            cache, prefix, dropout_key: as for `Decoder`.
            extra: embeddings `[*b L width]` to be added to the tokens' own; None adds nothing.

        Returns:
            Logits `[*b L vocab]`, float32 or wider; with a cache the pair of them and the new cache.

        Raises:
            ValueError: if L > max_length.
        """
        inputs = self.embedding(ids)
        if extra is not None:
            inputs = inputs + extra.astype(inputs.dtype)
        return self.upper(inputs, 0, cache, prefix=prefix, dropout_key=dropout_key)

    def lower(
        self, ids: Int[Array, "*b L"], layer: int, cache: Cache | None = None, *, prefix: Cache | None = None
    ) -> Float[Array, "*b L width"] | tuple[Float[Array, "*b L width"], Cache]:
        """The residual stream before block `layer`: read once what lies below where only what lies above is trained.

        Args:
            ids: tokens `[*b L]`, in [0, vocab_size).
            layer: in [0, num_layers], static.
            cache, prefix: as for `Decoder`, of the blocks below `layer` alone: `init_cache` of a config whose
                num_layers is `layer` makes one.

        Returns:
            `[*b L width]`, in the config's type; with a cache the pair of that and the new cache.

        Raises:
            ValueError: if L > max_length or layer is out of range.

        >>> model = LanguageModel(TransformerConfig(num_layers=3, width=8, num_heads=2), 11, rngs=nnx.Rngs(0))
        >>> ids = jnp.array([1, 2, 3])
        >>> bool(jnp.allclose(model.upper(model.lower(ids, 2), 2), model(ids), atol=1e-5))
        True
        """
        return self.decoder.lower(self.embedding(ids), layer, cache, prefix=prefix)

    def upper(
        self,
        stream: Float[Array, "*b L width"],
        layer: int,
        cache: Cache | None = None,
        *,
        prefix: Cache | None = None,
        dropout_key: Key | None = None,
    ) -> Float[Array, "*b L vocab"] | tuple[Float[Array, "*b L vocab"], Cache]:
        """Logits from the residual stream before block `layer`, as `lower` gives it.

        `model.read_out(model.decoder.upper(stream, layer)[:, places])` reads out a few places alone.

        Args:
            stream: `[*b L width]`.
            layer: in [0, num_layers], static.
            cache, prefix: as for `Decoder`, of block `layer` and those above it alone.
            dropout_key: as for `Decoder`.

        Returns:
            Logits `[*b L vocab]`, float32 or wider; with a cache the pair of them and the new cache.

        Raises:
            ValueError: if L > max_length or layer is out of range.

        >>> model = LanguageModel(TransformerConfig(num_layers=3, width=8, num_heads=2), 11, rngs=nnx.Rngs(0))
        >>> model.upper(jnp.ones((5, 3, 8)), 2).shape
        (5, 3, 11)
        """
        found = self.decoder.upper(stream, layer, cache, prefix=prefix, dropout_key=dropout_key)
        if isinstance(found, tuple):
            return self.read_out(found[0]), found[1]
        return self.read_out(found)

    def read_out(self, hidden: Float[Array, "*b width"]) -> Float[Array, "*b vocab"]:
        """Logits, float32 or wider, of hidden states that the decoder gave."""
        weights = self.embedding.embedding[...].T if self.head is None else self.head.kernel[...]
        return jnp.matmul(hidden, weights.astype(hidden.dtype), preferred_element_type=self.config.param_dtype)


def blank_model(config: TransformerConfig, vocab_size: int, *, tied_head: bool = False) -> LanguageModel:
    """A model whose parameters are shapes alone: nothing is drawn, and nothing held in memory.

    >>> blank = blank_model(TransformerConfig(num_layers=1, width=8, num_heads=2), 11)
    >>> blank.embedding.embedding.shape
    (11, 8)
    """
    return nnx.eval_shape(lambda: LanguageModel(config, vocab_size, tied_head=tied_head, rngs=nnx.Rngs(0)))


def with_scan(model: LanguageModel, scan_layers: bool) -> LanguageModel:
    """The same model with its blocks stacked and scanned, or apart.

    >>> model = LanguageModel(TransformerConfig(num_layers=2, width=8, num_heads=2), 11, rngs=nnx.Rngs(0))
    >>> with_scan(model, True).decoder.blocks.mlp_norm.scale.shape
    (2, 8)
    """
    config = dataclasses.replace(model.config, scan_layers=scan_layers)
    if config == model.config:
        return model
    made = blank_model(config, model.embedding.num_embeddings, tied_head=model.head is None)
    state = nnx.to_pure_dict(nnx.state(model))
    blocks, layers = state["decoder"]["blocks"], range(config.num_layers)
    if scan_layers:
        state["decoder"]["blocks"] = stack(blocks[i] for i in layers)
    else:
        state["decoder"]["blocks"] = {i: jax.tree.map(lambda leaf, i=i: leaf[i], blocks) for i in layers}
    nnx.update(made, nnx.State(state))
    return made
