"""PyTorch's rival: tasks in batches, every task with draws of its own, solved by batched linear algebra.

PyTorch always draws normals on one thread, so on a CPU the fastest setting is a process per core with one
thread each; where there is a GPU that PyTorch can use, one process works on it.
"""

# pyright: reportMissingImports=false
import numpy as np

from benchmarks.workload import MeanRisks, Workload

BATCH = 16
"""Tasks that are drawn and solved at once; the fastest of 4, 16, 64 and 256 on one core at d = 32, n = 2048."""


def device() -> str:
    """Where PyTorch computes."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def mean_risks(workload: Workload, num_replicates: int, seed: int = 0) -> MeanRisks:
    """Mean risks over `num_replicates` passes through the grid."""
    naive, refined = samples(workload, num_replicates, seed)
    return MeanRisks(naive.mean(axis=0), refined.mean(axis=0))


def samples(workload: Workload, num_replicates: int, seed: int = 0) -> MeanRisks:
    """Risks of every pass, `[r A C]` and `[r A C M]`."""
    import torch

    place = device()
    if place == "cpu":
        torch.set_num_threads(1)
    random = torch.Generator(place).manual_seed(seed)
    total = num_replicates * workload.num_cells
    size = BATCH if place == "cpu" else 16 * BATCH  # a GPU wants more at once
    with torch.inference_mode():
        parts = [
            batch_risks(random, workload, torch.arange(first, min(first + size, total), device=place))
            for first in range(0, total, size)
        ]
        risks = torch.cat(parts).cpu().numpy().reshape(num_replicates, *workload.grid, 2).astype(np.float64)
    return MeanRisks(naive_ft=risks[..., 0].mean(axis=-1), icl_refine_shared=risks[..., 1])


def batch_risks(random, workload: Workload, numbers):
    """Risks `[b 2]` of the tasks of these numbers `[b]`, counted through the grid again and again."""
    import torch

    n, d, size, place = workload.num_samples, workload.dim, len(numbers), random.device
    noise_std, options = workload.noise_var**0.5, {"generator": random, "device": place}
    arrays = (workload.concepts, workload.weak_coefs, workload.source_priors)
    concepts, weak_coefs, priors = (torch.as_tensor(x, dtype=torch.float32, device=place) for x in arrays)
    a, c, m = torch.unravel_index(numbers % workload.num_cells, workload.grid)
    weak, prior, lengths = weak_coefs[a], priors[c], torch.tensor(workload.num_icl, device=place)[m]
    source = prior @ concepts

    features = torch.randn(size, n, d, **options)
    labels = (features @ weak[:, :, None])[..., 0] + noise_std * torch.randn(size, n, **options)

    longest = max(workload.num_icl)
    prompt = torch.randn(size, longest, d, **options)
    answers = (prompt @ weak[:, :, None])[..., 0] + noise_std * torch.randn(size, longest, **options)
    read = torch.arange(longest, device=place) < lengths[:, None]
    squares = (answers[:, :, None] - prompt @ concepts.T) ** 2 * read[:, :, None]
    posterior = torch.softmax(torch.log(prior) - squares.sum(dim=1) / (2 * workload.noise_var), dim=1)

    levels = posterior.cumsum(dim=1)[:, :-1].contiguous()
    chosen = torch.searchsorted(levels, torch.rand(size, n, **options), right=True)
    refined = (features @ concepts.T).gather(2, chosen[:, :, None])[..., 0]
    refined += noise_std * torch.randn(size, n, **options)

    gram = features.mT @ features / n
    cross = features.mT @ torch.stack([labels, refined], dim=2) / n
    residual = cross[:, :, 0] - (gram @ source[:, :, None])[..., 0]
    naive = source + torch.linalg.solve(gram + workload.penalty * torch.eye(d, device=place), residual)
    student = torch.linalg.solve(gram, cross[:, :, 1])
    return torch.stack([((coef - concepts[0]) ** 2).sum(dim=1) for coef in (naive, student)], dim=1)
