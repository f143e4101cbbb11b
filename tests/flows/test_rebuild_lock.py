"""One rebuild at a time, told in one sentence; a killed one holds nobody up, and ends its stage."""

import os
import re
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from faceops.base.errors import FaceOpsError, StoreError
from faceops.release.registry.store import UnreachableError
from flows.rebuild_lock import LOCK_FILE, rebuild_lock

HOLD = """
import sys, time; from pathlib import Path; from flows.rebuild_lock import rebuild_lock
with rebuild_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path, repository: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=repository,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_rebuild_is_told_who_holds_the_repository(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(FaceOpsError) as told, rebuild_lock(tmp_path):
        pytest.fail("two rebuilds at once")
    assert told.value.exit_code == 1
    host = re.escape(socket.gethostname())
    who = rf"\(pid {holder.pid} on {host}, since \d{{4}}-\d\d-\d\dT[\d:]+\+00:00\)"
    assert re.search(who, str(told.value)), told.value
    assert str(tmp_path) in str(told.value)


def test_a_killed_rebuild_holds_nobody_up(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    assert str(holder.pid) in (tmp_path / LOCK_FILE).read_text()  # what it left
    with rebuild_lock(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK_FILE).read_text()
    with rebuild_lock(tmp_path):  # and once more, after an orderly end
        pass


def test_on_a_full_disk_the_lock_is_held_all_the_same(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from flows.rebuild_lock import rebuild_lock\n"
        "with rebuild_lock(Path(sys.argv[1])): print('held')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "held\n"), done.stderr


def test_ending_a_stage_ends_what_it_started() -> None:
    from flows.rebuild_stages import end_group

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
def test_only_what_may_pass_by_itself_is_tried_again(error: Exception, again: bool) -> None:
    from prefect.states import Failed

    from flows.rebuild import may_pass_by_itself

    assert may_pass_by_itself(None, None, Failed(data=error)) is again
