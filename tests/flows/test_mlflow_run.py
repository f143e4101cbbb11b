"""A run is checked, and logged to MLflow with counts, drift and lineage, without any name."""

import re
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.base.errors import FaceOpsError
from faceops.identification.inputs import IdentifySettings
from faceops.identification.records.records import schema
from faceops.identification.run import identify
from flows.mlflow_run import (
    EXPERIMENT,
    is_recorded,
    log_run,
    mark_recorded,
    require_valid_records,
    without_names,
)

pytestmark = pytest.mark.slow


def test_without_a_store_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert log_run({}, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_recorded_without_names(
    album, gallery, bundle, out, tmp_path, mlflow_store, monkeypatch
):
    import mlflow

    monkeypatch.chdir(tmp_path)
    away = replace(bundle, note="the MLflow store did not answer")
    summary = identify(album, gallery, away, out, IdentifySettings(budget=0.3))
    assert summary.people
    for name in ("summary.json", "report.html", f"runs/{summary.run_id}/manifest.json"):
        assert "the MLflow store did not answer" in (out / name).read_text()
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
    again = identify(album, gallery, bundle, out, IdentifySettings(budget=0.3))
    assert (again.unchanged, again.release_note) == (True, "")


def test_whatever_may_hold_names_becomes_a_number():
    held = ("sidecar_errors", "unlisted", "failures", "letters_not_drawn", "exclude", "skipped")
    kept = {"faces": 4, "reasons": {"empty": 1}, "timings": {"look": 1.0}}
    summary = kept | {name: {"/x/Ann.jpg": "A"} for name in held} | {"people": {"Ann": 3, "Bo": 1}}
    assert without_names(summary) == kept | dict.fromkeys(held, 1) | {"people": 2}


def test_only_the_run_that_was_marked_last_is_recorded(tmp_path):
    assert not is_recorded(tmp_path, "one")
    mark_recorded(tmp_path, "one")
    assert is_recorded(tmp_path, "one")
    mark_recorded(tmp_path, "two")
    assert not is_recorded(tmp_path, "one")


def test_a_table_fails_each_expectation_that_it_does_not_meet(
    album, gallery, bundle, out, tmp_path
):
    identify(album, gallery, bundle, out)
    assert require_valid_records(out / "faces.parquet") >= 6
    rows = pq.read_table(out / "faces.parquet").to_pylist()
    unknown = [row for row in rows if row["decision"] == "unknown" and row["x"] is not None]
    named = [row for row in rows if row["decision"] == "identified"]
    unknown[0].update(decision="perhaps")
    unknown[1].update(reason=None)
    unknown[2].update(width=0.0, probability=1.5)
    named[0].update(person=None)
    rows[0].update(contract_id="another")
    rows += [{**named[1], "face_index": 99}, dict(unknown[3])]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema()), path := tmp_path / "faces.parquet")
    with pytest.raises(FaceOpsError) as caught:
        require_valid_records(path)
    failed = dict(re.findall(r"(\w+) in (\d+) rows", str(caught.value)))
    assert failed == {
        "one_row_a_face": "1",
        "decision_exists": "1",
        "name_or_reason": "2",
        "boxes_have_an_area": "1",
        "nobody_twice_in_a_photo": "2",
        "shares_within_0_to_1": "1",
        "one_run_and_release": "1",
    }


def test_an_empty_table_is_valid(tmp_path):
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.Table.from_pylist([], schema=schema()), path)
    assert require_valid_records(path) >= 6
