"""A run over a folder: every photo has its rows, and known photos are not opened."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from faceops.base.files import folder_lock
from faceops.base.reasons import Reason
from faceops.base.work import MAX_DEFAULT_THREADS
from faceops.identification.inputs import IdentifySettings
from faceops.identification.run import identify
from tests.hostile_corpus import KINDS, LIMITS, OPENED, make
from tests.identification.conftest import results_missing, rows_of


def test_every_photo_has_rows_and_broken_ones_a_reason(run):
    summary = run()
    rows = run.rows()
    paths = [row["photo_path"] for row in rows]
    on_disk = sorted(path.relative_to(run.album).as_posix() for path in run.album.rglob("*.jpg"))
    assert sorted(set(paths)) == on_disk
    assert paths == sorted(paths)
    reasons = {row["photo_path"]: row["reason"] for row in rows if row["face_index"] is None}
    assert reasons == {
        "empty.jpg": "empty",
        "text.jpg": "not_a_photo",
        "truncated.jpg": "unreadable",
    }
    assert summary.identified == sum(row["decision"] == "identified" for row in rows) > 5
    assert {row["person"] for row in rows} <= {*run.gallery.people, None}
    for name in ("faces.csv", "faces.jsonl", "summary.json", "report.html"):
        copy = run.out / "runs" / summary.run_id / name
        assert (run.out / name).read_bytes() == copy.read_bytes()
    assert json.loads((run.out / "summary.json").read_text("utf-8")) == summary.as_dict()
    in_use = f"in use by another faceops process .pid {os.getpid()}"
    with folder_lock(run.out), pytest.raises(FaceOpsError, match=in_use):
        run()


@pytest.mark.slow
def test_a_second_run_opens_no_photo_and_threads_change_nothing(album, gallery, bundle, tmp_path):
    out = tmp_path / "out"
    for path in sorted((album / "scenes").iterdir())[3:]:
        path.unlink()
    first = identify(album, gallery, bundle, out, IdentifySettings(threads=1))
    rows = rows_of(out)
    second = identify(album, gallery, bundle, results_missing(out))
    assert (first.photos_opened, first.photos_reused) == (6, 0)  # all but the empty file
    assert (second.photos_opened, second.photos_reused) == (0, 6)
    assert rows_of(out) == rows
    assert len(list((out / "runs").iterdir())) == 2
    assert list(first.timings) == ["admit", "embed", "group", "look", "name", "write"]
    assert first.timings["look"] > second.timings["look"]
    assert first.timings["look"] > first.timings["write"] > 0
    identify(album, gallery, bundle, tmp_path / "other", IdentifySettings(threads=5))
    assert rows_of(tmp_path / "other") == rows


def test_the_default_is_a_thread_for_each_usable_cpu(run, monkeypatch):
    used = []

    def serial(work: object, items: object, workers: int, alone: object = None) -> object:
        used.append(workers)
        return map(work, items)  # type: ignore[call-overload]

    monkeypatch.setattr("faceops.identification.engine.extract.ordered_map", serial)
    for cpus in (2, 64):
        monkeypatch.setattr("faceops.base.work.usable_cpus", lambda cpus=cpus: cpus)
        run.anew(photos=run.album / "orientation_6.jpg")
    assert used == [2, MAX_DEFAULT_THREADS]


NAMES = (
    *("plain.jpg", "UPPER.JPEG", "no ending", "two..dots.jpg", "spaces  inside .jpg", "-dash.jpg"),
    *("quote'\".jpg", "new\nline.jpg", "tab\t.jpg", "comma,semi;.jpg", "=formula.jpg", "%s.jpg"),
    *("Zo\u00eb.jpg", "\u5f20\u4f1f.jpg", "\u0645\u062d\u0645\u062f.jpg", "\U0001f600.jpg"),
    *("e\u0301.jpg", "\u202egpj.exe.jpg", "<b>&amp;.jpg", "$(rm).jpg", "a" * 251 + ".jpg"),
    "\\back.jpg",
)


@pytest.mark.slow
def test_every_hostile_file_gets_a_row_with_its_reason(gallery, bundle, tmp_path):
    album = tmp_path / "album"
    album.mkdir()
    expected = {}
    for number, (kind, (_, reason)) in enumerate(KINDS.items()):
        path = album / f"{number:02d} {kind.replace('/', ' ')}.jpg"
        make(kind, path)
        if kind not in ("pipe", "socket", "gone", "folder"):
            expected[path.name] = str(Reason.NO_FACE if reason == OPENED else reason)
    for name in NAMES:
        make("progressive jpeg", album / name)
        expected[name] = str(Reason.NO_FACE)
    no_text = os.fsencode(album) + b"/not_utf8_\xff.jpg"
    Path(os.fsdecode(no_text)).write_bytes((album / NAMES[0]).read_bytes())
    expected["not_utf8_\\xff.jpg"] = str(Reason.NO_FACE)
    (album / "loop").symlink_to(album, target_is_directory=True)
    (album / ".hidden").mkdir()
    make("grey", album / ".hidden" / "photo.jpg")
    out = tmp_path / "out"
    summary = identify(
        album, gallery, bundle, out, IdentifySettings(annotate=True, xmp=True, limits=LIMITS)
    )
    assert {row["photo_path"]: row["reason"] for row in rows_of(out)} == expected
    assert summary.sidecar_errors == [] and not list(album.rglob("*.xmp"))
    assert summary.photos == summary.rejected_photos == len(expected) >= 85


HEAVY = (
    *("torch", "torchvision", "mlflow", "great_expectations"),
    *("pandas", "sklearn", "matplotlib", "onnx"),
)
RUN_THE_COMMAND = f"""
import sys
import faceops.cli
code = faceops.cli.main(sys.argv[1:])
print(code, [name for name in {HEAVY} if name in sys.modules],
      [name for name in ("numpy", "pydantic", "PIL.Image") if name in sys.modules])
"""


@pytest.mark.slow
def test_a_run_loads_nothing_heavy_and_an_unchanged_folder_not_even_numpy(
    album, gallery_dir, sface_bundle, out
):
    arguments = ["--gallery", gallery_dir, "--bundle", sface_bundle, "--out", out, "--annotate"]
    command = [sys.executable, "-c", RUN_THE_COMMAND, "identify", album, *arguments]
    loaded = "['numpy', 'pydantic', 'PIL.Image']"
    for sentence, end in (("faces found", f"0 [] {loaded}"), ("nothing has changed", "0 [] []")):
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=True
        ).stdout
        assert sentence in done
        assert done.splitlines()[-1] == end
