"""The packages of the extra `language`, imported when one of them is first needed."""

import importlib
from typing import Any


def need(package: str) -> Any:
    """The module of that name.

    Raises:
        ImportError: where it is not installed, with what to do.

    >>> need("no_such_package")
    Traceback (most recent call last):
        ...
    ImportError: language models need the package no_such_package, which is not installed; \
run: pip install "w2s_jax[language]"
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"language models need the package {error.name}, which is not installed; "
            'run: pip install "w2s_jax[language]"'
        ) from error
