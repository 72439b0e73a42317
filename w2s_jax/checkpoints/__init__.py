"""Pre-trained language models: read from a GGUF file or a Hugging Face folder, with tokenizer and chat template.

The families are Llama (SmolLM2 among them), Qwen2 (and 2.5) and Qwen3; what is read is a `LanguageModel` of
`w2s_jax.transformer`. `checkpoint.py` has `load` and `save`. They need the extra `language`:
`pip install "w2s_jax[language]"`.
"""

from w2s_jax.checkpoints.chat import Chat
from w2s_jax.checkpoints.checkpoint import Checkpoint, load, save
from w2s_jax.checkpoints.known import KNOWN
from w2s_jax.checkpoints.tokenizer import Tokenizer

__all__ = ["KNOWN", "Chat", "Checkpoint", "Tokenizer", "load", "save"]
