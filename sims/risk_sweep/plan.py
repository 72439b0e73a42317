"""Cuts a grid into chunks of one shape, so that memory stays bounded for any grid.

The plan is a function of the specification alone, never of the machine: chunks decide the compiled shapes, and shapes
may move the last bits.
"""

import dataclasses
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from sims.engine.checked import InputError
from sims.engine.finite import GROUP_SIZE
from sims.engine.precision import name_cell
from sims.risk_sweep.replicate import columns, weighing_methods
from sims.risk_sweep.spec import GRID_AXES, SweepSpec
from sims.risk_sweep.world import Grid, make_grid
from w2s_jax.tasks import latent_dim

DEVICE_BYTES = 300e6
"""Working memory that a unit of work may take on its device."""


@dataclasses.dataclass(frozen=True)
class GridChunk:
    """Consecutive teachers (axis W) and concept shifts (axis S) of a grid, padded to a common shape by repetition."""

    first_teacher: int
    num_teachers: int
    first_shift: int
    num_shifts: int
    shape: tuple[int, int]

    def teachers(self) -> Iterator[tuple[int, int]]:
        """(row in the chunk, teacher number), padding left out."""
        return ((i, self.first_teacher + i) for i in range(self.num_teachers))

    def take(self, grid: Grid) -> Grid:
        """This chunk's part of the whole grid."""
        teachers = [self.first_teacher + min(i, self.num_teachers - 1) for i in range(self.shape[0])]
        shifts = [self.first_shift + min(i, self.num_shifts - 1) for i in range(self.shape[1])]
        chosen = jax.tree.map(lambda x: x[jnp.array(teachers)], grid.teachers)
        return grid._replace(teachers=chosen, concept_shift=grid.concept_shift[jnp.array(shifts)])

    def cell(self, spec: SweepSpec, w: int, s: int, n: int, i: int | None) -> str:
        """The grid values at an index of this chunk, in words; `i` is None for a method that reads no prompt."""
        kind, accuracy = divmod(self.first_teacher + w, len(spec.weak_accuracy))
        index = (kind, accuracy, n, self.first_shift + s, i)
        read = {axis: k for axis, k in zip(GRID_AXES, index) if k is not None}
        return name_cell({axis: getattr(spec, axis) for axis in read}, tuple(read.values()))


def cut(spec: SweepSpec) -> list[GridChunk]:
    """Chunks whose units of work fit `DEVICE_BYTES`."""
    num_teachers, num_shifts = len(spec.weakness) * len(spec.weak_accuracy), len(spec.concept_shift)
    width, depth = num_teachers, num_shifts
    if block_bytes(spec) > DEVICE_BYTES:
        raise InputError(
            f"a block must fit {DEVICE_BYTES / 1e6:.0f} MB, but one of {spec.block_size:,} replicates needs "
            f"{block_bytes(spec) / 1e6:,.0f} MB for their numbers alone; lower block_size: 250 is a good size."
        )
    while unit_bytes(spec, width, depth) + block_bytes(spec) > DEVICE_BYTES:
        if width > 1:
            width = -(-width // 2)
        elif depth > 1:
            depth = -(-depth // 2)
        else:
            raise InputError(
                f"one teacher and one concept shift must fit {DEVICE_BYTES / 1e6:.0f} MB, but this grid needs "
                f"{unit_bytes(spec, 1, 1) / 1e6:.0f} MB; shorten sample_size, num_icl or penalties, or lower dim."
            )
    return [
        GridChunk(w, min(width, num_teachers - w), s, min(depth, num_shifts - s), (width, depth))
        for w in range(0, num_teachers, width)
        for s in range(0, num_shifts, depth)
    ]


def block_bytes(spec: SweepSpec) -> int:
    """Working memory that the numbers and weights of a block's replicates take."""
    return 16 * spec.block_size


def unit_bytes(spec: SweepSpec, width: int, depth: int) -> int:
    """Working memory of one unit of work, an upper estimate: draws, one group of outcomes and the sums."""
    fixed, varying = (len(c) for c in columns(spec))
    rows, sizes, prompts = max(spec.sample_size), len(spec.sample_size), len(spec.num_icl)
    concepts, size = spec.num_concepts, latent_dim(spec.num_concepts, spec.dim)
    cells = width * depth * sizes
    outcome = 2 * cells * (fixed + prompts * varying) + cells * prompts * len(weighing_methods(spec))
    wins = len(spec.penalties)
    sums = cells * (fixed * (fixed + wins) + prompts * varying * (fixed + varying + wins)) + 2 * outcome
    coefs = cells * (fixed + prompts * varying) * spec.dim
    fresh = "icl_refine_fresh" in spec.methods
    row_by_row = spec.reads_rows is not None or fresh
    in_sample = 3 * depth * prompts * rows * concepts * row_by_row
    # Rows in R^d and a table of their prefix sums, or what sampled labels see of them, or no rows at all.
    seen = spec.dim * (3 + concepts) if not spec.direct else spec.samples_concepts * concepts * (concepts + 3)
    prompts_drawn = rows * max(spec.num_icl) if fresh else max(spec.num_icl)
    prompts_drawn += 2 * spec.prompt_rounds * concepts * max(spec.num_icl)
    weighed = spec.prompt_rounds * concepts * depth * prompts * 6 * concepts + 6 * width * depth * prompts * concepts**2
    in_sample += weighed * (spec.prompt_rounds > 0)
    draws = rows * seen + 3 * prompts_drawn * (size + concepts) + 4 * len(spec.sample_size) * spec.dim**2
    return 4 * (3 * sums + 2 * GROUP_SIZE * outcome + 2 * coefs + in_sample + draws)


def describe(spec: SweepSpec, chunks: list[GridChunk], devices: int) -> list[str]:
    """What is about to run, in words; cells and independent replicates are counted apart."""
    tasks = spec.num_cells * spec.replicates
    memory = (unit_bytes(spec, *chunks[0].shape) + block_bytes(spec)) * devices
    blocks = math.ceil(spec.replicates / spec.block_size)
    why = f" (the examples are needed: {spec.reads_rows})" if spec.draws == "auto" and spec.reads_rows else ""
    return [
        f"{spec.num_cells:,} cells x {spec.replicates:,} independent replicates (draws shared over the cells) "
        f"= {tasks:,} tasks, {len(spec.methods)} methods",
        f"draws: {'moments' if spec.direct else 'data'}{why}",
        f"{blocks} blocks of {spec.block_size} replicates x {len(chunks)} chunks of the grid on {devices} devices; "
        f"working memory: at most {memory / 1e6:,.0f} MB",
    ]


def whole_grid(spec: SweepSpec, chunks: list[GridChunk]) -> list[Grid]:
    """The traced input of each chunk."""
    grid = make_grid(spec)
    return [chunk.take(grid) for chunk in chunks]
