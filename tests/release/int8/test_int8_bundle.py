"""A release with two embedders: each has its contract, and galleries of one refuse the other."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.cli import main
from faceops.gallery.store import Gallery
from faceops.release.bundle import Bundle, check_files
from faceops.release.contract import EMBEDDER, EMBEDDER_INT8, read_release


def edit(folder: Path, **changes: object) -> None:
    path = folder / "release.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in content.items() if v != "absent"}))


@pytest.fixture
def copy(int8_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(int8_bundle, tmp_path / "copy"))


def test_int8_has_contract_thresholds_and_weight_of_its_own(
    int8_bundle: Path, sface_bundle: Path
) -> None:
    float32, int8 = Bundle.load(int8_bundle), Bundle.load(int8_bundle, precision="int8")
    assert float32.release.contract_id == Bundle.load(sface_bundle).release.contract_id
    assert int8.release.contract_id != float32.release.contract_id
    assert int8.release.crops_id == float32.release.crops_id
    assert int8.release.thresholds.data == "synthetic people, int8"
    assert int8.release.weights[EMBEDDER] != float32.release.weights[EMBEDDER]
    crops = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), np.uint8)
    rows, others = float32.embed(crops), int8.embed(crops)
    assert 0.8 < (rows * others).sum(1).min() < 0.99999  # noise is not what it was calibrated on
    np.testing.assert_allclose(np.linalg.norm(others, axis=1), 1, atol=1e-5)


def test_a_changed_or_absent_int8_file_is_named_where_it_is_asked_for(copy: Path) -> None:
    content = bytearray((copy / EMBEDDER_INT8).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / EMBEDDER_INT8).write_bytes(content)
    with pytest.raises(FaceOpsError, match=rf"{EMBEDDER_INT8} has sha256"):
        Bundle.load(copy, precision="int8")
    with pytest.raises(FaceOpsError, match=rf"{EMBEDDER_INT8} has sha256"):
        check_files(copy)
    (copy / EMBEDDER_INT8).unlink()
    with pytest.raises(FaceOpsError, match=rf"{EMBEDDER_INT8} cannot be read"):
        Bundle.load(copy, precision="int8")
    Bundle.load(copy)


def test_a_contract_id_that_was_edited_is_refused(copy: Path) -> None:
    int8 = json.loads((copy / "release.json").read_text())["int8"]
    edit(copy, int8={**int8, "contract_id": "0" * 64})
    with pytest.raises(FaceOpsError, match="states contract id 000000000000"):
        Bundle.load(copy, precision="int8")


def test_releases_of_before_int8_are_read(copy: Path, sface_bundle: Path) -> None:
    edit(copy, schema_version=2, int8="absent")
    assert "int8" not in json.loads((copy / "release.json").read_text())
    loaded = Bundle.load(copy)
    assert loaded.release.int8 is None
    assert loaded.release.contract_id == read_release(sface_bundle).contract_id
    with pytest.raises(FaceOpsError, match=r"copy offers no int8 .* --precision float32") as told:
        Bundle.load(copy, precision="int8")
    assert "\n" not in str(told.value)


def test_a_gallery_of_one_precision_refuses_the_other_until_it_is_embedded_anew(
    int8_bundle: Path,
    synthetic_set: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gallery, out = tmp_path / "gallery", tmp_path / "found"
    photos = tmp_path / "photos"
    photos.mkdir()
    for photo in sorted((synthetic_set / "album").glob("*.jpg"))[:1]:
        shutil.copy(photo, photos)
    release = ["--gallery", str(gallery), "--bundle", str(int8_bundle)]
    identify = ["identify", str(photos), "--out", str(out), "--detail", "0", *release]
    assert main(["enrol", str(synthetic_set / "enrol"), *release]) == 0
    assert main(identify) == 0
    assert main(identify) == 0
    assert "nothing has changed" in capsys.readouterr().out
    # The shortcut for unchanged folders must not answer for the other embedder.
    assert main([*identify, "--precision", "int8"]) == 1
    assert "their embeddings cannot be compared" in capsys.readouterr().err
    assert main(["people", "reembed", *release, "--precision", "int8"]) == 0
    int8 = Bundle.load(int8_bundle, precision="int8").release.contract_id
    assert Gallery.open(gallery).contract_id == int8
    assert main(identify) == 1
    assert "their embeddings cannot be compared" in capsys.readouterr().err
    assert main([*identify, "--precision", "int8", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["contract_id"] == int8 and not summary["unchanged"]
    assert main([*identify, "--precision", "int8"]) == 0
    assert "nothing has changed" in capsys.readouterr().out


def test_a_release_without_int8_says_so(
    sface_bundle: Path, synthetic_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = ["--gallery", str(tmp_path / "g"), "--bundle", str(sface_bundle)]
    command = ["enrol", str(synthetic_set / "enrol"), *release, "--precision", "int8"]
    assert main(command) == 1
    assert "offers no int8 embedder" in capsys.readouterr().err
