"""The DVC stages of a rebuild as tasks, each with its log and what became of it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from faceops.base.errors import FaceOpsError
from faceops.release.registry.stage_runs import FAILED, RAN, STOOD, StageRun, dvc_stages

STAGE_LIMIT_S = 6 * 3600
LOGS = Path("build") / "logs"


def stage_names(root: Path) -> list[str]:
    """Return what to bring up to date: the data's pin, then dvc.yaml's stages in its order."""
    pins = ["data.dvc"] if (root / "data.dvc").is_file() else []
    return pins + dvc_stages(root)


class StageError(FaceOpsError):
    """A stage failed; `run` says what is known of it."""

    def __init__(self, message: str, run: StageRun) -> None:
        super().__init__(message)
        self.run = run


# DVC is the cache and knows what to redo; a failed stage fails the same way again, so no retries.
@task(cache_policy=NO_CACHE, task_run_name="stage {stage}", timeout_seconds=STAGE_LIMIT_S)
def run_stage(root: Path, stage: str, force: bool, run_id: str) -> StageRun:
    """Bring one DVC stage up to date; its output goes to the flow's log and to build/logs.

    `run_id` is the MLflow run that a stage nests its own run under.

    Raises:
        StageError: it failed.
    """
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", stage]
    if force:
        command.append("--force")
    # dvc.yaml says `python`: it must be the one that runs this flow.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    began = time.monotonic()
    (root / LOGS).mkdir(parents=True, exist_ok=True)
    log = root / LOGS / f"{stage}.log"
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            cwd=root,
            env=os.environ | {"PATH": path, "MLFLOW_RUN_ID": run_id},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            ran, last = follow(process.stdout, file)
            code = process.wait()
        finally:
            if process.poll() is None:  # its time is up, or the run was cancelled
                end_group(process)
    run = StageRun(stage, RAN if ran else STOOD, time.monotonic() - began, log)
    if code != 0:
        failed = StageRun(stage, FAILED, run.seconds, log)
        raise StageError(f"stage {stage} failed: {last}", failed)
    return run


def follow(lines: IO[str], log: IO[str]) -> tuple[bool, str]:
    """Copy DVC's output to the flow's log and to `log`; return whether it ran, and its end."""
    logger = get_run_logger()
    ran, last = False, ""
    for line in lines:
        log.write(line)
        log.flush()
        logger.info(line.rstrip())
        last = line.strip() or last
        ran = ran or line.startswith("Running stage")
    return ran, last


def end_group(process: subprocess.Popen[str]) -> None:
    """End `process` and all that it started: DVC's shell, and the stage in it."""
    for number, patience_s in ((signal.SIGTERM, 30), (signal.SIGKILL, None)):
        with suppress(subprocess.TimeoutExpired, ProcessLookupError):
            os.killpg(process.pid, number)
            process.wait(patience_s)
            return
