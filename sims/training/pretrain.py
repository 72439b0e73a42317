"""What decides a pre-trained network, and nothing else: sweeps that agree on it share the network."""

import dataclasses
import functools
import hashlib
from typing import Any

from sims.engine.checked import to_json


def pretrain_spec(spec: Any, **own: Any) -> Any:
    """The fields of a sweep's specification on which its networks depend (`network=True`), and `own` besides.

    A frozen dataclass: equal for sweeps that share a network, and what their checkpoints record.
    """
    values = {
        field.name: getattr(spec, field.name) for field in dataclasses.fields(spec) if "network" in field.metadata
    }
    return _kind((*values, *own))(**values, **own)


def folder_name(own: Any, *words: Any) -> str:
    """Name of the folder of such networks: the words, and a hash of what decides them."""
    return "-".join([*map(str, words), hashlib.sha256(to_json(own).encode()).hexdigest()[:12]])


@functools.cache
def _kind(names: tuple[str, ...]) -> type:
    return dataclasses.make_dataclass("PretrainSpec", names, frozen=True)
