"""A gallery keeps its embedder; a new one gets int8 where this machine runs it faster."""

from pathlib import Path

import pytest

from faceops.base.files import read_json_object, write_json
from faceops.cli.common import choose_precision
from faceops.gallery.folder import GALLERY_FILE
from faceops.release.contract import read_release
from faceops.release.int8_gain import int8_gain


def test_the_gain_is_measured_once_and_decides_for_a_new_gallery(
    int8_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path))
    assert 0.3 < int8_gain(int8_bundle) < 3  # in this fixture both are the same net
    (file,) = (tmp_path / "int8").iterdir()
    for gain, chosen in ((1.2, "float32"), (2.5, "int8")):
        write_json(file, read_json_object(file) | {"gain": gain})
        precision, why = choose_precision("auto", int8_bundle, tmp_path / "gallery")
        assert precision == chosen and ("2.5 times" in why) == (chosen == "int8")
    file.write_text("damaged")
    assert int8_gain(int8_bundle) < 3 and read_json_object(file)["gain"] > 0


def test_a_gallery_keeps_the_embedder_it_was_enrolled_with(
    int8_bundle: Path, sface_bundle: Path, tmp_path: Path
) -> None:
    release = read_release(int8_bundle)
    assert release.int8
    for contract, precision in (
        (release.contract_id, "float32"),
        (release.int8.contract_id, "int8"),
        ("of another release", "float32"),
    ):
        write_json(tmp_path / GALLERY_FILE, {"contract_id": contract})
        assert choose_precision("auto", int8_bundle, tmp_path) == (precision, "")
    assert choose_precision("auto", int8_bundle, None) == ("float32", "")
    assert choose_precision("int8", sface_bundle, tmp_path) == ("int8", "")  # loading refuses it


def test_a_release_without_int8_stays_float32(sface_bundle: Path, tmp_path: Path) -> None:
    assert int8_gain(sface_bundle) == 0
    assert choose_precision("auto", sface_bundle, tmp_path / "gallery") == ("float32", "")
