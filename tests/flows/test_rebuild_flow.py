"""The rebuild flow: stages as tasks, the registry, the gate; wrong arguments refused early."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from faceops.base.errors import FaceOpsError, StoreError
from faceops.dataset.data_folder import PERSON, read_reviewed
from faceops.registry.champion import rollback
from faceops.registry.register import RAN, UNCHANGED
from faceops.registry.store import UnreachableError, point_at_store, versions

# Prefect is imported by the tests: the workers that run others do not need it.
pytestmark = pytest.mark.slow


def test_a_review_is_learnt_from_and_its_release_is_registered_gated_and_promoted(
    tiny_repository, tmp_path, monkeypatch
):
    import mlflow

    from flows.from_review import import_decisions

    root, said = tiny_repository.root, tiny_repository.said
    reviewed = read_reviewed(root / "data/imported/reviewed.csv")
    confirmed = {face.person for face in reviewed if face.kind == PERSON}
    assert len(confirmed) == 4
    assert f"faces of {len(confirmed)} people" in said
    assert "Training started from build/start/1/trained." in said
    assert "| DIR at FPIR 0.5: " in said.partition("whom no review touched:")[2]
    splits = pq.read_table(root / "build/split/faces.parquet").to_pylist()
    split_of = {row["person"]: row["split"] for row in splits}
    assert {split_of[one] for one in confirmed if one in split_of} == {"train"}
    strangers = {face.person for face in reviewed} - confirmed
    assert {split_of[one] for one in strangers if one in split_of} == {"val"}
    assert import_decisions.fn(root, root / "gallery", 1) == (0, None), "they are learnt"

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("FACEOPS_CACHE", str(tmp_path / "cache"))
    shutil.copy(root / "mlflow.db", tmp_path)
    point_at_store(tmp_path)
    version, first = versions()
    assert f"registered faceops version {version.version}" in said
    assert "it passed the gate, against version 1" in said
    assert version.aliases == ("champion",)
    verdict = json.loads((root / "build/gate/verdict.json").read_text())
    assert verdict["challenger"] == f"version {version.version}"
    assert verdict["people"] < 24
    client = mlflow.MlflowClient()
    found = client.search_runs(["1"], f"tags.mlflow.parentRunId = '{version.run_id}'")
    stages = {one.info.run_name: one for one in found}
    assert {stages[name].data.tags["state"] for name in ("train", "evaluate")} == {RAN}
    assert stages["evaluate"].data.params["evaluate.pairs"] == "700"
    logs = client.list_artifacts(stages["evaluate"].info.run_id)
    assert [file.path for file in logs] == ["evaluate.log"]
    assert rollback(root=tmp_path)[0].version == first.version == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--force", "polish"], "there is no stage 'polish'"),
        (["--experiment", "none"], "there is no experiment 'none'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    repository, arguments, says, monkeypatch, capsys
):
    from flows.rebuild import main

    monkeypatch.chdir(repository)
    monkeypatch.setattr(sys, "argv", ["flows.rebuild", *arguments])
    assert main() == 2
    assert says in capsys.readouterr().err


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A DVC repository of two stages; the second one fails."""
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        "  good: {cmd: 'echo made > made.txt; echo well done', outs: [made.txt]}\n"
        "  bad: {cmd: 'echo the disk is blue; exit 3', deps: [made.txt]}\n"
    )
    subprocess.run(["dvc", "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def test_a_stage_runs_is_skipped_and_is_forced(root):
    from prefect.logging import disable_run_logger

    from flows.rebuild import run_stage

    with disable_run_logger():
        states = [run_stage.fn(root, "good", force, "run") for force in (False, False, True)]
    assert [run.state for run in states] == [RAN, UNCHANGED, RAN]
    assert "well done" in (root / "build/logs/good.log").read_text()


def test_a_failed_stage_ends_a_rebuild(root, repository, prefect_server, mlflow_store):
    import mlflow

    for person in ("Ann", "Ben"):
        (root / "data/photos" / person).mkdir(parents=True)
        (root / "data/photos" / person / "1.jpg").touch()
    (root / "other.yaml").write_text("evaluate: {pairs: 700}")
    # In a process: Prefect's logging keeps the stderr that pytest captured in an earlier test.
    code = "import sys; from flows.rebuild import rebuild; rebuild(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(root), str(root / "other.yaml")],
        cwd=repository,
        env=os.environ | {"PREFECT_API_URL": prefect_server},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "StageError: stage bad failed: " in done.stderr
    assert "the disk is blue" in (root / "build/logs/bad.log").read_text()
    assert "pairs: 700" in (root / "params.yaml").read_text()
    runs = mlflow.MlflowClient(mlflow_store).search_runs(["1"])
    status = {run.info.run_name: run.info.status for run in runs}
    assert status == {"rebuild": "FAILED", "good": "FINISHED", "bad": "FAILED"}


def test_ending_a_stage_ends_its_children():
    from flows.rebuild import end_group

    command = ["sh", "-c", "sleep 300 & echo $!; wait"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    end_group(process)
    assert process.poll() is not None
    deadline = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_only_an_unreachable_server_is_retried():
    from prefect.states import Failed

    from flows.rebuild import is_transient

    assert is_transient(None, None, Failed(data=UnreachableError("no answer")))
    for error in (StoreError("refused"), TimeoutError(), FaceOpsError("train has changed")):
        assert not is_transient(None, None, Failed(data=error))
