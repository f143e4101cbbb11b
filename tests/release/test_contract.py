"""release.json: what its ids depend on, and its published schema."""

import json

import pytest
from jsonschema import Draft202012Validator

from faceops.release.bundle import Bundle
from faceops.release.contract import (
    DETECTOR,
    EMBEDDER,
    LANDMARKS,
    SCHEMA_FILE,
    VERIFIER,
    Alignment,
    Preprocessing,
    Release,
    WeightFile,
    schema_text,
)


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


def test_the_contract_id_is_that_of_the_first_version() -> None:
    """Stored galleries pin it: if it changes, none of them can be used."""
    release = Release.model_construct(
        embedding_size=128,
        preprocessing=Preprocessing(),
        alignment=Alignment.current(640, 0.6, "aligned"),
        weights={
            name: WeightFile(sha256=name, licence="", source="")
            for name in (EMBEDDER, DETECTOR, LANDMARKS)
        },
    )
    contract_id = "b084a07f377215618f4e6551b4e3ad7c5e349e55bb2393cbd6054bf135b71424"
    assert release.expected_contract_id() == contract_id
    crops_id = "eedb040c1ed6f469ea2074d9eb6ae207d6bfb5906319476b6d8656bd7fc23e0f"
    assert release.crops_id == crops_id


def test_the_contract_id_depends_on_what_changes_an_embedding(release: Release) -> None:
    same = (aligned(release, detector_threshold=0.9), with_other(release, VERIFIER))
    assert {other.expected_contract_id() for other in same} == {release.contract_id}
    others = [aligned(release, detector_size=320), aligned(release, mode="box")]
    others += [with_other(release, name) for name in (EMBEDDER, DETECTOR, LANDMARKS)]
    ids = {other.expected_contract_id() for other in others}
    assert len(ids) == 5 and release.contract_id not in ids


def test_the_crops_id_depends_on_what_changes_a_crop(release: Release) -> None:
    same = [aligned(release, detector_threshold=0.9)]
    same += [with_other(release, name) for name in (EMBEDDER, VERIFIER)]
    assert {other.crops_id for other in same} == {release.crops_id}
    changes = ({"detector_size": 320}, {"size": 224}, {"mode": "box"}, {"version": 99})
    others = [aligned(release, **change) for change in changes]
    others += [with_other(release, name) for name in (DETECTOR, LANDMARKS)]
    ids = {other.crops_id for other in others}
    assert len(ids) == 6 and release.crops_id not in ids


def test_the_schema_file_is_that_of_the_code_and_accepts_a_release(release: Release) -> None:
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
