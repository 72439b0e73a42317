"""What every sweep promises: one matrix of sweeps and promises, on one tiny run of each.

How the engine keeps its promises when it is killed or its disk fails is tested on a toy sweep (test_store,
test_inspect, test_manifest) and on the risk sweep (test_engine, test_durability, test_hosts).
"""

import dataclasses
import re
import shutil

import numpy as np
import pytest

from sims.engine import hosts
from sims.engine.checked import identity
from sims.engine.hosts import Ranks
from sims.engine.store import Store
from sims.sweeps import SWEEPS
from tests.helpers import assert_same_results, files, of
from tests.test_bad_input import assert_refused
from tests.test_evidence import about
from tests.tiny import NETWORKS, TINY

pytestmark = pytest.mark.timeout(600)  # a test may wait for another worker to finish the sweep


def on(names):
    """A test of these sweeps, of which those that take long are slow."""
    marked = [name if name == "risk_sweep" else pytest.param(name, marks=pytest.mark.slow) for name in names]
    return pytest.mark.parametrize("sweep", marked, indirect=True)


@pytest.fixture
def sweep(request):
    return TINY[request.param]


@pytest.fixture
def done(sweep, finished):
    """The same, finished."""
    return finished(sweep.store)


@pytest.fixture
def written(monkeypatch):
    """Blocks and chunks that are written from now on."""
    units, write = [], Store.write

    def recorded(self, block, chunk, count, leaves):
        units.append((block, chunk))
        write(self, block, chunk, count, leaves)

    monkeypatch.setattr(Store, "write", recorded)
    return units


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sweep", TINY, indirect=True)
def test_help_lists_every_option_and_an_example(sweep, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit) as stop:
        sweep.command(["--help"])
    said, module = capsys.readouterr().out, sweep.command.__module__.removesuffix(".__main__")
    assert stop.value.code == 0 and f"Example: python -m {module} --preset smoke --out results" in said
    for field in dataclasses.fields(sweep.spec):
        assert re.search(rf"--{field.name.replace('_', '-')}\s", said), field.name
    assert "--preset" in said and "--out" in said and ("--show N" in said) == (module == "sims.alignment")


@pytest.mark.parametrize("sweep", TINY, indirect=True)
def test_a_store_of_another_configuration_is_refused_and_left_alone(sweep, capsys, tmp_path):
    Store.open(sweep.path(tmp_path), sweep.spec, (2, 1), {"x": np.zeros(3)}, {})
    before, ((field, value),) = files(tmp_path), sweep.changed.items()
    held = getattr(sweep.spec, field)
    differs = "" if isinstance(value, tuple) else rf" \({held} in the store, {value} asked for\)"
    message = rf"a store holds one configuration, but .* differs in {field}{differs}"
    assert_refused(capsys, sweep.run(tmp_path, **sweep.changed), message)
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["posterior_sweep", "methods", "alignment_persona"])
def test_nothing_is_added_to_stores_of_earlier_definitions(name, capsys, tmp_path):
    """Version 0.1 gave a name of today to another method or draw."""
    message = "^error: definitions must be 2 in a run, got 1, as in stores of version 0.1; leave it out,"
    assert_refused(capsys, TINY[name].run(tmp_path / "x", definitions=1), message, tmp_path / "x")


PROCESSES = ("--coordinator", "a:1", "--num-processes", "2", "--process-id", "0")
UNWANTED = [
    (PROCESSES, "this sweep runs in one process, got 2; leave num_processes and cluster out"),
    (("--target-sem", "0.1"), "target_sem is for sweeps of replicates"),
]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("given", "message"), UNWANTED)
def test_sweeps_of_networks_refuse_several_processes_and_a_target(name, given, message, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(hosts, "start", lambda *given: Ranks(0, 2, "run"))
    assert TINY[name].run(tmp_path / "x", *given) == 2
    assert re.match(f"error: .*{message}", capsys.readouterr().err.splitlines()[-1])
    assert not (tmp_path / "x").exists()


# --- what is there is kept ------------------------------------------------------------------------------------------


@on(TINY)
def test_a_finished_sweep_is_left_alone(sweep, done, capsys, monkeypatch):
    job = sweep.command.__module__.replace("__main__", "job")
    monkeypatch.setattr(f"{job}.prepare", lambda *_, **__: pytest.fail("there is nothing to prepare"))
    before = files(done.out)
    assert sweep.run(done.out) == 0
    said = capsys.readouterr().err
    complete = f"already holds this sweep, complete with {sweep.spec.replicates:,} replicates: nothing to do"
    assert complete in said and said.count("\n") == 1
    assert files(done.out) == before


@on(TINY)
def test_an_interrupted_sweep_goes_on_to_the_same_bits(sweep, done, tmp_path, capsys, written):
    out = shutil.copytree(done.out, tmp_path / "copy")
    networks, marks = files(out / "networks"), Store.look(sweep.path(out)).marks()
    _, *missing = [(int(block), int(chunk)) for block, chunk in np.argwhere(marks)]
    store = Store.open(sweep.path(out), sweep.spec, marks.shape, {}, {})
    for unit in missing:
        store.unmark(*unit)
    store.withdraw()
    assert sweep.run(out) == 0
    assert "going on: 1 blocks are already there" in capsys.readouterr().err
    assert sorted(written) == missing and files(out / "networks") == networks
    assert_same_results(sweep.load(out), done.data)


@pytest.mark.slow
@on([name for name in TINY if name not in NETWORKS])
def test_more_replicates_extend_to_the_same_bits(sweep, done, tmp_path, written):
    """The half-full block is filled up, the full ones are kept, and none is drawn again."""
    assert sweep.run(tmp_path, replicates=sweep.fewer) == 0
    assert sweep.load(tmp_path).attrs["complete"] == sweep.fewer
    written.clear()
    assert sweep.run(tmp_path) == 0
    blocks = -(-sweep.spec.replicates // sweep.spec.block_size)
    assert sorted({block for block, _ in written}) == [*range(sweep.fewer // sweep.spec.block_size, blocks)]
    assert_same_results(sweep.load(tmp_path), done.data)


# --- what a store says ----------------------------------------------------------------------------------------------

FURTHER = {
    "methods": {"misfit_sem": "budget weakness weak_accuracy concept_shift method", "examples": "budget method"},
    "alignment_persona": {
        "reads": "method", "compute_steps": "method", "uses_num_icl": "method", "naming_accuracy": "num_icl seed",
        "named_concept": "capability num_icl seed",
    },
}  # fmt: skip
"""Dims of variables that no committed table needs, without regard to their order in stores of networks."""
COORDINATES = {
    "risk_sweep": {"penalty": [0.1, 1.0], "time": [0.5]},
    "methods": {"assumption": ["wrong_concept"]},
    "incontext": {"context_length": [0, 1, 2, 3], "step": [0, 2, 4, 6, 8]},
    "alignment_persona": {"temperature": [0, 1], "prompt_length": [0, 1, 2]},
}
"""Coordinates that are no field of the specification, and not those of the committed table."""
BARE = ("posterior_sweep", "theory_sweep")
"""Sweeps whose coordinates are named and not described."""


@on(TINY)
def test_results_have_the_promised_dims_and_describe_themselves(sweep, done):
    """As the committed table of its preset `quick` has them, in which a tiny sweep has fewer studies."""
    data, spec, fields = done.data, sweep.spec, dataclasses.asdict(sweep.spec)
    table, studies = about(f"{sweep.store}-quick"), fields.get("studies", ("",))
    promised = {name: dims for name, dims in table["variables"].items() if name.startswith(studies)}
    promised |= {name: dims.split() for name, dims in FURTHER.get(sweep.store, {}).items()}
    assert promised
    for name, dims in promised.items():
        found = [*data[name].dims]
        assert found == dims or (sweep.store in NETWORKS and set(found) == set(dims)), name
    words = {dim: labels for dim, labels in table["coordinates"].items() if isinstance(labels[0], str)}
    coordinates = words if studies == ("",) else {}
    coordinates |= {dim: list(fields[dim]) for dim in data.dims if isinstance(fields.get(dim), tuple)}
    if "method" in data.dims and "methods" in fields:
        coordinates["method"] = list(spec.methods)
    if "seed" in data.dims:
        coordinates["seed"] = list(range(spec.replicates))
    for name, values in {**coordinates, **COORDINATES.get(sweep.store, {})}.items():
        assert data[name].values.tolist() == values, name
    for name, array in data.variables.items():
        if not str(name).startswith("uses_") and not (name in data.coords and sweep.store in BARE):
            assert array.attrs["long_name"], name
            assert "units" in array.attrs or sweep.store == "theory_sweep", name  # its quantities differ in units
    assert data.attrs["identity"] == identity(spec) and data.attrs["complete"] == spec.replicates
    assert {"versions", "device", "commit", "created", "config"} <= set(data.attrs)
    assert sweep.store in SWEEPS and data.attrs["sweep"] == sweep.store


READ = {"risk_sweep": ("risk_mean",), "incontext": ("risk_path",), "alignment_persona": ("content", "style", "mass")}
MAY_STAY = {
    # Rotated and confused teachers have the same bias: `weak` reads the axis, and does not move along it here.
    ("risk_sweep", "weak", "weakness"),
    # All teachers, and all prompts, may lead to the name of one concept.
    ("incontext", "intent_refine", "weak_accuracy"),
    ("alignment_persona", "intent_refine", "capability"),
    ("alignment_persona", "intent_refine", "num_icl"),
}


@on(READ)
def test_methods_vary_along_the_dims_that_they_read_alone(sweep, done):
    data = done.data
    dims = [str(name).removeprefix("uses_") for name in data.data_vars if str(name).startswith("uses_")]
    assert len(dims) >= 2
    for name in READ[sweep.store]:
        for dim in dims:
            moves = data[name].max(dim) - data[name].min(dim) > 1e-12 * abs(data[name]).max(dim)
            for method in data.method.values:
                reads = bool(of(method, data[f"uses_{dim}"]))
                expected = bool(of(method, moves).any()) or (sweep.store, method, dim) in MAY_STAY
                assert reads == expected, (name, method, dim)
