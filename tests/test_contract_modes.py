"""Every kernel in every mode of jax that a user may have set: traced alone, since that is where they differ."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from tests.conftest import IN_DOUBLE
from tests.test_contract import DIM, KERNELS, NUM_ICL, NUM_SAMPLES, call, instance, single
from w2s_jax.methods.views import draw_view

P = jax.sharding.PartitionSpec
pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")


@pytest.fixture(scope="module")
def point() -> dict:
    return instance(0)


def mesh(kind: jax.sharding.AxisType):
    return jax.make_mesh((1,), ("x",), axis_types=(kind,))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("precision", ["default", "single"])
def test_under_strict_promotion(point, name, precision):
    """With single-precision data where the default is double too: nothing of another type is made on the way."""
    with jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(partial(call, name), single(point) if precision == "single" else point)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("kind", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit], ids=str)
def test_inside_a_mesh(point, name, kind):
    with jax.set_mesh(mesh(kind)):
        jax.eval_shape(jax.jit(partial(call, name)), point)


UNCHECKED = {"sample_moments"}
"""It uses `jax.random.binomial`, which jax itself runs under `shard_map` with check_vma=False alone."""


@pytest.mark.parametrize("name", [name for name in KERNELS if name not in UNCHECKED])
def test_under_shard_map(point, name):
    """All arguments may be sharded over replicates, or any one of them, the rest being the same everywhere."""
    arguments = KERNELS[name][0].split()
    for sharded in [set(arguments), *({argument} for argument in arguments)]:
        trace_sharded(point, name, sharded, check_vma=True)


@pytest.mark.parametrize("name", sorted(UNCHECKED))
def test_under_shard_map_unchecked(point, name):
    trace_sharded(point, name, set(KERNELS[name][0].split()), check_vma=False)


def trace_sharded(point: dict, name: str, sharded: set[str], check_vma: bool) -> None:
    given = {argument: point[argument] for argument in KERNELS[name][0].split()}
    specs = {argument: P("x") if argument in sharded else P() for argument in given}

    def one_replicate(given):
        own = {
            argument: jax.tree.map(lambda x: x[0], value) if argument in sharded else value
            for argument, value in given.items()
        }
        return jax.tree.map(lambda x: x[None], call(name, own))

    stacked = {
        argument: jax.tree.map(lambda x: x[None], value) if argument in sharded else value
        for argument, value in given.items()
    }
    where = mesh(jax.sharding.AxisType.Auto)
    mapped = jax.shard_map(one_replicate, mesh=where, in_specs=(specs,), out_specs=P("x"), check_vma=check_vma)
    jax.eval_shape(mapped, stacked)


def test_a_view_under_debug_nans(point):
    with jax.debug_nans(True):
        view = jax.jit(draw_view, static_argnums=(2, 3))(point["key"], point["task"], NUM_SAMPLES, NUM_ICL)
    assert view.features.shape == (NUM_SAMPLES, DIM)
    assert view.features.dtype == (jnp.float64 if IN_DOUBLE else jnp.float32)
