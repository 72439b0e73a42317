"""config.json of a Hugging Face folder: read, and written."""

from collections.abc import Mapping
from typing import Any

from w2s_jax.checkpoints.fields import positive, whole
from w2s_jax.checkpoints.layout import Layout, family_of, known_family
from w2s_jax.transformer import ComputeType, RopeScaling, TransformerConfig

WHERE = "config.json"
CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
QWEN3_HEAD_WIDTH = 128
"""Of a Qwen3 model that does not give it."""


def read_config(table: Mapping[str, Any], max_length: int, dtype: ComputeType, has_head: bool) -> Layout:
    """Sizes and choices of a model.

    Args:
        table: config.json.
        max_length: places that a sequence may have; no more are taken than the model was trained for.
        dtype: to compute in.
        has_head: whether there are weights of a head, which decides where the table does not.

    Returns:
        A `Layout`.

    Raises:
        ValueError: for a number that is missing, and for what no supported model has.
    """
    family = known_family(table.get("model_type"), WHERE)
    _refuse(table, family)
    width, heads = whole(table, "hidden_size", WHERE), whole(table, "num_attention_heads", WHERE)
    context = whole(table, "max_position_embeddings", WHERE)
    # `rope_parameters` since version 5 of transformers; before, `rope_theta` beside `rope_scaling`.
    rope = dict(table.get("rope_scaling") or {}) | dict(table.get("rope_parameters") or {})
    config = TransformerConfig(
        num_layers=whole(table, "num_hidden_layers", WHERE),
        width=width,
        num_heads=heads,
        num_kv_heads=whole(table, "num_key_value_heads", WHERE, heads),
        head_width=whole(table, "head_dim", WHERE, QWEN3_HEAD_WIDTH if family == "qwen3" else max(width // heads, 1)),
        mlp_width=whole(table, "intermediate_size", WHERE),
        max_length=min(max_length, context),
        dtype=dtype,
        rope_base=positive({"rope_theta": table.get("rope_theta")} | rope, "rope_theta", WHERE, 10_000.0),
        rope_scaling=_rope_scaling(rope, context),
        norm_eps=positive(table, "rms_norm_eps", WHERE, 1e-6),
        qkv_bias=family == "qwen2",
        qk_norm=family == "qwen3",
        scan_layers=True,
    )
    tied = table.get("tie_word_embeddings")
    return Layout(config, whole(table, "vocab_size", WHERE), not has_head if tied is None else bool(tied), context)


def write_config(layout: Layout) -> dict[str, Any]:
    """config.json of a model, from which `read_config` makes the same layout.

    Raises:
        ValueError: if the model is of none of the families.

    >>> write_config(Layout(TransformerConfig(width=64), vocab_size=11, tied=True, context=64))["model_type"]
    'llama'
    """
    config, family = layout.config, family_of(layout.config)
    rope: dict[str, Any] = {"rope_type": "default"}
    if scaling := config.rope_scaling:
        rope = {
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_length,
        }
    return {
        "architectures": [CLASSES[family]],
        "model_type": family,
        "torch_dtype": config.param_dtype.name,
        "hidden_size": config.width,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads or config.num_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.hidden,
        "hidden_act": "silu",
        "attention_bias": False,
        "vocab_size": layout.vocab_size,
        "max_position_embeddings": layout.context,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_base,
        "rope_scaling": rope if config.rope_scaling else None,
        "tie_word_embeddings": layout.tied,
    }


def _refuse(table: Mapping[str, Any], family: str) -> None:
    if experts := table.get("num_experts") or table.get("num_local_experts"):
        raise ValueError(f"{WHERE} has {experts} experts a layer; such models are not supported.")
    if table.get("hidden_act", "silu") != "silu":
        raise ValueError(f"{WHERE} has hidden_act {table['hidden_act']!r}; only silu is supported.")
    if table.get("mlp_bias"):
        raise ValueError(f"{WHERE} has mlp_bias true; biases of the MLP are not supported.")
    if table.get("attention_bias") and family != "qwen2":
        raise ValueError(f"{WHERE} has attention_bias true; of a {family} model that is not supported.")
    if table.get("quantization_config"):
        raise ValueError(f"{WHERE} has a quantization_config; take the float weights of the model, or a GGUF file.")
    kinds = table.get("layer_types")
    if kinds is None:
        layers = whole(table, "num_hidden_layers", WHERE)
        first = table.get("max_window_layers", 28)
        kinds = ["sliding_attention"] if table.get("use_sliding_window") and first < layers else []
    if set(kinds) - {"full_attention"}:
        raise ValueError(
            f"{WHERE} has layers of {min(set(kinds) - {'full_attention'})}; only full_attention is supported."
        )


def _rope_scaling(rope: Mapping[str, Any], context: int) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError(f"{WHERE} has partial_rotary_factor {rope['partial_rotary_factor']}; only 1 is supported.")
    if kind == "default":
        return None
    if kind != "llama3":
        raise ValueError(f"{WHERE} scales rotary positions by {kind!r}; only Llama 3's rule (llama3) is supported.")
    return RopeScaling(
        factor=positive(rope, "factor", WHERE),
        low_freq_factor=positive(rope, "low_freq_factor", WHERE),
        high_freq_factor=positive(rope, "high_freq_factor", WHERE),
        original_length=whole(rope, "original_max_position_embeddings", WHERE, context),
    )
