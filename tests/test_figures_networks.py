"""Figures of the in-context sweep: that they read its own results, what they draw of them, and what stands beside."""

import dataclasses

import numpy as np
import pytest

from figures import data, make, network_risk, networks, style
from sims.incontext import distance
from sims.incontext import results as network_results
from sims.incontext.spec import InContextSpec
from tests.panels import assert_legible, laid_out, shows, written
from w2s_jax import theory
from w2s_jax.statistics import confidence_interval
from w2s_jax.tasks import make_task

SPEC = InContextSpec(
    sample_size=(64, 256), num_icl=(1, 4, 8), replicates=5, max_icl=8, finetune_steps=4, finetune_looks=2
)
ONE = dataclasses.replace(SPEC, concept_shift=(0.5,), weak_accuracy=(0.7,), num_icl=(0, 4))
"""A sweep of one concept shift and one teacher, also without a prompt."""
MANY = dataclasses.replace(
    SPEC, concept_shift=(0.25, 0.5, 0.75, 0.9), weak_accuracy=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
)
NAMES = ("icl_vs_bayes", "concept_posterior_trace", "network_vs_theory", "network_prompt_length")
RISKS = {"sample_size": "network_vs_theory", "num_icl": "network_prompt_length"}


def write(spec: InContextSpec, folder) -> data.Results:
    """The results that the sweep's own writer makes of numbers drawn at random."""
    draw = np.random.default_rng(0)
    teachers, sizes, prompts = len(spec.weak_accuracy), len(spec.sample_size), len(spec.num_icl)
    steps, contexts = len(spec.steps), spec.max_icl + 1
    refined, traced = (teachers, sizes, prompts, steps), (teachers, len(spec.trace_lengths))
    shapes = {
        "weak_risk": (teachers,),
        "ceiling_risk": (sizes, steps),
        "naive_risk": (teachers, sizes, steps),
        **dict.fromkeys(("shared_risk", "fresh_risk", "intent_risk"), refined),
        **dict.fromkeys(("shared_bayes", "fresh_bayes", "intent", "bayes_intent"), (teachers, prompts)),
        **dict.fromkeys(("distance.kl", "distance.mean_square"), (len(distance.LAWS), contexts)),
        "distance.coverage": (len(distance.LEVELS), contexts),
        "distance.outside": (),
        **dict.fromkeys(("trace.network", "trace.bayes", "trace.gap"), traced),
    }

    def read(seed: int, shift: int) -> dict[str, np.ndarray]:
        return {name: draw.uniform(0.1, 1.0, shape) for name, shape in shapes.items()}

    return written(network_results.assemble, spec, read, np.ones(spec.replicates), folder, "incontext")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write(SPEC, tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def figures(results):
    """Every figure, laid out."""
    return {name: laid_out(make.FIGURES[name].draw, results) for name in NAMES}


def band_of(panel, low, high) -> bool:
    """Whether a band reaches from the one to the other."""
    ends = [(c.get_paths()[0].vertices[:, 1].min(), c.get_paths()[0].vertices[:, 1].max()) for c in panel.collections]
    return any(np.allclose(end, (np.min(low), np.max(high))) for end in ends)


# --- What is read ------------------------------------------------------------------------------------------------


def test_kinds_of_prompts_and_methods_are_those_of_the_sweep():
    assert tuple(networks.LAWS) == distance.LAWS
    assert set(network_risk.LABELS) == set(network_results.METHODS)


@pytest.mark.parametrize("dim", ["sample_size", "num_icl"])
def test_a_single_value_along_an_axis_is_refused(dim, results):
    with pytest.raises(data.MissingResultError, match=f"at least two values of {dim}, and incontext.zarr holds one"):
        make.FIGURES[RISKS[dim]].draw(results._replace(data=results.data.isel({dim: [0]})))


# --- How a network reads a context -------------------------------------------------------------------------------


def test_distance_to_bayes_is_drawn_with_its_interval_over_seeds(figures, results):
    for column, shift in enumerate(SPEC.concept_shift):
        panel = figures["icl_vs_bayes"].axes[column]
        for law, how in networks.LAWS.items():
            values = results.at(concept_shift=shift, law=law)["kl_to_bayes"].transpose("seed", "context_length").values
            assert shows(panel, values.mean(0), how.color)
            spread = values.std(0, ddof=1) / np.sqrt(SPEC.replicates)
            low, high = confidence_interval(values.mean(0), spread, SPEC.replicates)
            assert band_of(panel, np.maximum(low, 1e-30), high)
    own = results.at(concept_shift=0.75, law="in_distribution")["kl_to_bayes"].mean("seed").values
    title = figures["icl_vs_bayes"].axes[1].get_title(loc="left")
    assert f"mean {own.mean():.3f}, worst {own.max():.3f}" in title


def test_coverage_stands_beside_its_levels(figures, results):
    panel = figures["icl_vs_bayes"].axes[2]
    covered = results.at(concept_shift=0.5)["coverage"].mean("seed")
    for level in distance.LEVELS:
        assert shows(panel, covered.sel(level=level).values)
        assert shows(panel, [level, level], "black")
    assert panel.get_ylim()[0] < covered.min()


def test_trace_shows_network_posterior_and_gap(figures, results):
    top, bottom = (figures["concept_posterior_trace"].axes[i] for i in (1, 3))
    row = results.at(concept_shift=0.75)
    for accuracy, color in zip(SPEC.weak_accuracy, style.ordered_colors(len(SPEC.weak_accuracy) + 1)):
        cell = row.sel(weak_accuracy=accuracy).mean("seed")
        drawn = {line.get_linestyle(): line.get_ydata() for line in top.lines if line.get_color() == color}
        np.testing.assert_allclose(drawn["-"], cell["concept_weight"].sel(predictor="network"))
        np.testing.assert_allclose(drawn["--"], cell["concept_weight"].sel(predictor="bayes"))
        assert shows(bottom, cell["concept_weight_gap"], color)
    assert shows(bottom, [0.05, 0.05], "black")
    worst = row["concept_weight_gap"].sel(weak_accuracy=0.8).mean("seed").max().item()
    assert f"a = 0.8: ≤ {worst:.3f}" in bottom.get_title(loc="left")


# --- What a network risks ----------------------------------------------------------------------------------------


def test_risks_of_networks_are_drawn_at_the_cut(figures, results):
    for dim, others in (("sample_size", {"num_icl": 8}), ("num_icl", {"sample_size": 256})):
        cut = results.at(concept_shift=0.75, **others)["risk_last"].mean("seed")
        for column, accuracy in enumerate(SPEC.weak_accuracy):
            panel = figures[RISKS[dim]].axes[column]
            for method in network_risk.LABELS:
                heights = cut.sel({"method": method, "weak_accuracy": accuracy}).transpose(dim).values
                assert shows(panel, heights, style.look(method).color), (dim, accuracy, method)


def test_theory_stands_beside_the_networks(figures, results):
    task = make_task(num_concepts=4, dim=8, noise_var=SPEC.noise_var, weak_accuracy=0.6, concept_shift=0.75)
    by_size, by_length = (figures[name].axes[1] for name in RISKS.values())
    perfect = task._replace(weak_concepts=task.concepts)
    ridge = min(float(theory.ridge_risk(task, 256, eta)) for eta in network_risk.PENALTIES)
    ends = {
        "naive_ft": [ridge, float(theory.population_ridge_floor(task))],
        "ceiling": [float(theory.least_squares_risk(perfect, 256))],
    }
    exact = results.at(concept_shift=0.75, weak_accuracy=0.6)["bayes_misalignment"].mean("seed")
    for prompts in ("shared", "fresh"):
        ends[f"icl_refine_{prompts}"] = [exact.sel(prompts=prompts, num_icl=8).item()]
        along = exact.sel(prompts=prompts).values
        assert shows(by_length, along, style.look(f"icl_refine_{prompts}").color)
    for method, levels in ends.items():
        for panel in (by_size, by_length):
            drawn = [line.get_ydata()[-1] for line in panel.lines if line.get_color() == style.look(method).color]
            assert all(np.isclose(drawn, level, rtol=1e-6).any() for level in levels), method


def test_advantage_is_paired_by_seed(figures, results):
    pair = results.at(concept_shift=0.75, weak_accuracy=0.6, sample_size=256, num_icl=8)["risk_last"]
    gap = (pair.sel({"method": "naive_ft"}) - pair.sel({"method": "icl_refine_fresh"})).values
    low, high = confidence_interval(gap.mean(), gap.std(ddof=1) / np.sqrt(gap.size), gap.size)
    title = figures["network_vs_theory"].axes[1].get_title(loc="left")
    assert title.endswith(f"gap {gap.mean():.2f} [{low:.2f}, {high:.2f}]".replace("-", "−"))


def test_theory_far_below_the_networks_leaves_the_frame(results):
    tiny = results.data.assign(bayes_misalignment=1e-9 * results.data["bayes_misalignment"])
    with style.style():
        panel = network_risk.network_vs_theory(results._replace(data=tiny)).axes[0]
    assert panel.get_ylim()[0] > 1e-3


# --- Sweeps of other sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [ONE, SPEC, pytest.param(MANY, marks=pytest.mark.slow)], ids=["one", "some", "many"])
def test_figures_are_legible(spec, figures, tmp_path):
    if spec != SPEC:
        other = write(spec, tmp_path)
        figures = {name: laid_out(make.FIGURES[name].draw, other) for name in NAMES}
    for name, figure in figures.items():
        assert_legible(figure, name, ticks=False)
