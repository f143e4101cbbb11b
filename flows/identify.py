"""Name the people in a folder of photos: shards as tasks, once or on a schedule.

python -m flows.identify PHOTOS_DIR --gallery gallery --out found
python -m flows.identify PHOTOS_DIR --gallery gallery --out found --serve --cron "0 3 * * *"

It runs the engine of `faceops identify` and leaves the same files. Shards find the faces and are
retried alone; then one task names them all, Great Expectations checks the table, and the run is
recorded in MLflow. A folder that is not there just now (a network share) is waited for. Without
PREFECT_API_URL the flow starts a server of its own for its duration; with it, runs, counts and
drift are recorded there; names are not: they stay in the output folder, where they can be
forgotten.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import wait
from prefect.task_runners import ThreadPoolTaskRunner

from faceops.base.cpus import usable_cpus
from faceops.base.errors import FaceOpsError, UsageError
from faceops.commands.bundle_argument import CHAMPION, load_release
from faceops.gallery.store import Gallery
from faceops.identification.check_folders import check_folders
from faceops.identification.mlflow_run import log_run
from faceops.identification.output_folder import FACES_FILE, KEEP_RUNS, check_keep_runs
from faceops.identification.record_checks import require_sound_records
from faceops.identification.recorded import is_recorded, note_recorded
from faceops.identification.run import identify
from faceops.identification.settings import DETAIL
from faceops.identification.shard import find_shard, shards
from faceops.photos.walk import walk_photos
from faceops.release.bundle import Bundle
from faceops.release.contract import PRECISIONS, Precision
from faceops.release.registry.store import UnreachableError

SHARD_PHOTOS = 512
PATIENCE_S = 60
_LOOK_EVERY_S = 2.0


def check_arguments(
    photos_dir: Path, out: Path, gallery: Path, budget: float | None, shard_photos: int
) -> None:
    """Refuse what cannot be right, before a server is started for it."""
    if not photos_dir.is_dir():
        raise UsageError(f"{photos_dir} is not a folder of photos; name one that exists.")
    if budget is not None and not 0 < budget < 1:
        raise UsageError(f"the budget {budget:g} is wrong: a share of strangers between 0 and 1.")
    if shard_photos < 1:
        raise UsageError(f"{shard_photos} photos a shard are too few; give 1 or more.")
    check_folders(photos_dir, out, gallery)
    Gallery.open(gallery)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, task_run_name="shard {number}")
def find_faces(
    number: int,
    paths: list[Path],
    release: Bundle,
    out: Path,
    detail: int,
    keep_crops: bool,
) -> int:
    """Find and embed the faces of one shard; a network share may be back at the next try."""
    new = find_shard(paths, release, out, detail=detail, keep_crops=keep_crops)
    get_run_logger().info("shard %d: %d photos, %d of them new", number, len(paths), new)
    return new


@task(cache_policy=NO_CACHE)
def name_people(
    photos_dir: Path,
    gallery: Path,
    release: Bundle,
    out: Path,
    budget: float | None,
    annotate: bool,
    xmp: bool,
    detail: int,
    keep_crops: bool,
    keep_runs: int,
) -> dict[str, Any]:
    """Name every face from what the shards have found, and write the run's files."""
    enrolled = Gallery.open(gallery, release.release.contract_id)
    return identify(
        photos_dir,
        enrolled,
        release,
        out,
        budget,
        annotate,
        xmp=xmp,
        detail=detail,
        keep_crops=keep_crops,
        keep_runs=keep_runs,
    ).as_dict()


@task(cache_policy=NO_CACHE)
def wait_for_folder(photos_dir: Path, patience_s: float) -> list[Path]:
    """Return the files below `photos_dir`, once it is there and not empty, or when time is up.

    An empty folder may be the bare mount point of a share: `identify` decides whether it is one.

    Raises:
        FaceOpsError: it is not there after all.
    """
    began, told = time.monotonic(), False
    while True:
        paths = walk_photos(photos_dir.resolve()) if photos_dir.is_dir() else []
        if paths:
            return paths
        if time.monotonic() - began >= patience_s:
            break
        if not told:
            get_run_logger().warning("%s is not there or empty: waiting for it", photos_dir)
            told = True
        time.sleep(_LOOK_EVERY_S)
    if not photos_dir.is_dir():
        raise FaceOpsError(
            f"{photos_dir} was not there for {patience_s:g} s; connect the disk or share. The "
            "results of the latest run stay as they are."
        )
    return []


@task(cache_policy=NO_CACHE)
def check_and_record(out: Path, summary: dict[str, Any]) -> None:
    """Hold the new table against the expectations, and record the run in MLflow."""
    logger = get_run_logger()
    held = require_sound_records(out / FACES_FILE)
    logger.info("Great Expectations: all %d expectations on the records hold", held)
    try:
        run_id = log_run(summary, Path.cwd())
    except UnreachableError as error:
        logger.warning("%s The results stand; a later run that changes nothing records them", error)
        return
    if run_id is None:
        logger.info("there is no MLflow store here: the run is not recorded in one")
    else:
        logger.info("recorded in MLflow as run %s", run_id)
    note_recorded(out, summary["run_id"])


def publish_artifacts(summary: dict[str, Any]) -> None:
    """Show what the run did on its page in Prefect, and warn of drift."""
    logger = get_run_logger()
    shown = ("photos", "photos_opened", "faces", "identified", "unknown", "unknown_people")
    counts = {name: summary[name] for name in (*shown, "rejected_photos", "vanished", "moved")}
    create_table_artifact(
        key="identification",
        table=[{"what": name, "count": count} for name, count in counts.items()]
        + [{"what": name, "count": count} for name, count in summary["reasons"].items()],
        description=f"{len(summary['people'])} people named by {summary['release']}, contract "
        f"{summary['contract_id'][:12]}, run {summary['run_id']}",
    )
    if summary["vanished"]:
        logger.warning("%d photos that the latest run saw are gone", summary["vanished"])
    if summary["unlisted"]:
        logger.warning(
            "%d folders could not be listed: what is known of their photos is kept",
            len(summary["unlisted"]),
        )
    if not summary["drift"]:
        return
    columns = ("what", "level", "psi", "faces", "advice")
    create_table_artifact(
        key="drift",
        table=[{name: drift[name] for name in columns} for drift in summary["drift"]],
        description="the faces against those that the release was calibrated on: population "
        "stability index, from 0.1 moderate, from 0.25 major",
    )
    for drift in summary["drift"]:
        if drift["advice"]:
            logger.warning("drift in %s (%s): %s", drift["what"], drift["level"], drift["advice"])


@flow(name="identify", task_runner=ThreadPoolTaskRunner(max_workers=usable_cpus()))  # type: ignore[arg-type]
def identify_folder(
    photos_dir: str,
    gallery: str = "gallery",
    out: str = "found",
    budget: float | None = None,
    bundle: str | None = None,
    model: str = CHAMPION,
    precision: Precision = "float32",
    annotate: bool = False,
    xmp: bool = False,
    detail: int = DETAIL,
    keep_crops: bool = False,
    keep_runs: int = KEEP_RUNS,
    shard_photos: int = SHARD_PHOTOS,
    patience_s: float = PATIENCE_S,
) -> dict[str, Any]:
    """Name the people in the photos below `photos_dir`; return the run's summary.

    Args:
        photos_dir: a folder of photos.
        gallery: the enrolled people.
        out: where faces.csv, report.html and the state go.
        budget: share of strangers that may be given a name; the release's default when None.
        bundle: a release bundle's folder; otherwise `model` is taken from the registry.
        model: a registered release.
        precision: of its embedder; the gallery is of the same, see `faceops people reembed`.
        annotate: also draw boxes and names on copies of the photos.
        xmp: also write face regions and names into sidecars beside the photos.
        detail: pixels; see `faceops identify --detail`.
        keep_crops: keep the aligned faces too; see `faceops identify --keep-crops`.
        keep_runs: how many runs to keep in `out`/runs, the latest counted.
        shard_photos: photos a task.
        patience_s: how long to wait, in seconds, for a folder that is not there or empty.
    """
    folder, results = Path(photos_dir), Path(out)
    paths = wait_for_folder(folder, patience_s)
    check_arguments(folder, results, Path(gallery), budget, shard_photos)
    check_keep_runs(keep_runs)
    release = load_release(Path(bundle) if bundle else None, model, precision=precision)
    if release.note:
        get_run_logger().warning(release.note)
    Gallery.open(Path(gallery), release.release.contract_id)
    parts = shards(paths, shard_photos)
    futures = [
        find_faces.submit(number, part, release, results, detail, keep_crops)
        for number, part in enumerate(parts, start=1)
    ]
    wait(futures)
    failed = [number for number, future in enumerate(futures, start=1) if future.state.is_failed()]
    if failed:
        get_run_logger().warning(
            "shards %s failed; their photos are tried once more, one by one", failed
        )
    summary = name_people(
        folder,
        Path(gallery),
        release,
        results,
        budget,
        annotate,
        xmp,
        detail,
        keep_crops,
        keep_runs,
    )
    if summary["unchanged"]:
        get_run_logger().info("nothing has changed: the results of %s stand", summary["run_id"])
    # A run that was cut off before its check, or made by the command, is checked now.
    if not is_recorded(results, summary["run_id"]):
        check_and_record(results, summary)
    publish_artifacts(summary)
    return summary


def main() -> int:
    """Run the flow from the command line, or serve it on a schedule."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.identify", description="Name the people in a folder of photos."
    )
    parser.add_argument("photos_dir", metavar="PHOTOS_DIR")
    parser.add_argument("--gallery", default="gallery", metavar="DIR")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--budget", type=float, metavar="SHARE")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--bundle", metavar="DIR")
    which.add_argument("--model", default=CHAMPION, metavar="URI")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--annotate", action="store_true")
    parser.add_argument("--xmp", action="store_true")
    parser.add_argument("--detail", type=int, default=DETAIL, metavar="PIXELS")
    parser.add_argument("--keep-crops", action="store_true", help="see faceops identify --help")
    parser.add_argument("--keep-runs", type=int, default=KEEP_RUNS, metavar="N")
    parser.add_argument("--patience-s", type=float, default=PATIENCE_S, metavar="SECONDS")
    parser.add_argument("--shard-photos", type=int, default=SHARD_PHOTOS, metavar="N")
    parser.add_argument("--serve", action="store_true", help="stay and run on the --cron schedule")
    parser.add_argument("--cron", help='e.g. "0 3 * * *", with --serve')
    args = parser.parse_args()
    values = {key: value for key, value in vars(args).items() if key not in ("serve", "cron")}
    if args.serve != bool(args.cron):
        parser.error('--serve and --cron go together: --serve --cron "0 3 * * *"')
    try:
        folders = (Path(args.photos_dir), Path(args.out), Path(args.gallery))
        check_arguments(*folders, args.budget, args.shard_photos)
        check_keep_runs(args.keep_runs)
        folder = Path(args.bundle) if args.bundle else None
        load_release(folder, args.model, precision=args.precision)
        if args.serve:
            identify_folder.serve(name="identify", cron=args.cron, parameters=values, limit=1)
            return 0
        summary = identify_folder(**values)
    except FaceOpsError as error:
        print(f"identify: {error}", file=sys.stderr)
        return error.exit_code
    print(
        f"{summary['faces']} faces in {summary['photos']} photos, {summary['identified']} named;"
        f" look at {Path(args.out) / 'report.html'}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
