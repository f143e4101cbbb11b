"""Bundles in MLflow's registry: the first is champion, later ones challenge it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.registry.fetch import find_release
from faceops.registry.record_run import flatten, metric_name
from faceops.release.bundle import Bundle
from tests.tiny_repository import TinyRepository


@contextmanager
def changed(tiny: TinyRepository, old: str, new: str) -> Iterator[None]:
    """Change params.yaml for a while; afterwards the build is as it was."""
    params = tiny.root / "params.yaml"
    text = params.read_text()
    assert old in text
    params.write_text(text.replace(old, new))
    try:
        yield
    finally:
        params.write_text(text)
        tiny.run("dvc", "repro")


def test_nested_keys_become_dotted_and_refused_characters_underscores() -> None:
    assert dict(flatten({"a": {"b": 1, "c": [2]}})) == {"a.b": 1, "a.c": [2]}
    assert metric_name("tar@far#1") == "tar_far_1"


@pytest.mark.parametrize("uri", ["faceops@champion", "models:/faceops", "models:/@champion", ""])
def test_an_address_that_names_no_release_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no release"):
        find_release(uri, tmp_path)


def test_without_a_store_the_three_ways_out_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(FaceOpsError, match=r"faceops release register.*--bundle DIR"):
        find_release("models:/faceops@champion", tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_first_version_is_champion_and_later_ones_challenge(store_folder: Path) -> None:
    assert json.loads((store_folder / "aliases.json").read_text()) == [
        ["champion"], *[["challenger"]] * 3
    ]  # fmt: skip


@pytest.mark.slow
def test_what_is_registered_is_not_registered_again(tiny_repository: TinyRepository) -> None:
    made = json.loads(tiny_repository.run("faceops", "release", "register", "--json").stdout)
    assert not made["new"]
    assert made["version"] == 1


@pytest.mark.slow
def test_parameters_changed_since_the_run_are_not_registered(
    tiny_repository: TinyRepository,
) -> None:
    with changed(tiny_repository, "triplet_margin:", "triplet_margin: 0.9  #"):
        done = tiny_repository.run("faceops", "release", "register", check=False)
    assert done.returncode == 1
    assert "section train has changed since the last `dvc repro`" in done.stderr


def test_listing_releases_where_there_are_none_makes_no_store(tmp_path: Path) -> None:
    done = TinyRepository(tmp_path).run("faceops", "release", "list")
    assert "no release yet" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_champion_is_fetched_whole_and_once(
    tiny_repository: TinyRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tiny_repository.root}/mlflow.db")
    folder = find_release("models:/faceops@champion").folder
    release = Bundle.load(folder).release
    assert release.git_commit
    assert release.dvc_lock_sha256
    assert {"evaluation.json", "model_card.md"} <= {path.name for path in folder.iterdir()}
    stamp = (folder / "embedder.onnx").stat().st_mtime_ns
    assert find_release("models:/faceops/1").folder == folder
    assert (folder / "embedder.onnx").stat().st_mtime_ns == stamp
    with pytest.raises(FaceOpsError, match="models:/faceops@nobody"):
        find_release("models:/faceops@nobody")


@pytest.mark.slow
def test_the_version_is_a_pyfunc_that_finds_the_face_of_its_input_example(
    tiny_repository: TinyRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tiny_repository.root}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tiny_repository.root}/mlflow.db")
    model = mlflow.pyfunc.load_model("models:/faceops@champion")
    release = Bundle.load(tiny_repository.root / "build/release").release
    (row,) = model.predict(model.input_example, {"answer": "embeddings"})
    assert row["contract_id"] == release.contract_id
    assert len(row["faces"][0]["embedding"]) == release.embedding_size
    assert model.metadata.get_input_schema().input_names() == ["image"]


@pytest.mark.slow
def test_the_run_holds_params_metrics_pictures_and_lineage(
    tiny_repository: TinyRepository,
) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tiny_repository.root}/mlflow.db")
    version = client.get_model_version_by_alias("faceops", "champion")
    run = client.get_run(version.run_id)
    assert run.data.params["train.backbone"] == "pretrained"
    assert "evaluate.verification.accuracy" in run.data.metrics
    assert run.data.tags["data"].endswith(".dir")
    assert run.data.tags["git_commit"]
    assert run.inputs.dataset_inputs
    pictures = {item.path for item in client.list_artifacts(version.run_id, "pictures")}
    assert "pictures/roc.png" in pictures
    assert "test people" in version.description
