"""Specifications hold plain Python values in their ranges, whatever they are given, and say so where they cannot."""

import dataclasses
import json
import re

import jax.numpy as jnp
import numpy as np
import pytest

from sims.engine import runtime
from sims.engine.checked import InputError, from_json, identity, to_json
from sims.incontext import __main__ as incontext
from sims.posterior_sweep import __main__ as posterior_sweep
from sims.risk_sweep import __main__ as risk_sweep
from sims.risk_sweep import plan
from sims.risk_sweep.spec import SweepSpec
from sims.sweeps import SWEEPS

PLAIN = SweepSpec(weak_accuracy=(0.5, 0.75), sample_size=(4, 20), noise_var=1.0, methods=("weak",), dim=6)
SAME = {
    "lists": {"weak_accuracy": [0.5, 0.75], "sample_size": [4, 20], "methods": ["weak"]},
    "arrays": {"weak_accuracy": np.array([0.5, 0.75]), "sample_size": np.array([4, 20]), "methods": np.array(["weak"])},
    "arrays of jax": {"weak_accuracy": jnp.array([0.5, 0.75]), "sample_size": jnp.array([4, 20])},
    "numbers of NumPy": {"noise_var": np.float64(1), "dim": np.int64(6), "sample_size": (np.int32(4), np.int64(20))},
    "whole numbers": {"noise_var": 1, "dim": 6.0, "sample_size": (4.0, 20)},
}


@pytest.mark.parametrize("kind", SAME)
def test_what_means_the_same_is_the_same(kind):
    spec = dataclasses.replace(PLAIN, **SAME[kind])
    assert spec == PLAIN and hash(spec) == hash(PLAIN) and identity(spec) == identity(PLAIN)
    assert from_json(SweepSpec, to_json(spec)) == PLAIN
    assert json.loads(to_json(spec))["noise_var"] == 1.0


REFUSED = [
    ({"weak_accuracy": 0.5}, "weak_accuracy must be a tuple of values, got 0.5"),
    ({"methods": "weak"}, "methods must be a tuple of values, got 'weak'"),
    ({"dim": 6.5}, "dim must be a whole number, got 6.5"),
    ({"dim": True}, "dim must be a whole number, got True"),
    ({"noise_var": "1"}, "noise_var must be a number, got 1"),
    ({"task_law": 3}, "task_law must be a name, got 3"),
    ({"num_icl": (10**12,)}, "num_icl must be at most 2,147,483,647, got 1000000000000"),
    ({"replicates": 10**11}, "replicates must be at most 2,147,483,647, got 100000000000"),
    ({"replicates": 2**31 - 100}, "replicates must be at most 2,147,483,397, got 2147483548"),
    ({"seed": 2**63}, r"seed must be in \[0, 2\^63\), got 9223372036854775808"),
    ({"coherence": 0.9999999}, r"coherence must be in \(-0.3333, 1\), well inside"),
]


@pytest.mark.parametrize(("fields", "sentence"), REFUSED, ids=[str(fields)[:30] for fields, _ in REFUSED])
def test_what_no_program_can_take_is_one_sentence(fields, sentence):
    with pytest.raises(InputError, match=sentence):
        dataclasses.replace(PLAIN, **fields)


@pytest.mark.parametrize("name", SWEEPS)
def test_every_sweep_settles_its_fields(name):
    spec = SWEEPS[name].presets["smoke"]
    lists = {f.name: list(v) for f in dataclasses.fields(spec) if isinstance(v := getattr(spec, f.name), tuple)}
    assert dataclasses.replace(spec, **lists) == spec
    with pytest.raises(InputError, match="replicates must be at most"):
        dataclasses.replace(spec, replicates=2**31)


def test_a_block_that_does_not_fit_is_refused_before_it_runs(tmp_path, capsys, monkeypatch):
    with pytest.raises(InputError, match="must fit 300 MB, but one of 1,000,000,000 replicates needs 16,000 MB"):
        plan.cut(dataclasses.replace(PLAIN, block_size=10**9))
    monkeypatch.setattr(runtime, "free_memory", lambda device: 10_000)
    out = ["--preset", "smoke", "--num-icl", "0", "64", "--block-size", "1000", "--out", str(tmp_path / "x")]
    assert posterior_sweep.main([*out, "--replicates", "1000"]) == 2
    assert re.search(r"must fit the memory, but one of this grid needs \d+ MB on", capsys.readouterr().err)


def test_a_sweep_of_no_examples_is_the_prior(tmp_path):
    few = ["--preset", "smoke", "--num-icl", "0", "--block-size", "1000", "--replicates", "1000"]
    assert posterior_sweep.main([*few, "--out", str(tmp_path)]) == 0


@pytest.mark.parametrize("sweep", [incontext, SWEEPS["alignment_persona"]], ids=["incontext", "alignment"])
def test_sweeps_of_seeds_take_no_target_and_say_so_at_once(tmp_path, capsys, sweep):
    from sims.alignment import __main__ as alignment

    main = incontext.main if sweep is incontext else alignment.main
    assert main(["--preset", "smoke", "--target-sem", "0.1", "--out", str(tmp_path / "x")]) == 2
    assert "target_sem is for sweeps of replicates" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "x").exists()


def test_a_command_leaves_the_settings_of_jax_as_it_found_them(tmp_path):
    before = {name: runtime.jax.config.values[name] for name in runtime.CHANGED}
    assert risk_sweep.main(["--preset", "smoke", "--seed", "-1", "--out", str(tmp_path)]) == 2
    few = ["--preset", "smoke", "--num-icl", "0", "--block-size", "1000", "--replicates", "1000"]
    assert posterior_sweep.main([*few, "--no-compilation-cache", "--out", str(tmp_path)]) == 0
    assert {name: runtime.jax.config.values[name] for name in runtime.CHANGED} == before


def test_no_home_means_no_cache_and_one_line(monkeypatch, capsys):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(runtime.Path, "home", homeless)
    assert runtime._cache_folder() is None
    assert capsys.readouterr().err.count("\n") == 1


def test_an_accelerator_that_is_not_there_is_one_sentence(monkeypatch):
    def none_there():
        raise RuntimeError("Unable to initialize backend 'cuda': no device.\nMore")

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(runtime.jax, "local_devices", none_there)
    with pytest.raises(InputError, match=r"with JAX_PLATFORMS=cuda it says: Unable .* no device; set JAX_P"):
        runtime.devices()
