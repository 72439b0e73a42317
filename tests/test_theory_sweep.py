"""The theory sweep: its stores, its promises as a command, and its studies against the closed forms."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

from sims.engine.checked import InputError
from sims.theory_sweep import __main__ as theory_sweep
from sims.theory_sweep import job as theory_job
from sims.theory_sweep.claims import theory_claims
from sims.theory_sweep.spec import STUDY_NAMES, TheorySpec
from sims.theory_sweep.studies import STUDIES, em_ladder, misfit, proportional
from tests.helpers import assert_mean_summary, assert_mean_summary_rejects
from w2s_jax import theory

FAST = ("em_ladder", "mixture_target", "contamination", "misfit", "proportional")
SPEC = TheorySpec(
    studies=FAST,
    em_steps=(0, 1, 5),
    em_sample_size=(400,),
    target_prior=(0.7, 0.3),
    target_weight=(0.75,),
    contamination=(0.0, 0.2),
    num_icl=(0, 2, 6),
    weak_accuracy=(0.1, 0.8),
    aspect_ratio=(0.2, 1.0, 2.0),
    replicates=1000,
    block_size=250 * 2,
)


def options(out, **fields) -> list[str]:
    arguments = ["--out", str(out)]
    for name, value in {**SPEC.__dict__, **fields}.items():
        values = value if isinstance(value, tuple | list) else (value,)
        arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
    return arguments


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    out = tmp_path_factory.mktemp("theory")
    assert theory_sweep.main(options(out)) == 0
    return out, xr.open_zarr(out / "theory_sweep.zarr", consolidated=False).load()


@pytest.mark.slow
def test_every_study_has_its_labelled_arrays(store):
    _, data = store
    for name in FAST:
        axes = STUDIES[name].axes(SPEC)
        assert data[f"{name}_mean"].dims == (*(f"{name}_{axis}" for axis in axes), f"{name}_quantity")
        for axis, values in axes.items():
            np.testing.assert_array_equal(data[f"{name}_{axis}"], np.array(values))
        assert tuple(data[f"{name}_quantity"].values) == STUDIES[name].quantities(SPEC)
        variance = np.diagonal(data[f"{name}_cov"], axis1=-2, axis2=-1)
        np.testing.assert_allclose(data[f"{name}_sem"] ** 2 * 1000, variance, rtol=1e-9, atol=1e-18)
    assert int(data.num_replicates) == 1000
    assert set(STUDIES) == set(STUDY_NAMES)


@pytest.mark.slow
def test_a_finished_sweep_does_no_work(store, capsys, monkeypatch):
    out, _ = store
    monkeypatch.setattr(theory_job, "prepare", lambda spec: pytest.fail("there is nothing to prepare"))
    assert theory_sweep.main(options(out)) == 0
    assert "nothing to do" in capsys.readouterr().err


@pytest.mark.slow
def test_the_first_em_step_is_refinement_from_one_example(store):
    _, data = store
    risk = data.em_ladder_mean.sel(em_ladder_target="mixture", em_ladder_quantity="em_risk").values[0]
    sem = data.em_ladder_sem.sel(em_ladder_target="mixture", em_ladder_quantity="em_risk").values[0]
    task = em_ladder.task(SPEC, "mixture")
    np.testing.assert_allclose(risk[0], theory.source_bias(task), rtol=1e-6)
    expected = float(theory.em_first_step_risk(task, 400))
    assert_mean_summary(risk[1], sem[1], 1000, expected)
    assert_mean_summary_rejects(risk[1], sem[1], 1000, 1.1 * expected)
    # A prompt of one fresh example for each label has the same bias: that of its mean weights.
    prior = np.asarray(theory.one_example_refinement_prior(task))
    assert np.sum((prior - np.array([0.7, 0.3])) ** 2) < risk[1]


@pytest.mark.slow
def test_the_span_gains_its_misfit_and_the_hull_at_least_that(store):
    _, data = store
    weakness, accuracy = data.misfit_weakness.values, data.misfit_weak_accuracy.values
    tasks = [[misfit.task(SPEC, w, a) for a in accuracy] for w in weakness]
    # A student of finite data departs from its teacher by its own noise, which it pays for too: twice.
    paid = {s: 2 * np.array([[misfit.estimation_risk(t, s) for t in row] for row in tasks]) for s in ("span", "hull")}
    gain, sem = surplus(data, "span")
    np.testing.assert_array_less(np.abs(gain + paid["span"]), 5 * sem)
    assert (np.abs(gain + 1.5 * paid["span"]) > 5 * sem).any()
    gain, sem = surplus(data, "hull")
    assert (gain + paid["hull"] > -5 * sem).all()
    assert gain[list(weakness).index("confused"), 0] > 0.1  # strict where a is small


def surplus(data, student: str):
    """R(weak) - R(student) - misfit, with its standard error."""
    weights = {"weak_risk": 1, f"{student}_risk": -1, f"{student}_misfit": -1}
    contrast = np.array([weights.get(str(name), 0) for name in data.misfit_quantity.values])
    variance = np.einsum("...ij,i,j->...", data.misfit_cov.values, contrast, contrast)
    return data.misfit_mean.values @ contrast, np.sqrt(variance / 1000)


@pytest.mark.slow
def test_the_proportional_limit_passes_through_finite_samples(store):
    _, data = store
    task = proportional.task(SPEC)
    mean, sem = (data[f"proportional_{part}"].values[..., 0] for part in ("mean", "sem"))
    sizes = [proportional.sample_size(ratio) for ratio in SPEC.aspect_ratio]
    for i, n in enumerate(sizes):
        for j, penalty in enumerate(proportional.PENALTIES):
            if penalty == 0 and abs(n - proportional.DIM) < proportional.GAP:
                assert np.isnan(mean[i, j])
                continue
            exact = penalty == 0
            expected = float(theory.least_squares_risk(task, n) if exact else theory.ridge_risk(task, n, penalty))
            # The limit is off by O(1/d) at finite size.
            assert abs(mean[i, j] - expected) < 5 * sem[i, j] + (0 if exact else 0.03 * expected)


@pytest.mark.slow
def test_every_study_makes_claims_that_hold(store):
    _, data = store
    claims = list(theory_claims(data, SPEC))
    assert {word for claim in claims for word in claim.claim.split()[:1]} >= {
        "EM,",
        "mixture",
        "contamination,",
        "span:",
    }
    # Five steps are not yet the limit of EM, and two prompts of at most six examples show no dip: these need `quick`.
    fails = [claim.claim for claim in claims if not claim.holds()]
    assert all(text.startswith(("EM, T = 5", "mixture target", "contamination 0")) for text in fails), fails


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target_prior": (0.7, 0.2)}, "target_prior must be weights that sum to 1, not 0.9"),
        ({"target_prior": ()}, "target_prior must hold one weight per concept"),
        ({"hull_sample_size": (64,)}, "hull_sample_size must be at least 2 K = 128, got 64"),
        ({"block_size": 7}, "block_size must be a positive multiple of 10, got 7"),
    ],
)
def test_bad_input(fields, message):
    with pytest.raises(InputError, match=message) as error:
        dataclasses.replace(TheorySpec(), **fields)
    assert "\n" not in str(error.value)


def test_bad_input_writes_nothing(tmp_path, capsys):
    assert theory_sweep.main(options(tmp_path / "x", em_steps=(-1,))) == 2
    assert capsys.readouterr().err.startswith("error: em_steps must be at least 0")
    assert not (tmp_path / "x").exists()
