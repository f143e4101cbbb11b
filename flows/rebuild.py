"""Rebuild the model: check the photos, run the DVC stages, register the result, gate it.

python -m flows.rebuild                            # params.yaml as it is
python -m flows.rebuild --experiment lfw_pretrained
python -m flows.rebuild --force train              # this stage again, though nothing changed
python -m flows.rebuild --promote                  # champion at once, if the gate lets it pass

Without PREFECT_API_URL the flow starts a server of its own for its duration; with it, the run is
recorded there.
"""

import argparse
import sys
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, get_state_exception

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.locks import file_lock
from faceops.config import experiment_file, read_params, write_params
from faceops.embedding.check_params import check_train_params
from faceops.release.labelled_photos import labelled_photos
from faceops.release.registry.stage_runs import StageRun, record_stages
from faceops.release.registry.store import UnreachableError, store_errors
from flows.rebuild_report import report_release, report_stages
from flows.rebuild_stages import StageError, run_stage, stage_names

RECORD_LIMIT_S = 1800
GATE_LIMIT_S = 6 * 3600
GATE_THREADS = 2
ROOT = Path(__file__).resolve().parent.parent


def rebuild_lock(root: Path) -> AbstractContextManager[None]:
    """Lock the repository `root` for a rebuild, by a file in DVC's folder for such files."""
    return file_lock(root / ".dvc/tmp/rebuild.lock", f"{root} is being rebuilt")


def check_arguments(root: Path, experiment: str | None, force: str | None) -> None:
    """Refuse what cannot run, before a server is started for it."""
    path = experiment_file(root, experiment) if experiment else root / "params.yaml"
    check_train_params(read_params(path).train, path)
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

    Our other sentences say what a person has to do, and a defect fails the same way again.
    """
    return isinstance(get_state_exception(state), UnreachableError)


record_task = task(
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=30,
    retry_condition_fn=may_pass_by_itself,
    timeout_seconds=RECORD_LIMIT_S,
)


@task(cache_policy=NO_CACHE)
def check_data(root: Path) -> dict[str, int]:
    """Count the photos and the people of data/; the stage validate looks into each of them.

    Raises:
        FaceOpsError: there are none.
    """
    listed = [photo for photo in labelled_photos(root / "data") if photo.person]
    return {"photos": len(listed), "people": len({photo.person for photo in listed})}


@record_task
def open_run(root: Path) -> str:
    """Return the id of a new MLflow run for this rebuild; it runs until it is recorded."""
    import mlflow

    from faceops.release.registry.tracking import EXPERIMENT, use_tracking

    use_tracking(root)
    with store_errors("opening a run"):
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        assert experiment is not None  # made just now
        run = client.create_run(experiment.experiment_id, run_name="rebuild")
    return str(run.info.run_id)


@record_task
def record(root: Path, run_id: str, runs: list[StageRun], failed: bool) -> None:
    """Write the stages, with their logs, to children of the MLflow run, and whether it failed."""
    import mlflow

    from faceops.release.registry.tracking import use_tracking

    use_tracking(root)
    record_stages(root, run_id, runs)
    if failed:
        with store_errors("ending the run"):
            mlflow.MlflowClient().set_terminated(run_id, "FAILED")


@record_task
def register_release(root: Path, run_id: str) -> dict[str, Any]:
    """Record the rebuild in its MLflow run and register its bundle, unless it is registered."""
    import mlflow

    from faceops.release.registry.record_run import register_last_run

    version, is_new = register_last_run(root, run_id)
    with store_errors("reading the run"):
        experiment = mlflow.MlflowClient().get_run(run_id).info.experiment_id
    return version.as_dict() | {"new": is_new, "run": run_id, "experiment": experiment}


@task(
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=30,
    retry_condition_fn=may_pass_by_itself,
    timeout_seconds=GATE_LIMIT_S,
)
def gate(root: Path, number: int, move: bool) -> dict[str, Any]:
    """Hold the release against the champion; make it champion if it passes and `move` says so."""
    from faceops.release.gate.judge_release import judge_release

    settings = read_params(root / "params.yaml").gate
    return judge_release(number, root, settings, move=move, threads=GATE_THREADS)


@flow(name="rebuild", log_prints=True)
def rebuild(
    root: str = str(ROOT),
    experiment: str | None = None,
    force: str | None = None,
    promote: bool = False,
) -> dict[str, Any]:
    """Run the whole pipeline, register what came out of it and hold it against the champion.

    The run ends as Completed, or as Refused where the gate refused the release: the rebuild is
    done then too, and the champion stays.

    Args:
        root: the repository.
        experiment: a name in experiments/ or a YAML file to write params.yaml from first.
        force: a stage to run again although nothing that it depends on changed.
        promote: make the release champion if it passes the gate; else a person does.
    """
    folder = Path(root)
    check_arguments(folder, experiment, force)
    with rebuild_lock(folder):
        if experiment:
            write_params(read_params(experiment_file(folder, experiment)), folder / "params.yaml")
        photos = check_data(folder)
        run_id = open_run(folder)
        runs: list[StageRun] = []
        try:
            for stage in stage_names(folder):
                runs.append(run_stage(folder, stage, force == stage, run_id))
            record(folder, run_id, runs, failed=False)
            result = register_release(folder, run_id)
            result |= gate(folder, result["version"], promote)
        except Exception as error:
            if isinstance(error, StageError):
                runs.append(error.run)
            with suppress(FaceOpsError):  # the error itself is what counts
                record(folder, run_id, runs, failed=True)
            raise
        finally:
            report_stages(photos, runs)
    report_release(result)
    if result["gate"] == "refused":
        get_run_logger().warning("the gate refused version %d", result["version"])
        for reason in result["reasons"]:
            get_run_logger().warning(reason)
        told = " ".join(result["reasons"])
        return Completed(name="Refused", message=told, data=result)  # type: ignore[return-value]
    return result


def main() -> int:
    """Run the flow from the command line."""
    parser = argparse.ArgumentParser(prog="python -m flows.rebuild", description=rebuild.__doc__)
    parser.add_argument("--experiment", help="a name in experiments/, or a YAML file")
    parser.add_argument("--force", metavar="STAGE", help="run this stage again")
    parser.add_argument("--promote", action="store_true", help="if it passes the gate")
    args = parser.parse_args()
    try:
        check_arguments(ROOT, args.experiment, args.force)
        with rebuild_lock(ROOT):
            pass  # before a server is started for nothing
        result = rebuild(experiment=args.experiment, force=args.force, promote=args.promote)
    except FaceOpsError as error:
        print(f"rebuild: {error}", file=sys.stderr)
        return error.exit_code
    done = "registered" if result["new"] else "nothing has changed since"
    print(f"{done} faceops version {result['version']}: {result['summary']}")
    print(result["told"])
    return 1 if args.promote and result["gate"] == "refused" else 0


if __name__ == "__main__":
    sys.exit(main())
