"""Refuses the releases of jax that cannot be trusted here, before jax is imported."""

import re
from importlib import metadata

DEADLOCKING_RELEASE = re.compile(r"0\.10(?!\d)")
"""jaxlib 0.10.x on CPU: two independent batched LAPACK calls in one program may wait for each other for ever."""


def check_version(package: str, version: str) -> None:
    """Raise ImportError if `version` of `package` ("jax" or "jaxlib") is a release that deadlocks.

    >>> check_version("jaxlib", "0.9.2")
    >>> check_version("jaxlib", "0.10.2")
    Traceback (most recent call last):
        ...
    ImportError: w2s_jax does not run with jaxlib 0.10.2, which deadlocks on CPU in batched linear algebra; \
install another release: pip install "jax>=0.9.1,!=0.10.*" "jaxlib>=0.9.1,!=0.10.*"
    """
    if DEADLOCKING_RELEASE.match(version):
        raise ImportError(
            f"w2s_jax does not run with {package} {version}, which deadlocks on CPU in batched linear algebra; "
            f'install another release: pip install "jax>=0.9.1,!=0.10.*" "jaxlib>=0.9.1,!=0.10.*"'
        )


def check_installed() -> None:
    """`check_version` for the installed jax and jaxlib, read from their metadata without importing either."""
    for package in ("jax", "jaxlib"):
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # built from source or vendored: the import that follows says what is missing
        check_version(package, version)
