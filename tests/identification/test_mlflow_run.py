"""A run in MLflow: counts, drift and lineage, and nobody's name."""

from dataclasses import replace
from pathlib import Path

import pytest

from faceops.gallery.store import Gallery
from faceops.identification.mlflow_run import EXPERIMENT, log_run, without_names
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.release.bundle import Bundle

pytestmark = pytest.mark.slow


def test_without_a_store_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert log_run({}, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_recorded_without_names(
    album: Path,
    gallery: Gallery,
    bundle: Bundle,
    tmp_path: Path,
    mlflow_store: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)
    away = replace(bundle, note="the MLflow store did not answer")
    summary = identify(album, gallery, away, tmp_path / "out", IdentifySettings(budget=0.3))
    assert summary.people
    for name in ("summary.json", "report.html", f"runs/{summary.run_id}/manifest.json"):
        assert "the MLflow store did not answer" in (tmp_path / "out" / name).read_text()
    run_id = log_run(summary.as_dict(), tmp_path)
    assert run_id is not None
    run = mlflow.MlflowClient().get_run(run_id)
    assert run.data.tags["contract_id"] == bundle.release.contract_id
    assert run.data.tags["release_note"] == "the MLflow store did not answer"
    assert run.data.metrics["faces"] == summary.faces
    assert run.data.params["gallery_people"] == str(len(gallery.people))
    experiment = mlflow.MlflowClient().get_experiment(run.info.experiment_id)
    assert experiment.name == EXPERIMENT
    logged = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/summary.json")
    everything = (
        logged + str(run.data.to_dictionary()) + (tmp_path / "mlflow.db").read_bytes().hex()
    )
    for person in gallery.people:
        assert person not in everything
        assert person.encode().hex() not in everything
    again = identify(album, gallery, bundle, tmp_path / "out", IdentifySettings(budget=0.3))
    assert (again.unchanged, again.release_note) == (True, "")


def test_the_names_become_their_number() -> None:
    summary = {"people": {"Ann": 3, "Bo": 1}, "sidecar_errors": ["/x/Ann.jpg.xmp"], "faces": 4}
    summary["unlisted"] = ["Ann"]
    assert without_names(summary) == {
        "people": 2,
        "sidecar_errors": [],
        "unlisted": [],
        "faces": 4,
    }
