"""A Hugging Face folder: config.json, weights in safetensors, tokenizer.json, chat template; read, and written."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from w2s_jax.checkpoints.chat import Chat
from w2s_jax.checkpoints.extra import need
from w2s_jax.checkpoints.layout import Naming
from w2s_jax.checkpoints.tokenizer import Tokenizer

INDEX = "model.safetensors.index.json"
FLOATS = {"F64", "F32", "F16", "BF16"}
ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")


class FolderWeights:
    """Tensors of all safetensors files of a folder.

    Args:
        folder: with `model.safetensors.index.json` and the files that it names, or with any *.safetensors.

    Raises:
        ValueError: if a file is missing, cut short or no safetensors.
    """

    naming: Naming = "folder"

    def __init__(self, folder: Path):
        self.where = f"the folder {folder.name}"
        names = sorted(path.name for path in folder.glob("*.safetensors"))
        if (folder / INDEX).exists():
            names = sorted(set(read_json(folder / INDEX).get("weight_map", {}).values()))
        if not names:
            raise ValueError(f"{self.where} has no weights in safetensors (*.safetensors); other kinds are not read.")
        self._files: dict[str, Any] = {}
        for name in names:
            file = _open(folder / name)
            self._files |= dict.fromkeys(file.keys(), file)
        self.shapes = {name: tuple(file.get_slice(name).get_shape()) for name, file in self._files.items()}

    def read(self, name: str) -> np.ndarray:
        """A tensor, in the float type that it is stored in.

        Raises:
            ValueError: if it holds no floats.
        """
        kind = self._files[name].get_slice(name).get_dtype()
        if kind not in FLOATS:
            raise ValueError(
                f"tensor {name} of {self.where} is stored as {kind}; only {', '.join(sorted(FLOATS))} are read."
            )
        return self._files[name].get_tensor(name)


def read_json(path: Path) -> dict[str, Any]:
    """A table in a JSON file.

    Raises:
        ValueError: if the file is missing, or no JSON table.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"the folder {path.parent.name} has no {path.name}.") from None
    except ValueError as error:
        raise ValueError(f"{path.name} of the folder {path.parent.name} is not valid JSON ({error}).") from error
    if not isinstance(table, dict):
        raise ValueError(f"{path.name} of the folder {path.parent.name} must hold a JSON object.")
    return table


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder, from tokenizer.json.

    Tokens that end an answer are those of tokenizer_config.json, generation_config.json and config.json together.

    Raises:
        ValueError: if tokenizer.json is missing or not valid.
    """
    path = folder / "tokenizer.json"
    if not path.exists():
        raise ValueError(f"the folder {folder.name} has no tokenizer.json; a tokenizer of another kind is not read.")
    try:
        engine = need("tokenizers").Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises nothing narrower
        raise ValueError(f"tokenizer.json of the folder {folder.name} is not valid ({error}).") from error
    engine.no_truncation()
    engine.no_padding()
    special = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        table = _optional_json(folder / name)
        for role in ROLES:
            token = table.get(role)
            if token := token.get("content") if isinstance(token, dict) else token:
                special[role] = token
    stop = [engine.token_to_id(special["eos_token"])] if "eos_token" in special else []
    for name in ("generation_config.json", "config.json"):
        ends = _optional_json(folder / name).get("eos_token_id")
        stop += ends if isinstance(ends, list) else [ends]
    return Tokenizer(engine, tuple(dict.fromkeys(token for token in stop if token is not None)), special)


def read_chat(folder: Path, special: Mapping[str, str]) -> Chat | None:
    """The chat template of a folder; None where it has none."""
    if (path := folder / "chat_template.jinja").exists():
        return Chat(path.read_text(encoding="utf-8"), special)
    template = _optional_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # several, by name
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return None if template is None else Chat(template, special)


def write_folder(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Iterable[tuple[str, np.ndarray]],
    tokenizer: Tokenizer,
    chat: Chat | None,
) -> None:
    """Write all files into an empty folder."""
    need("safetensors.numpy").save_file(dict(tensors), folder / "model.safetensors", {"format": "pt"})
    ends = list(tokenizer.stop)
    write_json(folder / "config.json", {**config, "eos_token_id": ends})
    write_json(folder / "generation_config.json", {"eos_token_id": ends})
    tokenizer.engine.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **tokenizer.special})
    if chat is not None:
        (folder / "chat_template.jinja").write_text(chat.template, encoding="utf-8", newline="")


def write_json(path: Path, table: Mapping[str, Any]) -> None:
    """A table, indented."""
    path.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _open(path: Path) -> Any:
    package = need("safetensors")
    try:
        return package.safe_open(path, "numpy")
    except FileNotFoundError:
        raise ValueError(f"the folder {path.parent.name} has no {path.name}, which its index names.") from None
    except package.SafetensorError as error:
        raise ValueError(
            f"{path.name} of the folder {path.parent.name} is cut short or no safetensors file ({error}); get it again."
        ) from error


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}
