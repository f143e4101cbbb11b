"""A bundle proves what it is, and runs like the models it was made from."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from faceops.base.errors import FaceOpsError
from faceops.config.sections import Verify
from faceops.evaluation.figures import shown_probability
from faceops.evaluation.protocols.roc import roc
from faceops.faces.crop_photos import choose_face
from faceops.photos.open_photo import open_photo
from faceops.release.bundle import EMBED_BATCH, Bundle
from faceops.release.contract import (
    DETECTOR,
    EMBEDDER,
    LANDMARKS,
    MODEL_FILES,
    Alignment,
    WeightFile,
)
from faceops.release.contract import VERIFIER as VERIFIER_FILE
from faceops.release.embedder_graph import adapt_embedder
from faceops.release.evaluate.report import about_release, model_card
from faceops.release.export import BundleModels, verifier_difference, write_bundle
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.pairs import all_pair_scores
from faceops.verification.verifier import Verifier
from faceops.weights.catalogue import read_catalogue

VERIFIER = Verifier(np.linspace(-9, -4, 128).astype(np.float32), 8.0, "linear")


def make(folder: Path, weights_dir: Path, mode: str = "aligned") -> Path:
    """Write the untouched SFace as a bundle."""
    draw = np.random.default_rng(0)
    persons = np.repeat(np.arange(60), 2).astype(str)
    embeddings = np.repeat(draw.normal(size=(60, 128)), 2, axis=0)
    embeddings += 0.5 * draw.normal(size=embeddings.shape)
    embeddings = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
    thresholds = measure_thresholds(
        embeddings, persons, VERIFIER, all_pair_scores(embeddings, persons, VERIFIER),
        Verify(far_budgets=[0.01, 0.0001], fpir_budgets=[0.1, 0.01], gallery_sizes=[20],
               default_budget=0.1, seed=0),
        "simulated people",
    )  # fmt: skip
    models = BundleModels(
        embedder=adapt_embedder(onnx.load(weights_dir / "face_recognition_sface_2021dec.onnx")),
        embedder_weight=WeightFile(sha256="", licence="Apache-2.0", source="sface: SFace"),
        verifier=VERIFIER,
        thresholds=thresholds,
        detector=weights_dir / "face_detection_yunet_2023mar.onnx",
        landmarks=weights_dir / "onet.onnx",
    )
    write_bundle(
        folder,
        models,
        Alignment.current(640, 0.6, mode),
        read_catalogue(),
        opset=18,
        params={"train": {"seed": 7}},
        data={"splits": {"train": {"people": 8, "photos": 80}}},
    )
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> Path:
    return make(tmp_path_factory.mktemp("bundle") / "sface", weights_dir)


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return Bundle.load(folder, name="models:/faceops@champion")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 112, 112, 3), np.uint8)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "release.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_two_exports_have_the_same_bytes(folder: Path, weights_dir: Path, tmp_path: Path) -> None:
    make(tmp_path / "again", weights_dir)
    for name in (*MODEL_FILES, "release.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_embeddings_are_sfaces_own_normalised(bundle: Bundle, weights_dir: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        weights_dir / "face_recognition_sface_2021dec.onnx", providers=["CPUExecutionProvider"]
    )
    for crop, embedding in zip(crops(3), bundle.embed(crops(3)), strict=True):
        planes = crop.astype(np.float32).transpose(2, 0, 1)[None]
        raw = session.run(None, {"data": planes})[0][0]
        np.testing.assert_allclose(embedding, raw / np.linalg.norm(raw), atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 3, EMBED_BATCH + 1])
def test_batches_do_not_change_embeddings(bundle: Bundle, count: int) -> None:
    together = bundle.embed(crops(count))
    assert together.shape == (count, 128)
    assert together.dtype == np.float32
    if count:
        np.testing.assert_allclose(bundle.embed(crops(count)[-1:])[0], together[-1], atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_verifier_graph_equals_the_verifier(bundle: Bundle) -> None:
    a, b = np.random.default_rng(0).normal(0, 0.1, (2, 9000, 128)).astype(np.float32)
    np.testing.assert_allclose(bundle.verify(a, b), VERIFIER.probability(a, b), atol=1e-5)
    assert bundle.verify(a[:0], b[:0]).shape == (0,)


def test_wrong_shapes_are_refused(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="uint8"):
        bundle.embed(np.zeros((1, 3, 112, 112), np.float32))
    with pytest.raises(ValueError, match="both must be"):
        bundle.verify(np.zeros((2, 128)), np.zeros((3, 128)))


def test_bundle_keeps_its_name_and_finds_faces(bundle: Bundle) -> None:
    assert bundle.name == "models:/faceops@champion"
    assert bundle.face_finder().find(np.zeros((64, 64, 3), np.uint8)) == []


@pytest.mark.lfw
def test_bundle_tells_people_of_lfw_apart(bundle: Bundle, lfw_root: Path) -> None:
    folders = sorted((lfw_root / "lfw-deepfunneled").iterdir())
    people = [folder for folder in folders if len(list(folder.iterdir())) == 2][:20]
    finder = bundle.face_finder()
    found, persons = [], []
    for person in people:
        for photo in sorted(person.iterdir()):
            pixels = open_photo(photo).pixels
            face = choose_face(finder.find(pixels), 250, 250, "most_central", min_face=24)
            assert face is not None
            found.append(face.crop)
            persons.append(person.name)
    embedded = bundle.embed(np.stack(found))
    first, second = np.triu_indices(40, 1)
    same = np.array(persons)[first] == np.array(persons)[second]
    probability = bundle.verify(embedded[first], embedded[second])
    assert same.sum() == 20
    assert roc(probability[same], probability[~same]).auc > 0.98


def test_release_is_refused_for_photos_when_crops_were_not_aligned(
    tmp_path: Path, weights_dir: Path, bundle: Bundle
) -> None:
    centred = Bundle.load(make(tmp_path / "center", weights_dir, "center"))
    assert centred.release.contract_id != bundle.release.contract_id
    with pytest.raises(FaceOpsError, match=r"crop\.mode aligned"):
        centred.face_finder()


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_changed_or_absent_file_is_named(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(FaceOpsError, match=f"{name} has sha256"):
        Bundle.load(copy)
    (copy / name).unlink()
    with pytest.raises(FaceOpsError, match=f"{name} cannot be read"):
        Bundle.load(copy)


def test_damaged_release_files_are_refused_in_one_sentence(copy: Path, tmp_path: Path) -> None:
    original = (copy / "release.json").read_text()

    def refused(pattern: str) -> None:
        with pytest.raises(FaceOpsError, match=pattern) as caught:
            Bundle.load(copy)
        assert "\n" not in str(caught.value)
        (copy / "release.json").write_text(original)

    edit(copy, contract_id="0" * 64)
    refused("states contract id 000000000000")
    edit(copy, schema_version=99)
    refused("schema version 99")
    edit(copy, embedding_size="many")
    refused("embedding_size is wrong")
    edit(copy, weights={})
    refused("does not list embedder")
    alignment = json.loads(original)["alignment"]
    edit(copy, alignment={**alignment, "version": 99})
    refused("alignment version 99")
    (copy / "release.json").write_text("{")
    refused("not readable JSON")
    (copy / "release.json").write_text("[]")
    refused("schema version None")
    with pytest.raises(FaceOpsError, match="not a release bundle"):
        Bundle.load(tmp_path / "nowhere")


def test_lineage_does_not_change_the_contract(copy: Path, bundle: Bundle) -> None:
    edit(copy, git_commit="abc", dvc_lock_sha256="def", params={})
    assert Bundle.load(copy).release.contract_id == bundle.release.contract_id


def test_model_card_states_terms_thresholds_and_data(bundle: Bundle) -> None:
    interval = {"low": 0.8, "high": None}
    figures = {
        "people": 12, "photos": 99,
        "verification": {
            "accuracy": 0.91, "accuracy_interval": {"low": 0.9, "high": 0.95}, "roc_auc": 0.97,
            "tar_at_far_0.001": 0.5, "tar_at_far_0.001_interval": interval,
            "tar_at_far_0.001_supported": False,
        },
        "closed_set": {"gallery_people": 12, "rank_1": 0.8, "rank_1_interval": interval},
        "open_set": {
            "known_people": 6, "gallery_faces": 12, "dir": 0.7, "dir_interval": interval,
            "misidentified": 0.01, "fpir": 0.02, "fpir_interval": interval,
        },
    }  # fmt: skip
    card = model_card(bundle.release, figures, read_catalogue())
    assert "| 0.9100 | 0.9000 to 0.9500 |" in card
    assert "Trained on: 8 people, 80 photos." in card
    assert "MS-Celeb-1M" in card


def test_the_card_of_a_start_that_was_kept_says_what_was_fitted(bundle: Bundle) -> None:
    kept = WeightFile(
        sha256="", licence="", source="sface: SFace, as published, not trained further"
    )
    weights = bundle.release.weights | {EMBEDDER: kept}
    release = bundle.release.model_copy(update={"weights": weights})
    assert "Verifier fitted on: 8 people, 80 photos." in about_release(release, {}).seen


def test_thresholds_near_1_show_what_is_left() -> None:
    near = [0.5, 0.99964, 1 - 3.6e-6, float(np.nextafter(np.float32(1), np.float32(2)))]
    assert [shown_probability(value) for value in near] == [
        "0.5000",
        "0.99964",
        "1-3.6e-06",
        "none",
    ]


def test_what_changes_landmarks_changes_the_contract(bundle: Bundle) -> None:
    def with_alignment(**changes: object) -> str:
        alignment = bundle.release.alignment.model_copy(update=changes)
        return bundle.release.model_copy(update={"alignment": alignment}).expected_contract_id()

    assert with_alignment() == bundle.release.contract_id
    assert with_alignment(detector_size=320) != bundle.release.contract_id
    assert with_alignment(detector_threshold=0.9) == bundle.release.contract_id


def test_what_does_not_cut_faces_leaves_the_crops_id(bundle: Bundle) -> None:
    release = bundle.release

    def changed(**alignment: object) -> str:
        other = release.alignment.model_copy(update=alignment)
        return release.model_copy(update={"alignment": other}).crops_id

    def other_file(name: str) -> str:
        weight = release.weights[name].model_copy(update={"sha256": "f" * 64})
        return release.model_copy(update={"weights": {**release.weights, name: weight}}).crops_id

    assert {changed(detector_threshold=0.9), other_file(EMBEDDER), other_file(VERIFIER_FILE)} == {
        release.crops_id
    }
    cut_otherwise = {
        changed(detector_size=320),
        changed(size=224),
        changed(mode="box"),
        changed(version=99),
        other_file(DETECTOR),
        other_file(LANDMARKS),
    }
    assert len(cut_otherwise) == 6 and release.crops_id not in cut_otherwise


def test_another_verifier_than_the_released_one_fails_parity(bundle: Bundle) -> None:
    rows = bundle.embed(crops(5))
    assert verifier_difference(VERIFIER, bundle.verify, rows, 1e-4) <= 1e-4
    other = Verifier(VERIFIER.weight, VERIFIER.bias - 1, "linear")
    with pytest.raises(FaceOpsError, match=r"verifier\.onnx differ by .* export\.max_difference"):
        verifier_difference(other, bundle.verify, rows, 1e-4)
