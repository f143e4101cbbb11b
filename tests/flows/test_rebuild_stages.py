"""A stage as a task: what it printed is kept, and a failed one says why."""

import subprocess
import time
from pathlib import Path

import psutil
import pytest
from prefect.logging import disable_run_logger
from prefect.states import Failed

from faceops.base.errors import FaceOpsError, StoreError
from faceops.release.registry.stage_runs import FAILED, RAN, STOOD
from faceops.release.registry.store import UnreachableError
from flows.rebuild import may_pass_by_itself
from flows.rebuild_stages import StageError, end_group, run_stage, stage_names

pytestmark = pytest.mark.slow


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


def test_a_stage_runs_stands_and_is_forced(root: Path) -> None:
    assert stage_names(root) == ["good", "bad"]
    with disable_run_logger():
        states = [run_stage.fn(root, "good", force, "run") for force in (False, False, True)]
    assert [run.state for run in states] == [RAN, STOOD, RAN]
    assert states[0].seconds > 0
    assert "well done" in (root / "build/logs/good.log").read_text()


def test_a_stage_that_fails_is_told_and_what_it_printed_is_kept(root: Path) -> None:
    with disable_run_logger():
        run_stage.fn(root, "good", False, "run")
        with pytest.raises(StageError, match="stage bad failed: ") as told:
            run_stage.fn(root, "bad", False, "run")
    assert told.value.run.state == FAILED
    assert told.value.run.log is not None
    assert "the disk is blue" in told.value.run.log.read_text()


def test_ending_a_stage_ends_what_it_started() -> None:
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
    assert may_pass_by_itself(None, None, Failed(data=error)) is again
