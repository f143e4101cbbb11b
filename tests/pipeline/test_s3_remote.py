"""Data, models and releases in an S3 bucket: pulled into a fresh clone, fetched by `identify`."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.object_store import ObjectStoreServer
from tests.tiny_repository import TinyRepository, commit

S3 = tuple[ObjectStoreServer, Any]


def add_remote(there: TinyRepository, s3: S3) -> None:
    """Do what docs/rebuilding.md says; the endpoint is only needed where it is not Amazon's."""
    server, files = s3
    files.mkdir("faces-dvc")
    there.run("dvc", "remote", "add", "--default", "store", "s3://faces-dvc/dvc")
    there.run("dvc", "remote", "modify", "store", "endpointurl", server.address)


def clone(there: TinyRepository, folder: Path) -> TinyRepository:
    subprocess.run(["git", "clone", "-q", str(there.root), str(folder)], check=True)
    return TinyRepository(folder)


def test_data_pushed_to_s3_are_pulled_into_a_clone_in_which_nothing_is_to_do(
    tiny_repository, s3, tmp_path
):
    there = clone(tiny_repository, tmp_path / "there")  # with the cache, but a remote of its own
    there.run("dvc", "cache", "dir", "--local", str(tiny_repository.root / ".dvc" / "cache"))
    add_remote(there, s3)
    commit(there.root, "remote")
    config = (there.root / ".dvc" / "config").read_text()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in config
    there.run("dvc", "push")
    fresh = clone(there, tmp_path / "fresh")
    fresh.run("dvc", "pull")
    assert json.loads(fresh.run("dvc", "status", "--json").stdout) == {}
    release = "build/export/embedder.onnx"
    assert (fresh.root / release).read_bytes() == (tiny_repository.root / release).read_bytes()


@pytest.mark.slow
def test_a_release_in_s3_is_fetched_by_its_address(
    weights_dir, mlflow_store, s3, tmp_path, monkeypatch
):
    from faceops.registry.fetch import find_release
    from faceops.registry.register import register
    from faceops.registry.store import use_tracking
    from faceops.release.bundle import Bundle
    from tests.release.tiny_release import write_tiny

    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path / "cache"))
    s3[1].mkdir("faces-mlflow")
    mlflow.MlflowClient(mlflow_store).create_experiment("faceops", "s3://faces-mlflow/mlartifacts")
    use_tracking(tmp_path)
    with mlflow.start_run() as run:
        pass
    version = register(write_tiny(tmp_path / "bundle", weights_dir), run.info.run_id, "tiny")
    stored = s3[1].find("faces-mlflow/mlartifacts")
    assert [key for key in stored if key.endswith("bundle/embedder.onnx")]
    assert not (tmp_path / "mlartifacts").exists()
    found = find_release(version.address, tmp_path)
    assert Bundle.load(found.folder).release == Bundle.load(tmp_path / "bundle").release
