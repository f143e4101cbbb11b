"""A weight on this machine is found by its bytes, and no other bytes pass for it."""

from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from faceops.weights.catalogue import Weight
from faceops.weights.fetch import Found, find_at_hand, is_weight, obtain


def test_the_users_folder_comes_before_the_cache(
    tmp_path: Path, weight: Weight, content: bytes
) -> None:
    folder, cache = tmp_path / "own", tmp_path / "cache"
    for place in (folder, cache):
        place.mkdir()
        (place / weight.file).write_bytes(content)
    assert find_at_hand(weight, folder, cache) == Found(folder / weight.file, "folder")
    assert find_at_hand(weight, None, cache) == Found(cache / weight.file, "cache")
    assert obtain(weight, folder, cache) == folder / weight.file


def test_a_file_of_another_name_is_known_by_its_sha256(
    tmp_path: Path, weight: Weight, content: bytes
) -> None:
    (tmp_path / "mine.bin").write_bytes(content)
    (tmp_path / "same-size.bin").write_bytes(content[::-1])
    (tmp_path / "subfolder").mkdir()
    assert find_at_hand(weight, tmp_path, tmp_path / "none") == Found(
        tmp_path / "mine.bin", "folder"
    )


def test_one_flipped_bit_is_refused_by_name(tmp_path: Path, weight: Weight, content: bytes) -> None:
    wrong = tmp_path / weight.file
    wrong.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert not is_weight(wrong, weight)
    with pytest.raises(FaceOpsError, match=r"tiny\.onnx is not the weight tiny.*FACEOPS_WEIGHTS"):
        find_at_hand(weight, tmp_path, tmp_path / "none")


def test_the_right_bytes_beside_a_wrong_file_of_that_name_are_taken(
    tmp_path: Path, weight: Weight, content: bytes
) -> None:
    (tmp_path / weight.file).write_bytes(b"another release")
    (tmp_path / "right.onnx").write_bytes(content)
    assert obtain(weight, tmp_path, tmp_path / "none") == tmp_path / "right.onnx"


def test_a_damaged_file_in_the_cache_counts_as_absent(
    tmp_path: Path, weight: Weight, content: bytes
) -> None:
    (tmp_path / weight.file).write_bytes(content[:-1])
    assert find_at_hand(weight, None, tmp_path) is None


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("a file")])
def test_a_folder_that_is_none_is_named(tmp_path: Path, weight: Weight, make) -> None:
    folder = tmp_path / "missing"
    make(folder)
    with pytest.raises(FaceOpsError, match=r"missing cannot be read .*FACEOPS_WEIGHTS"):
        find_at_hand(weight, folder, tmp_path)
