"""One process at a time holds a lock; the error names that process to the others."""

import os
import re
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from faceops.base.errors import FaceOpsError
from faceops.base.files import file_lock, folder_lock

HOLD = """
import sys, time; from pathlib import Path; from faceops.base.files import file_lock
with file_lock(Path(sys.argv[1]), "it is in use"):
    print("locked", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_the_error_names_the_process_that_holds_the_lock_and_its_end_frees_it(
    tmp_path: Path,
) -> None:
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


def test_a_folder_is_locked_without_a_file(tmp_path: Path) -> None:
    with (
        file_lock(tmp_path, "it is in use"),
        pytest.raises(FaceOpsError, match="it is in use by another faceops process; wait"),
        file_lock(tmp_path, "it is in use"),
    ):
        pytest.fail("two locks on one folder")
    assert not list(tmp_path.iterdir())


def test_the_lock_works_on_a_full_disk(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock"), "0"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "locked\n"), done.stderr


def test_a_lock_file_that_cannot_be_created_is_one_sentence(tmp_path: Path) -> None:
    (file := tmp_path / "file").touch()
    with pytest.raises(FaceOpsError, match=r"lock cannot be written \("), folder_lock(file):
        pytest.fail("locked")
