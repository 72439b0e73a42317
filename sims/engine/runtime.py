"""How a command sets up the machine: devices, precision, compilation cache; and where its results came from."""

import contextlib
import functools
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

import w2s_jax
from sims.engine.checked import InputError

MAX_CPU_DEVICES = 4
"""Default limit of cores used as devices, since each adds to the memory of a sweep; `--devices` goes beyond."""
MAX_DEVICES_PER_CORE = 4
"""Limit of `--devices` on a CPU: more only wait for each other."""

_limit: int | None = None


CHANGED = (
    "jax_default_matmul_precision",
    "jax_enable_compilation_cache",
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
)
"""Settings of jax that `configure` may change while there is something to compute."""


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Within, a command may `configure` jax; afterwards the process that called it has its own settings again."""
    global _limit
    before, limit = {name: jax.config.values[name] for name in CHANGED}, _limit
    try:
        yield
    finally:
        _limit = limit
        for name, value in before.items():
            if jax.config.values[name] != value:
                jax.config.update(name, value)


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
        if (folder := _cache_folder()) is None:
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # The hundred small programs that prepare a sweep take as long to start as the large one.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _cache_folder() -> Path | None:
    """Where compiled programs are kept; None, and a line that says so, where nothing can be."""
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "w2s_jax" / "xla"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except (RuntimeError, OSError):  # a user without a home, as in many containers; or one that cannot be written
        pass
    print(
        "note: compiled programs are not kept, since there is no home folder to write to; set "
        "JAX_COMPILATION_CACHE_DIR to keep them.",
        file=sys.stderr,
        flush=True,
    )
    return None


CPU_OPTIONS = {
    # XLA hands reductions to a library (YNNPACK) that is slow at thousands of short ones.
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",
    # Random numbers and their transforms fill vectors of any width; a core without such width ignores this.
    "xla_cpu_prefer_vector_width": "512",
}
"""Options under which a sweep's program is compiled for a CPU; their effect is in docs/performance.md."""


@functools.cache
def compiler_options() -> dict[str, str]:
    """The options in `CPU_OPTIONS` that this release of XLA knows; none on an accelerator."""
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
    local = _local_devices()
    on_cpu, cores = local[0].platform == "cpu", os.cpu_count() or 1
    most = MAX_DEVICES_PER_CORE * cores if on_cpu else len(local)
    if _limit is not None and not 1 <= _limit <= most:
        why = f"{MAX_DEVICES_PER_CORE} for each of {cores} cores" if on_cpu else f"this process has {len(local)}"
        raise InputError(f"--devices must be in [1, {most}] ({why}), got {_limit}; leave it out to use all.")
    return local[:_limit]


def _local_devices() -> list[jax.Device]:
    try:
        return jax.local_devices()
    except Exception as error:  # RuntimeError or AssertionError, by version and platform
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        asked = os.environ.get("JAX_PLATFORMS") or jax.config.jax_platforms
        where = f"with JAX_PLATFORMS={asked} " if asked else ""
        raise InputError(
            f"jax must find a device to compute on, but {where}it says: {said}; set JAX_PLATFORMS=cpu, or install jax "
            f"for this accelerator (make EXTRAS=cuda13 setup)."
        ) from error


def device_name() -> str:
    """What computes, in words."""
    used = devices()
    name = f"{len(used)} x {used[0].device_kind if used[0].platform != 'cpu' else cpu_name()}"
    return name if jax.process_count() == 1 else f"{jax.process_count()} processes of {name}"


def fitting(executable: jax.stages.Compiled, used: Sequence[jax.Device]) -> jax.stages.Compiled:
    """A compiled program, if the memory that it says it needs is free: on a CPU all devices share one."""
    found, free = executable.memory_analysis(), free_memory(used[0])
    if found is None or free is None:
        return executable
    count = len(used) if used[0].platform == "cpu" else 1
    needed = count * (found.temp_size_in_bytes + found.output_size_in_bytes)
    if needed > free:
        raise InputError(
            f"a block of work must fit the memory, but one of this grid needs {needed / 1e6:,.0f} MB on {count} "
            f"devices and {free / 1e6:,.0f} MB are free; shorten prompts and samples, lower block_size, or use fewer "
            f"devices."
        )
    return executable


def free_memory(device: jax.Device) -> int | None:
    """Bytes that a program may still take on a device; None where that is not known."""
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0) if "bytes_limit" in stats else None
    found = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")))
    with contextlib.suppress(OSError, ValueError):  # "max" where a container has no limit
        group = Path("/sys/fs/cgroup")
        limit, taken = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        parts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        found.append(limit - taken + int(parts.get("inactive_file", 0)))  # the cache of files gives way
    return min(found, default=None)


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
