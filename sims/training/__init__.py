"""What the sweeps that train networks share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sims.engine.checked import InputError


def start_alone(name: str, spec: Any, job: Callable[[], Any], out: Path, options: Any = None) -> Path:
    """Run a sweep of trained networks, or what is missing of it, into `out`/`name`.zarr.

    `job` imports the module with the sweep's `prepare` and `outline`, which is slow: not before there is work.
    """
    from sims.engine.run import ALONE, run

    options = options or ALONE
    if options.target is not None:
        raise InputError("target_sem is for sweeps of replicates, and this one has seeds; raise replicates instead.")
    if options.ranks is not None and options.ranks.count > 1:
        raise InputError(
            f"this sweep runs in one process, got {options.ranks.count}; leave num_processes and cluster out, and use "
            f"devices."
        )
    return run(name, spec, lambda spec: job().prepare(spec, out=out), out, options, lambda spec: job().outline(spec))
