"""Photo_ids in little memory answer as a set of texts does."""

import hashlib

from faceops.identification.state.face_store import PhotoIds


def test_they_are_found_and_others_are_not() -> None:
    ids = [hashlib.sha256(bytes([number])).hexdigest() for number in range(100)]
    ids += ["0" * 64, "ab" * 31 + "00", "00" * 31 + "ab"]  # digests that begin and end with zeros
    some = PhotoIds([*ids[::2], *ids[:10:2]])
    assert len(some) == len(ids[::2])
    assert [photo_id in some for photo_id in ids] == [place % 2 == 0 for place in range(len(ids))]
    assert "ab" * 31 + "01" not in some
    assert None not in some


def test_none_are_found_in_none() -> None:
    assert "0" * 64 not in PhotoIds()
