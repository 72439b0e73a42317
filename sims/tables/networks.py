"""Tables of the in-context sweep: risks of fine-tuned networks, and how far their answers are from exact Bayes."""

from sims.tables.sources import Sources, markdown, mean_and_sem

ACCURACY = 0.6
"""Weak accuracy of the table of risks."""


def risk(sources: Sources) -> str:
    """Risks after all steps at the largest sample, mean over seeds and standard error, by shift and prompt length."""
    data = sources.sweep("incontext")
    found = data.risk_last.sel(weak_accuracy=ACCURACY, sample_size=data["sample_size"].values.max())
    read = data.uses_num_icl.load()
    rows = []
    for method in data["method"].values:
        lengths = data["num_icl"].values if bool(read.sel({"method": method})) else data["num_icl"].values[:1]
        for length in lengths:
            cells = found.sel({"method": method, "num_icl": length})
            shown = f"{length}" if len(lengths) > 1 else ""
            shifts = [mean_and_sem(cells.sel(concept_shift=shift), 2) for shift in data["concept_shift"].values]
            rows.append([f"`{method}`", shown, *shifts])
    shifts = [f"risk, shift {shift:g}" for shift in data["concept_shift"].values]
    return markdown([f"a = {ACCURACY}", "examples in the prompt", *shifts], rows)


def divergence(sources: Sources) -> str:
    """KL of the networks to exact Bayes, in nats: mean over context lengths, and at the worst of them."""
    data = sources.sweep("incontext")
    kl, rows = data.kl_to_bayes.mean("seed"), []
    for law in data["law"].values:
        cells = []
        for shift in data["concept_shift"].values:
            own = kl.sel(law=law, concept_shift=shift)
            cells += [f"{float(own.mean()):.4f}", f"{float(own.max()):.4f}"]
        rows.append([law.replace("_", " "), *cells])
    header = [f"{what}, shift {shift:g}" for shift in data["concept_shift"].values for what in ("mean KL", "worst")]
    return markdown(["sequences", *header], rows)
