"""The workload that every contender runs: one grid of tasks, two estimators, mean risks out.

Written in NumPy alone, so that the rivals owe the package nothing. A task is one cell of the grid in one replicate: fit
naive fine-tuning and refinement with a shared prompt, and score both.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Workload:
    """A rotated teacher over weak accuracy x concept shift x number of prompt examples; axis-aligned concepts.

    Concept k is the k-th unit vector and the teacher leaves their span along the (K + 1)-th, as `w2s_jax.make_task`.
    """

    dim: int = 32
    """Feature dimension d, at least K + 1."""
    num_samples: int = 2048
    """Labelled examples n."""
    num_concepts: int = 4
    """Concepts K."""
    noise_var: float = 0.25
    """Label noise variance, of teacher and concepts alike."""
    penalty: float = 0.1
    """Ridge penalty eta of naive fine-tuning (not divided by n)."""
    weak_accuracies: tuple[float, ...] = tuple(np.linspace(0.05, 1, 20).tolist())
    concept_shifts: tuple[float, ...] = tuple(np.linspace(0, 0.95, 20).tolist())
    num_icl: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Prompt lengths; 0 refines with the source's prior alone."""

    def __str__(self) -> str:
        axes = " x ".join(map(str, self.grid))
        sizes = f"d = {self.dim}, n = {self.num_samples}, K = {self.num_concepts}"
        return f"{axes} cells, {sizes}: naive_ft (one penalty) + icl_refine_shared"

    @property
    def grid(self) -> tuple[int, int, int]:
        """Cells along (weak accuracy, concept shift, prompt length)."""
        return len(self.weak_accuracies), len(self.concept_shifts), len(self.num_icl)

    @property
    def num_cells(self) -> int:
        """Tasks in one replicate."""
        return int(np.prod(self.grid))

    @property
    def concepts(self) -> np.ndarray:
        """beta_k, `[K d]`; the target is concept 0."""
        return np.eye(self.num_concepts, self.dim)

    @property
    def weak_coefs(self) -> np.ndarray:
        """beta_w of each weak accuracy, `[A d]`."""
        accuracy = np.array(self.weak_accuracies)
        coefs = np.zeros((accuracy.size, self.dim))
        coefs[:, 0] = accuracy
        coefs[:, self.num_concepts] = np.sqrt(1 - accuracy**2)
        return coefs

    @property
    def source_priors(self) -> np.ndarray:
        """alpha of each concept shift, `[C K]`: the shifted mass spread evenly over the rivals."""
        shift = np.array(self.concept_shifts)[:, None]
        rivals = np.broadcast_to(shift / (self.num_concepts - 1), (shift.size, self.num_concepts - 1))
        return np.concatenate([1 - shift, rivals], axis=1)


def spread(num_weak: int, num_shifts: int, num_icl: tuple[int, ...] = (1, 2, 4, 8, 16), **fields) -> Workload:
    """A workload with that many weak accuracies and concept shifts, evenly spaced over the same ranges.

    >>> spread(200, 100).num_cells
    100000
    >>> spread(20, 20) == Workload()
    True
    """
    accuracies, shifts = np.linspace(0.05, 1, num_weak), np.linspace(0, 0.95, num_shifts)
    return Workload(
        weak_accuracies=tuple(accuracies.tolist()), concept_shifts=tuple(shifts.tolist()), num_icl=num_icl, **fields
    )


class MeanRisks(NamedTuple):
    """Mean excess risks over replicates."""

    naive_ft: np.ndarray
    """`[A C]`: it reads no prompt."""
    icl_refine_shared: np.ndarray
    """`[A C M]`."""
