"""A causal transformer, as its field writes it today: what in-context learners and language models are made of.

Pre-norm blocks with RMSNorm, rotary positions, causal attention and a SwiGLU or GELU layer. With grouped key-value
heads, biases, norms of queries and keys and scaled positions it is a Llama, SmolLM2 or Qwen 2, 2.5 or 3; without them
(the defaults) a small network. Here `L` is the number of places of a sequence and `width` that of the residual stream.
Import it as `from w2s_jax import transformer`: the package itself imports no flax.

The parameters of a module are its `nnx.Param` state: `graph, params = nnx.split(module)` makes them a pytree, which
`jit`, `grad` and `vmap` (stacked networks) take, and `nnx.merge(graph, params)` a module again.
"""

from w2s_jax.transformer.attention import Cache, attend, init_cache, rotary_angles, rotate
from w2s_jax.transformer.config import ComputeType, RopeScaling, TransformerConfig
from w2s_jax.transformer.decoder import Block, Decoder
from w2s_jax.transformer.generation import generate, read, sample
from w2s_jax.transformer.model import LanguageModel, blank_model, with_scan
from w2s_jax.transformer.scoring import target_log_probs, token_log_probs

__all__ = [
    "Block",
    "Cache",
    "ComputeType",
    "Decoder",
    "LanguageModel",
    "RopeScaling",
    "TransformerConfig",
    "attend",
    "blank_model",
    "generate",
    "init_cache",
    "read",
    "rotary_angles",
    "rotate",
    "sample",
    "target_log_probs",
    "token_log_probs",
    "with_scan",
]
