"""The figures of a run in words: the headline as a table, then the ladders and the limits, a line each."""

from benchmarks.contenders import CONTENDERS
from benchmarks.parts import PARTS
from benchmarks.quiet import is_disturbed, ratio_text, warning


def report(rows: list[dict]) -> str:
    """The headline as a table to read, and to paste into a README; then the other parts and the limits, in lines."""
    lines = []
    headline = [row for row in rows if row["axis"] == "headline"]
    if headline:
        lines += [headline[0]["workload"], "", table(headline), "", *against_numpy(headline)]
    for part in (name for name in PARTS if name != "headline"):
        for name in CONTENDERS:
            ladder = [row for row in rows if row["axis"] == part and row["contender"] == name]
            steps = (f"{row['value']:,}: {row['tasks_per_second']:,.0f}" + _percent(row) for row in ladder)
            if ladder:
                lines.append(f"tasks/s of {name} by {part}: " + ", ".join(steps))
    lines += limit_lines(rows)
    if not rows:
        return "nothing was measured"
    first = rows[0]
    return "\n".join([*lines, f"{first['machine']}; medians of {first['repeats']}", *warning(rows)])


def table(rows: list[dict]) -> str:
    """Rows of one workload as a table."""
    lines = [
        "| contender | processes or devices | tasks/s | ratio to the loop | compile | peak memory |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        contender = CONTENDERS[row["contender"]]
        compiled = f"{row['compile_seconds']:.1f} s" if contender.compiles else ""
        lines.append(
            f"| {row['contender']}: {contender.what} | {row['devices'] if contender.parallel else 1} "
            f"| {row['tasks_per_second']:,.0f} | {ratio_text(row, _ratio(row['ratio_to_numpy_loop']))} | {compiled} "
            f"| {row['peak_mb']:,.0f} MB |"
        )
    return "\n".join(lines)


def against_numpy(rows: list[dict]) -> list[str]:
    """The engine over its strongest rival, which shares draws as it does: in one process, and in one a core."""
    rates = {row["contender"]: row["tasks_per_second"] for row in rows}
    rivals = ("numpy_vectorised", "numpy_vectorised_every_core")
    if any(is_disturbed(row) for row in rows if row["contender"] in ("w2s_jax", *rivals)):
        return []
    return [f"w2s_jax: {rates['w2s_jax'] / rates[name]:.2f} times {name}, both drawing the examples" for name in rivals]


def limit_lines(rows: list[dict]) -> list[str]:
    """The limits, and the fraction of the lowest one on all cores that the engine reaches."""
    found = [row for row in rows if row["axis"] == "limit"]
    lines = []
    for row in found:
        by_xla = f", {row['counted_by_xla']:.3g} by XLA's count" if row["counted_by_xla"] else ""
        lines.append(
            f"{row['contender']}, devices {row['devices']}: {row['value']:.3g} {row['unit']}, enough for "
            f"{row['tasks_per_second']:,.0f} tasks/s ({row['needed_per_replicate']:.3g} a replicate{by_xla})"
        )
    binding = [row for row in found if row["binds"] and row["devices"] == found[-1]["devices"]]
    ours = [row for row in rows if row["axis"] == "headline" and row["contender"] == "w2s_jax"]
    if binding and ours:
        lowest = min(binding, key=lambda row: row["tasks_per_second"])
        fraction = ours[0]["tasks_per_second"] / lowest["tasks_per_second"]
        lines.append(f"the lowest is {lowest['contender']}; w2s_jax reaches {fraction:.0%} of it")
    return lines


def _ratio(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def _percent(row: dict) -> str:
    return f" ({ratio_text(row, format(row['efficiency'], '.0%'))})" if "efficiency" in row else ""
