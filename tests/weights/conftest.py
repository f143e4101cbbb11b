"""A small weight, and wheels that hold it, served from a local folder."""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from faceops.weights.catalogue import Weight

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def content() -> bytes:
    """The right bytes of the small weight."""
    return CONTENT


@pytest.fixture
def weight() -> Weight:
    """A weight of 10 kB in the wheel tiny_weights 1.2."""
    return Weight(
        name="tiny",
        what="a small weight",
        file="tiny.onnx",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
        licence="MIT",
        terms="ours",
        wheel="tiny_weights==1.2",
        member="tiny_weights/files/tiny.onnx",
    )


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only source of wheels during the test."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def write_wheel(wheels: Path) -> Callable[[dict[str, bytes]], Path]:
    """Write tiny_weights 1.2 with the given members and what pip wants to see in a wheel.

    Its metadata asks for a package and a Python that do not exist: neither may matter.
    """
    path = wheels / "tiny_weights-1.2-py3-none-any.whl"
    info = "tiny_weights-1.2.dist-info"
    metadata = (
        "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.2\n"
        "Requires-Dist: no-such-package-anywhere\nRequires-Python: >=99\n"
    )

    def write(members: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
            archive.writestr(f"{info}/METADATA", metadata)
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        return path

    return write
