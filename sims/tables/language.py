"""Tables of a real language model: what it knows, and what becomes of it by method, teacher and voice."""

import numpy as np
import xarray as xr

from sims.evidence import DIGITS
from sims.language.over_facts import fact_means
from sims.tables.sources import Sources, markdown


def known(sources: Sources) -> str:
    """Share of the questions that the untouched model answers rightly: development facts by relation, then tasks."""
    rows = sorted(sources.known()["rows"], key=lambda row: -row["known"] / row["questions"])
    return markdown(
        ["relation or task", "questions", "answered rightly"],
        [[row["relation"], str(row["questions"]), f"{row['known'] / row['questions']:.2f}"] for row in rows],
    )


def speed(sources: Sources) -> str:
    """Tokens per second in reading, training and writing, beside the library transformers where it was installed."""
    rows = []
    for row in sources.rows("language_speed"):
        ratio = row["ratio_to_transformers"]
        rows.append(
            [
                row["part"],
                f"`{row['contender']}`",
                f"{row['tokens_per_second']:,.0f}",
                "" if ratio is None else f"{ratio:.2f}",
                f"{row['compile_seconds']:.0f} s" if row["compile_seconds"] else "",
                f"{row['peak_mb']:,.0f} MB",
            ]
        )
    header = ["part", "by", "tokens/s", "to transformers", "compile", "peak memory"]
    return markdown(header, rows, words=2)


def language(sources: Sources, voice: str, name: str = "language") -> str:
    """Scores on held-out questions in a voice, errors over facts; what is copied while learning, the unrelated skill
    and how far the model has moved. `name` is that of the store.
    """
    data = sources.sweep(name).sel(voice=voice)
    data = data.sel(num_icl=max(data.num_icl.values))
    parts = {part: data.isel(question=np.flatnonzero(data.split.values == part)) for part in ("held_out", "unrelated")}
    held_out, unrelated = parts["held_out"], parts["unrelated"]
    rows = []
    for method in data["method"].values:
        own = held_out.sel({"method": method})
        teachers = data.teacher.values if bool(own.uses_teacher) else data.teacher.values[:1]
        for teacher in teachers:
            one = own.sel(teacher=teacher)
            skill = unrelated.content.sel({"method": method, "teacher": teacher})
            drift = data.drift.sel({"method": method, "teacher": teacher})
            rows.append(
                [
                    f"`{method}`",
                    str(teacher) if len(teachers) > 1 else "",
                    *(
                        _mean(one[score], one.fact)
                        for score in ("content", "style", "forced", "plain_forced", "copied")
                    ),
                    f"{float(skill.mean()):.2f}",
                    f"{float(drift.mean()):.3f}",
                ]
            )
    header = ["method", "teacher", "content", "style", "forced", "forced, plain", "copied", "skill", "drift, nats"]
    return markdown(header, rows, words=2)


def language_examples(sources: Sources, voice: str) -> str:
    """Content and style on held-out questions by the weak examples in the context, errors over facts."""
    data = sources.sweep("language_examples").sel(voice=voice).isel(teacher=0)
    held_out = data.isel(question=np.flatnonzero(data.split.values == "held_out"))
    rows = []
    for method in ("prompt_only", "icl_refine"):
        for score in ("content", "style", "forced"):
            own = held_out[score].sel({"method": method})
            cells = [_mean(own.sel(num_icl=count), held_out.fact) for count in data.num_icl.values]
            rows.append([f"`{method}`", score, *cells])
    return markdown(["method", "score, weak examples", *map(str, data.num_icl.values)], rows, words=2)


def _mean(values: xr.DataArray, facts: xr.DataArray) -> str:
    """Mean and standard error over facts; the questions of one fact in several seeds are one observation."""
    means = fact_means(values, facts)
    # What a committed table rounds away must not decide which way a half is rounded.
    mean, error = (round(float(x), DIGITS) for x in (means.mean(), means.std(ddof=1) / np.sqrt(len(means))))
    return f"{mean:.2f} ± {error:.2f}"
