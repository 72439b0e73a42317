"""Every sweep's program lowers for GPUs and TPUs (none is needed): single precision, nothing that a host computes."""

import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import export

import sims.alignment.job
import sims.incontext.job
import sims.language.job
import sims.methods.job
import sims.posterior_sweep.job
import sims.risk_sweep.job
import sims.theory_sweep.job
from benchmarks.timing import in_fresh_process
from sims.language.spec import SMOKE
from tests.tiny import ARENA, NETWORKS, TINY, cheaply
from tests.tiny_checkpoints import tiny, write_folder

PLATFORMS = ("cuda", "tpu")
ON_A_HOST = re.compile(r"callback|lapack|cpu|infeed|outfeed", re.IGNORECASE)
"""Names of custom calls that only a processor has, or that stop the accelerator for one."""


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
@pytest.mark.parametrize("name", ["risk_sweep", "posterior_sweep", "theory_sweep", "methods", "methods_sign"])
def test_simulations_lower(name):
    in_fresh_process(_simulation, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_training_and_judging_of_networks_lower(name, tmp_path):
    in_fresh_process(_network, name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["full", "last_layers", "lora"])
def test_a_language_sweep_lowers(trained, tmp_path):
    in_fresh_process(_language, trained, tmp_path)


# In processes of their own, in single precision from the start: constants that other tests traced in double precision
# may be found again here.


def _simulation(name: str) -> None:
    module = getattr(sims, name.removesuffix("_sign")).job
    spec = TINY[name].spec if name in TINY else dataclasses.replace(ARENA.spec, labels="sign")
    with jax.enable_x64(False):
        assert_fit_for_accelerators(lowered(module.prepare(spec)))


def _network(name: str, folder: Path) -> None:
    module = getattr(sims, name.split("_")[0]).job
    with cheaply(), jax.enable_x64(False):
        assert_fit_for_accelerators(lowered(module.prepare(TINY[name].spec, folder)))


def _language(trained: str, folder: Path) -> None:
    model = write_folder(folder / "tiny", tiny(), config={"max_position_embeddings": 1024})
    methods = (*SMOKE.methods, "self_refine", "aux_confidence")
    spec = dataclasses.replace(SMOKE, model=str(model), trained=trained, methods=methods)
    with jax.enable_x64(False):
        assert_fit_for_accelerators(lowered(sims.language.job.prepare(spec, folder)))
