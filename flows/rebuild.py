"""Rebuild the model: run the DVC stages, register the result in MLflow.

python -m flows.rebuild                            # params.yaml as it is
python -m flows.rebuild --experiment lfw_pretrained
python -m flows.rebuild --force train              # this stage again, though nothing changed

Without PREFECT_API_URL the flow starts a server of its own for its duration; with it, the run is
recorded there.
"""

import argparse
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import get_state_exception

from faceops.config import experiment_file, read_params, write_params
from faceops.errors import FaceOpsError, StoreError, UsageError
from flows.rebuild_lock import rebuild_lock

STAGE_LIMIT_S = 6 * 3600
RECORD_LIMIT_S = 1800
ROOT = Path(__file__).resolve().parent.parent


def stage_names(root: Path) -> list[str]:
    """Return what to bring up to date: the data's pin, then dvc.yaml's stages in its order."""
    content = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))
    pins = ["data.dvc"] if (root / "data.dvc").is_file() else []
    return pins + list(content["stages"])


def check_arguments(root: Path, experiment: str | None, force: str | None) -> None:
    """Refuse what cannot run, before a server is started for it."""
    read_params(experiment_file(root, experiment) if experiment else root / "params.yaml")
    stages = stage_names(root)
    if force and force not in stages:
        raise UsageError(f"there is no stage {force!r}; dvc.yaml has {', '.join(stages)}.")
    if not (root / "data" / "photos").is_dir():
        raise FaceOpsError(
            f"{root / 'data' / 'photos'} does not exist; run `faceops data synthetic` or"
            " `faceops data import` first."
        )


def may_pass_by_itself(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether a failed task is worth another try: an MLflow server that restarts is back soon.

    Our other sentences say what a person has to do, and trying again would only hide them.
    """
    error = get_state_exception(state)
    return isinstance(error, StoreError) or not isinstance(error, FaceOpsError)


# DVC is the cache and knows what to redo; a failed stage fails the same way again, so no retries.
@task(cache_policy=NO_CACHE, task_run_name="stage {stage}", timeout_seconds=STAGE_LIMIT_S)
def run_stage(root: Path, stage: str, force: bool, run_id: str) -> None:
    """Bring one DVC stage up to date, its output copied to the flow's log.

    `run_id` is the MLflow run that a stage nests its own run under.
    """
    logger = get_run_logger()
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", stage]
    if force:
        command.append("--force")
    # dvc.yaml says `python`: it must be the one that runs this flow.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        command,
        cwd=root,
        env=os.environ | {"PATH": path, "MLFLOW_RUN_ID": run_id},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    last = ""
    try:
        for line in process.stdout:
            last = line.strip() or last
            logger.info(line.rstrip())
        if process.wait() != 0:
            raise FaceOpsError(f"stage {stage} failed: {last}")
    finally:
        if process.poll() is None:  # its time is up, or the run was cancelled
            end_group(process)


def end_group(process: subprocess.Popen[str]) -> None:
    """End `process` and all that it started: DVC's shell, and the stage in it."""
    for number, patience_s in ((signal.SIGTERM, 30), (signal.SIGKILL, None)):
        with suppress(subprocess.TimeoutExpired, ProcessLookupError):
            os.killpg(process.pid, number)
            process.wait(patience_s)
            return


@task(
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=30,
    retry_condition_fn=may_pass_by_itself,
    timeout_seconds=RECORD_LIMIT_S,
)
def open_run(root: Path) -> str:
    """Return the id of a new MLflow run for this rebuild."""
    import mlflow

    from faceops.release.registry.tracking import use_tracking

    use_tracking(root)
    with mlflow.start_run(run_name="rebuild") as run:
        return str(run.info.run_id)


@task(
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=30,
    retry_condition_fn=may_pass_by_itself,
    timeout_seconds=RECORD_LIMIT_S,
)
def register_release(root: Path, run_id: str) -> dict[str, Any]:
    """Record the rebuild in its MLflow run and register its bundle, unless it is registered."""
    from faceops.release.registry.record_run import register_last_run

    version, is_new = register_last_run(root, run_id)
    return version.as_dict() | {"new": is_new}


@flow(name="rebuild", log_prints=True)
def rebuild(
    root: str = str(ROOT), experiment: str | None = None, force: str | None = None
) -> dict[str, Any]:
    """Run the whole pipeline and register what came out of it.

    Args:
        root: the repository.
        experiment: a name in experiments/ or a YAML file to write params.yaml from first.
        force: a stage to run again although nothing that it depends on changed.
    """
    folder = Path(root)
    check_arguments(folder, experiment, force)
    with rebuild_lock(folder):
        if experiment:
            write_params(read_params(experiment_file(folder, experiment)), folder / "params.yaml")
        run_id = open_run(folder)
        for stage in stage_names(folder):
            run_stage(folder, stage, force == stage, run_id)
        version = register_release(folder, run_id)
    create_table_artifact(
        key="release", table=[version | {"aliases": ", ".join(version["aliases"])}]
    )
    return version


def main() -> int:
    """Run the flow from the command line."""
    parser = argparse.ArgumentParser(prog="python -m flows.rebuild", description=rebuild.__doc__)
    parser.add_argument("--experiment", help="a name in experiments/, or a YAML file")
    parser.add_argument("--force", metavar="STAGE", help="run this stage again")
    args = parser.parse_args()
    try:
        check_arguments(ROOT, args.experiment, args.force)
        with rebuild_lock(ROOT):
            pass  # before a server is started for nothing
        version = rebuild(experiment=args.experiment, force=args.force)
    except FaceOpsError as error:
        print(f"rebuild: {error}", file=sys.stderr)
        return error.exit_code
    done = "registered" if version["new"] else "nothing has changed since"
    print(f"{done} faceops version {version['version']}: {version['summary']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
