"""The identify flow: the same names as the command, shards retried alone, with a server or none."""

import csv
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest

from faceops.base.errors import FaceOpsError, UsageError
from faceops.gallery.store import Gallery
from faceops.identification.engine.extract import shards
from faceops.identification.inputs import IdentifySettings, PhotoList
from faceops.identification.run import identify
from faceops.identification.summary import read_summary
from faceops.photos.walk import walk_photos
from faceops.release.bundle import Bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(synthetic_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three scenes and the odd photos of the album."""
    folder = tmp_path_factory.mktemp("photos") / "album"
    shutil.copytree(synthetic_set / "album/odd", folder / "odd")
    for scene in sorted((synthetic_set / "album").glob("scene_*.jpg"))[:3]:
        shutil.copy(scene, folder)
    return folder


@pytest.fixture(scope="module")
def by_command(
    photos: Path, sface_bundle: Path, gallery_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, str]]:
    out = tmp_path_factory.mktemp("by_command") / "out"
    bundle = Bundle.load(sface_bundle)
    gallery = Gallery.open(gallery_dir, bundle.release.contract_id)
    identify(photos, gallery, bundle, out)
    return rows_of(out)


def rows_of(out: Path) -> list[dict[str, str]]:
    """Return the records of a run without what differs from run to run."""
    with (out / "faces.csv").open(newline="", encoding="utf-8") as file:
        return [
            {key: value for key, value in row.items() if key not in ("run_id", "release")}
            for row in csv.DictReader(file)
        ]


def run_flow(
    arguments: list[str], repository: Path, home: Path
) -> subprocess.CompletedProcess[str]:
    # Results that a user lets Prefect store would keep names, see the test without a server.
    stored = {"PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true"}
    environment = os.environ | stored | {"PREFECT_HOME": str(home)}
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):  # MLflow leaves its own behind
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", "flows.identify", *arguments],
        cwd=repository,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_shards_are_whole_groups_and_hold_every_photo_once():
    photos = PhotoList(Path("/"), [str(number) for number in range(100)], {})
    assert [part.paths for part in shards(photos, 70)] == [photos.paths[:64], photos.paths[64:]]
    assert shards(photos.part(0, 0), 70) == []


def test_without_a_server_the_flow_names_as_the_command_does(
    repository, photos, sface_bundle, gallery_dir, by_command, prefect_home, tmp_path
):
    out = tmp_path / "out"
    done = run_flow(
        [
            str(photos),
            *("--gallery", str(gallery_dir), "--out", str(out)),
            *("--bundle", str(sface_bundle), "--shard-photos", "32", "--keep-runs", "3"),
        ],
        repository,
        prefect_home,
    )
    assert done.returncode == 0, done.stderr
    assert rows_of(out) == by_command
    assert read_summary(out).keep_runs == 3
    assert not list(prefect_home.glob("storage/*"))


def test_the_inputs_of_a_task_can_leave_the_process(synthetic_set, sface_bundle, tmp_path):
    from prefect.logging import disable_run_logger

    from flows.identify import ReleaseFolder, find_faces

    paths = sorted((synthetic_set / "album").resolve().glob("scene_*.jpg"))[:2]
    release = ReleaseFolder(sface_bundle, "models:/faceops/1", "", "float32")
    release.load()  # what it has loaded stays here
    photos = PhotoList(paths[0].parent, list(map(str, paths)), {})
    inputs = (1, photos, release, tmp_path / "out", IdentifySettings(detail=0))
    sent = cloudpickle.loads(cloudpickle.dumps(inputs))
    with disable_run_logger():
        assert find_faces.fn(*sent) == 2
        assert find_faces.fn(*inputs) == 0  # they are stored


def test_a_wrong_folder_and_a_wrong_time_zone_are_reported_in_one_sentence(
    tmp_path, monkeypatch, capsys
):
    from flows.identify import main

    for arguments, said in (
        ([str(tmp_path / "none")], f"{tmp_path}/none is not a folder of photos"),
        (
            [str(tmp_path), "--serve", "--cron", "0 3 * * *", "--timezone", "Mars/Phobos"],
            "there is no time zone Mars/Phobos",
        ),
    ):
        monkeypatch.setattr(sys, "argv", ["identify", *arguments, "--out", str(tmp_path / "out")])
        assert main() == 2
        error = capsys.readouterr().err
        assert error.startswith(f"identify: {said}")
        assert error.count("\n") == 1


def test_prefect_logs_no_traceback_of_an_error_that_is_a_sentence(caplog):
    import flows  # noqa: F401

    for error in (FaceOpsError("the share is gone."), ValueError("a bug")):
        try:
            raise error
        except Exception:
            for name in ("flow", "task"):
                logging.getLogger(f"prefect.{name}_runs").exception("the %s failed", name)
    assert caplog.messages == ["the task failed", "the flow failed", "the task failed"]
    assert caplog.text.count("Traceback") == caplog.text.count("ValueError: a bug") == 2


def test_folders_of_another_kind_and_paths_that_are_not_utf_8_are_refused(tmp_path):
    from flows.identify import check_arguments, load_model
    from flows.sharding import Sharding

    photos, gallery, raw = (tmp_path / name for name in ("photos", "gallery", os.fsdecode(b"\xe9")))
    for folder in (photos, gallery, raw):
        folder.mkdir()
    (gallery / "gallery.json").write_text("{}")
    for folders, sentence in (
        ((photos, gallery, gallery), "cannot be the folder of"),
        ((photos, gallery / "out", gallery), "lies inside"),
        ((photos, gallery, tmp_path / "other"), "holds a gallery"),
        ((photos, raw, gallery), "not a UTF-8 path"),
        ((raw, tmp_path / "out", gallery), "not a UTF-8 path"),
    ):
        with pytest.raises(UsageError, match=sentence):
            check_arguments(*folders, Sharding())
    with pytest.raises(UsageError, match="not a UTF-8 path"):
        load_model(str(raw), "float32", gallery, print)
    for out, state, sentence in (
        ("s3://archive/found", gallery, "holds a gallery"),
        ("found", tmp_path / "state", "--state is for an --out that is a URL"),
    ):
        with pytest.raises(UsageError, match=sentence):
            Sharding(state=str(state)).results(out, photos)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["gallery.json"]


def ask(server: str, what: str, body: dict[str, Any]) -> Any:
    """Return what Prefect's server answers."""
    request = urllib.request.Request(
        f"{server}/{what}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_a_served_flow_is_scheduled_and_the_server_records_its_run(
    repository, photos, sface_bundle, gallery_dir, by_command, tmp_path, prefect_server
):
    # Prefect's server with SQLAlchemy 2.1 takes the schedule and never makes a run of it.
    place = {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": prefect_server}
    env = {**os.environ, **place, "TZ": "Asia/Kolkata"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "flows.identify", str(photos)),
                *("--gallery", str(gallery_dir), "--out", str(tmp_path / "out")),
                *("--bundle", str(sface_bundle), "--serve", "--cron", "0 3 1 1 *"),
            ],
            cwd=repository,
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        scheduled = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        for _ in range(150):
            if runs := ask(prefect_server, "flow_runs/filter", scheduled):
                break
            time.sleep(1)
        assert runs, (tmp_path / "log").read_text("utf-8")
        # 03:00 in Kolkata, in UTC.
        assert all(run["expected_start_time"][5:16] == "12-31T21:30" for run in runs)
        said = (tmp_path / "log").read_text("utf-8")
        assert "in Asia/Kolkata (this machine's time zone); the next runs:" in said
        assert said.count("-01-01 03:00 UTC+0530") == 3
        (served,) = ask(prefect_server, "deployments/filter", {})
        run = ask(prefect_server, f"deployments/{served['id']}/create_flow_run", {})
        this = {"flow_runs": {"id": {"any_": [run["id"]]}}}
        for _ in range(300):
            (found,) = ask(prefect_server, "flow_runs/filter", this)
            state = found["state_type"]
            if state in ("COMPLETED", "FAILED", "CRASHED"):
                break
            time.sleep(1)
        assert state == "COMPLETED", (tmp_path / "log").read_text("utf-8")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
    out = tmp_path / "out"
    assert rows_of(out) == by_command
    of_run = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
    artifacts = ask(prefect_server, "artifacts/filter", of_run)
    (table,) = [json.loads(one["data"]) for one in artifacts if one["key"] == "identification"]
    counts = {row["what"]: row["count"] for row in table}
    assert counts["faces"] == sum(row["face_index"] != "" for row in by_command)
    # Of its album of broken files and scenes, many are unreadable: flows.automations sends that.
    resource = {"id": [f"faceops.output.{out}"]}
    event = {"filter": {"event": {"name": ["faceops.identify.unreadable"]}, "resource": resource}}
    for _ in range(60):  # the server stores events by and by
        if events := ask(prefect_server, "events/filter", event)["events"]:
            break
        time.sleep(0.5)
    (found,) = events
    assert f"Results: {out}\nWhat happened: " in found["payload"]["text"]
    # Names stay in the output folder, where they can be forgotten.
    people = {row["person"] for row in by_command} - {""}
    assert people
    assert not any(person in json.dumps(artifacts) for person in people)


def test_a_folder_that_comes_back_is_waited_for(synthetic_set, tmp_path, monkeypatch):
    from prefect.logging import disable_run_logger

    from flows import identify as flow

    album = tmp_path / "share"
    album.mkdir()  # a mount point without its share

    def sleep(seconds: float) -> None:
        shutil.copytree(synthetic_set / "album", album, dirs_exist_ok=True)

    monkeypatch.setattr(flow, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    with disable_run_logger():
        photos = flow.wait_for_folder.fn(album, 120)
    assert photos.paths == list(map(str, walk_photos(album)))
