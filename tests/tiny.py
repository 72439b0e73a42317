"""A tiny run of every sweep: for the tests of what all sweeps promise, and of what each finds."""

import contextlib
import dataclasses
import fcntl
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest
import xarray as xr

from sims.alignment import __main__ as alignment
from sims.alignment import gate
from sims.alignment.spec import AlignmentSpec
from sims.engine import runtime
from sims.incontext import __main__ as incontext
from sims.incontext.spec import InContextSpec
from sims.methods import __main__ as methods
from sims.methods.spec import PRESETS, ArenaSpec
from sims.posterior_sweep import __main__ as posterior_sweep
from sims.posterior_sweep.spec import SMOKE
from sims.risk_sweep import __main__ as risk_sweep
from sims.risk_sweep.spec import SweepSpec
from sims.theory_sweep import __main__ as theory_sweep
from sims.theory_sweep.spec import TheorySpec
from tests import helpers
from tests.conftest import ROOT

UNOPTIMISED = {"xla_backend_optimization_level": 0}
"""Compiler options for programs that compute next to nothing: they compile in half the time."""


@contextlib.contextmanager
def cheaply():
    """Programs of commands are compiled fast, and the gate of the alignment sweep reads few documents."""
    before = jax.config.values["jax_disable_most_optimizations"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "compiler_options", lambda: UNOPTIMISED)
        patch.setattr(gate, "DOCUMENTS", 4)
        jax.config.update("jax_disable_most_optimizations", True)
        try:
            yield
        finally:
            jax.config.update("jax_disable_most_optimizations", before)


class Tiny(NamedTuple):
    """A sweep so small that a test can run it."""

    command: Callable[[list[str]], int]
    store: str
    spec: Any
    changed: dict[str, Any]
    """One field with another value: the configuration of another store."""
    fewer: int | None = None
    """Replicates from which it can be extended to the same results; they leave a block half full."""
    cheap: bool = True
    """Whether it is compiled cheaply: where compiling takes most of the time."""

    def options(self, out, **fields) -> list[str]:
        """Command line arguments, with some fields replaced."""
        return helpers.options(out, self.spec, **fields)

    def run(self, out, *arguments: str, **fields) -> int:
        """The exit code of the command."""
        device = ["--devices", "1"] * (self.cheap and "--devices" not in arguments)
        with cheaply() if self.cheap else contextlib.nullcontext():
            return self.command([*self.options(out, **fields), *device, *arguments])

    def path(self, out) -> Path:
        """Path of its store."""
        return out / f"{self.store}.zarr"

    def load(self, out) -> xr.Dataset:
        """Its results."""
        return helpers.load(self.path(out))


class Finished(NamedTuple):
    """A finished tiny sweep."""

    out: Path
    said: str
    """What the command printed."""
    data: xr.Dataset


def finish(name: str, folder: Path) -> Finished:
    """Run a tiny sweep in a folder, unless another process has done so or is doing so."""
    folder.mkdir(parents=True, exist_ok=True)
    out, said = folder / "results", folder / "said"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            with contextlib.redirect_stderr(io.StringIO()) as heard:
                code = TINY[name].run(out)
            assert code == 0, heard.getvalue()
            said.write_text(heard.getvalue())
    return Finished(out, said.read_text(), TINY[name].load(out))


RISK = Tiny(
    risk_sweep.main,
    "risk_sweep",
    SweepSpec(
        weakness=("rotated", "confused"),
        weak_accuracy=(0.6, 0.9),
        sample_size=(4, 20),
        concept_shift=(0.2, 0.6),
        num_icl=(0, 2),
        penalties=(0.1, 1.0),
        times=(0.5,),
        dim=6,
        num_concepts=3,
        replicates=40,
        block_size=10,
    ),
    changed={"seed": 7},
    fewer=25,
)
POSTERIOR = Tiny(
    posterior_sweep.main,
    "posterior_sweep",
    dataclasses.replace(SMOKE, num_icl=(0, 2, 4), replicates=3000, block_size=1000),
    changed={"noise_var": 0.5},
    fewer=1500,
    cheap=False,
)
THEORY = Tiny(
    theory_sweep.main,
    "theory_sweep",
    TheorySpec(
        studies=("em_ladder", "mixture_target", "contamination", "misfit", "proportional", "self_training", "spurious"),
        em_steps=(0, 1, 5),
        em_sample_size=(400,),
        target_prior=(0.7, 0.3),
        target_weight=(0.75,),
        contamination=(0.0, 0.2),
        num_icl=(0, 2, 6),
        weak_accuracy=(0.1, 0.8),
        aspect_ratio=(0.2, 1.0, 2.0),
        replicates=1000,
        block_size=500,
    ),
    changed={"em_steps": (0, 1, 7)},
    fewer=700,
    cheap=False,
)
ARENA = Tiny(
    methods.main,
    "methods",
    ArenaSpec(
        methods=PRESETS["quick"].methods,
        weakness=("rotated",),
        weak_accuracy=(0.5, 0.7),
        concept_shift=(0.5,),
        relaxed=("wrong_concept",),
        sample_size=32,
        num_icl=2,
        replicates=8,
        dim=5,
        num_concepts=3,
        seed=3,
        block_size=4,
    ),
    changed={"num_icl": 1},
    fewer=6,
)
SMALL = {"layers": 1, "width": 8, "heads": 2, "finetune_batch": 4, "finetune_rate": 0.02, "replicates": 2}
"""What networks and their fine-tuning have in common."""
INCONTEXT = Tiny(
    incontext.main,
    "incontext",
    InContextSpec(
        concept_shift=(0.5,),
        weak_accuracy=(0.4, 0.6, 0.9),
        sample_size=(4, 8),
        num_icl=(0, 1, 2, 3),
        dim=3,
        num_concepts=2,
        max_icl=3,
        num_bins=8,
        bin_limit=3.0,
        pretrain_steps=3,
        pretrain_batch=4,
        finetune_steps=8,
        finetune_looks=4,
        sequences=4,
        prompts=2,
        queries=8,
        **SMALL,
    ),
    changed={"finetune_rate": 0.5},
)
ALIGNMENT = Tiny(
    alignment.main,
    "alignment_persona",
    AlignmentSpec(
        task="persona",
        capability=(0.25, 0.75),
        num_icl=(1, 2),
        size=16,
        style_noise=0.1,
        train_questions=6,
        held_out_questions=4,
        skill_questions=2,
        middle_width=8,
        weak_width=4,
        single_steps=3,
        single_batch=4,
        document_steps=3,
        document_batch=4,
        weak_steps=10,
        weak_batch=8,
        weak_rate=0.1,
        finetune_steps=10,
        min_content=0.0,
        min_naming=0.0,
        **SMALL,
    ),
    changed={"finetune_rate": 0.5},
)
TINY = {sweep.store: sweep for sweep in (RISK, POSTERIOR, THEORY, ARENA, INCONTEXT, ALIGNMENT)}
NETWORKS = ("incontext", "alignment_persona")
"""Sweeps that train networks, whose replicates are seeds."""


def start(out, cache, *arguments: str, **fields) -> subprocess.Popen:
    """The risk sweep in a process of its own, which keeps its compiled programs in `cache`."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-m", "sims.risk_sweep", *RISK.options(out, **fields), *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def said_by(process: subprocess.Popen, timeout: float = 200) -> str:
    """What a process prints until it ends; it is killed if it does not."""
    try:
        return process.communicate(timeout=timeout)[1]
    finally:
        process.kill()
