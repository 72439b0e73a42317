"""Sequential precision: rounds that stop where every risk is known well enough, and never throw a replicate away."""

import contextlib
import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from sims.engine import precision
from sims.engine.precision import Published, Target
from sims.engine.run import Job, Options, run
from sims.engine.store import Store, save_results
from sims.posterior_sweep import __main__ as posterior_sweep
from sims.risk_sweep import plan
from sims.theory_sweep import __main__ as theory_sweep
from tests.helpers import assert_same_results, load
from tests.test_bad_input import assert_refused
from tests.tiny import RISK
from w2s_jax import statistics
from w2s_jax.rng import replicate_key

NOISE = (0.02, 0.4, 0.8)
"""Spread of the one risk of each chunk, around a mean of 1."""
GOAL, LOOSER = Target(0.07, 10_000), Target(0.12, 10_000)


@dataclasses.dataclass(frozen=True)
class Spec:
    """The specification of a sweep of three chunks."""

    replicates: int
    block_size: int = 10
    seed: int = 3


def toy(tmp_path, replicates=25, target=None) -> xr.Dataset:
    """A sweep of three chunks with one risk each, through the engine as any other."""
    run("toy", Spec(replicates), _prepare, tmp_path, Options(target=target))
    return load(tmp_path / "toy.zarr")


def _program(key, first, total, chunk):
    index = first + jnp.arange(10)
    risks = 1 + chunk * jax.vmap(lambda i: jax.random.normal(replicate_key(key, i), (1,)))(index)
    return statistics.summarize(risks, (index < total).astype(float))


def _prepare(spec):
    inputs = [jnp.asarray(noise) for noise in NOISE]
    return Job(_program, inputs, _assemble, [], 1.0, len(NOISE), relative_sem=_relative_sem)


def _merged(store, blocks, chunk):
    leaves = (store.read(int(b), chunk) for b in blocks)
    return statistics.merge_all(statistics.Summary(*(held[f] for f in statistics.Summary._fields)) for held in leaves)


def _relative_sem(store, blocks, chunk):
    found = _merged(store, blocks, chunk)
    values = precision.relative(statistics.sem(found), found.mean)
    return precision.Errors(values, lambda at: precision.name_cell({"noise": (NOISE[chunk],)}, at))


def _assemble(store, counts, folder):
    found = [_merged(store, np.flatnonzero(counts[:, c]), c) for c in range(len(NOISE))]
    variables = {
        "risk_mean": ("noise", np.array([x.mean[0] for x in found])),
        "risk_sem": ("noise", np.array([statistics.sem(x)[0] for x in found])),
        "num_replicates": ("noise", np.array([int(x.count) for x in found])),
    }
    save_results(xr.Dataset(variables, {"noise": list(NOISE)}), folder)


@pytest.fixture(scope="module")
def reached(tmp_path_factory):
    """Results that reached their target."""
    return toy(tmp_path_factory.mktemp("reached"), target=GOAL)


@pytest.fixture(scope="module")
def looser(tmp_path_factory):
    """A folder in which a looser target was reached, and its results."""
    out = tmp_path_factory.mktemp("looser")
    return out, toy(out, target=LOOSER)


@pytest.fixture
def copy(looser, tmp_path):
    return shutil.copytree(looser[0], tmp_path / "copy")


def test_every_risk_reaches_the_target_and_no_chunk_goes_on_for_another(reached):
    assert (reached.risk_sem <= GOAL.sem * abs(reached.risk_mean)).all()
    counts = reached.num_replicates.values
    assert counts[0] == 30  # whole blocks of what was asked for
    assert 30 < counts[1] < counts[2] < 2 * (0.8 / GOAL.sem) ** 2
    attributes = reached.attrs
    assert attributes["complete"] == 30 and attributes["replicates"] == counts.tolist()
    assert (attributes["target_sem"], attributes["max_replicates"], attributes["risks_short"]) == (*GOAL, 0)


def test_the_values_are_those_of_a_plain_run_of_as_many_replicates(reached, tmp_path):
    plain = toy(tmp_path, replicates=int(reached.num_replicates[2]))
    assert_same_results(plain.isel(noise=[2]), reached.isel(noise=[2]))
    assert (plain.num_replicates[0] > reached.num_replicates[0]) and (plain.risk_mean[0] != reached.risk_mean[0])


def test_the_cap_ends_it_and_the_report_names_who_is_short(tmp_path, capsys):
    data = toy(tmp_path, target=Target(GOAL.sem, 57))
    assert data.num_replicates.values.tolist() == [30, 50, 50]
    assert data.attrs["risks_short"] == 1
    said = capsys.readouterr().err
    assert "2 of 3 risks" in said and "noise=0.8: 0.1" in said and "after 50 replicates" in said


def test_a_run_that_needs_no_more_replicates_computes_none(looser, copy, capsys, monkeypatch):
    monkeypatch.setattr(Store, "write", lambda *_: pytest.fail("there is nothing to write"))
    for target in (LOOSER, Target(0.2, 500), None):
        assert_same_results(toy(copy, target=target), looser[1])
    assert capsys.readouterr().err.count("nothing to do") == 3
    Store.open(copy / "toy.zarr", Spec(25), (1, 3), {}, {}).withdraw()
    again = toy(copy)  # the results are assembled anew
    assert_same_results(again, looser[1])
    assert again.attrs == looser[1].attrs


def test_a_lower_target_or_more_replicates_extend_what_is_there(looser, copy):
    first = looser[1].num_replicates.values
    more = toy(copy, replicates=35)
    np.testing.assert_array_equal(more.num_replicates, np.maximum(first, 35))
    assert first.min() < 35 < first.max()
    assert more.attrs["complete"] == 35 and "target_sem" not in more.attrs
    lower = toy(copy, target=GOAL)
    assert lower.num_replicates.sum() > more.num_replicates.sum()


def test_interrupted_rounds_go_on_to_the_same_bits(reached, tmp_path, monkeypatch):
    original, written = Store.write, []

    def killed(self, *unit):
        if len(written) % 9 == 8:
            written.append(None)
            raise KeyboardInterrupt
        written.append(unit[:2])
        original(self, *unit)

    monkeypatch.setattr(Store, "write", killed)
    part = None
    while part is None:
        with contextlib.suppress(KeyboardInterrupt):
            part = toy(tmp_path, target=GOAL)
    assert_same_results(part, reached)
    done = [unit for unit in written if unit]
    assert len(done) == len(set(done)), "a block was computed twice"
    assert written.count(None) >= 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--target-sem", "0"], r"--target-sem must be in \(0, 1\), got 0;"),
        (["--target-sem", "nan"], r"--target-sem must be in \(0, 1\), got nan;"),
        (["--target-sem", "0.1", "--max-replicates", "39"], "--max-replicates must be at least replicates, 40, got 39"),
        (["--max-replicates", "100"], "--max-replicates caps a --target-sem, but only 100 was given"),
    ],
)
def test_impossible_targets(arguments, sentence, tmp_path, capsys):
    assert_refused(capsys, RISK.run(tmp_path / "x", *arguments), sentence, tmp_path / "x")


def test_the_default_cap_is_a_hundred_times_the_replicates():
    assert precision.make_target(0.1, None, 40) == Target(0.1, 4000)
    assert precision.make_target(None, None, 40) is None


def test_what_was_published_is_enough_for_a_target_or_not():
    target = Target(0.1, 400)
    for held in (Published(), Published(40, (40,)), Published(40, (40,), 0.2, 400)):
        assert not precision.is_enough(held, 40, target)  # no target, or a looser one
    held = Published(40, (40,), 0.1, 400, risks_short=1)
    assert precision.is_enough(held, 40, target) and not precision.is_enough(held, 40, Target(0.1, 401))
    assert not precision.is_enough(held, 40, Target(0.2, 400))  # it may be there: look
    assert precision.is_enough(held._replace(risks_short=0), 40, Target(0.2, 10**6))


@pytest.mark.slow
def test_the_risk_sweep_stops_chunk_by_chunk(tmp_path, monkeypatch):
    few = ("weak", "naive_ft")
    spec = dataclasses.replace(RISK.spec, methods=few)
    monkeypatch.setattr(plan, "DEVICE_BYTES", plan.unit_bytes(spec, 1, 2) + plan.block_bytes(spec))
    assert len(plan.cut(spec)) == 4
    target = ["--target-sem", "0.07", "--max-replicates", "160"]
    assert RISK.run(tmp_path / "target", *target, methods=few) == 0
    data = RISK.load(tmp_path / "target")
    counts = np.unique(data.num_replicates)
    assert len(counts) > 1 and counts[0] >= 40 and counts[-1] <= 160
    capped = data.num_replicates == 160
    assert ((data.risk_sem <= 0.07 * abs(data.risk_mean)) | capped).all()
    for count in counts[:2]:
        assert RISK.run(tmp_path / str(count), methods=few, replicates=int(count)) == 0
        plain, here = RISK.load(tmp_path / str(count)), data.num_replicates.values == count
        for name in ("risk_mean", "risk_sem", "win_rate", "sign_accuracy_mean"):
            np.testing.assert_array_equal(data[name].values[here], plain[name].values[here])


@pytest.mark.slow
def test_the_other_sweeps_know_their_risks_too(tmp_path, capsys):
    few = ["--preset", "smoke", "--num-icl", "0", "2", "--block-size", "1000", "--replicates", "1000"]
    assert posterior_sweep.main([*few, "--target-sem", "0.02", "--out", str(tmp_path)]) == 0
    data = load(tmp_path / "posterior_sweep.zarr")
    assert (data.shared_misalignment_sem <= 0.02 * data.shared_misalignment_mean).all()
    assert data.num_prompts.min() > 1000
    study = ["--studies", "misfit", "--weak-accuracy", "0.4", "0.8", "--block-size", "100", "--replicates", "100"]
    target = ["--target-sem", "0.001", "--max-replicates", "200"]
    assert theory_sweep.main([*study, *target, "--out", str(tmp_path)]) == 0
    data = load(tmp_path / "theory_sweep.zarr")
    assert int(data.num_replicates) == 200 and data.attrs["risks_short"] > 0
    assert "misfit: " in capsys.readouterr().err
