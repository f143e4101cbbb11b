"""release.json: what its ids depend on, its published schema, and what ONNX files repeat of it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from jsonschema import Draft202012Validator

from faceops.base.errors import FaceOpsError
from faceops.cli import main
from faceops.release.bundle import Bundle
from faceops.release.contract import (
    DETECTOR,
    EMBEDDER,
    EMBEDDER_INT8,
    LANDMARKS,
    SCHEMA_FILE,
    VERIFIER,
    Alignment,
    Preprocessing,
    Release,
    WeightFile,
    add_metadata,
    read_metadata,
    read_release,
    schema_text,
    write_release,
)
from faceops.weights import read_catalogue
from tests.releases import add_int8, noisy_embedder


@pytest.fixture
def release(tiny_bundle: Bundle) -> Release:
    """The tiny release's."""
    return tiny_bundle.release


def aligned(release: Release, **changes: object) -> Release:
    alignment = release.alignment.model_copy(update=changes)
    return release.model_copy(update={"alignment": alignment})


def with_other(release: Release, name: str) -> Release:
    sha256 = dict.fromkeys(("sha256", "graph_sha256"), "f" * 64)
    weight = release.weights[name].model_copy(update=sha256)
    return release.model_copy(update={"weights": {**release.weights, name: weight}})


def test_the_contract_id_is_that_of_the_first_version():
    """Stored galleries pin it: if it changes, none of them can be used."""
    release = Release.model_construct(
        embedding_size=128,
        preprocessing=Preprocessing(),
        alignment=Alignment.current(640, 0.6, "aligned").model_copy(update={"version": 1}),
        weights={
            name: WeightFile(sha256=name, licence="", source="")
            for name in (EMBEDDER, DETECTOR, LANDMARKS)
        },
    )
    contract_id = "b084a07f377215618f4e6551b4e3ad7c5e349e55bb2393cbd6054bf135b71424"
    assert release.expected_contract_id() == contract_id
    crops_id = "eedb040c1ed6f469ea2074d9eb6ae207d6bfb5906319476b6d8656bd7fc23e0f"
    assert release.crops_id == crops_id


def test_the_contract_id_depends_on_what_changes_an_embedding(release):
    same = (aligned(release, detector_threshold=0.9), with_other(release, VERIFIER))
    assert {other.expected_contract_id() for other in same} == {release.contract_id}
    others = [aligned(release, detector_size=320), aligned(release, mode="box")]
    others += [with_other(release, name) for name in (EMBEDDER, DETECTOR, LANDMARKS)]
    ids = {other.expected_contract_id() for other in others}
    assert len(ids) == 5 and release.contract_id not in ids


def test_the_crops_id_depends_on_what_changes_a_crop(release):
    same = [aligned(release, detector_threshold=0.9)]
    same += [with_other(release, name) for name in (EMBEDDER, VERIFIER)]
    assert {other.crops_id for other in same} == {release.crops_id}
    changes = ({"detector_size": 320}, {"size": 224}, {"mode": "box"}, {"version": 99})
    others = [aligned(release, **change) for change in changes]
    others += [with_other(release, name) for name in (DETECTOR, LANDMARKS)]
    ids = {other.crops_id for other in others}
    assert len(ids) == 6 and release.crops_id not in ids


def test_the_schema_file_is_that_of_the_code_and_accepts_a_release(release):
    text = SCHEMA_FILE.read_text("utf-8")
    assert text == schema_text(), "run python -m faceops.release.contract"
    Draft202012Validator.check_schema(json.loads(text))
    validator = Draft202012Validator(json.loads(text))
    content = release.model_dump(mode="json")
    validator.validate(content)
    wrong = (
        {"schema_version": 1},
        {"weights": {"embedder.onnx": {"sha256": 5}}},
        {"contract_id": None},
        {"owner": "somebody"},
    )
    for changes in wrong:
        assert not validator.is_valid({**content, **changes}), changes
    del content["thresholds"]
    assert not validator.is_valid(content)


@pytest.fixture
def labelled(tiny_folder: Path, tmp_path: Path) -> Path:
    """The tiny release with int8 and metadata."""
    folder = add_int8(tiny_folder, tmp_path / "labelled")
    release = read_release(folder).model_copy(
        update={"git_commit": "abc-dirty", "dvc_lock_sha256": "def"}
    )
    write_release(add_metadata(folder, release), folder)
    return folder


def test_models_carry_their_origin_and_run_as_before(labelled, tiny_folder, capsys):
    release, before = read_release(labelled), Bundle.load(tiny_folder)
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    after = Bundle.load(labelled)
    assert after.release.contract_id == before.release.contract_id
    assert np.array_equal(after.embed(crops).embeddings, before.embed(crops).embeddings)
    int8 = Bundle.load(labelled, precision="int8").release
    for name, contract_id in (
        (EMBEDDER, release.contract_id),
        (VERIFIER, release.contract_id),
        (EMBEDDER_INT8, int8.contract_id),
    ):
        path = labelled / name
        onnx.checker.check_model(str(path))
        seen = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
        found = read_metadata(path)
        assert {f"faceops.{key}": value for key, value in found.items()}.items() <= seen.items()
        weight = int8.weights[EMBEDDER] if name == EMBEDDER_INT8 else release.weights[name]
        expected = {"contract_id": contract_id, "git_commit": "abc-dirty", "source": weight.source}
        assert expected.items() <= found.items()
        assert found["licence"] == weight.licence
        # What everybody can check by sha256sum.
        assert weight.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for name in (DETECTOR, LANDMARKS):
        assert (labelled / name).read_bytes() == (tiny_folder / name).read_bytes()
    assert release.weights[LANDMARKS].sha256 == read_catalogue()["onet"].sha256

    assert main(["release", "show", str(labelled)]) == 0
    shown = capsys.readouterr().out
    assert f"metadata contract_id: {int8.contract_id}" in shown and "not signed" in shown
    assert main(["release", "show", str(labelled), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert files[EMBEDDER]["metadata"]["git_commit"] == "abc-dirty"
    assert files[DETECTOR]["metadata"] == {}


def test_another_graph_before_or_after_the_metadata_is_refused(labelled, tiny_folder):
    """Though release.json states the sha256 of the file, and the contract id that galleries pin."""
    content = (labelled / EMBEDDER).read_bytes()
    metadata = content[(tiny_folder / EMBEDDER).stat().st_size :]
    other = onnx.ModelProto(graph=onnx.GraphProto(name="another")).SerializeToString()
    for changed in (noisy_embedder(tiny_folder)[0] + metadata, content + other):
        (labelled / EMBEDDER).write_bytes(changed)
        release = read_release(labelled)
        sha256 = hashlib.sha256(changed).hexdigest()
        weight = release.weights[EMBEDDER].model_copy(update={"sha256": sha256})
        weights = release.weights | {EMBEDDER: weight}
        write_release(release.model_copy(update={"weights": weights}), labelled)
        with pytest.raises(FaceOpsError, match=r"embedder\.onnx .* was changed"):
            Bundle.load(labelled)
