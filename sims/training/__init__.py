"""What the sweeps that train networks share."""

from typing import Any

from sims.engine.checked import InputError


def check_alone(options: Any) -> None:
    """A sweep of trained networks has seeds in place of replicates, and runs in one process."""
    if options.target is not None:
        raise InputError("target_sem is for sweeps of replicates, and this one has seeds; raise replicates instead.")
    if options.ranks is not None and options.ranks.count > 1:
        raise InputError(
            f"this sweep runs in one process, got {options.ranks.count}; leave num_processes and cluster out, and use "
            f"devices."
        )
