"""The benchmark of networks: its flops against those of the traced program, its rows, and that its contenders train."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from benchmarks import devices, limits, networks
from benchmarks.networks import FITS, Case, Timed
from benchmarks.timing import Timing
from sims.incontext import finetune
from sims.incontext.spec import QUICK
from sims.incontext.world import bins_of
from tests.tiny import INCONTEXT
from w2s_jax.incontext import cross_entropy

MACHINE = devices.Machine("2 cores of a processor", 2, 0, "0123456789ab", {"jax": "1.2.3"})


def products(jaxpr) -> int:
    """Floating-point operations of the matrix products in a jaxpr and in all that it calls."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            summed = int(jnp.prod(jnp.array([left[i] for i in contracted])))
            total += 2 * summed * equation.outvars[0].aval.size
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)  # closed or not
            total += products(inner) if hasattr(inner, "eqns") else 0
    return total


@pytest.mark.parametrize(("part", "activation"), [("pretraining", "swiglu"), ("finetuning", "gelu")])
def test_flops_are_those_of_the_traced_program(part, activation):
    spec = dataclasses.replace(QUICK, activation=activation)
    sequences, num_icl = networks.batch_of(spec, part)
    graph, params = finetune.structure(spec), jax.eval_shape(lambda: finetune.make_network(spec, jax.random.key(0))[1])
    features = jax.ShapeDtypeStruct((sequences, num_icl + 1, spec.dim), "float32")
    labels = jax.ShapeDtypeStruct((sequences, num_icl + 1), "float32")

    def cost(params, features, labels):
        return cross_entropy(nnx.merge(graph, params), bins_of(spec), features, labels)

    expected = sequences * networks.train_flops(spec, num_icl)
    forward = products(jax.make_jaxpr(cost)(params, features, labels).jaxpr)
    both = products(jax.make_jaxpr(jax.value_and_grad(cost))(params, features, labels).jaxpr)
    # The program also embeds the last label, which nothing reads; features and labels need no gradient.
    assert forward == pytest.approx(expected / 3, rel=0.005)
    assert both == pytest.approx(expected, rel=0.01)


def test_cases_are_those_that_are_promised():
    found = networks.cases(MACHINE, quick=False)
    assert len(set(found)) == len(found)
    assert found[0] == Case("pretraining", "loop", 1, 1)
    for way in ("loop", "vmap"):
        numbers = [case.at_once for case in found if case[:2] == ("pretraining", way) and case.devices == 2]
        assert numbers == [1, 2, 4, 8]
    assert Case("pretraining", "devices", 2, 2) in found
    assert [case.at_once for case in found if case.part == "finetuning"] == [1, 4, 8, 16, 32]
    assert len(networks.cases(MACHINE, quick=True)) < len(found) / 1.5
    on_gpu = networks.cases(devices.Machine("a GPU", 16, 1), quick=False)
    assert {case.devices for case in on_gpu} == {1} and len(on_gpu) == 13


@pytest.fixture
def faked(monkeypatch):
    """Nothing is timed: a step of a network takes 2 ms on one core, and vmap makes it faster by known factors."""
    speedup = {("vmap", 2): 1.5, ("vmap", 4): 3.0, ("devices", 2): 1.8}

    def timed(case, repeats):
        steps = 100 if case.part == "pretraining" else 100 * FITS
        factor = 1.0 if case.way == "loop" else speedup[case.way, case.at_once]
        taken = 2e-3 * steps * 10 / factor / case.devices
        return Timed(Timing((taken,) * repeats, 10, taken / 10 + 3.0, 50.0, case.devices), steps)

    def fresh(function, *args, cores=None):
        if function is devices.machine:
            return MACHINE
        _, cases, repeats, _ = args
        assert {case.process for case in cases} == {cases[0].process} and cores == cases[0].devices
        return [timed(case, repeats) for case in cases]

    def ceilings(workload, width, repeats, seconds):
        rates = {"copy, in cache": 1.0, "matmul": 1e11 * width}
        return [limits.Limit(name, width, rate, "flop/s", 1, True) for name, rate in rates.items()]

    monkeypatch.setattr(networks, "in_fresh_process", fresh)
    monkeypatch.setattr(limits, "measured", ceilings)


def test_rows_follow_from_what_was_timed(tmp_path, capsys, faked):
    path = tmp_path / "networks.json"
    assert networks.main(["--quick", "--json", str(path)]) == 0
    rows = json.loads(path.read_text())
    found = {(row["part"], row["way"], row["at_once"], row["devices"]): row for row in rows}
    assert len(found) == len(rows) == 6
    alone = found["pretraining", "loop", 1, 1]
    assert alone["steps_per_second"] == pytest.approx(500)
    assert alone["tokens_per_second"] == pytest.approx(500 * 128 * 17)
    assert alone["flops_per_second"] == pytest.approx(500 * 128 * networks.train_flops(QUICK, 16))
    assert alone["fraction_of_matmul"] == pytest.approx(alone["flops_per_second"] / 1e11)
    assert alone["compile_seconds"] == pytest.approx(3.0)
    assert found["pretraining", "loop", 2, 2]["fraction_of_matmul"] == pytest.approx(alone["fraction_of_matmul"])
    ratios = {(way, number): row["ratio_to_loop"] for (_, way, number, width), row in found.items() if width == 2}
    assert ratios == pytest.approx(
        {("loop", 2): 1.0, ("vmap", 2): 1.5, ("devices", 2): 1.8, ("loop", 1): 1.0, ("vmap", 4): 3.0}
    )
    fits = found["finetuning", "loop", 1, 2]
    assert fits["tokens_per_second"] == pytest.approx(1000 * 64)
    assert all(row["steps"] / row["median_seconds"] == pytest.approx(row["steps_per_second"]) for row in rows)
    assert all(MACHINE.origin(QUICK.seed).items() <= row.items() for row in rows)
    assert {row["machine"] for row in rows} == {MACHINE.name} and {row["repeats"] for row in rows} == {5}
    printed = capsys.readouterr()
    assert "| pretraining | 2, one a device | 2 | " in printed.out and "| finetuning | 4 by vmap | 2 | " in printed.out
    assert "2 cores of a processor; medians of 5" in printed.out
    assert "matrix products on 2 devices: 2e+11 flop/s" in printed.out
    assert "[0/6] pretraining, loop of 1, devices 1" in printed.err


@pytest.mark.slow
def test_every_way_of_pretraining_takes_the_steps_it_counts(monkeypatch):
    calls = []
    original = networks.train

    def counted(key, state, loss, optimizer, num_steps):
        calls.append(num_steps)
        return original(key, state, loss, optimizer, num_steps)

    monkeypatch.setattr(networks, "train", counted)
    work = networks.pretraining(INCONTEXT.spec)
    for way, number in (("loop", 2), ("vmap", 2), ("devices", jax.device_count())):
        calls.clear()
        found = work(way, number)
        found.run(2)
        assert calls == [networks.PRETRAIN_STEPS]  # traced once, whatever the number of networks and calls
        assert found.steps == number * networks.PRETRAIN_STEPS


@pytest.mark.slow
def test_a_process_of_its_own_measures(monkeypatch):
    """Tiny networks, timed as the command times them."""
    todo = [Case("pretraining", "loop", 1, 1), Case("finetuning", "loop", 1, 1), Case("finetuning", "vmap", 2, 1)]
    monkeypatch.setattr(networks, "cases", lambda machine, quick: todo)
    monkeypatch.setattr(limits, "measured", lambda *given: [limits.Limit("matmul", 1, 1e12, "flop/s", 1, True)])
    rows = networks.rows_of(INCONTEXT.spec, quick=True)
    assert [Case(row["part"], row["way"], row["at_once"], row["devices"]) for row in rows] == todo
    for row in rows:
        assert 0 < row["fraction_of_matmul"] < 1 and row["compile_seconds"] > 0.1, row
    assert rows[1]["steps"] % (FITS * networks.FINETUNE_STEPS) == 0
    assert rows[0]["machine"] in networks.report(rows)
