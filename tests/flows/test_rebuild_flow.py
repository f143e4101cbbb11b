"""The rebuild flow: stages as tasks, the registry, the gate; wrong arguments refused early."""

import csv
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from prefect.logging import disable_run_logger
from prefect.states import Failed

from faceops.base.errors import FaceOpsError, StoreError
from faceops.dataset.reviewed import PERSON, read_reviewed
from faceops.gallery.decisions import Decisions
from faceops.gallery.journal import Action, Entry, Ignored, Journal
from faceops.registry.champion import rollback
from faceops.registry.register import FAILED, RAN, UNCHANGED
from faceops.registry.store import UnreachableError, point_at_store
from faceops.registry.versions import versions
from flows.from_review import import_decisions
from flows.rebuild import StageError, end_group, is_transient, main, run_stage, stage_names
from tests.tiny_repository import TinyRepository

pytestmark = pytest.mark.slow


def test_the_flow_brings_the_stages_up_to_date_registers_gates_and_promotes(
    tiny_repository: TinyRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    tiny = tiny_repository
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    point_at_store(tiny.root)
    before = versions()
    text = (tiny.root / "tiny.yaml").read_text().replace("evaluate: {", "evaluate: {pairs: 700, ")
    (tiny.root / "other.yaml").write_text(text)
    done = tiny.run("python", "-m", "flows.rebuild", "--experiment", "other.yaml", "--promote")
    after = versions()
    assert len(after) == len(before) + 1
    number = after[0].version
    assert f"registered faceops version {number}" in done.stdout
    assert "it passed the gate, against version 1" in done.stdout
    assert after[0].aliases == ("champion",)
    assert "Stage 'train' didn't change, skipping" in done.stderr
    assert "Running stage 'evaluate'" in done.stderr

    client = mlflow.MlflowClient(f"sqlite:///{tiny.root}/mlflow.db")
    run = client.get_run(after[0].run_id)
    children = {
        child.info.run_name: child
        for child in client.search_runs(
            [run.info.experiment_id], f"tags.mlflow.parentRunId = '{run.info.run_id}'"
        )
    }
    states = {name: child.data.tags["state"] for name, child in children.items()}
    assert (states["train"], states["evaluate"]) == ("nothing to do", "ran")
    assert children["evaluate"].data.params["evaluate.pairs"] == "700"
    logs = client.list_artifacts(children["evaluate"].info.run_id)
    assert [file.path for file in logs] == ["evaluate.log"]

    assert rollback(root=tiny.root)[0].version == 1


@pytest.fixture
def tiny(tiny_repository: TinyRepository, tmp_path: Path) -> Iterator[TinyRepository]:
    """The tiny repository, put back as it was built afterwards."""
    tiny = tiny_repository
    shutil.copytree(tiny.root / "data", tmp_path / "data")
    yield tiny
    for name in ("data", "gallery", "found"):
        shutil.rmtree(tiny.root / name, ignore_errors=True)
    shutil.copytree(tmp_path / "data", tiny.root / "data")
    tiny.run("faceops", "params", "use", "tiny.yaml")
    tiny.run("dvc", "repro")


def test_a_review_is_learnt_from_once_enough_decisions_are_new(tiny: TinyRepository) -> None:
    gallery, out = tiny.root / "gallery", tiny.root / "found"
    release = ("--bundle", "build/export")
    tiny.run("faceops", "enrol", "data/enrol", *release)
    tiny.run("faceops", "identify", "data/album", "--out", str(out), *release)
    sources = tiny.root / "data/sources.json"  # real photos would have another source
    sources.write_text(sources.read_text().replace('"synthetic"', '"tree"'))
    decisions, entries = Decisions(), []
    with (out / "faces.csv").open(newline="") as file:
        faces = [row for row in csv.DictReader(file) if row["face_index"]]
    for number, row in enumerate(faces):
        x, y, width, height = (float(row[name]) for name in ("x", "y", "width", "height"))
        place = row["photo_id"], (x, y, width, height), (640, 640)
        if number < 12:
            person, naming = decisions.naming(f"Reviewed {'ABCD'[number % 4]}")
            decisions.add(naming)
            entries += [*naming, Entry(Action.CONFIRM, *place, person)]
        else:
            entries.append(Entry(Action.IGNORE, *place, detail=Ignored.STRANGER))
    Journal(gallery).append(entries)
    assert import_decisions.fn(tiny.root, gallery, len(faces) + 1) == (len(faces), None)
    assert not (tiny.root / "data/imported").exists()

    rebuild = ("python", "-m", "flows.rebuild", "--from-review", "gallery")
    done = tiny.run(*rebuild, "--experiment", "tiny.yaml", "--min-decisions", "5", check=False)
    (number,) = re.findall(r"registered faceops version (\d+)", done.stdout)
    reviewed = read_reviewed(tiny.root / "data/imported/reviewed.csv")
    confirmed = {face.person for face in reviewed if face.kind == PERSON}
    assert len(confirmed) == 4
    assert f"faces of {len(confirmed)} people" in done.stdout
    assert "Training started from build/start/1/trained." in done.stdout
    assert "| DIR at FPIR 0.5: " in done.stdout.partition("whom no review touched:")[2]
    splits = pq.read_table(tiny.root / "build/split/faces.parquet").to_pylist()
    split_of = {row["person"]: row["split"] for row in splits}
    assert {split_of[one] for one in confirmed if one in split_of} == {"train"}
    strangers = {face.person for face in reviewed} - confirmed
    assert {split_of[one] for one in strangers if one in split_of} == {"val"}
    verdict = json.loads((tiny.root / "build/gate/verdict.json").read_text())
    assert verdict["challenger"] == f"version {number}"
    assert verdict["people"] < 24
    assert import_decisions.fn(tiny.root, gallery, 1) == (0, None), "they are learnt"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--force", "polish"], "there is no stage 'polish'"),
        (["--experiment", "none"], "there is no experiment 'none'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    repository: Path,
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
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


def test_a_stage_runs_is_skipped_and_is_forced(root: Path) -> None:
    assert stage_names(root) == ["good", "bad"]
    with disable_run_logger():
        states = [run_stage.fn(root, "good", force, "run") for force in (False, False, True)]
    assert [run.state for run in states] == [RAN, UNCHANGED, RAN]
    assert states[0].seconds > 0
    assert "well done" in (root / "build/logs/good.log").read_text()


def test_a_failed_stage_is_reported_and_its_output_is_kept(root: Path) -> None:
    with disable_run_logger():
        run_stage.fn(root, "good", False, "run")
        with pytest.raises(StageError, match="stage bad failed: ") as caught:
            run_stage.fn(root, "bad", False, "run")
    assert caught.value.run.state == FAILED
    assert caught.value.run.log is not None
    assert "the disk is blue" in caught.value.run.log.read_text()


def test_ending_a_stage_ends_its_children() -> None:
    process = subprocess.Popen(
        ["sh", "-c", "sleep 300 & echo $!; wait"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    end_group(process)
    assert process.poll() is not None
    deadline = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (UnreachableError("registering the release failed at the MLflow store"), True),
        (StoreError("the MLflow store refused it"), False),
        (TimeoutError("the task took too long"), False),
        (FaceOpsError("params.yaml: the section train has changed"), False),
    ],
)
def test_only_an_unreachable_server_is_retried(error: Exception, again: bool) -> None:
    assert is_transient(None, None, Failed(data=error)) is again
