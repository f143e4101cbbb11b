"""A registered release is fetched once, whole; without its store the last good one is used."""

import json
import os
import resource
import shutil
import time
from pathlib import Path

import mlflow
import pytest

from faceops.base.errors import FaceOpsError, StoreError, UsageError
from faceops.registry.fetch import FetchedRelease, find_release, load_fetched
from faceops.registry.store import store_cache
from faceops.release.bundle import Bundle

CHAMPION = "models:/faceops@champion"


def load(found: FetchedRelease) -> Bundle:
    return Bundle.load(found.folder, name=found.name, note=found.note)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that refuses connections; MLflow would try for minutes."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")


@pytest.mark.parametrize("uri", ["faceops@champion", "models:/faceops", "models:/@champion", ""])
def test_an_address_that_names_no_release_is_refused(uri, tmp_path):
    with pytest.raises(UsageError, match="names no release"):
        find_release(uri, tmp_path)


def test_without_a_store_the_three_ways_out_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(FaceOpsError, match=r"faceops release register.*--bundle DIR"):
        find_release(CHAMPION, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_alias_is_resolved_to_its_version(registry):
    bundle = load_fetched(CHAMPION, load)
    assert (bundle.name, bundle.note) == ("models:/faceops/1", "")


def test_without_a_store_that_answers_the_last_good_bundle_is_used_and_noted(
    registry, tmp_path, monkeypatch
):
    known = find_release(CHAMPION)
    damaged = f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / "mlflow.db").write_bytes(b"this is not a database" * 100)
    cache = store_cache(damaged)
    shutil.copytree(known.folder.parent, cache)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", damaged)
    found = find_release(CHAMPION)
    assert found.folder == cache / known.folder.name
    taken = "models:/faceops@champion is taken from the cache: version 1, its last known target"
    assert taken in found.note and "file is not a database" in found.note


def test_without_a_store_and_without_a_cache_there_is_one_sentence_soon(
    away, tmp_path, monkeypatch
):
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path))
    began = time.monotonic()
    with pytest.raises(
        FaceOpsError, match=r"127.0.0.1:9 \(Connection refused\).*Nothing was fetched .*--bundle"
    ):
        find_release(CHAMPION)
    assert time.monotonic() - began < 60


def test_the_cache_is_not_used_where_the_store_answers(registry):
    find_release(CHAMPION)
    mlflow.MlflowClient().delete_registered_model_alias("faceops", "champion")
    with pytest.raises(FaceOpsError, match="no version has the alias champion; `faceops release"):
        find_release(CHAMPION)
    with pytest.raises(FaceOpsError, match="alias best; models:/faceops/VERSION names a release"):
        find_release("models:/faceops@best")
    with pytest.raises(StoreError, match="finding models:/faceops/77 failed"):
        find_release("models:/faceops/77")


def test_a_copy_that_was_damaged_in_the_cache_is_fetched_anew(registry):
    folder = find_release(CHAMPION).folder
    assert find_release("models:/faceops/1").folder == folder
    whole = (folder / "verifier.onnx").read_bytes()
    (folder / "verifier.onnx").write_bytes(b"")
    assert load_fetched(CHAMPION, load).folder == folder
    assert (folder / "verifier.onnx").read_bytes() == whole
    (folder / "release.json").unlink()
    assert load_fetched(CHAMPION, load).folder == folder


def test_a_release_that_was_tampered_with_in_the_store_is_refused(registry, store_folder):
    """Other thresholds, with every sha256 right: only what was registered can tell."""
    paths = list(store_folder.glob("mlartifacts/**/bundle/release.json"))
    before = {path: path.read_bytes() for path in paths}
    try:
        for path, content in before.items():
            release = json.loads(content)
            release["thresholds"]["runner_up_margin"] = 0.0
            path.write_text(json.dumps(release, indent=1, sort_keys=True) + "\n")
        with pytest.raises(FaceOpsError, match=r"version 1 .* tampered with; `faceops release ro"):
            find_release(CHAMPION)
    finally:
        for path, content in before.items():
            path.write_bytes(content)
    assert not list(Path(os.environ["FACEOPS_CACHE"]).rglob("release.json"))


def test_a_full_disk_is_reported_and_leaves_no_file(registry, tmp_path):
    """A limit on the size of files, since a disk cannot be filled here."""
    limit, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, most))
    try:
        with pytest.raises(FaceOpsError, match=r"fetching version 1 of faceops into.*File too lar"):
            find_release(CHAMPION)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    assert not list((tmp_path / "cache").rglob("*.onnx"))
    assert find_release(CHAMPION).name == "models:/faceops/1"
