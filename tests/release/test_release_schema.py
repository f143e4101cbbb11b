"""release.schema.json says what release.json holds: for programs without this package."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from faceops.release.contract import SCHEMA_FILE, schema_text


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads(SCHEMA_FILE.read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_file_is_the_one_that_the_contract_gives() -> None:
    assert SCHEMA_FILE.read_text("utf-8") == schema_text(), "python -m faceops.release.contract"


def test_a_real_release_is_valid_and_a_wrong_one_is_not(
    sface_bundle: Path, validator: Draft202012Validator
) -> None:
    release = json.loads((sface_bundle / "release.json").read_text())
    validator.validate(release)
    wrong = (
        {"schema_version": 1},
        {"weights": {"embedder.onnx": {"sha256": 5}}},
        {"contract_id": None},
        {"owner": "somebody"},
    )
    for changes in wrong:
        assert not validator.is_valid({**release, **changes}), changes
    del release["thresholds"]
    assert not validator.is_valid(release)
