"""The copy of an output folder in a store: complete, never half-published, nobody else's."""

import json
from pathlib import Path
from typing import Any

import pytest

from faceops.base import stores
from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.stores import ObjectStore, ObjectStoreError, place
from faceops.cli import main
from faceops.gallery.enrol import enrol
from faceops.identification.forget.forget import forget_person, readmit
from faceops.identification.latest_run import latest_run
from faceops.identification.records.mirror import copy_results, local_folder, results_folder
from faceops.identification.records.output_folder import PUBLISHED, RUNS, publish
from faceops.release.bundle import Bundle
from tests.object_store import CREDENTIALS, ObjectStoreServer

S3 = tuple[ObjectStoreServer, Any]
RUN, NEXT = "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"


def publish_run(out: Path, run_id: str) -> None:
    """Write the files of a run into `out`."""
    run = out / RUNS / run_id
    (run / "report").mkdir(parents=True)
    for name in (*PUBLISHED, "manifest.json", "report/people.html"):
        (run / name).write_text(f"{name} of {run_id}", encoding="utf-8")
    publish(out, run_id)
    (out / "state.sqlite").write_bytes(b"embeddings")


def contents(store: ObjectStore) -> dict[str, bytes]:
    """Return all objects but the note of the copy."""
    names = (entry.name for entry in store.objects())
    return {name: store.read(name) for name in names if name != "mirror.json"}


@pytest.fixture
def out(s3: S3, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An output folder with one run, to be copied to a bucket of this test's own."""
    bucket = request.node.name.replace("_", "-")[:60].strip("-")
    s3[1].mkdir(bucket)
    url = place(f"s3://{bucket}/2019")
    out = results_folder(url, tmp_path, tmp_path / "out")
    publish_run(out, RUN)
    return out


def copy_of(out: Path) -> ObjectStore:
    """Return the store that `out` is copied to."""
    return ObjectStore.at(json.loads((out / "mirror.json").read_text())["url"])


def test_results_are_copied_summary_last_and_removed_runs_deleted(s3: S3, out: Path) -> None:
    store = copy_of(out)
    store.write("others.txt", b"stays")
    copy_results(out)
    puts = [line.partition("/2019/")[2] for line in s3[0].requests(f"PUT {store.url[4:]}")]
    assert puts[-1] == "summary.json"
    assert puts.index(f"runs/{RUN}/report/people.html") < puts.index("report/people.html")
    found = contents(store)
    assert found["report/people.html"] == f"report/people.html of {RUN}".encode()
    assert "state.sqlite" not in found
    publish_run(out, NEXT)
    for path in sorted((out / RUNS / RUN).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (out / RUNS / RUN).rmdir()
    assert copy_results(out) > 0
    after = contents(store)
    assert {name.split("/")[1] for name in after if name.startswith("runs/")} == {NEXT}
    assert after["faces.csv"] == f"faces.csv of {NEXT}".encode()
    assert after["others.txt"] == b"stays"
    assert copy_results(out) == 0


def test_a_copy_that_was_cut_off_is_completed(
    s3: S3, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = copy_of(out)
    copy_results(out)
    publish_run(out, NEXT)
    s3[0].tell("refuse PUT .*unknown.csv")
    with pytest.raises(ObjectStoreError, match="cannot be written"):
        copy_results(out)
    s3[0].tell("refuse")
    assert contents(store)["summary.json"] == f"summary.json of {RUN}".encode()
    monkeypatch.setattr(stores, "PATIENCE_S", 0.1)
    s3[0].tell("stop")
    with pytest.raises(ObjectStoreError, match="has not answered"):
        copy_results(out)
    s3[0].tell("start")
    copy_results(out)
    assert contents(store)["summary.json"] == f"summary.json of {NEXT}".encode()


def test_the_results_of_another_folder_are_not_replaced(out: Path, tmp_path: Path) -> None:
    url = place(copy_of(out).url)
    with pytest.raises(UsageError, match=rf"has the results of \S+:{out}; name another --out"):
        results_folder(url, tmp_path, tmp_path / "other")
    copy_of(out).delete("mirror.json")
    assert results_folder(url, tmp_path, tmp_path / "other") == tmp_path / "other"
    with pytest.raises(UsageError, match="has the results of"):
        copy_results(out)


def test_wrong_places_are_refused(s3: S3, tmp_path: Path) -> None:
    photos = place("s3://bucket/2019")
    with pytest.raises(UsageError, match="lie in one another"):
        results_folder(place("s3://bucket/2019/found"), photos)
    with pytest.raises(UsageError, match="--state is for an --out that is a URL"):
        results_folder(tmp_path / "found", photos, tmp_path / "state")
    with pytest.raises(ObjectStoreError, match="The specified bucket does not exist"):
        results_folder(place("s3://no-bucket/found"), photos, tmp_path / "state")
    with pytest.raises(UsageError, match="is a copy for readers; name the folder"):
        latest_run(place("s3://bucket/found"))
    for command in (forget_person, readmit):
        with pytest.raises(UsageError, match="s3://bucket/found is a copy for readers; name the"):
            command(tmp_path, "somebody", (place("s3://bucket/found"),))
    assert local_folder(place("s3://bucket/found")) != local_folder(photos)


def test_the_command_copies_results_and_forgetting_cleans_the_copy(
    s3: S3,
    album: Path,
    synthetic_set: Path,
    sface_bundle: Path,
    bundle: Bundle,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, files = s3
    files.mkdir("archive")
    files.mkdir("results")
    files.put(f"{album}/", "archive/2019/", recursive=True)
    gallery, out = tmp_path / "gallery", tmp_path / "state"
    enrol(synthetic_set / "enrol", gallery, bundle)
    command = ["identify", "s3://archive/2019", "--out", "s3://results/2019", "--state", str(out)]
    command += ["--gallery", str(gallery), "--bundle", str(sface_bundle)]
    assert main(command) == 0
    assert "the copy in s3://results/2019 is complete (" in capfd.readouterr().out
    store = ObjectStore.at("s3://results/2019")
    assert store.read("faces.csv") == (out / "faces.csv").read_bytes()
    store.delete("faces.csv")
    assert main(command) == 0
    told = capfd.readouterr().out
    assert "nothing has changed" in told
    assert store.exists("faces.csv")
    person = next(iter(json.loads(store.read("summary.json"))["people"]))
    monkeypatch.setattr(stores, "PATIENCE_S", 0.1)
    server.tell("stop")
    done = forget_person(gallery, person)
    server.tell("start")
    assert not done.complete
    assert [f"the copy of {out}" in place for place in done.unreachable] == [True]
    assert any(person.encode() in content for content in contents(store).values())
    assert forget_person(gallery, person).complete
    assert not any(person.encode() in content for content in contents(store).values())
    with pytest.raises(FaceOpsError, match="is not in the gallery"):
        forget_person(gallery, person)
    assert main([*command[:3], "s3://no-bucket/x", *command[6:]]) == 1
    told = capfd.readouterr().err
    assert "s3://no-bucket/x" in told
    assert not [value for value in CREDENTIALS.values() if value in told]
