"""Sizes and choices of a transformer."""

import dataclasses
import math
from typing import Literal, get_args

import jax.numpy as jnp

from w2s_jax.names import Activation

ComputeType = Literal["float32", "bfloat16", "float64"]


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """Llama 3's rule for texts longer than those of pre-training: rotary waves are slowed down, long ones alone.

    A wave that turns `t` times within original_length places has its wave number multiplied by

        s + (1 - s) / factor,    s = (t - low_freq_factor) / (high_freq_factor - low_freq_factor), limited to [0, 1]

    so that fast waves stay, slow ones turn `factor` times more slowly, and those between change gradually.

    Raises:
        ValueError: for a number outside its range.

    Reference: Grattafiori et al., "The Llama 3 herd of models" (arXiv 2407.21783), and the code published with it.

    >>> RopeScaling(factor=32.0).original_length
    8192
    """

    factor: float = 8.0
    """How much more slowly slow waves turn, finite and >= 1."""
    low_freq_factor: float = 1.0
    """Turns within original_length up to which a wave is slow, > 0."""
    high_freq_factor: float = 4.0
    """Turns from which it is fast, > low_freq_factor."""
    original_length: int = 8192
    """Places of the texts of pre-training, >= 1."""

    def __post_init__(self) -> None:
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"factor must be finite and at least 1, got {self.factor}; 1 changes nothing.")
        if not 0 < self.low_freq_factor < self.high_freq_factor < math.inf:
            raise ValueError(
                f"low_freq_factor and high_freq_factor must be positive, finite and increasing, "
                f"got {self.low_freq_factor} and {self.high_freq_factor}; Llama 3 has 1 and 4."
            )
        if self.original_length < 1:
            raise ValueError(f"original_length must be at least 1, got {self.original_length}.")


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Sizes and choices of a `Decoder`.

    Raises:
        ValueError: for a size or choice outside its range.

    >>> TransformerConfig(width=64, num_heads=4).head_dim
    16
    >>> smollm2 = TransformerConfig(
    ...     num_layers=30, width=576, num_heads=9, num_kv_heads=3, mlp_width=1536, rope_base=1e5, norm_eps=1e-5
    ... )
    >>> smollm2.head_dim, smollm2.kv_heads
    (64, 3)
    """

    num_layers: int = 3
    """Blocks, >= 1."""
    width: int = 64
    """Width of the residual stream, >= 2."""
    num_heads: int = 4
    """Attention heads, >= 1; width is a multiple of 2 num_heads, unless head_width is given."""
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
    """Type to compute in. Parameters are made in float32, or float64 to compute in float64, which needs
    `jax_enable_x64`. Parameters cast to bfloat16, as large models are stored, are read as they are."""
    rope_base: float = 10_000.0
    """Base of the wavelengths of rotary positions, > 1: they run from 2 pi to 2 pi rope_base places."""
    num_kv_heads: int | None = None
    """Heads of keys and values, >= 1, a divisor of num_heads: as many query heads share each. None: num_heads."""
    head_width: int | None = None
    """Width of an attention head, even, >= 2; None: width / num_heads."""
    norm_eps: float = 1e-6
    """What norms add to a mean square, > 0."""
    qkv_bias: bool = False
    """Whether queries, keys and values have biases (Qwen 2 and 2.5)."""
    qk_norm: bool = False
    """Whether the queries and keys of each head pass through an RMSNorm before they are rotated (Qwen 3)."""
    rope_scaling: RopeScaling | None = None
    """Llama 3's change of rotary positions; None changes nothing."""
    scan_layers: bool = False
    """Whether the blocks are one `Block` whose parameters have a leading axis of layers, run by one `lax.scan`: the
    program then holds one block, however many there are. Parameters are drawn alike. Of the CPU seconds to trace and
    compile, it left two thirds with 12 layers of width 32 and a half with 30. Decoding took 1.6 times as long on a CPU
    (12 layers of width 384), which copies a layer's parameters at each step; training takes longer too, since what a
    layer keeps for its gradient is copied. `with_scan` takes the blocks apart.
    `training` takes the stacked scales of norms for matrices: decay no weights there."""

    def __post_init__(self) -> None:
        for name in ("num_layers", "num_heads", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.head_width is None and (self.width < 1 or self.width % (2 * self.num_heads)):
            raise ValueError(
                f"width must be a multiple of 2 num_heads = {2 * self.num_heads} (rotary positions turn pairs), "
                f"got {self.width}; change either."
            )
        if self.width < 1:
            raise ValueError(f"width must be at least 1, got {self.width}.")
        if self.head_width is not None and (self.head_width < 2 or self.head_width % 2):
            raise ValueError(
                f"head_width must be even and at least 2 (rotary positions turn pairs), got {self.head_width}; "
                f"None divides the width among the heads."
            )
        if self.num_kv_heads is not None and (self.num_kv_heads < 1 or self.num_heads % self.num_kv_heads):
            raise ValueError(
                f"num_kv_heads must be a divisor of num_heads = {self.num_heads}, got {self.num_kv_heads}; "
                f"None gives each head its own keys and values."
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
        if not 0 < self.norm_eps < math.inf:
            raise ValueError(f"norm_eps must be positive and finite, got {self.norm_eps}; try 1e-6.")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.width // self.num_heads if self.head_width is None else self.head_width

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def hidden(self) -> int:
        """Hidden units of a block's MLP."""
        if self.mlp_width is not None:
            return self.mlp_width
        return 4 * self.width if self.activation == "gelu" else 8 * math.ceil(self.width / 3)

    @property
    def param_dtype(self) -> jnp.dtype:
        """Type in which parameters are made, and of positions and logits."""
        return jnp.dtype("float64" if self.dtype == "float64" else "float32")
