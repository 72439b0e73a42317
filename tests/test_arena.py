"""The comparison of methods: what it refuses, its budgets, and what a store of it then says."""

import contextlib
import dataclasses
import hashlib
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from sims.alignment.spec import METHODS as WORLD_METHODS
from sims.engine import runtime
from sims.engine.checked import InputError, from_json, identity, to_json
from sims.engine.store import Store
from sims.methods import __main__ as methods
from sims.methods.claims import sign_claims
from sims.methods.replicate import PER_EXAMPLE, PER_TEACHER, first, grid_of
from sims.methods.spec import BUDGETS, OF_WORLDS, PRESETS, ArenaSpec, presets
from tests.test_bad_input import assert_refused
from w2s_jax.methods import LABELS, METHODS, Cost, Knob, Method, draw_view, known
from w2s_jax.risk import excess_risk
from w2s_jax.rng import replicate_key
from w2s_jax.tasks import make_task

NUMBERS = PRESETS["quick"].methods
"""Methods that learn from numbers."""
TINY = ArenaSpec(
    methods=NUMBERS,
    weakness=("rotated",),
    weak_accuracy=(0.5, 0.7),
    concept_shift=(0.5,),
    relaxed=("wrong_concept",),
    sample_size=32,
    num_icl=2,
    replicates=8,
    dim=5,
    num_concepts=3,
    seed=3,
    block_size=4,
)
FITTED = 24
"""Three quarters of its examples."""
UNOPTIMISED = {"xla_backend_optimization_level": 0}
"""Programs here compute next to nothing, and compile in half the time."""
CELL = ("weakness", "weak_accuracy", "concept_shift")


def options(out, **fields) -> list[str]:
    """Command line arguments of the tiny sweep, with some fields replaced."""
    arguments = ["--out", str(out), "--devices", "1"]
    for name, value in {**dataclasses.asdict(TINY), **fields}.items():
        values = value if isinstance(value, tuple) else (value,)
        arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
    return arguments


# --- bad input ------------------------------------------------------------------------------------------------------

BAD = [
    ({"methods": ("hull", "magic")}, "methods must be among source, ceiling, .*; got 'magic'; choose from the list"),
    ({"methods": ("hull", "prompt_only")}, "methods must support this setting, as source, .*; 'prompt_only' "
     "supports python -m sims.alignment alone: leave it out here"),
    ({"methods": ("ceiling",)}, "methods must hold one that does not read the target, got ceiling alone; add naive_ft"),
    ({"dim": 3}, r"dim must be at least num_concepts \+ 1 = 4, got 3; raise it"),
    ({"num_icl": 50}, "every method must have 2 examples to fit at equal compute, but with sample_size 32 and num_icl "
     "50 one has 1; raise sample_size or give shorter prompts"),
    ({"sample_size": 28}, "every method must have 2 examples to fit at equal compute, but with sample_size 28 and "
     "num_icl 2 one has 1; raise sample_size or give shorter prompts"),
]  # fmt: skip


def test_methods_of_the_worlds_alone_are_those_that_the_arena_lacks():
    assert set(OF_WORLDS) == set(WORLD_METHODS) - set(METHODS)


@pytest.mark.parametrize(("fields", "message"), BAD)
def test_a_field_out_of_range(fields, message):
    with pytest.raises(InputError, match=f"^{message}") as raised:
        dataclasses.replace(TINY, **fields)
    text = str(raised.value)
    assert text.endswith(".") and "\n" not in text


@pytest.mark.parametrize(("fields", "message"), [bad for bad in BAD if set(bad[0]) & {"methods", "num_icl"}])
def test_the_command_refuses_and_writes_nothing(capsys, tmp_path, fields, message):
    out = tmp_path / "results"
    assert_refused(capsys, methods.main(options(out, **fields)), f"^error: {message}", out)


def test_examples_too_few_for_one_method_are_enough_without_it():
    cheap = dataclasses.replace(TINY, methods=("naive_ft", "self_refine"), sample_size=8)
    assert cheap.matched_least == 4  # 6 are fitted, of which a method at 4 reads each affords 6 * 3 // 4


def test_examples_by_hand():
    assert TINY.num_fitted == FITTED
    assert all(TINY.examples(name, "examples") == FITTED for name in NUMBERS)
    # Naive fine-tuning reads each of 24 examples three times, so that there are 72 reads for everybody.
    expected = {
        "source": 24,  # costs nothing, and has no more examples than there are
        "naive_ft": 24,
        "hull": 24,
        "em_prior": 24,  # one answer under each concept, and no training
        "bootstrapping": 6,  # 2 + 3 * 3
        "self_refine": 18,  # 1 + 3
        "icl_refine": 12,  # (1 + 2) + 3
        "intent_refine": 18,
        "aux_confidence": 2,  # 8 * (1 + 3)
        "experts": 10,  # 1 + 2 * 3
        "experts_from_source": 4,  # 4 * (1 + 3)
    }
    assert {name: TINY.examples(name, "compute") for name in expected} == expected
    assert TINY.matched_least == 2
    assert dataclasses.replace(TINY, num_icl=8).examples("icl_refine", "compute") == 6  # (1 + 8) + 3
    assert dataclasses.replace(TINY, sample_size=35).num_fitted == 26


def test_presets_can_be_run():
    for labels in LABELS:
        for name, spec in presets(labels).items():
            assert spec.labels == labels
            assert spec.methods == tuple(name for name, method in METHODS.items() if labels in method.labels)
            assert spec.matched_least >= 2
            assert dataclasses.replace(spec, labels="linear", methods=NUMBERS) == PRESETS[name]
    assert PRESETS["quick"].num_cells == 5 * 4 * 4


def test_stores_from_before_there_were_signs_are_of_numbers():
    older = {name: value for name, value in dataclasses.asdict(TINY).items() if name not in ("labels", "definitions")}
    of_then = dataclasses.replace(TINY, definitions=1)
    assert from_json(ArenaSpec, json.dumps(older)) == of_then and from_json(ArenaSpec, to_json(TINY)) == TINY
    del older["replicates"]
    assert identity(of_then) == hashlib.sha256(json.dumps(older, sort_keys=True).encode()).hexdigest()[:16]
    assert identity(TINY) not in (identity(dataclasses.replace(TINY, labels="sign")), identity(of_then))


def test_methods_of_an_older_definition_are_not_run(capsys, tmp_path):
    """What a store of version 0.1 calls contrastive is another method now, so that nothing may be added to it."""
    message = "^error: definitions must be 2 in a run, got 1, as in stores of version 0.1; leave it out,"
    assert_refused(capsys, methods.main(options(tmp_path / "results", definitions=1)), message, tmp_path / "results")


def test_the_list_names_every_method(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert methods.main(["--list"]) == 0
    said = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    heads = [line.split(":")[0] for line in said.splitlines() if not line.startswith(" ")]
    assert heads == list(METHODS)
    for method in METHODS.values():
        assert method.about in said and method.reference in said
        assert all(f"    {name} = {knob.default:g} in [" in said for name, knob in method.knobs.items())
    assert said.count("(reads the target)") == 1
    assert said.count("    labels linear, sign\n") == sum(method.labels == LABELS for method in METHODS.values())
    assert said.count("    with a language model: yes") > said.count("    with a language model: no: ") == 7
    assert "    sign   with a language model: yes\n" in said
    assert "    sign   sees   source, weak_log_odds, unaligned_log_odds\n" in said
    assert "after m weak examples" in said


def test_the_grid_is_that_of_its_axes_and_then_of_what_is_relaxed():
    spec = dataclasses.replace(
        TINY, weakness=("noisy", "rotated"), concept_shift=(0.2, 0.5), relaxed=("label_noise", "target_mixture")
    )
    tasks = grid_of(spec)
    cells = [(w, a, s) for w in spec.weakness for a in spec.weak_accuracy for s in spec.concept_shift]
    assert len(cells) == spec.num_cells and tasks.noise_var.shape == (len(cells) + 8,)
    np.testing.assert_allclose(tasks.source_prior[:, 0], [1 - s for *_, s in cells] + [0.5] * 8)
    noise = [0.25 / a**2 if w == "noisy" else 0.25 for w, a, _ in cells]
    np.testing.assert_allclose(tasks.weak_noise_var, noise + [0.25, 0.5, 1.0, 2.0] + [0.25] * 4)
    np.testing.assert_allclose(tasks.target_prior[:, 0], [1.0] * (len(cells) + 4) + [1.0, 0.9, 0.8, 0.6])
    np.testing.assert_allclose(tasks.weak_coef[len(cells) :, 0], [0.7] * 5 + [0.63, 0.56, 0.42])


def test_the_first_examples_of_a_view(key):
    view = jax.jit(draw_view, static_argnums=(2, 3))(key, task_of(0.5), 12, 2)
    cut = first(view, 5)
    assert cut.features.shape == (5, 5) and cut.chance.uniform.shape == cut.chance.normal.shape == (5,)
    assert known(cut.colleague_labels).shape == (2, 5) and known(cut.prompts).features.shape == (5, 2, 5)
    for name in ("weak_labels", "unaligned_labels", "true_labels"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(view, name)[:5])
    for found, whole in zip(known(cut.weak_densities), known(view.weak_densities)):
        np.testing.assert_array_equal(found, whole[:5])
    np.testing.assert_array_equal(cut.colleague_labels, view.colleague_labels[:, :5])
    np.testing.assert_array_equal(cut.middle_coef, view.middle_coef)
    np.testing.assert_array_equal(known(cut.source).concepts, view.source.concepts)


# --- the whole sweep ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def cheaply():
    """Programs that are compiled fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "compiler_options", lambda: UNOPTIMISED)
        jax.config.update("jax_disable_most_optimizations", True)
        try:
            yield
        finally:
            jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished sweep of every method."""
    out = tmp_path_factory.mktemp("finished")
    with cheaply():
        assert methods.main(options(out)) == 0
    return out


def load(out, store: str = "methods") -> xr.Dataset:
    return xr.open_zarr(out / f"{store}.zarr", consolidated=False).load()


def of(method: str, array: xr.DataArray) -> xr.DataArray:
    """One method's; `sel(method=...)` would be xarray's own option of that name."""
    return array.sel({"method": method})


def files(folder) -> dict:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def task_of(accuracy: float):
    return make_task(
        num_concepts=TINY.num_concepts, dim=TINY.dim, weak_accuracy=accuracy, concept_shift=0.5, weakness="rotated"
    )


@pytest.fixture(scope="module")
def data(finished):
    return load(finished)


@pytest.mark.slow
def test_results_have_the_promised_dims(data):
    assert data.risk_mean.dims == data.risk_sem.dims == ("tuning", "budget", *CELL, "method")
    assert data.risk_cov.dims == ("budget", *CELL, "method", "method_2")
    assert data.weak_risk.dims == CELL
    assert data.rank_mean.dims == data.rank_sem.dims == data.examples.dims == ("budget", "method")
    for name in ("pgr", "pgr_low", "pgr_high"):
        assert data[name].dims == ("budget", *CELL, "method")
    for dim in CELL:
        assert tuple(data[dim].values.tolist()) == getattr(TINY, dim)
    assert tuple(data.method.values) == tuple(data.method_2.values) == NUMBERS
    assert tuple(data.budget.values) == BUDGETS and tuple(data.tuning.values) == ("weak_labels", "oracle")
    assert data.num_replicates == 8
    for name, array in data.variables.items():
        assert array.attrs["long_name"] and "units" in array.attrs, name
    assert data.reads.values.tolist() == [METHODS[name].cost.reads(2) for name in NUMBERS]
    assert data.fits.values.tolist() == [METHODS[name].cost.fits for name in NUMBERS]
    assert data.method.values[data.reads_target.values].tolist() == ["ceiling"]


@pytest.mark.slow
def test_a_relaxed_task_begins_where_the_grid_is(data):
    for part in ("mean", "sem"):
        relaxed = data[f"relaxed_risk_{part}"]
        assert relaxed.dims == ("tuning", "assumption", "level", "budget", "method")
        start = relaxed.sel(assumption="wrong_concept", level=0)
        cell = data[f"risk_{part}"].sel(weakness="rotated", weak_accuracy=0.7, concept_shift=0.5)
        np.testing.assert_allclose(start, cell, rtol=1e-9, atol=1e-12)
    assert data.relaxed_weak_risk.dims == data.relaxed_level.dims == ("assumption", "level")
    np.testing.assert_array_equal(data.relaxed_level.sel(assumption="wrong_concept"), [0.0, 0.1, 0.2, 0.4])
    # A teacher that shows another concept with probability r: (1 - r) b_w + r / 2 of each of the two others.
    expected = [(1 - 0.7 * (1 - r)) ** 2 + 0.51 * (1 - r) ** 2 + r**2 / 2 for r in (0.0, 0.1, 0.2, 0.4)]
    np.testing.assert_allclose(data.relaxed_weak_risk.values[0], expected, rtol=1e-10)
    np.testing.assert_allclose(of("source", data.relaxed_risk_mean), 0.5**2 * 1.5, rtol=1e-10)
    naive = of("naive_ft", data.relaxed_risk_mean)
    assert (np.diff(naive.sel(tuning="oracle", budget="examples").values) != 0).all()


@pytest.mark.slow
def test_risks_are_known_up_to_an_error(data):
    assert np.isfinite(data.risk_mean).all() and (data.risk_mean > 0).all()
    assert (data.risk_sem.drop_sel({"method": "source"}) > 0).all()
    np.testing.assert_allclose(of("source", data.risk_mean), 0.5**2 * 1.5, rtol=1e-10)  # reads no example
    np.testing.assert_allclose(of("source", data.risk_sem), 0, atol=1e-12)
    np.testing.assert_allclose(data.weak_risk.values.ravel(), [2 - 2 * a for a in TINY.weak_accuracy], rtol=1e-10)


@pytest.mark.slow
def test_covariances_are_those_of_one_replicate(data):
    cov = data.risk_cov.values
    np.testing.assert_allclose(cov, cov.swapaxes(-1, -2), rtol=1e-12, atol=1e-15)
    variance = np.diagonal(cov, axis1=-2, axis2=-1)
    np.testing.assert_allclose(variance, 8 * data.risk_sem.sel(tuning="weak_labels") ** 2, rtol=1e-9, atol=1e-18)
    lowest = np.linalg.eigvalsh(cov)[..., 0]
    assert (lowest > -1e-12 * variance.sum(axis=-1)).all()


@pytest.mark.slow
def test_an_oracle_is_not_beaten(data):
    """By its mean over replicates; a choice made in each of them may be lucky."""
    mean, sem = (data[name].sel(tuning=["oracle", "weak_labels"]) for name in ("risk_mean", "risk_sem"))
    gain = mean.sel(tuning="weak_labels") - mean.sel(tuning="oracle")
    noise = np.sqrt((sem**2).sum("tuning"))
    assert (gain > -5 * noise - 1e-12).all()
    assert (gain > 0).any()
    for name in NUMBERS:
        if len(METHODS[name].candidates()) == 1:  # nothing to choose
            for one in (mean, sem):
                np.testing.assert_allclose(*of(name, one).transpose("tuning", ...).values, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_ranks_are_of_those_who_compete(data):
    rivals = [name for name in NUMBERS if not METHODS[name].reads_target]
    assert np.isnan(of("ceiling", data.rank_mean)).all() and np.isnan(of("ceiling", data.rank_sem)).all()
    rank = data.rank_mean.sel({"method": rivals})
    np.testing.assert_allclose(rank.mean("method"), (len(rivals) + 1) / 2, rtol=1e-12)
    assert ((rank >= 1) & (rank <= len(rivals))).all()
    assert (data.rank_sem.sel({"method": rivals}) >= 0).all()


@pytest.mark.slow
def test_gaps_recovered_are_ratios_of_mean_risks(data):
    risk = data.risk_mean.sel(tuning="weak_labels")
    gap = data.weak_risk - of("ceiling", risk).drop_vars("method")
    assert (gap.sel(weak_accuracy=0.5) > 0).all()
    expected = ((data.weak_risk - risk) / gap).where(gap > 0).transpose(*data.pgr.dims)
    np.testing.assert_allclose(data.pgr, expected, rtol=1e-9, atol=1e-12)
    told = ~np.isnan(data.pgr)
    assert ((data.pgr_low <= data.pgr + 1e-12) & (data.pgr <= data.pgr_high + 1e-12)).values[told.values].all()
    np.testing.assert_allclose(of("ceiling", data.pgr).sel(weak_accuracy=0.5), 1, rtol=1e-9)


@pytest.mark.slow
def test_budgets_are_what_the_specification_says(data):
    for budget in BUDGETS:
        for name in NUMBERS:
            assert int(of(name, data.examples.sel(budget=budget))) == TINY.examples(name, budget)
    spent = data.examples.sel(budget="compute") * data.reads
    assert (spent <= 3 * FITTED).all()  # nobody spends more than naive fine-tuning
    could = (data.examples.sel(budget="compute") + 1) * data.reads > 3 * FITTED
    assert (could | (data.examples.sel(budget="compute") == FITTED)).all()  # nor less than it might
    same = data.examples.sel(budget="compute") == FITTED
    risk = data.risk_mean.isel(method=np.flatnonzero(same))
    np.testing.assert_allclose(risk.sel(budget="examples"), risk.sel(budget="compute"), rtol=1e-9)


def cut(view, count: int):
    """The view of the first examples, by NumPy."""
    keep = slice(count)
    return view._replace(
        features=view.features[keep],
        chance=type(view.chance)(*(x[keep] for x in view.chance)),
        prompts=type(view.prompts)(*(x[keep] for x in view.prompts)),
        weak_densities=view.weak_densities and type(view.weak_densities)(*(x[keep] for x in view.weak_densities)),
        **{name: value[:, keep] for name in PER_TEACHER if (value := getattr(view, name)) is not None},
        **{name: value[keep] for name in PER_EXAMPLE if (value := getattr(view, name)) is not None},
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "matched"), [("naive_ft", 24), ("self_refine", 18), ("experts", 10), ("hull", 24)])
def test_risks_are_those_of_a_loop(data, name, matched):
    """Replicate by replicate, candidate by candidate: the method is called, and NumPy chooses."""
    method = METHODS[name]
    with cheaply():
        draw = jax.jit(draw_view, static_argnums=(2, 3))
        fit = jax.jit(lambda view, knobs: method(view, **knobs))
        for accuracy in TINY.weak_accuracy:
            task = task_of(accuracy)
            target = np.asarray(task.target_coef)
            for budget, count in (("examples", FITTED), ("compute", matched)):
                risks, losses = [], []
                for i in range(TINY.replicates):
                    view = draw(replicate_key(jax.random.key(TINY.seed), i), task, TINY.sample_size, TINY.num_icl)
                    coefs = [np.asarray(fit(cut(view, count), knobs)) for knobs in method.candidates()]
                    held, labels = np.asarray(view.features[FITTED:]), np.asarray(view.weak_labels[FITTED:])
                    risks.append([np.sum((coef - target) ** 2) for coef in coefs])
                    losses.append([np.mean((held @ coef - labels) ** 2) for coef in coefs])
                risks, chosen = np.array(risks), np.argmin(losses, axis=1)
                tuned = risks[np.arange(TINY.replicates), chosen]
                best = risks.mean(axis=0).argmin()
                cell = {"budget": budget, "weak_accuracy": accuracy, "method": name}
                for tuning, values in (("weak_labels", tuned), ("oracle", risks[:, best])):
                    found = {
                        part: data[f"risk_{part}"].sel({**cell, "tuning": tuning}).item() for part in ("mean", "sem")
                    }
                    np.testing.assert_allclose(found["mean"], values.mean(), rtol=1e-8)
                    np.testing.assert_allclose(found["sem"], values.std(ddof=1) / np.sqrt(len(values)), rtol=1e-7)


@pytest.mark.slow
def test_a_finished_sweep_is_left_alone(finished, capsys, monkeypatch):
    monkeypatch.setattr("sims.methods.job.prepare", lambda spec: pytest.fail("there is nothing to prepare"))
    before = files(finished)
    assert methods.main(options(finished)) == 0
    said = capsys.readouterr().err
    assert "already holds this sweep, complete with 8 replicates: nothing to do" in said and said.count("\n") == 1
    assert files(finished) == before


@pytest.mark.slow
def test_a_store_of_another_configuration_is_refused(finished, tmp_path, capsys):
    copied = shutil.copytree(finished, tmp_path / "copy")
    before = files(copied)
    message = r"a store holds one configuration, but .* differs in num_icl \(2 in the store, 1 asked for\)"
    assert_refused(capsys, methods.main(options(copied, num_icl=1)), message)
    assert files(copied) == before


def assert_same_results(one: xr.Dataset, other: xr.Dataset) -> None:
    assert set(one.variables) == set(other.variables)
    for name in one.variables:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=str(name))


@pytest.mark.slow
def test_more_replicates_extend_and_do_not_redraw(data, tmp_path, capsys):
    with cheaply():
        assert methods.main(options(tmp_path, replicates=4)) == 0
        assert load(tmp_path).num_replicates == 4
        capsys.readouterr()
        assert methods.main(options(tmp_path)) == 0
    assert "going on: 1 blocks are already there" in capsys.readouterr().err
    assert_same_results(load(tmp_path), data)


@pytest.mark.slow
def test_a_sweep_that_was_killed_goes_on(data, tmp_path, capsys, monkeypatch):
    write, written = Store.write, []

    def write_one(self, block, *rest):
        if written:
            raise KeyboardInterrupt
        written.append(block)
        return write(self, block, *rest)

    with cheaply():
        monkeypatch.setattr(Store, "write", write_one)
        assert methods.main(options(tmp_path)) == 130
        monkeypatch.setattr(Store, "write", write)
        capsys.readouterr()
        assert methods.main(options(tmp_path)) == 0
    assert written == [0] and "going on: 1 blocks are already there" in capsys.readouterr().err
    assert_same_results(load(tmp_path), data)


# --- signs ----------------------------------------------------------------------------------------------------------

FEW = ("source", "naive_ft", "contrastive", "experts", "hull")


@pytest.fixture(scope="module")
def signs(tmp_path_factory):
    """The folder of a finished sweep of some methods that learn from signs."""
    out = tmp_path_factory.mktemp("signs")
    with cheaply():
        assert methods.main(options(out, labels="sign", methods=FEW)) == 0
    assert [path.name for path in out.glob("*.zarr")] == ["methods_sign.zarr"]
    return out


@pytest.mark.slow
def test_risks_of_signs_are_shares_of_inputs(signs):
    data = load(signs, "methods_sign")
    assert "share of inputs" in data.risk_mean.attrs["long_name"]
    # The angle of a mixture of weight 1/2 on the target and 1/4 on two others, and that of the teacher.
    np.testing.assert_allclose(of("source", data.risk_mean), np.arctan2(np.sqrt(2) / 4, 0.5) / np.pi, rtol=1e-9)
    np.testing.assert_allclose(data.weak_risk.values.ravel(), np.arccos(TINY.weak_accuracy) / np.pi, rtol=1e-9)
    assert ((data.risk_mean > 0) & (data.risk_mean < 1)).all()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "matched"), [("naive_ft", 24), ("contrastive", 24), ("experts", 10)])
def test_risks_of_signs_are_those_of_a_loop(signs, name, matched):
    """Replicate by replicate, candidate by candidate; the log loss of held-out weak labels chooses."""
    data, method = load(signs, "methods_sign"), METHODS[name].on("sign")
    with cheaply():
        draw = jax.jit(draw_view, static_argnums=(2, 3, 4))
        fit = jax.jit(lambda view, knobs: method(view, **knobs))
        task = task_of(0.7)
        target = np.asarray(task.target_coef)
        for budget, count in (("examples", FITTED), ("compute", matched)):
            tuned = []
            for i in range(TINY.replicates):
                view = draw(replicate_key(jax.random.key(TINY.seed), i), task, TINY.sample_size, TINY.num_icl, "sign")
                coefs = [np.asarray(fit(cut(view, count), knobs)) for knobs in method.candidates()]
                held, labels = np.asarray(view.features[FITTED:]), np.asarray(view.weak_labels[FITTED:])
                losses = [np.logaddexp(0, -labels * (held @ coef)).mean() for coef in coefs]
                best = coefs[int(np.argmin(losses))]
                tuned.append(np.arccos(best @ target / np.linalg.norm(best) / np.linalg.norm(target)) / np.pi)
            cell = {"budget": budget, "weak_accuracy": 0.7, "method": name, "tuning": "weak_labels"}
            np.testing.assert_allclose(data.risk_mean.sel(cell).item(), np.mean(tuned), rtol=1e-6)


def promising() -> xr.Dataset:
    """A store of signs in which all that is claimed holds, by far more than its errors."""
    spec = presets("sign")["quick"]
    axes = {dim: list(getattr(spec, dim)) for dim in CELL}
    shape, names = tuple(len(values) for values in axes.values()), list(spec.methods)
    risk = np.full((2, len(BUDGETS), *shape, len(names)), 0.2)
    for name in ("naive_ft", "bootstrapping", "contrastive"):
        risk[..., names.index(name)] = 0.3
    risk[1, ..., names.index("naive_ft")] = 0.2
    own = ("budget", *CELL, "method")
    cov = np.broadcast_to(1e-4 * np.eye(len(names)), (*risk.shape[1:], len(names)))
    return xr.Dataset(
        {
            "risk_mean": (("tuning", *own), risk),
            "risk_cov": ((*own, "method_2"), cov),
            "weak_risk": (CELL, np.full(shape, 0.3)),
            "num_replicates": spec.replicates,
        },
        {**axes, "method": names, "method_2": names, "budget": list(BUDGETS), "tuning": ["weak_labels", "oracle"]},
    )


def failing(data: xr.Dataset) -> list[str]:
    return [claim.claim for claim in sign_claims(data, presets("sign")["quick"]) if not claim.holds()]


@pytest.mark.parametrize(
    "name",
    [
        "naive_ft",
        "bootstrapping",
        "hull",
        "reverse_kl",
        "ensemble",
        "contrastive",
        "anchored_contrastive",
        "icl_refine",
    ],
)
def test_claims_about_signs_hold_or_do_not(name):
    data = promising()
    assert not failing(data)
    # No better than naive fine-tuning, or better than it should be.
    worse = 0.3 if name not in ("naive_ft", "bootstrapping", "contrastive") else 0.2
    where = {"method": name, "weakness": "rotated", "weak_accuracy": 0.5, "concept_shift": 0.5, "tuning": "weak_labels"}
    data.risk_mean.loc[where] = worse
    assert any(name in claim for claim in failing(data))


def test_a_method_without_signs_is_refused_with_what_supports_them(monkeypatch, capsys, tmp_path):
    plain = Method(
        "plain", "The source.", lambda view: known(view.source).source_coef, ("source",), Cost(0, False, 0), "-"
    )
    monkeypatch.setitem(METHODS, "plain", plain)
    assert "plain" in presets("linear")["smoke"].methods and "plain" not in presets("sign")["smoke"].methods
    code = methods.main(options(tmp_path / "results", labels="sign", methods=("naive_ft", "plain")))
    message = (
        "^error: plain must support sign labels, but it has linear ones alone; leave it out or choose labels linear."
    )
    assert_refused(capsys, code, message, tmp_path / "results")


# --- a method of one's own ------------------------------------------------------------------------------------------


def scaled_source(view, scale):
    return scale * known(view.source).source_coef


@pytest.fixture
def dummy(monkeypatch) -> Method:
    """A method that nobody needs, registered."""
    knobs = {"scale": Knob(1.0, (0.0, 1.0, 1.5), 0.0, 2.0, "of the source")}
    method = Method("dummy", "The source, scaled.", scaled_source, ("source",), Cost(2, True, 1), "nowhere", knobs)
    monkeypatch.setitem(METHODS, "dummy", method)
    return method


def test_a_new_method_is_known_everywhere(dummy, capsys):
    spec = dataclasses.replace(TINY, methods=("dummy", "naive_ft"))
    assert spec.examples("dummy", "compute") == FITTED * 3 // (2 * (1 + 2) + 3)
    assert methods.main(["--list"]) == 0
    said = capsys.readouterr().out
    assert "dummy: The source, scaled.\n" in said
    assert "2 strong answers after m weak examples; 1 fits" in said
    assert "scale = 1 in [0, 2], tried: 0, 1, 1.5; of the source" in said
    with pytest.raises(InputError, match="got 'dumb'"):
        dataclasses.replace(TINY, methods=("dumb",))


@pytest.mark.slow
def test_a_new_method_goes_through_the_sweep(dummy, tmp_path):
    with cheaply():
        assert methods.main(options(tmp_path, methods=("dummy", "naive_ft"))) == 0
    data = load(tmp_path)
    assert "pgr" not in data  # without a ceiling there is no gap
    task = task_of(0.5)
    risks = [float(excess_risk(jnp.asarray(c) * task.source_coef, task.target_coef)) for c in (0.0, 1.0, 1.5)]
    np.testing.assert_allclose(of("dummy", data.risk_mean).sel(tuning="oracle"), min(risks), rtol=1e-10)
    tuned = of("dummy", data.risk_mean).sel(tuning="weak_labels")
    assert (tuned >= min(risks) - 1e-12).all() and (tuned <= max(risks) + 1e-12).all()
    assert of("dummy", data.examples).values.tolist() == [FITTED, 8]
    np.testing.assert_allclose(data.rank_mean.mean("method"), 1.5, rtol=1e-12)
