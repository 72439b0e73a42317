"""What many tests need: comparing means, results and trees, and running and reading sweeps."""

import dataclasses

import numpy as np
import pytest

MIN_REPLICATES = 1000
MAX_RELATIVE_SEM = 0.02
MAX_Z = 5.0


def assert_mean_summary(mean, sem, num_replicates, expected, scale=None) -> None:
    """Assert that `mean` +- `sem` over `num_replicates` independent replicates agrees with `expected`, elementwise.

    Three conditions, so that agreement means something: (a) at least 1000 replicates, for a normal error; (b) a
    standard error of at most 2% of the expected value, or of `scale`, which must be given where the expected value is
    0; (c) |z| < 5. All three are printed.
    """
    mean, sem, expected = np.broadcast_arrays(
        np.asarray(mean, np.float64), np.asarray(sem, np.float64), np.asarray(expected, np.float64)
    )
    size = np.broadcast_to(np.abs(expected if scale is None else np.asarray(scale, np.float64)), expected.shape)
    count = int(np.min(num_replicates))
    assert np.all(np.isfinite(mean)) and np.all(np.isfinite(sem)) and np.all(np.isfinite(expected)), (
        f"not finite: mean {mean}, sem {sem}, expected {expected}"
    )
    assert np.all(size > 0), "the expected value is 0 somewhere: state the `scale` on which 2% is small"
    deviation = np.abs(mean - expected)
    # A standard error of exactly 0 is a constant: it must then be right to rounding.
    z = np.where(deviation <= 1e-12 * size, 0.0, deviation / np.maximum(sem, 1e-300))
    precision = sem / size
    worst = np.unravel_index(np.argmax(z), z.shape)
    print(
        f"replicates {count} (>= {MIN_REPLICATES}), SEM at most {precision.max():.3%} of the scale "
        f"(<= {MAX_RELATIVE_SEM:.0%}), largest |z| {z[worst]:.2f} (< {MAX_Z:g}) at {worst}: "
        f"mean {mean[worst]:.6g} +- {sem[worst]:.2g}, expected {expected[worst]:.6g}"
    )
    assert count >= MIN_REPLICATES, f"only {count} replicates: use at least {MIN_REPLICATES}"
    assert precision.max() <= MAX_RELATIVE_SEM, (
        f"too noisy to tell: the SEM is {precision.max():.2%} of the expected value; use more replicates"
    )
    assert z[worst] < MAX_Z, (
        f"mean {mean[worst]:.6g} +- {sem[worst]:.2g} is {z[worst]:.1f} standard errors from {expected[worst]:.6g}"
    )


def assert_mean(samples, expected, scale=None) -> None:
    """`assert_mean_summary` for raw samples: axis 0 holds the independent replicates."""
    samples = np.asarray(samples, np.float64)
    count = samples.shape[0]
    assert count > 1, f"only {count} replicates: use at least {MIN_REPLICATES}"
    sem = samples.std(axis=0, ddof=1) / np.sqrt(count)
    assert_mean_summary(samples.mean(axis=0), sem, count, expected, scale)


def assert_mean_rejects(samples, wrong, scale=None) -> None:
    """The twin of a closed-form test: the same samples must contradict the `wrong` formula (one that is 10% off).

    The samples must be good enough for (a) and (b), so that it is the value that is refused.
    """
    _assert_refused(lambda: assert_mean(samples, wrong, scale), wrong)


def assert_mean_summary_rejects(mean, sem, num_replicates, wrong, scale=None) -> None:
    """`assert_mean_rejects` for a given mean, standard error and number of replicates."""
    _assert_refused(lambda: assert_mean_summary(mean, sem, num_replicates, wrong, scale), wrong)


def _assert_refused(check, wrong) -> None:
    try:
        check()
    except AssertionError as error:
        assert "standard errors from" in str(error), f"refused for another reason: {error}"
        return
    raise AssertionError(f"the test cannot tell {wrong} from the truth: use more replicates")


def assert_mean_sharply(samples, expected, scale=None) -> None:
    """`assert_mean`, and its twins: the same samples contradict values 10% below and above the expected one."""
    assert_mean(samples, expected, scale)
    for factor in (0.9, 1.1):
        assert_mean_rejects(samples, factor * np.asarray(expected), scale)


# --- sweeps ----------------------------------------------------------------------------------------------------------


def options(out, spec, **fields) -> list[str]:
    """Command line arguments for a specification, with some fields replaced."""
    arguments = ["--out", str(out)]
    for name, value in {**dataclasses.asdict(spec), **fields}.items():
        values = value if isinstance(value, tuple | list) else (value,)
        arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
    return arguments


def load(store):
    """The results in a store, as plain xarray."""
    import xarray as xr  # not needed by most tests

    return xr.open_zarr(store, consolidated=False).load()


def of(method: str, array):
    """The values of one method; `sel(method=...)` would be xarray's own option of that name."""
    return array.sel({"method": method})


def files(folder) -> dict:
    """When each file in a folder was last written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def assert_same_results(one, other) -> None:
    """Two data sets hold the same variables, to the bit."""
    assert set(one.variables) == set(other.variables)
    for name in one.variables:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=str(name))


def assert_same_trees(one, other) -> None:
    """Two pytrees hold the same arrays, to the bit and in the same types."""
    import jax

    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def assert_field_refused(spec, fields: dict, message: str) -> None:
    """A specification with these fields is refused in one sentence that begins like this."""
    from sims.engine.checked import InputError

    with pytest.raises(InputError, match=f"^{message}") as raised:
        dataclasses.replace(spec, **fields)
    assert str(raised.value).endswith(".") and "\n" not in str(raised.value)
