"""How a command sets up the machine: devices, precision, compilation cache; and where its results came from."""

import contextlib
import functools
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

import w2s_jax
from sims.spec import InputError

MAX_CPU_DEVICES = 4
"""Default limit of cores used as devices, which keeps the memory bound under 2 GB; `--devices` goes beyond."""
MAX_DEVICES_PER_CORE = 4
"""Limit of `--devices` on a CPU: more only wait for each other."""

_limit: int | None = None


def configure(devices: int | None = None, compilation_cache: bool = True) -> None:
    """One device per core, full matmul precision, and compiled programs kept for the next run.

    `devices` limits how many of this process's devices are used; it is checked when they are (`devices`).
    """
    global _limit
    _limit, cores = devices, os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):  # a backend that already runs, as in a notebook or a test, is used as it is
        wanted = min(devices or MAX_CPU_DEVICES, cores if devices is None else MAX_DEVICES_PER_CORE * cores)
        jax.config.update("jax_num_cpu_devices", wanted)
    jax.config.update("jax_default_matmul_precision", "highest")
    jax.config.update("jax_enable_compilation_cache", compilation_cache)
    if jax.config.jax_compilation_cache_dir is None:
        home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(home / "w2s_jax" / "xla"))
        # The hundred small programs that prepare a sweep take as long to start as the large one.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


CPU_OPTIONS = {
    # XLA hands reductions to a library (YNNPACK) that is slow at thousands of short ones.
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
    # Random numbers and their transforms fill vectors of any width; a core without such width ignores this.
    "xla_cpu_prefer_vector_width": "512",
}
"""Options under which a sweep's program is compiled for a CPU; what they are worth is in docs/performance.md."""


@functools.cache
def compiler_options() -> dict[str, str]:
    """Those of `CPU_OPTIONS` that this release of XLA knows; none on an accelerator."""
    if jax.default_backend() != "cpu":
        return {}
    return {name: value for name, value in CPU_OPTIONS.items() if _compiles({name: value})}


def _compiles(options: dict[str, str]) -> bool:
    try:
        jax.jit(jnp.negative, compiler_options=options).lower(jnp.ones(())).compile()
    except Exception:  # XLA raises errors of its own for an option that it does not know
        return False
    return True


def devices() -> list[jax.Device]:
    """The devices that this process computes on: its own alone, of any number of processes."""
    local = jax.local_devices()
    on_cpu, cores = local[0].platform == "cpu", os.cpu_count() or 1
    most = MAX_DEVICES_PER_CORE * cores if on_cpu else len(local)
    if _limit is not None and not 1 <= _limit <= most:
        why = f"{MAX_DEVICES_PER_CORE} for each of {cores} cores" if on_cpu else f"this process has {len(local)}"
        raise InputError(f"--devices must be in [1, {most}] ({why}), got {_limit}; leave it out to use all.")
    return local[:_limit]


def device_name() -> str:
    """What computes, in words."""
    used = devices()
    name = f"{len(used)} x {used[0].device_kind if used[0].platform != 'cpu' else cpu_name()}"
    return name if jax.process_count() == 1 else f"{jax.process_count()} processes of {name}"


def cpu_name() -> str:
    """The processor, in words."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def provenance() -> dict:
    """Where results come from: versions, device, commit and time."""
    return {
        "versions": {
            "w2s_jax": w2s_jax.__version__,
            "jax": jax.__version__,
            "jaxlib": jaxlib.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "device": device_name(),
        "commit": _commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


SOURCE = ("w2s_jax", "sims", "figures", "benchmarks", "pyproject.toml")
"""What decides results: changes elsewhere, as in the documents, leave a commit what it says."""


def check_commit(what: str, commit: str) -> None:
    """Refuse as evidence what was made by code that no commit holds."""
    if commit == "unknown" or commit.endswith("-dirty"):
        raise InputError(
            f"evidence must come from code that a commit holds, but {what} was made by {commit}; "
            f"commit the changes and run it again."
        )


def _commit() -> str:
    """The commit of this code, with `-dirty` where files that decide results are changed or new."""
    try:
        commit, changed = _git("rev-parse", "--short=12", "HEAD"), _git("status", "--porcelain", "--", *SOURCE)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit + ("-dirty" if changed else "")


def _git(*command: str) -> str:
    folder = Path(__file__).resolve().parent.parent
    found = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    return found.stdout.strip()
