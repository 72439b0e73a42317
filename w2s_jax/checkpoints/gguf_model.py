"""The model of a GGUF file.

Llama's queries and keys are stored there with the two numbers that a rotary position turns side by side; here, as in
Hugging Face folders, the first half of a head is turned with the second. Qwen's are stored as they are.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from w2s_jax.checkpoints.fields import positive, whole
from w2s_jax.checkpoints.gguf_file import GGUFFile
from w2s_jax.checkpoints.layout import Layout, known_family
from w2s_jax.checkpoints.parameters import EMBEDDING, HEAD
from w2s_jax.transformer import ComputeType, RopeScaling, TransformerConfig, rotary_angles

ROPE_FACTORS = "rope_freqs.weight"
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_length": 8192}
"""Of every Llama 3 model with a scaled rotary base. A GGUF file holds what follows from them, not the numbers."""


class GGUFModel(GGUFFile):
    """A GGUF file whose tensors are those of a language model, in the order of a Hugging Face folder.

    Raises:
        ValueError: for what `GGUFFile` refuses, and for another architecture.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self.family = known_family(self.metadata.get("general.architecture"), self.where)

    def layout(self, max_length: int, dtype: ComputeType) -> Layout:
        """Sizes and choices of the model.

        Raises:
            ValueError: for a number that is missing, and for what no supported model has.
        """
        table = {name.removeprefix(f"{self.family}."): value for name, value in self.metadata.items()}
        where = f"the metadata of {self.where}"
        width, heads = whole(table, "embedding_length", where), whole(table, "attention.head_count", where)
        head_width = whole(table, "attention.key_length", where, max(width // heads, 1))
        self._refuse(table, head_width)
        context = whole(table, "context_length", where)
        config = TransformerConfig(
            num_layers=whole(table, "block_count", where),
            width=width,
            num_heads=heads,
            num_kv_heads=whole(table, "attention.head_count_kv", where, heads),
            head_width=head_width,
            mlp_width=whole(table, "feed_forward_length", where),
            max_length=min(max_length, context),
            dtype=dtype,
            rope_base=positive(table, "rope.freq_base", where, 10_000.0),
            rope_scaling=self._rope_scaling(),
            norm_eps=positive(table, "attention.layer_norm_rms_epsilon", where),
            qkv_bias=self.family == "qwen2",
            qk_norm=self.family == "qwen3",
            scan_layers=True,
        )
        self._check_rope(config)
        rows = self.shapes.get(EMBEDDING[1], (0,))[0]
        return Layout(config, whole({"rows": rows or table.get("vocab_size")}, "rows", where), self._tied(), context)

    def read(self, name: str) -> np.ndarray:
        """A tensor; see `GGUFFile.read`."""
        tensor = super().read(name)
        if self.family != "llama" or not name.endswith(("attn_q.weight", "attn_k.weight")):
            return tensor
        heads = self.metadata["llama.attention.head_count"]
        if name.endswith("attn_k.weight"):
            heads = self.metadata.get("llama.attention.head_count_kv", heads)
        return tensor.reshape(heads, -1, 2, tensor.shape[-1]).swapaxes(1, 2).reshape(tensor.shape)

    def _tied(self) -> bool:
        return HEAD[1] not in self.shapes

    def _refuse(self, table: dict[str, Any], head_width: int) -> None:
        if table.get("expert_count"):
            raise ValueError(
                f"{self.where} has {table['expert_count']} experts a layer; such models are not supported."
            )
        if table.get("rope.scaling.type", "none") != "none":
            raise ValueError(
                f"{self.where} scales rotary positions by {table['rope.scaling.type']!r}; only Llama 3's rule is "
                "supported."
            )
        if table.get("attention.sliding_window"):
            raise ValueError(
                f"{self.where} attends in a sliding window of {table['attention.sliding_window']} places; that is not "
                "supported."
            )
        for name in ("rope.dimension_count", "attention.value_length"):
            if table.get(name, head_width) != head_width:
                raise ValueError(
                    f"{self.where} has {name} {table[name]!r}, which is not the width {head_width} of a head; that is "
                    "not supported."
                )

    def _rope_scaling(self) -> RopeScaling | None:
        if ROPE_FACTORS not in self.shapes:
            return None
        factor = float(super().read(ROPE_FACTORS).max())
        return RopeScaling(factor=factor, **LLAMA3) if factor > 1 else None

    def _check_rope(self, config: TransformerConfig) -> None:
        """What follows from `LLAMA3` must be what the file has."""
        if ROPE_FACTORS not in self.shapes:
            return
        stored, one = super().read(ROPE_FACTORS), jnp.ones(1, "int32")
        unscaled = rotary_angles(dataclasses.replace(config, rope_scaling=None), one)[0]
        expected = np.asarray(unscaled / rotary_angles(config, one)[0])
        if stored.shape != expected.shape or not np.allclose(stored, expected, rtol=1e-3):
            raise ValueError(f"{self.where} scales rotary positions otherwise than Llama 3; that is not supported.")
