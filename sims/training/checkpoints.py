"""Checkpoints of a training run: the state at a step, complete or absent, with a record of the run it belongs to.

FOLDER/run.json            the run's configuration and its identity
FOLDER/checkpoints/<step>  the state after that many steps, as orbax writes it: under another name until it is whole
"""

import dataclasses
import hashlib
import json
import logging
import uuid
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from sims.engine.checked import InputError, to_json
from sims.engine.disk import saving, write_durably
from w2s_jax.types import Key

KEPT = 2
"""Newest checkpoints that are kept: one could be damaged by a disk that lies."""


class Checkpoints:
    """The checkpoints of one run, which a folder belongs to from its first use.

    Args:
        folder: of the run; made if missing.
        config: any frozen dataclass of plain values that, with the key, decides the run.
        key: the run's random key or keys.
        like: a state of the run: its structure, and the devices that a checkpoint is read to.

    Raises:
        InputError: if the folder holds another run, or cannot be written.
    """

    def __init__(self, folder: Path, config: Any, key: Key, like: Any):
        self.folder, self._like = Path(folder).absolute(), like
        _claim(self.folder, config, key, like)
        logging.getLogger("absl").setLevel(logging.WARNING)  # orbax logs every file
        with saving(self.folder, "opening the checkpoints"):
            self._manager = ocp.CheckpointManager(
                self.folder / "checkpoints",
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=KEPT, cleanup_tmp_directories=True, enable_async_checkpointing=False
                ),
            )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        self._manager.close()

    @property
    def latest(self) -> int:
        """Steps behind the newest complete checkpoint; 0 where there is none."""
        return self._manager.latest_step() or 0

    def save(self, step: int, state: Any) -> None:
        """Save the state after `step` steps, and wait until it is written; an existing one is kept."""
        if step == self.latest:
            return
        with saving(self.folder, f"saving the checkpoint of step {step}"):
            self._manager.save(step, args=ocp.args.StandardSave(_named(state)))

    def restore(self) -> Any:
        """The state of the newest checkpoint, which there must be."""
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, _named(self._like))
        leaves = self._manager.restore(self.latest, args=ocp.args.StandardRestore(target))
        return jax.tree.unflatten(jax.tree.structure(self._like), [leaves[name] for name in _named(self._like)])


def run_identity(config: Any, key: Key) -> str:
    """A hash of everything that decides a run: its configuration and its key."""
    text = json.dumps([type(config).__name__, to_json(config), jax.random.key_data(key).tolist()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _claim(folder: Path, config: Any, key: Key, like: Any) -> None:
    """Write whose folder this is, or see that it is the same run's."""
    path, own = folder / "run.json", run_identity(config, key)
    arrays = {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in _named(like).items()}
    if not path.exists():
        said = {"identity": own, "kind": type(config).__name__, "config": dataclasses.asdict(config), "arrays": arrays}
        with saving(folder, "making the folder"):
            write_durably(folder / f".{path.name}.{uuid.uuid4().hex}", path, json.dumps(said, indent=1).encode())
        return
    try:
        held = json.loads(path.read_text())
        other, before, others = held["identity"], held["config"], held["arrays"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"a run's folder must hold a readable run.json, which {path} is not; delete the folder to train again."
        ) from error
    if other != own or others != arrays:
        now = json.loads(to_json(config))
        differ = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
        what = f"differs in {', '.join(differ)}" if differ else "has another key or network"
        raise InputError(
            f"a checkpoint must be of the run that asks for it, but that in {folder} {what}; choose another folder, or "
            f"delete this one to train again."
        )


def _named(state: Any) -> dict[str, Any]:
    """The arrays of a state by their paths, in its order: no class of the state has to be known to read them."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
