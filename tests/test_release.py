"""What a release needs: a README that an index can show, and files that a code host reads."""

import re
import tomllib

import pytest
import yaml

from tests.conftest import ROOT
from w2s_jax import __version__

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_readme_of_an_index_has_no_path_of_this_repository():
    """As hatch-fancy-pypi-readme makes it: there a path leads nowhere."""
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    (fragment,) = hook["fragments"]
    text = (ROOT / fragment["path"]).read_text()
    for change in hook["substitutions"]:
        text = re.sub(change["pattern"], change["replacement"], text)
    targets = re.findall(r"\]\(([^)]*)\)", text)
    assert targets and all(target.startswith(("https://", "#")) for target in targets), targets
    assert not re.search(r"!\[|<img|<!--", text)
    assert text.startswith("# w2s_jax\n") and "make demo" in text


def test_types_licence_and_the_one_version_are_in_the_wheel():
    assert (ROOT / "w2s_jax" / "py.typed").is_file() and (ROOT / "LICENSE").is_file()
    assert PROJECT["project"]["license-files"] == ["LICENSE"]
    assert PROJECT["project"]["dynamic"] == ["version", "readme"]
    assert f"version: {__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_a_code_host_can_read_its_files(path):
    found = yaml.safe_load(path.read_text())
    if "ISSUE_TEMPLATE" in path.parts:
        assert found["name"] and found["description"] and all("type" in part for part in found["body"])
    else:
        steps = [step.get("run") for job in found["jobs"].values() for step in job["steps"]]
        assert ".ci/run" in steps
