"""Every kernel in every mode of jax that a user may have set: traced alone, since that is where they differ."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from tests.conftest import IN_DOUBLE
from tests.test_contract import DIM, KERNELS, NUM_ICL, NUM_SAMPLES, call, instance, single
from w2s_jax.methods.views import draw_view

P, AxisType = jax.sharding.PartitionSpec, jax.sharding.AxisType
pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")


@pytest.fixture(scope="module")
def point() -> dict:
    return instance(0)


def mesh(kind: AxisType):
    return jax.make_mesh((1,), ("x",), axis_types=(kind,))


@pytest.mark.parametrize("name", KERNELS)
def test_under_strict_promotion_inside_a_mesh(point, name):
    """With single-precision data where the default is double too: nothing of another type is made on the way."""
    for kind, given in ((AxisType.Explicit, point), (AxisType.Auto, single(point))):
        with jax.set_mesh(mesh(kind)), jax.numpy_dtype_promotion("strict"):
            jax.eval_shape(jax.jit(partial(call, name)), given)


UNCHECKED = {"sample_moments"}
"""It uses `jax.random.binomial`, which jax itself runs under `shard_map` with check_vma=False alone."""


@pytest.mark.parametrize("name", KERNELS)
def test_under_shard_map(point, name):
    """All arguments may be sharded over replicates, or any one of them, the rest being the same everywhere."""
    arguments = KERNELS[name][0].split()
    alone = [{argument} for argument in arguments] if len(arguments) > 1 and name not in UNCHECKED else []
    for sharded in (set(arguments), *alone):

        def over(change, values: dict, sharded=sharded) -> dict:
            return {n: jax.tree.map(change, value) if n in sharded else value for n, value in values.items()}

        def one_replicate(given, over=over):
            return jax.tree.map(lambda x: x[None], call(name, over(lambda x: x[0], given)))

        specs = {argument: P("x") if argument in sharded else P() for argument in arguments}
        mapped = jax.shard_map(
            one_replicate,
            mesh=mesh(AxisType.Auto),
            in_specs=(specs,),
            out_specs=P("x"),
            check_vma=name not in UNCHECKED,
        )
        jax.eval_shape(mapped, over(lambda x: x[None], {argument: point[argument] for argument in arguments}))


def test_a_view_under_debug_nans(point):
    with jax.debug_nans(True):
        view = jax.jit(draw_view, static_argnums=(2, 3))(point["key"], point["task"], NUM_SAMPLES, NUM_ICL)
    assert view.features.shape == (NUM_SAMPLES, DIM)
    assert view.features.dtype == (jnp.float64 if IN_DOUBLE else jnp.float32)
