"""What is measured: the headline, then ladders that change one of its sizes at a time."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from benchmarks.workload import Workload, spread


class Case(NamedTuple):
    """One measurement: a contender on a workload, and the part of the run that asks for it."""

    part: str
    value: int
    """The size that the ladder changes; of the headline the number of cells."""
    contender: str
    workload: Workload
    devices: int

    @property
    def work(self) -> tuple[str, Workload, int]:
        """What is measured, whichever part asks."""
        return self.contender, self.workload, self.devices


HEADLINE = Workload()
BY_SIZE = ("numpy_loop", "numpy_vectorised", "w2s_jax")
DIMS = (8, 16, 32, 64, 128, 256)
CONCEPTS = (2, 4, 8, 16)
SAMPLES = (64, 512, 2048, 16_384, 65_536)
MANY_SAMPLES = (512, 2048, 65_536, 10**6)
"""For moments drawn directly."""
GRIDS = {1: (1, 1), 20: (2, 2), 200: (8, 5), 2_000: (20, 20), 20_000: (100, 40), 100_000: (200, 100)}
"""Cells, as weak accuracies x concept shifts x 5 prompt lengths; a single cell has the longest prompt alone."""


def cases(chosen: list[str], cores: int, quick: bool = False) -> list[Case]:
    """What the chosen parts measure, the loop first in each: the others are compared with it."""
    return [case for part in chosen for case in PARTS[part](cores, quick)]


def headline(cores: int, quick: bool) -> Iterator[Case]:
    """Every contender that does the headline's work."""
    from benchmarks.contenders import CONTENDERS

    for name in (name for name in CONTENDERS if name != "w2s_jax_moments_mean"):
        yield Case("headline", HEADLINE.num_cells, name, HEADLINE, cores)


def by_dim(cores: int, quick: bool) -> Iterator[Case]:
    """Feature dimension d."""
    for name in BY_SIZE:
        for dim in _ladder(DIMS, HEADLINE.dim, quick):
            yield Case("d", dim, name, replace(HEADLINE, dim=dim), cores)


def by_samples(cores: int, quick: bool) -> Iterator[Case]:
    """Labelled examples n; drawn as moments, they are felt only where each is labelled by a concept of its own."""
    ladders = dict.fromkeys(BY_SIZE, SAMPLES)
    ladders |= {
        "numpy_loop": (*SAMPLES, MANY_SAMPLES[-1]),
        "w2s_jax_moments": MANY_SAMPLES[1:],
        "w2s_jax_moments_mean": MANY_SAMPLES,
    }
    for name, every in ladders.items():
        for num_samples in _ladder(every, HEADLINE.num_samples, quick):
            yield Case("n", num_samples, name, replace(HEADLINE, num_samples=num_samples), cores)


def by_concepts(cores: int, quick: bool) -> Iterator[Case]:
    """Concepts K."""
    for name in BY_SIZE:
        for concepts in _ladder(CONCEPTS, HEADLINE.num_concepts, quick):
            yield Case("K", concepts, name, replace(HEADLINE, num_concepts=concepts), cores)


def by_cells(cores: int, quick: bool) -> Iterator[Case]:
    """Cells of the grid; the loop does not feel them, and is measured once."""
    yield Case("cells", HEADLINE.num_cells, "numpy_loop", HEADLINE, cores)
    for name in ("numpy_vectorised", "w2s_jax"):
        for cells in _ladder(tuple(GRIDS), HEADLINE.num_cells, quick):
            lengths = HEADLINE.num_icl if cells > 1 else HEADLINE.num_icl[-1:]
            yield Case("cells", cells, name, spread(*GRIDS[cells], lengths), cores)


def by_devices(cores: int, quick: bool) -> Iterator[Case]:
    """Cores, one device or process each; the first alone has a single thread."""
    yield Case("devices", 1, "numpy_loop", HEADLINE, cores)
    for name in ("numpy_vectorised_every_core", "w2s_jax"):
        for devices in sorted({1, cores} | {2**i for i in range(cores.bit_length()) if 2**i < cores}):
            yield Case("devices", devices, name, HEADLINE, devices)


def _ladder(values: tuple[int, ...], headline: int, quick: bool) -> tuple[int, ...]:
    """All of them, or for a rehearsal the headline's own and the one below it."""
    own = values.index(headline)
    return values[max(own - 1, 0) : own + 1] if quick else values


PARTS: dict[str, Callable[[int, bool], Iterator[Case]]] = {
    "headline": headline,
    "d": by_dim,
    "n": by_samples,
    "K": by_concepts,
    "cells": by_cells,
    "devices": by_devices,
}
