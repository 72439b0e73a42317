"""Every sweep's program lowers for GPUs and TPUs (none is needed): single precision, nothing that a host computes."""

import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import export

from benchmarks import memory
from benchmarks.timing import in_fresh_process
from sims.language.spec import SMOKE
from sims.sweeps import SWEEPS
from tests.tiny import ARENA, TINY, cheaply
from tests.tiny_checkpoints import tiny, write_folder

PLATFORMS = ("cuda", "tpu")
ON_A_HOST = re.compile(r"callback|lapack|cpu|infeed|outfeed", re.IGNORECASE)
"""Names of custom calls that only a processor has, or that stop the accelerator for one."""
SPECS = {name: sweep.spec for name, sweep in TINY.items()}
SPECS["methods_sign"] = dataclasses.replace(ARENA.spec, labels="sign")


def lowered(job) -> str:
    """The program of a block, for both platforms, as text."""
    number = jnp.asarray(0, jnp.int32)
    given = (jax.random.key(0), number, number, job.chunks[0])
    return export.export(jax.jit(job.program), platforms=PLATFORMS)(*given).mlir_module()


def assert_fit_for_accelerators(text: str) -> None:
    assert not re.search(r"tensor<(\d+x)*f64>", text)
    calls = set(re.findall(r"custom_call @([\w$.]+)", text)) | set(re.findall(r'call_target_name = "([^"]+)"', text))
    assert not [name for name in calls if ON_A_HOST.search(name)]
    assert not re.search(r"stablehlo\.(infeed|outfeed|send|recv|all_reduce|all_gather|collective_permute)", text)


def test_a_callback_or_double_precision_is_noticed():
    def callback(key, first, total, chunk):
        return jax.pure_callback(lambda x: x, chunk, chunk)

    def double(key, first, total, chunk):
        return chunk * jnp.ones((2,), jnp.float64)

    class OfOne:
        chunks = (jnp.ones((2,), jnp.float32),)

    for program, error in ((callback, NotImplementedError), (double, AssertionError)):
        OfOne.program = staticmethod(program)
        with pytest.raises(error):
            assert_fit_for_accelerators(lowered(OfOne))


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_a_sweep_lowers(name, tmp_path):
    in_fresh_process(_lower, name, SPECS[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["full", "last_layers", "lora"])
def test_a_language_sweep_lowers(trained, tmp_path):
    model = write_folder(tmp_path / "tiny", tiny(), config={"max_position_embeddings": 1024})
    methods = (*SMOKE.methods, "self_refine", "aux_confidence")
    spec = dataclasses.replace(SMOKE, model=str(model), trained=trained, methods=methods)
    in_fresh_process(_lower, "language", spec, tmp_path)


@pytest.mark.slow
def test_a_block_takes_no_more_memory_than_the_plan_of_the_grid_allows():
    found = in_fresh_process(memory.block, "risk_sweep", "smoke")
    assert 0 < found["bytes"] <= found["planned_bytes"] and found["share_of_16_gb"] == found["bytes"] / 16e9


def _lower(name: str, spec, folder: Path) -> None:
    """In single precision from the start: constants that other tests traced in double precision may be found again."""
    with cheaply(), jax.enable_x64(False):
        assert_fit_for_accelerators(lowered(SWEEPS[name].prepare(spec, folder)))
