"""The README's examples run as they stand, and its links lead somewhere."""

import re

import jax
import numpy as np
import pytest

import w2s_jax as w2s
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")  # kernels called eagerly, as a user tries them


def printed_by(number: int, capsys, **names) -> str:
    """What an example prints."""
    example = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[number]
    with jax.numpy_rank_promotion("allow"):
        exec(compile(example, "README.md", "exec"), names)
    return capsys.readouterr().out


@pytest.mark.slow
def test_the_first_example_runs(capsys):
    curve, slope = (np.array(row.split(), float) for row in re.findall(r"\[([^\]]*)\]", printed_by(0, capsys)))
    assert curve.shape == slope.shape == (4,)
    assert (np.diff(curve) < 0).all() and (slope < 0).all()
    assert np.ptp(slope) > 0.5 * -slope.mean()  # a slope that changes along the curve


@pytest.mark.slow
def test_the_second_example_runs(capsys):
    said = printed_by(1, capsys, w2s=w2s, jax=jax, jnp=jax.numpy)
    student, teacher = (float(risk) for risk in said.split("from"))
    assert 0 < student < teacher / 3


def test_every_link_and_figure_of_the_documents_exists():
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}, which is not there"
