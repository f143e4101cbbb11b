"""A write replaces all of a file or folder, or leaves it untouched; a lock has one holder."""

import errno
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from faceops.base.files import (
    atomic_folder,
    atomic_path,
    csv_cell,
    csv_text,
    file_lock,
    folder_lock,
    paths_shown_as,
    replace_folder,
    sha256_file,
    temporary_name,
    valid_unicode,
    write_csv,
    write_file,
    write_json,
)


def content(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_a_file_is_replaced_and_its_folder_created(tmp_path):
    for name, text in (("b", "old"), ("b", "new"), ("bytes", b"\x41")):
        write_file(tmp_path / "a" / name, text)
    assert content(tmp_path) == {"a/b": "new", "a/bytes": "A"}
    longest = tmp_path / ("ä" * 127)
    write_file(longest, "new")
    assert len(os.fsencode(temporary_name(longest).name)) < 255 and longest.read_text() == "new"


@pytest.mark.parametrize("sync", [False, True])
def test_a_failed_write_leaves_the_old_file(tmp_path, sync):
    (tmp_path / "a").write_text("old")
    with pytest.raises(OSError), atomic_path(tmp_path / "a", sync=sync) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert content(tmp_path) == {"a": "old"}


def test_a_killed_write_leaves_the_old_file_and_the_next_one_succeeds(tmp_path):
    (tmp_path / "a").write_text("old")
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from faceops.base.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")])
    assert done.returncode == -signal.SIGKILL
    assert content(tmp_path) == {"a": "old", ".a.tmp": "half"}
    write_file(tmp_path / "a", "new")
    assert content(tmp_path) == {"a": "new"}


def test_a_file_keeps_its_permissions_and_nothing_is_written_through_a_link_at_the_temporary_name(
    tmp_path,
):
    for name in ("a", "other"):
        (tmp_path / name).write_text("old")
    (tmp_path / "a").chmod(0o600)
    temporary_name(tmp_path / "a").symlink_to(tmp_path / "other")
    write_file(tmp_path / "a", "new")
    assert content(tmp_path) == {"a": "new", "other": "old"}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOSPC, "the machine lacks .*; free some space"),
        (errno.EMFILE, "the machine lacks .*; raise the limit"),
        (None, r"file/a cannot be written \(.*\); .* permission"),
    ],
)
def test_a_file_that_cannot_be_written_is_one_sentence_whose_advice_follows_from_the_cause(
    tmp_path, monkeypatch, number, why
):
    def fails(*_: object) -> None:
        assert number
        raise OSError(number, os.strerror(number))

    if number:
        monkeypatch.setattr(Path, "write_bytes", fails)
    else:
        (tmp_path / "file").touch()
    with pytest.raises(FaceOpsError, match=why):
        write_file(tmp_path / "file/a", "text")


def test_equal_json_content_gives_equal_bytes(tmp_path):
    write_json(tmp_path / "a", {"b": "ä", "a": 1})
    write_json(tmp_path / "b", {"a": 1, "b": "ä"})
    assert (tmp_path / "a").read_text("utf-8") == '{\n  "a": 1,\n  "b": "ä"\n}\n'
    assert sha256_file(tmp_path / "a") == sha256_file(tmp_path / "b")


def test_a_folder_is_replaced_as_a_whole_or_stays(tmp_path):
    for name in ("old", "new"):
        with atomic_folder(tmp_path / "a/f") as folder:
            (folder / name).write_text(name)
    with pytest.raises(KeyError), atomic_folder(tmp_path / "a/f") as folder:
        (folder / "half").touch()
        raise KeyError
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "absent", tmp_path / "a/f")
    assert content(tmp_path) == {"a/f/new": "new"}


def test_the_folder_of_a_faster_process_stays(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    rename = Path.rename

    def other_first(self: Path, target: Path) -> Path:
        target.mkdir()
        (target / "theirs").touch()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", other_first)
    replace_folder(tmp_path / "mine", tmp_path / "f")
    assert (tmp_path / "f/theirs").exists()


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\ta", "\ra"])
def test_no_spreadsheet_runs_a_cell_as_a_formula(text):
    assert csv_cell(text) == f"'{text}"
    assert csv_text(f"'{text}") == text


@pytest.mark.parametrize("value", ["plain", "'quoted", "", None, -1.5])
def test_other_cells_stay(value):
    assert csv_cell(value) == value
    assert not isinstance(value, str) or csv_text(value) == value


def test_a_table_is_quoted_and_replaces_the_file(tmp_path):
    for _ in range(2):
        write_csv(tmp_path / "a.csv", ("x", "y"), [(1, None), ('a "b"', "c,d")])
    assert content(tmp_path) == {"a.csv": 'x,y\n1,\n"a ""b""","c,d"\n'}
    with pytest.raises(UnicodeEncodeError):
        write_csv(tmp_path / "a.csv", ("x",), [("\udcff",)])
    write_csv(tmp_path / "a.csv", ("x",), [("\udcff",)], errors="backslashreplace")
    assert content(tmp_path) == {"a.csv": "x\n\\udcff\n"}


def test_a_path_that_is_not_utf_8_is_found_by_how_it_is_shown(tmp_path):
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    real = [folder / "b\udcff.jpg", folder / "b\\xff.jpg"]
    for path in [*real, folder / "plain.jpg"]:
        path.touch()
    shown = valid_unicode(real[0].relative_to(tmp_path).as_posix())
    assert shown == "caf\\xe9/b\\xff.jpg"
    assert sorted(paths_shown_as(tmp_path, shown)) == sorted(real)
    assert paths_shown_as(tmp_path, "caf\\xe9/plain.jpg") == [folder / "plain.jpg"]
    assert paths_shown_as(tmp_path, "caf\\xe9/none.jpg") == []
    assert paths_shown_as(tmp_path, "none\\xe9/none.jpg") == []


HOLD = """
import sys, time; from pathlib import Path; from faceops.base.files import file_lock
with file_lock(Path(sys.argv[1]), "it is in use"):
    print("locked", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_the_error_names_the_process_that_holds_the_lock_and_its_end_frees_it(tmp_path):
    folder, note = tmp_path / "new", tmp_path / "new/.lock"
    command = [sys.executable, "-c", HOLD, str(note), "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "locked\n"
        host = re.escape(socket.gethostname())
        who = rf"\(pid {holder.pid} on {host}, since \d{{4}}-\d\d-\d\dT[\d:]+\+00:00\)"
        busy = f"{re.escape(str(folder))} is in use by another faceops process {who}; wait"
        for _ in range(2):  # the first attempt must not erase the holder's note
            with pytest.raises(FaceOpsError, match=busy) as caught, folder_lock(folder):
                pytest.fail("two processes hold the lock")
        assert caught.value.exit_code == 1
        holder.kill()
    assert str(holder.pid) in note.read_text()
    for _ in range(2):
        with folder_lock(folder):
            assert f'"pid": {os.getpid()},' in note.read_text()
        assert note.read_text() == ""


def test_a_folder_is_locked_without_a_file(tmp_path):
    with (
        file_lock(tmp_path, "it is in use"),
        pytest.raises(FaceOpsError, match="it is in use by another faceops process; wait"),
        file_lock(tmp_path, "it is in use"),
    ):
        pytest.fail("two locks on one folder")
    assert not list(tmp_path.iterdir())


def test_the_lock_works_on_a_full_disk(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock"), "0"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "locked\n"), done.stderr


def test_a_lock_file_that_cannot_be_created_is_one_sentence(tmp_path):
    (file := tmp_path / "file").touch()
    with pytest.raises(FaceOpsError, match=r"lock cannot be written \("), folder_lock(file):
        pytest.fail("locked")
