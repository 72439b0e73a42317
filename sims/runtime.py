"""How a command sets up the machine: devices, precision, compilation cache; and where its results came from."""

import contextlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import jax
import jaxlib
import numpy as np

import w2s_jax

MAX_CPU_DEVICES = 4
"""Default limit of cores used as devices, which keeps the memory bound under 2 GB; `--devices` goes beyond."""


def configure(devices: int | None = None) -> None:
    """One device per core, full matmul precision, and compiled programs kept for the next run."""
    with contextlib.suppress(RuntimeError):  # a backend that already runs, as in a notebook or a test, is used as it is
        jax.config.update("jax_num_cpu_devices", devices or min(os.cpu_count() or 1, MAX_CPU_DEVICES))
    jax.config.update("jax_default_matmul_precision", "highest")
    if jax.config.jax_compilation_cache_dir is None:
        home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(home / "w2s_jax" / "xla"))


def device_name() -> str:
    """The device that computes, in words."""
    device = jax.devices()[0]
    return f"{jax.device_count()} x {device.device_kind if device.platform != 'cpu' else cpu_name()}"


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


def _commit() -> str:
    folder = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return found.stdout.strip() or "unknown"
