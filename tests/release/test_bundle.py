"""A bundle verifies its files, embeds and verifies, in either precision."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from faceops.base.errors import FaceOpsError
from faceops.cli import main
from faceops.dataset.synthetic.people import load_generator
from faceops.faces.detector import Detector, with_symbolic_size
from faceops.faces.find_faces import FaceFinder
from faceops.faces.landmarks import LandmarkRefiner
from faceops.gallery.store import Gallery
from faceops.release.bundle import EMBED_BATCH, Bundle, Embedded, check_files, resumable_embeddings
from faceops.release.contract import (
    EMBEDDER,
    EMBEDDER_INT8,
    MODEL_FILES,
    read_release,
    write_release,
)
from tests.release.tiny_release import SIZE, VERIFIER, write_tiny
from tests.releases import add_int8


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny release with int8."""
    return add_int8(tiny_folder, tmp_path / "copy")


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 112, 112, 3), np.uint8)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "release.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in content.items() if v != "absent"}))


@pytest.mark.parametrize("count", [0, 1, 3, EMBED_BATCH["cpu"] + 1])
def test_the_batch_does_not_change_embeddings(tiny_bundle, count):
    together = tiny_bundle.embed(crops(count))[0]
    assert together.shape == (count, SIZE) and together.dtype == np.float32
    if count:
        alone = tiny_bundle.embed(crops(count)[-1:])[0][0]
        np.testing.assert_allclose(alone, together[-1], atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_verify_gives_the_verifiers_probabilities(tiny_bundle):
    a, b = np.random.default_rng(0).normal(0, 0.3, (2, 9000, SIZE)).astype(np.float32)
    np.testing.assert_allclose(tiny_bundle.verify(a, b), VERIFIER.probability(a, b), atol=1e-5)
    assert tiny_bundle.verify(a[:0], b[:0]).shape == (0,)


def test_wrong_shapes_are_refused(tiny_bundle):
    with pytest.raises(ValueError, match="uint8"):
        tiny_bundle.embed(np.zeros((1, 3, 112, 112), np.float32))
    with pytest.raises(ValueError, match="both must be"):
        tiny_bundle.verify(np.zeros((2, SIZE)), np.zeros((3, SIZE)))


def test_a_bundle_keeps_its_name_and_finds_faces(tiny_bundle):
    assert tiny_bundle.name == "models:/faceops@champion"
    assert tiny_bundle.face_finder().find(np.zeros((64, 64, 3), np.uint8)) == []


def test_a_release_of_other_crops_finds_no_faces(tmp_path, weights_dir):
    centred = Bundle.load(write_tiny(tmp_path / "center", weights_dir, "center"))
    with pytest.raises(FaceOpsError, match=r"crop\.mode aligned"):
        centred.face_finder()


@pytest.mark.parametrize("name", [*MODEL_FILES, EMBEDDER_INT8])
def test_a_changed_or_missing_file_is_named(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    precision = "int8" if name == EMBEDDER_INT8 else "float32"
    with pytest.raises(FaceOpsError, match=f"{name} has sha256"):
        Bundle.load(copy, precision=precision)
    with pytest.raises(FaceOpsError, match=f"{name} has sha256"):
        check_files(copy)
    (copy / name).unlink()
    with pytest.raises(FaceOpsError, match=f"{name} cannot be read"):
        Bundle.load(copy, precision=precision)
    if precision == "int8":
        Bundle.load(copy)  # float32 does not need it


def test_a_damaged_release_json_is_refused_in_one_sentence(copy, tmp_path):
    original = (copy / "release.json").read_text()
    content = json.loads(original)

    def refused(pattern: str, precision: str = "float32") -> None:
        with pytest.raises(FaceOpsError, match=pattern) as caught:
            Bundle.load(copy, precision=precision)
        assert "\n" not in str(caught.value)
        (copy / "release.json").write_text(original)

    edit(copy, contract_id="0" * 64)
    refused("states contract id 000000000000")
    edit(copy, int8={**content["int8"], "contract_id": "0" * 64})
    refused("states contract id 000000000000", "int8")
    edit(copy, schema_version=99)
    refused("schema version 99")
    edit(copy, embedding_size="many")
    refused("embedding_size is wrong")
    edit(copy, weights={})
    refused("does not list embedder")
    edit(copy, alignment={**content["alignment"], "version": 99})
    refused("alignment version 99")
    (copy / "release.json").write_text("{")
    refused("not readable JSON")
    (copy / "release.json").write_text("[]")
    refused("schema version None")
    with pytest.raises(FaceOpsError, match="not a release bundle"):
        Bundle.load(tmp_path / "nowhere")


def test_releases_written_before_int8_can_be_read(copy, tiny_folder):
    edit(copy, schema_version=2, int8="absent")
    loaded = Bundle.load(copy)
    assert loaded.release.int8 is None
    assert loaded.release.contract_id == read_release(tiny_folder).contract_id


def test_a_release_of_alignment_version_1_cuts_faces_as_it_did(copy, tiny_bundle, weights_dir):
    release = read_release(copy)
    earlier = release.alignment.model_copy(update={"version": 1})
    release = release.model_copy(update={"alignment": earlier, "int8": None})
    stated = release.expected_contract_id()
    write_release(release.model_copy(update={"contract_id": stated}), copy)
    latents = np.random.default_rng(1).normal(size=(3, 100))
    faces = load_generator(weights_dir / "weights.tar")(latents).repeat(2, 1).repeat(2, 2)
    scene = np.pad(np.concatenate(faces, axis=1), ((60, 60), (60, 60), (0, 0)))
    overexposed = np.minimum(scene * 2.2, 255).astype(np.uint8)
    yunet = with_symbolic_size((weights_dir / "face_detection_yunet_2023mar.onnx").read_bytes())
    refiner = LandmarkRefiner(weights_dir / "onet.onnx", version=1)
    finders = (
        FaceFinder(Detector(yunet, version=1), refiner),
        Bundle.load(copy).face_finder(),
        tiny_bundle.face_finder(),
    )
    expected, before, now = (
        [one.crop.tobytes() for one in finder.find(overexposed)] for finder in finders
    )
    assert before == expected != now and len(expected) > 1


def test_int8_has_its_own_contract_thresholds_and_weight(copy):
    float32, int8 = Bundle.load(copy), Bundle.load(copy, precision="int8")
    assert int8.release.contract_id != float32.release.contract_id
    assert int8.release.crops_id == float32.release.crops_id
    assert int8.release.thresholds.data == "synthetic people, int8"
    assert int8.release.weights[EMBEDDER] != float32.release.weights[EMBEDDER]


def test_a_gallery_of_one_precision_refuses_the_other_until_it_is_embedded_again(
    int8_bundle, synthetic_set, tmp_path, capsys
):
    gallery, out = tmp_path / "gallery", tmp_path / "found"
    photos, people = tmp_path / "photos", tmp_path / "people"
    photos.mkdir()
    for person in sorted((synthetic_set / "enrol").iterdir())[:2]:
        shutil.copytree(person, people / person.name)
    shutil.copy(min((synthetic_set / "album").glob("*.jpg")), photos)
    release = ["--gallery", str(gallery), "--bundle", str(int8_bundle)]
    identify = ["identify", str(photos), "--out", str(out), "--detail", "0", *release]
    assert main(["enrol", str(people), *release]) == 0
    assert main(identify) == 0
    assert main(identify) == 0
    assert "nothing has changed" in capsys.readouterr().out
    # The shortcut for unchanged folders must not answer for the other embedder.
    assert main([*identify, "--precision", "int8"]) == 1
    assert "their embeddings cannot be compared" in capsys.readouterr().err
    assert main(["people", "reembed", *release, "--precision", "int8"]) == 0
    int8 = Bundle.load(int8_bundle, precision="int8").release.contract_id
    assert Gallery.open(gallery).contract_id == int8
    capsys.readouterr()
    assert main([*identify, "--precision", "int8", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["contract_id"] == int8 and not summary["unchanged"]


def test_an_interrupted_run_continues_and_other_models_start_anew(tmp_path):
    crops = np.arange(200, dtype=np.uint8).repeat(3).reshape(200, 1, 1, 3)
    np.save(tmp_path / "crops.npy", crops)
    seen: list[int] = []

    def embed(block: np.ndarray) -> Embedded:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(len(block))
        angles = block[:, 0, 0, 0] / np.float32(100)
        return Embedded(np.stack([np.cos(angles), np.sin(angles)], axis=1), angles)

    def run(model: str) -> tuple[Embedded, Path]:
        return resumable_embeddings(embed, 2, tmp_path / "crops.npy", tmp_path / "kept", model)

    with pytest.raises(KeyboardInterrupt):
        run("one")
    (file,) = (tmp_path / "kept").iterdir()
    with file.open("r+b") as rows:  # a row half written
        rows.seek(4 * 3 * 130)
        rows.write(np.float32(0.5).tobytes())
    seen.clear()
    embedded, kept = run("one")
    assert seen == [64, 8]
    assert kept == file
    angles = np.arange(200) / 100
    np.testing.assert_allclose(embedded.embeddings[:, 1], np.sin(angles), atol=1e-6)
    np.testing.assert_allclose(embedded.lengths, angles, atol=1e-6)
    seen.clear()
    assert all(map(np.array_equal, run("one")[0], embedded)) and seen == []
    with pytest.raises(KeyboardInterrupt):
        run("two")
    assert file not in (tmp_path / "kept").iterdir()
