"""Specifications hold plain Python values in their ranges, whatever they are given, and say so where they cannot."""

import dataclasses
import json
import re
from typing import get_args, get_origin
from unittest.mock import Mock

import jax.numpy as jnp
import numpy as np
import pytest

from sims.engine import run, runtime
from sims.engine.checked import InputError, ends, from_json, identity, to_json
from sims.incontext.spec import InContextSpec
from sims.methods.spec import ArenaSpec
from sims.posterior_sweep import __main__ as posterior_sweep
from sims.risk_sweep import __main__ as risk_sweep
from sims.risk_sweep import plan
from sims.risk_sweep.spec import SweepSpec
from sims.sweeps import SWEEPS
from sims.theory_sweep.spec import TheorySpec
from tests import toy_sweep
from tests.helpers import assert_field_refused

PLAIN = SweepSpec(weak_accuracy=(0.5, 0.75), sample_size=(4, 20), noise_var=1.0, methods=("weak",), dim=6)
SAME = {
    "lists": {"weak_accuracy": [0.5, 0.75], "sample_size": [4, 20], "methods": ["weak"]},
    "arrays": {
        "weak_accuracy": np.array([0.5, 0.75]),
        "sample_size": jnp.array([4, 20]),
        "methods": np.array(["weak"]),
    },
    "numbers of NumPy": {"noise_var": np.float64(1), "dim": np.int64(6), "sample_size": (np.int32(4), np.int64(20))},
    "whole numbers": {"noise_var": 1, "dim": 6.0, "sample_size": (4.0, 20)},
}


@pytest.mark.parametrize("kind", SAME)
def test_what_means_the_same_is_the_same(kind):
    spec = dataclasses.replace(PLAIN, **SAME[kind])
    assert spec == PLAIN and hash(spec) == hash(PLAIN) and identity(spec) == identity(PLAIN)
    assert from_json(SweepSpec, to_json(spec)) == PLAIN
    assert json.loads(to_json(spec))["noise_var"] == 1.0


SMOKE = {sweep.kind.__name__: sweep.presets["smoke"] for sweep in reversed(SWEEPS.values())}


def wrong(field: dataclasses.Field):
    """(value, rule) for what a field cannot be by its type and by the range, names and axis that it declares."""
    many = get_origin(field.type) is tuple
    kind = get_args(field.type)[0] if many else field.type
    kinds, within = get_args(kind) or (kind,), field.metadata.get("within")
    if int in kinds or float in kinds:
        # The last one is refused whether the field declares a range or its specification compares it with others.
        found = [("1", "be a (whole )?number"), (True, "be a (whole )?number"), (-1 if int in kinds else np.nan, "be ")]
    else:
        found = [(3, "be a name"), ("nothing", "be among .*")][: 1 if field.metadata.get("free") else 2]
    if int in kinds and field.name != "seed":
        found += [(1.5, "be a whole number"), (10**12, "be at most 2,147,483,647")]
    if within:
        (low, high), step = ends(within), 1 if int in kinds else 0.25
        rule = r"be (in [\[(]|at least|positive|finite|1 or 2)"
        found.append((low - step * (within[0] == "["), rule))
        found += [(high + step * (within[-1] == "]"), rule)] if high < np.inf or float in kinds else []
    if not many:
        return found
    good = field.default[:1] or (0.5,)
    axis = [((), "hold at least one value"), (good * 2, "not repeat a value")]
    found = [((*good, value), rule) for value, rule in found] + [(good[0], "be a tuple of values")]
    return found + axis * field.metadata.get("axis", True)


@pytest.mark.parametrize("name", SMOKE)
def test_what_a_field_cannot_be_is_refused_in_one_sentence(name):
    for field in dataclasses.fields(SMOKE[name]):
        for value, rule in wrong(field):
            with pytest.raises(InputError, match=f"^{field.name} must {rule}.*[,;] got ") as raised:
                dataclasses.replace(SMOKE[name], **{field.name: value})
            assert "\n" not in str(raised.value) and str(raised.value).endswith((".", "?")), (field.name, value)


REFUSED = {
    SweepSpec: [
        ({"replicates": 2**31 - 100}, "replicates must be at most 2,147,483,397, got 2147483548"),
        ({"seed": 2**63}, r"seed must be in \[0, 2\^63\), got 9223372036854775808; give a whole number."),
        ({"weak_accuracy": (0.5, 0.0)}, r"weak_accuracy must be in \(0, 1\], got 0.0; 1 is a perfect teacher."),
        ({"num_concepts": 6}, r"dim must be at least num_concepts \+ 1 = 7 .*, got 6"),
        ({"coherence": 0.9999999}, r"coherence must be in \(-0.3333, 1\), well inside"),
        ({"coherence": -0.5}, "coherence must be in .*positive definite, got -0.5"),
        ({"target_prior": (0.7, 0.2, 0, 0)}, "target_prior must be weights that sum to 1, not 0.9, got"),
        ({"target_prior": (0.3, 0.7, 0, 0)}, "target_prior must be led by the largest weight"),
        ({"target_prior": (0.5, 0.25, 0.25)}, "target_prior must be 4 weights, one a concept"),
        ({"target_prior": (1.5, -0.5, 0, 0)}, r"target_prior must be weights in \[0, 1\]"),
        ({"target_prior": (0.6, 0.4, 0, 0), "concept_shift": (0.7,)}, "concept_shift must be at most the first target"),
        ({"features": "uniform", "task_law": "random"}, "task_law must be fixed with uniform or uneven features"),
    ],
    TheorySpec: [
        ({"target_prior": (0.7, 0.2)}, "target_prior must be weights that sum to 1, not 0.9"),
        ({"target_prior": ()}, "target_prior must hold one weight per concept"),
        ({"hull_sample_size": (64,)}, "hull_sample_size must be at least 2 K = 128, got 64"),
        ({"block_size": 7}, "block_size must be a positive multiple of 10, got 7"),
    ],
    ArenaSpec: [
        ({"methods": ("hull", "prompt_only")}, "methods must support this setting, .*; 'prompt_only' supports python"),
        (
            {"methods": ("ceiling",)},
            "methods must hold one that does not read the target, got ceiling alone; add naive",
        ),
        ({"methods": ("true_only",)}, "true_label_share must hold one over 0 where true_only is compared, got 0"),
        ({"dim": 4}, r"dim must be at least num_concepts \+ 1 = 5, got 4; raise it"),
        (
            {"num_icl": 500},
            "every method must have 2 examples to fit .* sample_size 256 and num_icl 500 one has 1; raise",
        ),
    ],
    InContextSpec: [
        ({"num_icl": (1, 4), "max_icl": 3}, r"num_icl must be in \[0, max_icl = 3\], got 4; a network reads no longer"),
        ({"width": 10, "heads": 2}, "width must be a multiple of 2 heads = 4, got 10; change either"),
        ({"dim": 2, "num_concepts": 2}, r"dim must be at least num_concepts \+ 1 = 3, got 2; raise it"),
        ({"finetune_steps": 9, "finetune_looks": 4}, "finetune_steps must be a multiple of 4 looks, got 9; change"),
        ({"finetune_steps": 0, "finetune_looks": 4}, "finetune_steps must be a multiple of 4 looks, got 0"),
    ],
}
"""Fields of each specification that do not go with others, beside what their types and ranges say."""


@pytest.mark.parametrize(
    ("kind", "fields", "message"), [(kind, *case) for kind, cases in REFUSED.items() for case in cases]
)
def test_fields_that_do_not_go_together(kind, fields, message):
    assert_field_refused(PLAIN if kind is SweepSpec else kind(), fields, message)


def test_a_block_that_does_not_fit_is_refused_before_it_runs(tmp_path, capsys, monkeypatch):
    with pytest.raises(InputError, match="must fit 300 MB, but one of 1,000,000,000 replicates needs 16,000 MB"):
        plan.cut(dataclasses.replace(PLAIN, block_size=10**9))
    monkeypatch.setattr(runtime, "free_memory", lambda device: 1)
    run._compiled.cache_clear()  # what other tests compiled did fit
    assert toy_sweep.run(tmp_path / "x") == 2
    assert re.search(r"must fit the memory, but one of this grid needs \d+ MB on", capsys.readouterr().err)


def test_a_command_leaves_the_settings_of_jax_as_it_found_them(tmp_path):
    few = ["--preset", "smoke", "--block-size", "1000", "--replicates", "1000", "--num-icl", "0"]
    before = {name: runtime.jax.config.values[name] for name in runtime.CHANGED}
    assert risk_sweep.main(["--preset", "smoke", "--seed", "-1", "--out", str(tmp_path)]) == 2
    assert posterior_sweep.main([*few, "--no-compilation-cache", "--out", str(tmp_path)]) == 0
    assert {name: runtime.jax.config.values[name] for name in runtime.CHANGED} == before


def test_no_home_means_no_cache_and_one_line(monkeypatch, capsys):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(runtime.Path, "home", Mock(side_effect=RuntimeError("Could not determine home directory.")))
    assert runtime._cache_folder() is None
    assert capsys.readouterr().err.count("\n") == 1


def test_an_accelerator_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    said = "Unable to initialize backend 'cuda': no device.\nMore"
    monkeypatch.setattr(runtime.jax, "local_devices", Mock(side_effect=RuntimeError(said)))
    with pytest.raises(InputError, match=r"with JAX_PLATFORMS=cuda it says: Unable .* no device; set JAX_P"):
        runtime.devices()
