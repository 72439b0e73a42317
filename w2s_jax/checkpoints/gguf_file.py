"""A GGUF file: its table of metadata, and its tensors, which stay on disk until one is read.

The package `gguf` turns quantised blocks into numbers. Its reader is not used: it makes an array of every string of a
vocabulary, which takes longer than all the rest of loading a small model.

References: github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from w2s_jax.checkpoints.extra import need
from w2s_jax.checkpoints.fields import whole
from w2s_jax.checkpoints.layout import Naming

MAGIC = b"GGUF"
VERSIONS = (2, 3)
SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
"""Types of values, by their number, as `struct` calls them."""
FLOAT32, STRING, ARRAY = 6, 8, 9


class Stored(NamedTuple):
    """Where and how a tensor is stored."""

    kind: Any
    """A `gguf.GGMLQuantizationType`."""
    shape: tuple[int, ...]
    start: int
    """First byte."""
    row_bytes: int


class GGUFFile:
    """Metadata and tensors of a file.

    Args:
        path: of the file.

    Raises:
        ValueError: if it is no GGUF file, is cut short, or holds a quantisation that `gguf` does not know.
    """

    naming: Naming = "gguf"

    def __init__(self, path: Path):
        self.where = path.name
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise ValueError(f"{self.where} is not a GGUF file: it does not begin with the letters GGUF.")
        self._bytes = np.memmap(path, np.uint8, "r")
        cursor = _Cursor(self._bytes, 4)
        try:
            version = cursor.number("I")
            if version not in VERSIONS:
                raise ValueError(f"{self.where} is of GGUF version {version}; versions 2 and 3 can be read.")
            num_tensors, num_values = cursor.number("Q"), cursor.number("Q")
            self.metadata: dict[str, Any] = {}
            for _ in range(num_values):
                name = cursor.text()
                self.metadata[name] = cursor.value(cursor.number("I"))
            described = [(cursor.text(), *cursor.shape_kind_offset()) for _ in range(num_tensors)]
        except (struct.error, UnicodeDecodeError, KeyError) as error:
            raise ValueError(f"{self.where} is cut short or damaged; get the file again.") from error
        if (count := whole({"split.count": self.metadata.get("split.count") or 1}, "split.count", self.where)) > 1:
            raise ValueError(f"{self.where} is one of {count} files; join them into one first.")
        alignment = whole(self.metadata, "general.alignment", self.where, 32)
        start = -(-cursor.place // alignment) * alignment
        self.tensors = {name: self._stored(name, shape, kind, start + at) for name, shape, kind, at in described}
        self.shapes = {name: tensor.shape for name, tensor in self.tensors.items()}
        end = max((t.start + t.row_bytes * math.prod(t.shape[:-1]) for t in self.tensors.values()), default=0)
        if end > size:
            raise ValueError(f"{self.where} is cut short: it has {size} of its {end} bytes; get the file again.")

    def read(self, name: str) -> np.ndarray:
        """A tensor, as float32 (or what it is stored in, where that is a float).

        Raises:
            ValueError: for a quantisation that `gguf` cannot read.
        """
        tensor, gguf = self.tensors[name], need("gguf")
        count = tensor.row_bytes * math.prod(tensor.shape[:-1])
        stored = np.asarray(self._bytes[tensor.start : tensor.start + count])
        rows = stored.reshape(*tensor.shape[:-1], tensor.row_bytes)
        try:
            return gguf.dequantize(rows, tensor.kind)
        except NotImplementedError:
            raise ValueError(
                f"tensor {name} of {self.where} is stored as {tensor.kind.name}, which the package gguf cannot read; "
                "take another quantisation of the model, such as Q8_0 or F16."
            ) from None

    def _stored(self, name: str, shape: tuple[int, ...], kind: int, start: int) -> Stored:
        gguf = need("gguf")
        try:
            kind = gguf.GGMLQuantizationType(kind)
        except ValueError:
            raise ValueError(
                f"tensor {name} of {self.where} is stored as type {kind}, which the package gguf does not know; "
                "take another quantisation of the model, such as Q8_0 or F16."
            ) from None
        block, size = gguf.GGML_QUANT_SIZES[kind]
        if not shape or shape[-1] % block:
            raise ValueError(f"{self.where} is damaged: tensor {name} has no whole number of blocks; get it again.")
        return Stored(kind, shape, start, shape[-1] // block * size)


class _Cursor:
    """Reads value after value; past the end it raises `struct.error`."""

    def __init__(self, array: np.ndarray, place: int):
        self.view, self.place = memoryview(array), place

    def number(self, code: str):
        value = struct.unpack_from("<" + code, self.view, self.place)[0]
        self.place += struct.calcsize("<" + code)
        return value

    def text(self) -> str:
        return str(self.take(self.number("Q")), "utf-8")

    def take(self, count: int) -> memoryview:
        if self.place + count > len(self.view):
            raise struct.error("past the end")
        self.place += count
        return self.view[self.place - count : self.place]

    def value(self, kind: int):
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            kind, count = self.number("I"), self.number("Q")
            if kind == STRING:
                return [self.text() for _ in range(count)]
            code = np.dtype("<" + SCALARS[kind])
            return np.frombuffer(self.take(count * code.itemsize), code).tolist()
        number = self.number(SCALARS[kind])
        # The decimal number that was meant: 1e-05, where its float32 is 9.999999747378752e-06.
        return float(str(np.float32(number))) if kind == FLOAT32 else number

    def shape_kind_offset(self) -> tuple[tuple[int, ...], int, int]:
        dims = [self.number("Q") for _ in range(self.number("I"))]
        return tuple(reversed(dims)), self.number("I"), self.number("Q")
