"""Data, models and releases in an S3 bucket: pulled into a fresh clone, fetched by `identify`."""

import os
import subprocess
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.object_store import ObjectStoreServer
from tests.tiny_repository import TinyRepository, commit

S3 = tuple[ObjectStoreServer, Any]
REMOTE = (
    ("dvc", "remote", "add", "--default", "store", "s3://faces-dvc/dvc"),
    ("dvc", "remote", "modify", "store", "endpointurl"),
)


def add_remote(there: TinyRepository, s3: S3) -> None:
    """Do what docs/rebuilding.md says; the endpoint is only needed where it is not Amazon's."""
    server, files = s3
    files.mkdir("faces-dvc")
    there.run(*REMOTE[0])
    there.run(*REMOTE[1], server.address)


def clone(there: TinyRepository, folder: Path) -> TinyRepository:
    subprocess.run(["git", "clone", "-q", str(there.root), str(folder)], check=True)
    return TinyRepository(folder)


def test_data_pushed_to_s3_are_pulled_into_a_clone_in_which_nothing_is_to_do(
    repository: Path, s3: S3, tmp_path: Path
) -> None:
    """Without the tiny repository, which takes minutes: one stage stands for all."""
    there = TinyRepository(tmp_path / "there")
    there.root.mkdir()
    (there.root / "data").mkdir()
    (there.root / "data" / "photo.jpg").write_bytes(b"a photo")
    (there.root / "dvc.yaml").write_text(
        "stages:\n  count:\n    cmd: ls data | wc -l > count.txt\n    deps: [data]\n"
        "    outs: [count.txt]\n"
    )
    subprocess.run(["git", "init", "-q"], cwd=there.root, check=True)
    for command in ("init", "add data", "repro"):
        there.run("dvc", *command.split())
    add_remote(there, s3)
    commit(there.root, "remote")
    there.run("dvc", "push")
    stored = [key for key in s3[1].find("faces-dvc/dvc") if "/md5/" in key]
    assert len(stored) == 3  # the photo, the list of data/, the output
    fresh = clone(there, tmp_path / "fresh")
    fresh.run("dvc", "pull")
    assert (fresh.root / "data" / "photo.jpg").read_bytes() == b"a photo"
    assert "Running stage" not in fresh.run("dvc", "repro").stdout
    config = (there.root / ".dvc" / "config").read_text()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in config


@pytest.mark.slow
def test_a_release_in_s3_is_fetched_by_its_address(
    weights_dir: Path, mlflow_store: str, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
