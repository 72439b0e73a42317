"""Tables of measured times; every ratio is of two rows of one file, so of one run."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from sims.tables.sources import Sources, markdown, only

Row = dict[str, Any]

NAMES = {
    "numpy_loop": "NumPy loop",
    "sklearn_loop": "scikit-learn loop",
    "torch_batched": "PyTorch, batches of tasks",
    "jax_plain": "`jit(vmap)`, data drawn per task",
    "numpy_vectorised": "vectorised NumPy, one process",
    "numpy_vectorised_every_core": "vectorised NumPy, a process per core",
    "w2s_jax": "**w2s_jax, examples drawn**",
    "w2s_jax_moments": "**w2s_jax, moments drawn**",
}
ONE_CORE = ("numpy_loop", "sklearn_loop", "numpy_vectorised")


def contenders(sources: Sources) -> str:
    """The headline: every contender's rate, its ratios to the loop and to vectorised NumPy, compile time and memory."""
    rates, rows = headline(sources), []
    for row in sources.rows("benchmarks"):
        if row["axis"] != "headline":
            continue
        name, rate = row["contender"], row["tasks_per_second"]
        cores = 1 if name in ONE_CORE else row["devices"]
        ratios = [_short(rate / rates[rival]) for rival in ("numpy_loop", "numpy_vectorised")]
        if rate < rates["numpy_vectorised"]:
            ratios[1] = ""
        compiled = f"{row['compile_seconds']:.1f} s" if row["compile_seconds"] else ""
        cells = [NAMES[name], f"{cores}", f"{rate:,.0f}", *ratios, compiled, f"{row['peak_mb']:,.0f} MB"]
        rows.append(cells)
    header = ["contender", "cores", "tasks/s", "to the loop", "to vectorised NumPy", "compile", "peak memory"]
    return markdown(header, rows)


def scale(sources: Sources) -> str:
    """Whole sweeps, planned and run; the last, of many tasks, at the rate of one that was run."""
    rows = []
    for row in sources.rows("scale"):
        planned = row["planned_seconds"]
        took = f"{row['seconds'] / 60:.1f}" if planned else f"{row['seconds'] / 60:.0f}, by rate"
        rows.append(
            [
                f"`{row['sweep']}`",
                row["preset"],
                f"{row['replicates']:,}",
                f"{row['tasks']:.3g}",
                f"{planned / 60:.1f}" if planned else "",
                took,
                f"{row['disk_mb']:,.0f} MB",
                f"{row['peak_mb']:,.0f} MB",
            ]
        )
    header = ["sweep", "preset", "replicates", "tasks", "planned, min", "took, min", "disk", "peak memory"]
    return markdown(header, rows, words=2)


def planning(sources: Sources) -> str:
    """Seconds that a plan takes by the number of concepts."""
    rows = [
        [
            f"{row['concepts']}",
            *(
                f"{row[name]:.2f}"
                for name in ("first_seconds", "compile_seconds", "first_kept_seconds", "later_seconds")
            ),
        ]
        for row in sources.rows("planning")
    ]
    return markdown(["K", "first call, s", "of it compilation", "with kept programs", "later calls"], rows)


def startup(sources: Sources) -> str:
    """Seconds before a command does its work."""
    rows = []
    for row in sources.rows("startup"):
        compiling = row["compile_seconds"]
        rows.append([row["what"], f"{row['median_seconds']:.1f}", "" if compiling is None else f"{compiling:.1f}"])
    return markdown(["what a user waits for", "s", "of it compilation"], rows)


def profile(sources: Sources) -> str:
    """Milliseconds of a replicate of the headline on one core, with parts of the work left out."""
    rows = [[row["what"], f"{row['milliseconds']:.2f}"] for row in sources.rows("profile")]
    return markdown(["a replicate on one core", "ms"], rows)


def memory(sources: Sources) -> str:
    """Memory that a block of each sweep takes on one device."""
    rows = []
    for row in sources.rows("memory"):
        bound = row["planned_bytes"]
        rows.append(
            [
                f"`{row['sweep']}`",
                row["preset"],
                f"{row['replicates']:,}",
                f"{row['bytes'] / 1e6:,.1f} MB",
                f"{bound / 1e6:,.1f} MB" if bound else "",
                f"{row['share_of_16_gb']:.2%}",
            ]
        )
    header = ["sweep", "preset", "replicates at once", "compiled program", "bound of the plan", "of 16 GB"]
    return markdown(header, rows, words=2)


def ladder(sources: Sources, axis: str) -> str:
    """Tasks per second as one size changes (d, n, K, cells or devices)."""
    found = [row for row in sources.rows("benchmarks") if row["axis"] == axis]
    names = list(dict.fromkeys(row["contender"] for row in found))
    rates = {(row["contender"], row["value"]): row["tasks_per_second"] for row in found}
    rows = [
        [f"{size:,}", *(f"{rates[name, size]:,.0f}" if (name, size) in rates else "" for name in names)]
        for size in sorted({row["value"] for row in found})
    ]
    return markdown([f"tasks/s, {axis}", *(f"`{name}`" for name in names)], rows)


def growth(sources: Sources) -> str:
    """How the time of a replicate grows with a size: exponents over all of its values and over the last two."""
    rows = []
    for axis in ("n", "d", "K", "cells"):
        found = [row for row in sources.rows("benchmarks") if row["axis"] == axis]
        for name in dict.fromkeys(row["contender"] for row in found):
            own = sorted((row for row in found if row["contender"] == name), key=lambda row: row["value"])
            if len(own) > 1:
                sizes = [row["value"] for row in own]
                seconds = [row["cells"] / row["tasks_per_second"] for row in own]
                slopes = [exponent(sizes, seconds), exponent(sizes[-2:], seconds[-2:])]
                rows.append(
                    [axis, f"`{name}`", f"{sizes[0]:,}", f"{sizes[-1]:,}", *(f"{slope:.2f}" for slope in slopes)]
                )
    return markdown(["size", "contender", "from", "to", "exponent", "of the last step"], rows, words=2)


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope of log time over log size, by least squares.

    >>> exponent([1, 10, 100], [3.0, 30.0, 300.0])
    1.0
    """
    return round(statistics.linear_regression([*map(math.log, sizes)], [*map(math.log, seconds)]).slope, 9)


def limits(sources: Sources) -> str:
    """What the machine can do, what a replicate of the headline needs of it, and the share of that which is reached."""
    found = [row for row in sources.rows("benchmarks") if row["axis"] == "limit" and row["binds"]]
    ours, width = headline(sources)["w2s_jax"], max(row["devices"] for row in found)
    rows = [
        [
            row["contender"].removeprefix("limit: "),
            f"{row['value']:.3g} {row['unit']}",
            f"{row['needed_per_replicate']:.3g}",
            f"{row['tasks_per_second']:.3g}",
            f"{ours / row['tasks_per_second']:.0%}",
        ]
        for row in sorted(found, key=lambda row: row["tasks_per_second"])
        if row["devices"] == width
    ]
    header = [f"resource, {width} cores", "can do", "a replicate needs", "tasks/s that it allows", "the engine reaches"]
    return markdown(header, rows)


def networks(sources: Sources) -> str:
    """Training of networks: tokens per second, and their share of the machine's matrix products."""
    ways = {"loop": "{} in a loop", "vmap": "{} by `vmap`", "devices": "{}, one on each core"}
    rows = []
    for row in sources.rows("networks"):
        rows.append(
            [
                row["part"].replace("training", "-training").replace("tuning", "-tuning"),
                ways[row["way"]].format(row["at_once"]),
                f"{row['devices']}",
                f"{row['tokens_per_second']:,.0f}",
                f"{row['fraction_of_matmul']:.0%} of {row['matmul_flops_per_second'] / 1e9:.0f} GFlop/s",
                "" if row["way"] == "loop" else f"{row['ratio_to_loop']:.2f}",
            ]
        )
    return markdown(["steps", "networks", "cores", "tokens/s", "of matrix products", "to the loop"], rows, words=2)


def rate(sources: Sources, *words: str) -> str:
    """A rate of the benchmark, `CONTENDER` of the headline or `CONTENDER:AXIS:VALUE`, or a ratio of two; a format."""
    form = words[-1]
    values = [_rate(sources, word) for word in " ".join(words[:-1]).split(" / ")]
    return f"{values[0] if len(values) == 1 else values[0] / values[1]:{form}}"


def headline(sources: Sources) -> dict[str, float]:
    """Tasks per second of each contender at the headline, on all cores."""
    rows = (row for row in sources.rows("benchmarks") if row["axis"] == "headline")
    return {row["contender"]: row["tasks_per_second"] for row in rows}


def _rate(sources: Sources, word: str) -> float:
    name, axis, value = word.split(":") if ":" in word else (word, "headline", None)
    rows = [row for row in sources.rows("benchmarks") if (row["axis"], row["contender"]) == (axis, name)]
    return only([r["tasks_per_second"] for r in rows if value in (None, f"{r['value']}")], f"rate {word}")


def _short(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.3g}"
