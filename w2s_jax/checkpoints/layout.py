"""What a checkpoint says of its model, whichever way it is stored."""

from typing import Literal, NamedTuple

from w2s_jax.transformer import TransformerConfig

FAMILIES = ("llama", "qwen2", "qwen3")
"""Architectures that are read, by the name that both config.json and GGUF files give them."""

Naming = Literal["folder", "gguf"]
"""How tensors are named: as in a Hugging Face folder or as in a GGUF file."""


class Layout(NamedTuple):
    """Sizes and choices of a stored model."""

    config: TransformerConfig
    """Of its blocks."""
    vocab_size: int
    """Rows of its embedding."""
    tied: bool
    """Whether the head is the embedding's transpose."""
    context: int
    """Places that it was trained for."""


def known_family(name: object, where: str) -> str:
    """The name of a family.

    Raises:
        ValueError: for any other architecture.

    >>> known_family("qwen2", "config.json")
    'qwen2'
    """
    if not isinstance(name, str) or name not in FAMILIES:
        raise ValueError(f"{where} is of architecture {name!r}, which is not supported; take {', '.join(FAMILIES)}.")
    return name


def family_of(config: TransformerConfig) -> str:
    """The family whose blocks a config describes.

    Raises:
        ValueError: if it is none of them.

    >>> family_of(TransformerConfig(qkv_bias=True))
    'qwen2'
    """
    if config.activation != "swiglu" or (config.qkv_bias and config.qk_norm):
        raise ValueError(
            "only models of the families llama, qwen2 and qwen3 can be saved: swiglu, and biases or a norm of queries "
            f"and keys, not both; got {config}."
        )
    return "qwen2" if config.qkv_bias else "qwen3" if config.qk_norm else "llama"
