"""Rebuild the model: check the photos, run the DVC stages, register the result, gate it.

python -m flows.rebuild                            # params.yaml as it is
python -m flows.rebuild --experiment lfw_pretrained
python -m flows.rebuild --force train              # this stage again, though nothing changed
python -m flows.rebuild --promote                  # champion at once, if the gate lets it pass
python -m flows.rebuild --from-review gallery      # learn from the decisions in a gallery's journal

Without PREFECT_API_URL the flow starts a temporary server; with it, the run is
recorded there.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import IO, Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, get_state_exception

from faceops.base.errors import FaceOpsError, UsageError, user_error, without_secrets
from faceops.base.files import file_lock
from faceops.config.params_file import experiment_file, read_params, write_params
from faceops.embedding.backbones.build import check_train_params
from faceops.photos.folders import require_utf8
from faceops.registry.register import FAILED, RAN, UNCHANGED, StageRun, dvc_stages, record_stages
from faceops.registry.store import UnreachableError, store_errors
from faceops.release.evaluate.embed_photos import labelled_photos
from faceops.release.release_file import signing_key
from flows import from_review as review

RECORD_LIMIT_S = 1800
GATE_LIMIT_S = 6 * 3600
GATE_THREADS = 2
STAGE_LIMIT_S = 6 * 3600
ROOT = Path(__file__).resolve().parent.parent
LOGS = Path("build") / "logs"


def rebuild_lock(root: Path) -> AbstractContextManager[None]:
    """Lock the repository `root` for a rebuild, by a file in DVC's folder for such files."""
    return file_lock(root / ".dvc/tmp/rebuild.lock", f"{root} is being rebuilt")


def stage_names(root: Path) -> list[str]:
    """Return the targets of `dvc repro`: the pin of data/, then dvc.yaml's stages in its order."""
    pins = ["data.dvc"] if (root / "data.dvc").is_file() else []
    return pins + dvc_stages(root)


def check_arguments(root: Path, experiment: str | None, force: str | None) -> None:
    """Refuse wrong arguments before a server is started for the run."""
    require_utf8(root, "the repository")
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


def is_transient(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Whether to retry a failed task: only where the MLflow server could not be reached."""
    return isinstance(get_state_exception(state), UnreachableError)


record_task = task(
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=30,
    retry_condition_fn=is_transient,
    timeout_seconds=RECORD_LIMIT_S,
)


@task(cache_policy=NO_CACHE)
def check_data(root: Path) -> dict[str, int]:
    """Count the photos and the people of data/; the stage `validate` opens each of them.

    Raises:
        FaceOpsError: there are none.
    """
    listed = [photo for photo in labelled_photos(root / "data") if photo.person]
    return {"photos": len(listed), "people": len({photo.person for photo in listed})}


@record_task
def open_run(root: Path) -> str:
    """Return the id of a new MLflow run for this rebuild."""
    import mlflow

    from faceops.registry.store import EXPERIMENT, use_tracking

    use_tracking(root)
    with store_errors("opening a run"):
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        assert experiment is not None  # made just now
        run = client.create_run(experiment.experiment_id, run_name="rebuild")
    return str(run.info.run_id)


@record_task
def record(root: Path, run_id: str, runs: list[StageRun], failed: bool) -> None:
    """Record the stages, with their logs, as child runs; mark a failed run as failed."""
    import mlflow

    from faceops.registry.store import use_tracking

    use_tracking(root)
    record_stages(root, run_id, runs)
    if failed:
        with store_errors("ending the run"):
            mlflow.MlflowClient().set_terminated(run_id, "FAILED")


@record_task
def register_release(root: Path, run_id: str) -> dict[str, Any]:
    """Record the rebuild in its MLflow run and register its bundle, unless it is registered."""
    import mlflow

    from faceops.registry.register import register_last_run

    version, is_new = register_last_run(root, run_id, signing_key())
    with store_errors("reading the run"):
        experiment = mlflow.MlflowClient().get_run(run_id).info.experiment_id
    return version.as_dict() | {"new": is_new, "run": run_id, "experiment": experiment}


@task(
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=30,
    retry_condition_fn=is_transient,
    timeout_seconds=GATE_LIMIT_S,
)
def gate(root: Path, number: int, move: bool) -> dict[str, Any]:
    """Compare the release with the champion; with `move` it becomes champion if it passes."""
    from faceops.gate.promote import gate_and_promote

    settings = read_params(root / "params.yaml").gate
    return gate_and_promote(number, root, settings, move=move, threads=GATE_THREADS)


class StageError(FaceOpsError):
    """A stage failed; `run` is its record."""

    def __init__(self, message: str, run: StageRun) -> None:
        super().__init__(message)
        self.run = run


# No retries: DVC knows what to redo, and a failed stage fails again in the same way.
@task(cache_policy=NO_CACHE, task_run_name="stage {stage}", timeout_seconds=STAGE_LIMIT_S)
def run_stage(root: Path, stage: str, force: bool, run_id: str) -> StageRun:
    """Run one DVC stage if it is out of date; log its output to the flow and to build/logs.

    `run_id` is the MLflow run that becomes the parent of the stage's own run.

    Raises:
        StageError: the stage failed.
    """
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", stage]
    if force:
        command.append("--force")
    # dvc.yaml starts `python`: it must be the interpreter that runs this flow.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    start = time.monotonic()
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
            if process.poll() is None:  # timed out or cancelled
                end_group(process)
    run = StageRun(stage, RAN if ran else UNCHANGED, time.monotonic() - start, log)
    if code != 0:
        failed = StageRun(stage, FAILED, run.seconds, log)
        raise StageError(f"stage {stage} failed: {last}", failed)
    return run


def follow(lines: IO[str], log: IO[str]) -> tuple[bool, str]:
    """Copy DVC's output to the flow's log and to `log`; return (a stage ran, its last line)."""
    logger = get_run_logger()
    ran, last = False, ""
    for line in map(without_secrets, lines):
        log.write(line)
        log.flush()
        logger.info(line.rstrip())
        last = line.strip() or last
        ran = ran or line.startswith("Running stage")
    return ran, last


def end_group(process: subprocess.Popen[str]) -> None:
    """Terminate `process` and its children: DVC's shell, and the stage in it."""
    for number, patience_s in ((signal.SIGTERM, 30), (signal.SIGKILL, None)):
        with suppress(subprocess.TimeoutExpired, ProcessLookupError):
            os.killpg(process.pid, number)
            process.wait(patience_s)
            return


def report_stages(photos: dict[str, Any], runs: Sequence[StageRun]) -> None:
    """Publish a table of the stages, and the number of photos and people."""
    create_table_artifact(
        key="stages",
        table=[
            {"stage": run.stage, "state": run.state, "seconds": round(run.seconds, 1)}
            for run in runs
        ],
        description=f"{photos['photos']} photos of {photos['people']} people",
    )


def report_release(result: dict[str, Any]) -> None:
    """Publish the release, the gate's verdict, and links to both in MLflow."""
    shown = ("version", "new", "aliases", "gate", "promoted", "contract_id", "summary")
    create_table_artifact(
        key="release", table=[{"what": name, "value": _text(result[name])} for name in shown]
    )
    if result["verdict"]:
        create_markdown_artifact(key="gate", markdown=result["verdict"])
    server = without_secrets(os.environ.get("MLFLOW_TRACKING_URI", "")).replace("***@", "")
    if server.startswith("http"):
        create_link_artifact(
            key="release-page",
            link=f"{server.rstrip('/')}/#/models/faceops/versions/{result['version']}",
            link_text=f"faceops version {result['version']} in MLflow",
        )
        create_link_artifact(
            key="rebuild-run",
            link=f"{server.rstrip('/')}/#/experiments/{result['experiment']}/runs/{result['run']}",
            link_text="the rebuild's run in MLflow, with its stages",
        )


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list | tuple) else str(value)


@flow(name="rebuild", log_prints=True)
def rebuild(
    root: str = str(ROOT),
    experiment: str | None = None,
    force: str | None = None,
    promote: bool = False,
    from_review: str | None = None,
    min_decisions: int = review.MIN_DECISIONS,
) -> dict[str, Any]:
    """Run the whole pipeline, register the release and compare it with the champion.

    The run ends as Completed, or as Refused where the gate refused the release: the champion is
    then unchanged. It ends as Waiting where too few decisions are new.

    Args:
        root: the repository.
        experiment: a name in experiments/ or a YAML file to write params.yaml from first.
        force: a stage to run again although nothing that it depends on changed.
        promote: make the release champion if it passes the gate; else a person does.
        from_review: a gallery: the faces that people decided about go into data/ first, and
            training starts from the champion, by default with experiments/reviewed.yaml.
        min_decisions: with from_review: do nothing if fewer decisions are new.
    """
    folder = Path(root)
    check_arguments(folder, experiment, force)
    with rebuild_lock(folder):
        reviewed, start = None, ""
        if from_review:
            new, reviewed = review.import_decisions(folder, Path(from_review), min_decisions)
            if reviewed is None:
                message = f"{new} decisions are new, fewer than {min_decisions}"
                data = {"message": message}
                return Completed(name="Waiting", message=message, data=data)  # type: ignore[return-value]
            start = review.write_review_params(folder, experiment or review.EXPERIMENT)
        elif experiment:
            write_params(read_params(experiment_file(folder, experiment)), folder / "params.yaml")
        photos = check_data(folder)
        run_id = open_run(folder)
        runs: list[StageRun] = []
        try:
            for stage in stage_names(folder):
                runs.append(run_stage(folder, stage, force == stage, run_id))
            record(folder, run_id, runs, failed=False)
            result = register_release(folder, run_id)
            if reviewed is not None:
                review.note_learned(folder)
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
    if reviewed is not None:
        result["review"] = review.report_review(reviewed, start, result)
    if result["gate"] == "refused":
        get_run_logger().warning("the gate refused version %d", result["version"])
        for reason in result["reasons"]:
            get_run_logger().warning(reason)
        reasons = " ".join(result["reasons"])
        return Completed(name="Refused", message=reasons, data=result)  # type: ignore[return-value]
    return result


def main() -> int:
    """Run the flow from the command line."""
    parser = argparse.ArgumentParser(prog="python -m flows.rebuild", description=rebuild.__doc__)
    parser.add_argument("--experiment", help="a name in experiments/, or a YAML file")
    parser.add_argument("--force", metavar="STAGE", help="run this stage again")
    parser.add_argument("--promote", action="store_true", help="if it passes the gate")
    text = "learn from the decisions in the journal of this gallery"
    parser.add_argument("--from-review", metavar="GALLERY", help=text)
    text = "with --from-review: if at least N are new (default: %(default)s)"
    default = review.MIN_DECISIONS
    parser.add_argument("--min-decisions", type=int, default=default, metavar="N", help=text)
    args = parser.parse_args()
    try:
        check_arguments(ROOT, args.experiment, args.force)
        with rebuild_lock(ROOT):
            pass  # before a server is started for nothing
        result = rebuild(
            experiment=args.experiment, force=args.force, promote=args.promote,
            from_review=args.from_review, min_decisions=args.min_decisions,
        )  # fmt: skip
    except Exception as error:
        if (reported := user_error(error)) is None:
            raise
        print(f"rebuild: {reported}", file=sys.stderr)
        return reported.exit_code
    if "version" not in result:
        print(f"rebuild: {result['message']}; nothing to do")
        return 0
    if "review" in result:
        print(result["review"])
    done = "registered" if result["new"] else "nothing has changed since"
    print(f"{done} faceops version {result['version']}: {result['summary']}")
    print(result["message"])
    return 1 if args.promote and result["gate"] == "refused" else 0


if __name__ == "__main__":
    sys.exit(main())
