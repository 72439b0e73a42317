"""Figures of the arena: who wins where, what the table says, and a method that is new to them."""

import json

import numpy as np
import pytest
import xarray as xr
from matplotlib.text import Text

from figures import arena, data, make
from tests.panels import assert_same_bytes, laid_out, stored, texts
from w2s_jax.statistics import pgr_interval

METHODS = ("source", "ceiling", "naive_ft", "hull", "new_method")
RISKS = {"source": 0.5, "ceiling": 0.02, "naive_ft": 0.3, "hull": 0.1, "new_method": 0.2}
WEAKNESSES = ("rotated", "confused", "noisy")
ACCURACIES, SHIFTS = (0.5, 0.7), (0.25, 0.5, 0.75)
COUNT = 50


def dataset() -> xr.Dataset:
    """A store in the format of the sweep: the hull wins, but for a confused teacher, where the new method does."""
    rng = np.random.default_rng(0)
    cells = (len(WEAKNESSES), len(ACCURACIES), len(SHIFTS))
    base = np.array([RISKS[m] for m in METHODS])
    risk = np.broadcast_to(base, (2, 2, *cells, len(METHODS))).copy()
    risk[..., 1, :, :, 3] = 0.25
    risk[1] *= 0.8
    # Errors that all methods share: paired differences are certain, but for the hull's.
    shared, own = 0.2, np.diag([0.0, 0.0, 1e-4, 1e-4, 1e-4])
    cov = np.broadcast_to(shared + own, (2, *cells, len(METHODS), len(METHODS))).copy()
    cov[:, 2, :, :, 3, 3] += 4.0
    sem = np.sqrt(np.diagonal(cov, axis1=-2, axis2=-1) / COUNT)
    rank = np.array([4.0, np.nan, 3.0, 1.2, 1.8])
    cell = ("weakness", "weak_accuracy", "concept_shift")
    own_dims = ("budget", *cell, "method")
    weak = np.array([0.6, 0.6, 0.0])[:, None, None] * np.ones(cells)
    pgr = []
    for place in range(len(METHODS)):
        mean = np.stack(np.broadcast_arrays(weak[None], risk[0, ..., place], risk[0, ..., 1]), axis=-1)
        pgr.append(pgr_interval(mean, np.broadcast_to(1e-3 * np.eye(3), (*mean.shape, 3)), COUNT))
    levels = np.array([[0.0, 0.2, 0.4, 0.6], [0.0, 0.5, 1.0, 1.5]])
    relaxed = base * (1 + rng.uniform(size=(2, 2, 4, 2, 1)))
    return xr.Dataset(
        {
            "risk_mean": (("tuning", *own_dims), risk),
            "risk_sem": (("tuning", *own_dims), np.stack([sem, sem])),
            "risk_cov": ((*own_dims, "method_2"), cov),
            "weak_risk": (cell, weak),
            **{
                name: (own_dims, np.stack([p[i] for p in pgr], -1))
                for i, name in enumerate(("pgr", "pgr_low", "pgr_high"))
            },
            "rank_mean": (("budget", "method"), np.stack([rank, rank + 0.1])),
            "rank_sem": (("budget", "method"), np.stack([rank, rank]) * 0.01),
            "reads_target": ("method", [m == "ceiling" for m in METHODS]),
            "in_practice": ("method", [m not in ("ceiling", "hull") for m in METHODS]),
            "reads": ("method", [0, 3, 3, 3, 42]),
            "relaxed_risk_mean": (("tuning", "assumption", "level", "budget", "method"), relaxed),
            "relaxed_risk_sem": (("tuning", "assumption", "level", "budget", "method"), 0.05 * relaxed),
            "relaxed_weak_risk": (("assumption", "level"), np.full((2, 4), 0.6)),
            "relaxed_level": (("assumption", "level"), levels),
            "num_replicates": COUNT,
        },
        {
            "tuning": ["weak_labels", "oracle"],
            "budget": ["examples", "compute"],
            "weakness": list(WEAKNESSES),
            "weak_accuracy": list(ACCURACIES),
            "concept_shift": list(SHIFTS),
            "method": list(METHODS),
            "method_2": list(METHODS),
            "assumption": ["coherence", "spectrum"],
            "level": range(4),
        },
        {"config": json.dumps({"sample_size": 256, "dim": 16, "num_concepts": 4, "num_icl": 8}), "complete": COUNT},
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> data.Results:
    return stored(dataset(), tmp_path_factory.mktemp("results"), "methods")


def test_the_lowest_risk_wins_and_the_ceiling_does_not_compete(results):
    held = results.data.isel(method=~results.data["reads_target"].values, method_2=~results.data["reads_target"].values)
    for weakness, best in (("rotated", "hull"), ("confused", "new_method"), ("noisy", "hull")):
        found, certain = arena._winners(held.sel(weakness=weakness, budget="examples"), COUNT)
        assert found.shape == (2, 3) and (found == best).all()
        assert certain.all() == (weakness != "noisy") and certain.any() == (weakness != "noisy")


def test_the_arena_names_winners_alone(results):
    figure = laid_out(arena.method_arena, results)
    said = texts(figure)
    assert {"convex hull of the concepts", "new method", "not significantly ahead of the next"} <= set(said)
    assert "naive fine-tuning" not in said and "ceiling (true labels)" not in said
    assert said.count("0.1") == 2 * 2 * 6 and said.count("0.2") == 2 * 6  # a risk in each cell of both budgets
    assert any("n = 256, d = 16, K = 4, prompts of 8, 50 replicates" in text for text in said)


def test_the_table_is_ordered_by_rank_and_tells_gaps_and_costs(results):
    figure = laid_out(arena.method_table, results)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    order = ("ceiling", "hull", "new_method", "naive_ft", "source")
    assert names == [arena.label_of(name) + " *" * (name in ("ceiling", "hull")) for name in order]
    said = texts(figure)
    assert "1.2 ± 0.0" in said and "42" in said and said.count("1.25") == len(METHODS) and "reads the target" in said
    gap = (0.6 - 0.1) / (0.6 - 0.02)
    assert any(text.startswith(f"{gap:.2f}  [") for text in said)
    heads = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert any("rotated" in head for head in heads) and not any("noisy" in head for head in heads)  # no gap to recover


def test_robustness_shows_every_level_of_every_assumption(results):
    figure = laid_out(arena.robustness, results)
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left").split("  ")[1] for axes in panels] == ["coherence", "spectrum"]
    for axes, levels in zip(panels, (("0", "0.2", "0.4", "0.6"), ("0", "0.5", "1", "1.5"))):
        assert tuple(label.get_text() for label in axes.get_xticklabels()) == levels
        assert len(axes.texts) == (len(METHODS) + 1) * 4 == len(axes.patches)
    rows = [label.get_text() for label in panels[0].get_yticklabels()]
    assert rows == ["weak teacher", *map(arena.label_of, METHODS)]


@pytest.mark.parametrize("definitions", [None, 2])
def test_old_stores_are_drawn_by_the_names_of_now(results, definitions):
    """What was called contrastive is another method since; a store that says nothing is of then."""
    names = ["contrastive" if name == "new_method" else name for name in METHODS]
    held = results._replace(
        data=results.data.assign_coords({"method": names, "method_2": names}).drop_vars("in_practice"),
        config={**results.config, **({} if definitions is None else {"definitions": definitions})},
    )
    for entry in (arena.method_arena, arena.method_table, arena.robustness):
        said = texts(entry(held))
        assert ("contrastive" in said, "contrastive, anchored" in said) == (definitions == 2, definitions is None)
        assert not any(text.endswith(" *") for text in said)


def test_a_store_of_one_accuracy_has_no_diagram(results):
    one = results._replace(data=results.data.isel(weak_accuracy=[0]))
    with pytest.raises(data.MissingResultError, match="at least two values of weak_accuracy"):
        arena.method_arena(one)


@pytest.fixture(scope="module")
def of_signs(tmp_path_factory):
    """The same as a store of signs, with measured times."""
    folder = tmp_path_factory.mktemp("signs")
    signs = dataset()
    signs.attrs["config"] = json.dumps({**json.loads(signs.attrs["config"]), "labels": "sign"})
    stored(signs, folder, "methods_sign")
    own = {"tasks": 256, "machine": "2 cores of a processor", "seconds": [1.0]}
    rows = [
        {"labels": labels, "method": name, "ratio_to_naive_ft": ratio + (labels == "linear"), **own}
        for labels in ("linear", "sign")
        for name, ratio in (("naive_ft", 1.0), ("hull", 0.34), ("source", 0.012))
    ]
    (folder / "methods_cost.json").write_text(json.dumps(rows))
    return folder


def test_figures_of_signs_say_so(of_signs):
    signs, cost = (data.open_results(of_signs, store) for store in ("methods_sign", "methods_cost"))
    assert any("numbers: its mean share of wrong signs" in text for text in texts(laid_out(arena.method_arena, signs)))
    assert "share of wrong signs" in texts(laid_out(arena.robustness, signs))
    said = texts(laid_out(arena.method_table, signs, cost))
    assert {"0.34", "0.012", "1"} <= set(said) and "time of a fit,\nnaive's = 1" in said
    assert any("times: 256 fits side by side on one device of: 2 cores of a processor" in text for text in said)


def test_a_table_is_drawn_without_times_and_never_of_times_alone(of_signs, tmp_path, capsys):
    (tmp_path / "methods_cost.json").write_text((of_signs / "methods_cost.json").read_text())
    assert make.main(["--results", str(tmp_path), "--only", "method_table_sign"]) == 2
    assert "make it with: python -m sims.methods --labels sign --preset quick" in capsys.readouterr().err
    assert make.main(["--results", str(of_signs), "--only", "method_table_sign", "--only", "robustness_sign"]) == 0
    assert make.main(["--results", str(of_signs), "--only", "method_table_sign", "--list"]) == 0
    assert "    ready\n" in capsys.readouterr().out
    (tmp_path / "methods_cost.json").write_text("[{")
    stored(dataset(), tmp_path, "methods")
    assert make.main(["--results", str(tmp_path), "--only", "method_table"]) == 2
    assert "methods_cost must be a list of measurements in JSON" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["method_arena", "method_table", "robustness"])
def test_figures_are_drawn_alike_every_time_and_on_the_page(results, name):
    assert_same_bytes(name, results)
    figure = laid_out(make.FIGURES[name].draw, results)
    page = figure.bbox
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible():
            box = text.get_window_extent()
            assert box.x0 > page.x0 - 2 and box.x1 < page.x1 + 2, text.get_text()


@pytest.mark.slow
def test_a_new_method_is_one_registry_line_away_from_table_and_figures(tmp_path, monkeypatch, capsys):
    """A dummy goes through list, sweep and figures."""
    import jax.numpy as jnp

    from sims.methods import __main__ as command
    from w2s_jax.methods import METHODS as registry
    from w2s_jax.methods import Cost, Method

    nothing = Method(
        "nothing_at_all", "Answers 0.", lambda view: jnp.zeros(view.features.shape[1]), (), Cost(0, False, 0), "none"
    )
    monkeypatch.setitem(registry, nothing.name, nothing)
    assert command.main(["--list"]) == 0
    assert "nothing_at_all: Answers 0." in capsys.readouterr().out
    chosen = ["source", "ceiling", "naive_ft", "hull", "nothing_at_all"]
    argv = ["--preset", "smoke", "--methods", *chosen, "--concept-shift", "0.5", "0.75", "--out", str(tmp_path)]
    assert command.main(argv) == 0
    found = data.open_results(tmp_path, "methods")
    np.testing.assert_allclose(found.data["risk_mean"].sel({"method": "nothing_at_all"}), 1.0, rtol=1e-5)  # |beta_*|^2
    names = ("method_arena", "method_table", "robustness")
    assert make.main(["--results", str(tmp_path), *(part for name in names for part in ("--only", name))]) == 0
    for name, mark in zip(names[1:], (" *", "")):  # a method that cannot be had in practice has a star
        assert f"nothing at all{mark}" in texts(laid_out(make.FIGURES[name].draw, found))
