"""Settings of every test: double precision, no silent rank promotion, every public signature checked at run time.

With W2S_TESTS=user in the environment none of these: jax is as users have it, and what reads `IN_DOUBLE` expects single
precision. All of it must happen before the first import of w2s_jax (the import hook) or the first array (the jax
settings).
"""

import functools
import os
import shutil
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # batched small matrices are far slower with threads
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the suite's tolerances are those of the CPU backend
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # jax 0.9 logs every program it takes from the cache below

import jax
import jaxtyping
import pytest

ROOT = Path(__file__).resolve().parent.parent

DEAREST = (
    *("verify", "rerun", "alignment_sweep", "theory_sweep", "promises", "language_sweep", "arena", "incontext_sweep"),
    *("accelerators", "contract", "evidence", "docs"),
)
"""Files of tests that take longest: they are begun first, so that no worker has one left when the others are done."""
SLOW_TIMEOUT = 1200
"""Seconds after which a slow test counts as hung, the fixtures it is the first to ask for included."""

IN_DOUBLE = os.environ.get("W2S_TESTS") != "user"
if IN_DOUBLE:
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    # Shapes and types of every annotated signature are asserted in tests; users pay nothing for it.
    jaxtyping.install_import_hook("w2s_jax", "beartype.beartype")
# Compiled programs are kept between runs (git-ignored): a second run of the suite compiles almost nothing.
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The dearest files first; and on a busy machine what is a hang of a fast test may be none of a slow one."""
    places = {f"test_{name}.py": place for place, name in enumerate(DEAREST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT))


@pytest.fixture
def key():
    """A fixed typed key; tests that need another draw take a stream of it."""
    return jax.random.key(0)


@pytest.fixture(scope="module")
def compile_in_a_hurry():
    """For programs that compile for longer than they run: they compile a third faster, and run three times as long."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def few_pixels(monkeypatch):
    """For tests of which figures are written, or whether they are alike: not of how finely they are drawn."""
    from figures import style

    monkeypatch.setitem(style.SETTINGS, "savefig.dpi", 40)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """`finished(name)` is a finished tiny sweep of tests/tiny.py, only to be read: run once for all workers."""
    from tests import tiny  # not before the import hook is there

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return functools.cache(lambda name: tiny.finish(name, shared / "tiny" / name))


@pytest.fixture(scope="session")
def whole_toy(tmp_path_factory):
    """The folder of a finished toy sweep, only to be read."""
    from tests.toy_sweep import run  # not before the import hook is there

    out = tmp_path_factory.mktemp("whole")
    assert run(out) == 0
    return out


@pytest.fixture
def toy_copy(whole_toy, tmp_path):
    """A copy of that folder, to be damaged."""
    shutil.copytree(whole_toy, tmp_path / "copy")
    return tmp_path / "copy"
