"""Tables of the worlds of tokens: scores of all methods, by capability of the teacher, by examples in the prompt."""

import xarray as xr

from sims.tables.sources import Sources, markdown, mean_and_sem

CAPABILITY = 0.4
"""Capability of the teacher in tables of a single one."""


def methods(sources: Sources, task: str) -> str:
    """Content, style and copied errors of every method at one capability, means over seeds and standard errors."""
    data = _longest(sources, task).sel(capability=CAPABILITY)
    weak = [mean_and_sem(data.weak_content.sel(split=split)) for split in ("train", "held_out")]
    of_teacher = (data.weak_style.sel(split="held_out"), data.weak_copied_errors.sel(split="train"))
    rows = [["weak teacher", *weak, "", *map(mean_and_sem, of_teacher)]]
    for method in data["method"].values:
        own = data.sel({"method": method})
        contents = [mean_and_sem(own.content.sel(split=split)) for split in ("train", "held_out", "unrelated")]
        others = (own["style"].sel(split="held_out"), own.copied_errors.sel(split="train"))
        rows.append([f"`{method}`", *contents, *map(mean_and_sem, others)])
    style = "rate" if task == "bias" else "style"
    header = [f"capability {CAPABILITY}", "content, train", "content, held out", "unrelated skill"]
    return markdown([*header, f"{style}, held out", "errors copied, train"], rows)


def capability(sources: Sources, task: str, *names: str) -> str:
    """Content by the teacher's capability: the teacher's own and that of the named methods, asked and held out."""
    data = _longest(sources, task)
    capabilities = data["capability"].values
    rows = [_row("weak teacher, train", data.weak_content.sel(split="train"), "capability")]
    for method in names:
        for split in ("train", "held_out"):
            values = data.content.sel({"method": method, "split": split})
            rows.append(_row(f"`{method}`, {split.replace('_', ' ')}", values, "capability"))
    return markdown(["content, capability", *(f"{value:g}" for value in capabilities)], rows)


def examples(sources: Sources, task: str) -> str:
    """Style by the weak examples in the prompt: exact Bayes, the prompted model, the refined one; and its distance."""
    data = sources.sweep(f"alignment_{task}").sel(temperature=1, capability=CAPABILITY)
    lengths = data["num_icl"].values
    rows = [_row("exact Bayes", data.bayes_style, "num_icl")]
    for method in ("prompt_only", "icl_refine"):
        rows.append(_row(f"`{method}`", data.style.sel({"method": method, "split": "held_out"}), "num_icl"))
    rows.append(_row("KL(Bayes ‖ strong), nats", data.weak_kl_to_bayes, "num_icl"))
    style = "rate" if task == "bias" else "style"
    return markdown([f"{style}, weak examples", *(f"{length}" for length in lengths)], rows)


def naming(sources: Sources, task: str) -> str:
    """How often the strong model, before any fine-tuning, and exact Bayes name the concept of true examples."""
    data = sources.sweep(f"alignment_{task}")
    rows = [
        _row(label, data[name].mean("concept"), "prompt_length")
        for label, name in (("strong model", "strong_naming"), ("exact Bayes", "bayes_naming"))
    ]
    return markdown(["concept named, true examples", *map(str, data["prompt_length"].values)], rows)


def score(sources: Sources, task: str, method: str, variable: str, split: str, at: str = "", form: str = ".2f") -> str:
    """Content or style of a method, or of its teacher (`weak`), after the longest prompt: at a capability of the
    teacher, by default that of the tables, or at each of them (`capability`)."""
    data = _longest(sources, task)
    found = data[f"weak_{variable}"] if method == "weak" else data[variable].sel({"method": method})
    return _listed(found.sel(split=split), at, form)


def lengths(sources: Sources, task: str, name: str, form: str = ".2f") -> str:
    """A number after 1, 2, ... weak examples: the style of a method, or of exact Bayes (`bayes`), held out; or KL(Bayes
    || strong) (`kl`)."""
    data = sources.sweep(f"alignment_{task}").sel(temperature=1, capability=CAPABILITY)
    of_bayes = {"bayes": "bayes_style", "kl": "weak_kl_to_bayes"}.get(name)
    found = data[of_bayes] if of_bayes else data.style.sel({"method": name, "split": "held_out"})
    return ", ".join(f"{value:{form}}" for value in found.mean("seed").values)


def _listed(found: xr.DataArray, at: str, form: str) -> str:
    cut = found if at == "capability" else found.sel(capability=[float(at or CAPABILITY)])
    return ", ".join(f"{value:{form}}" for value in cut.mean("seed").values)


def _longest(sources: Sources, task: str) -> xr.Dataset:
    """Results at temperature 1, after the longest prompt."""
    data = sources.sweep(f"alignment_{task}").sel(temperature=1)
    return data.sel(num_icl=data["num_icl"].values.max())


def _row(label: str, values: xr.DataArray, dim: str) -> list[str]:
    return [label, *(f"{value:.2f}" for value in values.mean("seed").transpose(dim).values)]
