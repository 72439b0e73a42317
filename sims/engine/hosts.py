"""Several processes, on one host or many, that share a sweep: how they find each other, and how they wait.

Processes meet once, at the start, to agree on their ranks. After that they share only a folder: each
writes its own blocks, so that none needs another to save its work and the death of one aborts no other.
"""

import secrets
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sims.engine.checked import InputError
from sims.engine.lock import RunLock, owners

MEETING_SECONDS = 60
"""Time in which all processes must have reached the coordinator."""
SIGNING_SECONDS = 60
"""Time in which a process that has met the others must have signed the lock."""
POLL_SECONDS = 0.5

Unit = TypeVar("Unit")


class Ranks(NamedTuple):
    """Which process of a run this is."""

    index: int
    """Rank, in [0, count)."""
    count: int
    """Processes of the run, >= 1."""
    run: str
    """Identifies the run; the same in all its processes."""


def alone() -> Ranks:
    """A run of one process."""
    return Ranks(0, 1, secrets.token_hex(4))


def start(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    cluster: bool = False,
    timeout: float = MEETING_SECONDS,
) -> Ranks:
    """Meet the other processes of the run; call it before jax computes anything.

    Args:
        coordinator: HOST:PORT of process 0, where it listens and the others call.
        num_processes: processes of the run, >= 1.
        process_id: rank of this one, in [0, num_processes).
        cluster: let jax read these three from the cluster (SLURM, Open MPI, TPU, Kubernetes) instead.
        timeout: seconds in which all must have met.

    Returns:
        The rank of this process. Without any argument it is the only one, and jax is left as it is.

    Raises:
        InputError: if the arguments contradict each other, or not all processes have met in time.

    >>> start().count
    1
    """
    given = {"--coordinator": coordinator, "--num-processes": num_processes, "--process-id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if cluster and len(missing) < 3:
        given_too = next(name for name in given if name not in missing)
        raise InputError(f"--cluster already determines {given_too}, but both were given; leave one out.")
    if not cluster and len(missing) == 3:
        return alone()
    if not cluster:
        _check(given, missing)
    _meet(coordinator, num_processes, process_id, timeout)
    return _agree()


def share(units: list[Unit], ranks: Ranks) -> list[Unit]:
    """The units of work that are this process's own, in order.

    They are dealt by a shuffle that the run's name seeds, so that all processes know it without asking, and what a
    killed process has left is spread evenly over those of the next run.

    >>> [share([1, 2, 3, 4, 5], Ranks(i, 2, "a")) for i in (0, 1)]
    [[1, 2, 3], [4, 5]]
    """
    dealt = np.random.default_rng(list(ranks.run.encode())).permutation(len(units))
    return [units[i] for i in sorted(dealt[ranks.index :: ranks.count])]


def wait(ready: Callable[[], bool], lock: RunLock, ranks: Ranks) -> None:
    """Return when `ready()`; raise `InputError` if that can no longer be, since another process is lost."""
    since = time.monotonic()
    while not ready():
        lost = lock.lost()
        if lost is None and time.monotonic() - since > SIGNING_SECONDS:
            absent = sorted(set(range(ranks.count)) - signed(lock))
            lost = f"rank {absent[0]} of this run has not signed the lock of {lock.path}" if absent else None
        if lost and not ready():
            raise InputError(
                f"a sweep needs every process of its run to finish, but {lost}; what is finished is saved: the same "
                f"command goes on from there, with any number of processes."
            )
        time.sleep(POLL_SECONDS)


def signed(lock: RunLock) -> set[int]:
    """The ranks of this run that have signed its lock."""
    return {owner["rank"] for owner in owners(lock.path) if owner["run"] == lock.run}


def _check(given: dict[str, str | int | None], missing: list[str]) -> None:
    coordinator, count, index = given.values()
    if missing:
        raise InputError(f"{', '.join(given)} belong together, but {missing[0]} is missing; give all three or none.")
    host, _, port = str(coordinator).rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 2**16):
        raise InputError(f"--coordinator must be HOST:PORT, got {coordinator}; an example is node1:29400.")
    if not int(count or 0) >= 1:
        raise InputError(f"--num-processes must be at least 1, got {count}; it is the same in all processes.")
    if not 0 <= int(index or 0) < int(count or 0):
        raise InputError(f"--process-id must be in [0, {count}), got {index}; number the processes from 0.")


def _meet(coordinator: str | None, count: int | None, index: int | None, timeout: float) -> None:
    # jax aborts the process when its own time is up: it gets more than it needs, on a thread that ends with ours.
    failures = []

    def initialize() -> None:
        try:
            jax.distributed.initialize(coordinator, count, index, initialization_timeout=int(timeout) + 600)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=initialize, daemon=True)
    thread.start()
    thread.join(timeout)
    where = f"at {coordinator}" if coordinator else "of the cluster"
    if thread.is_alive():
        others = "the others did not all call" if index == 0 else "it does not answer or others are missing"
        raise InputError(
            f"all {count or 'the'} processes must meet at the coordinator {where} within {timeout:g} s, but {others}; "
            f"look at its host and port, and that every process was started with the same numbers."
        )
    if failures:
        said = str(failures[0]).strip().splitlines()[0].rstrip(".")
        raise InputError(
            f"the coordinator {where} must be free to start and reachable, but jax says: {said}; choose another port, "
            f"or give --coordinator, --num-processes and --process-id where no cluster is found."
        )


def _agree() -> Ranks:
    """Broadcast rank 0's run id, then shut down jax.distributed."""
    index, count = jax.process_index(), jax.process_count()
    firsts = {device.process_index: device for device in reversed(jax.devices())}
    mesh = Mesh(np.array([firsts[rank] for rank in range(count)]), ("ranks",))
    own = np.array([secrets.randbits(31) if index == 0 else 0], np.int32)
    shared = jax.make_array_from_process_local_data(NamedSharding(mesh, P("ranks")), own)
    run = jax.jit(jnp.sum, out_shardings=NamedSharding(mesh, P()))(shared)
    name = f"{int(run.addressable_data(0)):08x}"
    # Connected processes abort when one of them is killed; these need nothing more of each other.
    jax.distributed.shutdown()
    return Ranks(index, count, name)
