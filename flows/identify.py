"""Name the people in a folder of photos as a Prefect flow, once or on a schedule.

python -m flows.identify PHOTOS_DIR --gallery gallery --out found
python -m flows.identify PHOTOS_DIR --gallery gallery --out found --serve --cron "0 3 * * *"

With --dask and --shared, workers of a Dask cluster find the faces, see flows/on_dask.py.
--cron is in the time zone of this machine, or in --timezone. The flow runs the engine of `faceops
identify` and writes the same files. Each shard of photos is a task that finds faces and is retried
by itself; one task then names all faces, Great Expectations checks the table, and MLflow records
the run. The flow waits for an absent folder (a network share).
Without PREFECT_API_URL it starts a temporary server; with it, runs, counts and drift are recorded
there. Names of people are not: they stay in the output folder, where they can be forgotten.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.futures import wait
from prefect.schedules import Cron
from prefect.task_runners import ThreadPoolTaskRunner

from faceops.base.errors import FaceOpsError, UsageError, user_error
from faceops.base.reasons import Reason
from faceops.base.stores import is_url, place
from faceops.base.work import DeviceChoice, usable_cpus
from faceops.cli import add_exclude, add_photo_limits, photo_limits
from faceops.cli.model_choice import add_device_argument, choose_model, load_release
from faceops.gallery.storage import GalleryPlace, gallery_place
from faceops.gallery.store import Gallery
from faceops.identification.engine.extract import extract_shard, shards
from faceops.identification.inputs import (
    DETAIL,
    IdentifySettings,
    PhotoList,
    check_identify_folders,
    list_photos,
)
from faceops.identification.latest_run import UnloadedRelease
from faceops.identification.records.output_folder import (
    FACES_FILE,
    KEEP_RUNS,
    REPORT_FILE,
    copy_results,
)
from faceops.identification.run import identify
from faceops.identification.summary import promise
from faceops.photos.folders import BUNDLE, require_utf8
from faceops.registry import PUBLISHED
from faceops.registry.store import UnreachableError
from faceops.release.bundle import Bundle
from faceops.release.release_file import PRECISION_CHOICES, Precision
from flows import mlflow_run
from flows.on_dask import extract_on_dask
from flows.schedule import local_timezone, next_times
from flows.sharding import SHARD_PHOTOS, Sharding

PATIENCE_S = 60
MAX_UNREADABLE = 0.05  # share of the photos, above which an alert is sent
_UNREADABLE = (Reason.EMPTY, Reason.UNREADABLE)
DRIFT, UNREADABLE = "faceops.identify.drift", "faceops.identify.unreadable"  # events
_POLL_S = 2.0


@dataclass(frozen=True)
class ReleaseFolder(UnloadedRelease):
    """A release as a task parameter: it loads the ONNX sessions in its own process."""

    precision: Precision = "float32"
    device: DeviceChoice = "cpu"

    def load(self) -> Bundle:
        """Load the release, once in each process."""
        with _LOADING:
            return _load(**vars(self))


_LOADING = Lock()
_load = lru_cache(maxsize=1)(Bundle.load)


def check_arguments(photos_dir: Path, out: Path, gallery: GalleryPlace, sharding: Sharding) -> None:
    """Refuse wrong arguments before a server is started for the run."""
    require_utf8(photos_dir, "photos")  # it is a parameter of the flow, which is JSON
    if not (is_url(photos_dir) or photos_dir.is_dir()):
        raise UsageError(f"{photos_dir} is not a folder of photos; name one that exists.")
    sharding.require()
    check_identify_folders(photos_dir, out, gallery)
    Gallery.open(gallery)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, task_run_name="shard {number}")
def find_faces(
    number: int, photos: PhotoList, release: ReleaseFolder, out: Path, settings: IdentifySettings
) -> int:
    """Find and embed the faces of one shard; retried, as a network share may be back by then."""
    bundle = release.load()
    new = extract_shard(photos, bundle, out, settings)
    text = "shard %d: %d photos, %d of them new, device: %s"
    get_run_logger().info(text, number, len(photos.paths), new, bundle.runs_on)
    return new


@task(cache_policy=NO_CACHE, persist_result=False)
def name_people(
    photos_dir: Path,
    gallery: GalleryPlace,
    release: ReleaseFolder,
    out: Path,
    settings: IdentifySettings,
) -> dict[str, Any]:
    """Name every face from what the shards have found, and write the run's files."""
    bundle = release.load()
    enrolled = Gallery.open(gallery, bundle.release.contract_id)
    summary = identify(photos_dir, enrolled, bundle, out, settings)
    if summary.album:
        get_run_logger().info(promise(summary))
    return summary.as_dict()


@task(cache_policy=NO_CACHE)
def wait_for_folder(photos_dir: Path, patience_s: float, exclude: Sequence[str] = ()) -> PhotoList:
    """Return the photos below `photos_dir`; waits up to `patience_s` while it is absent or empty.

    An empty folder may be the mount point of a share that is not connected: `identify` decides. A
    store is not waited for here, as each request to one is repeated.

    Raises:
        FaceOpsError: the folder is still absent when the time is up.
    """
    start, warned = time.monotonic(), False
    while True:
        found = PhotoList(photos_dir, [], {})
        if is_url(photos_dir) or photos_dir.is_dir():
            found = list_photos(photos_dir, exclude)
        if found.paths or is_url(photos_dir):
            return found
        if time.monotonic() - start >= patience_s:
            break
        if not warned:
            get_run_logger().warning("%s is absent or empty: waiting for it", photos_dir)
            warned = True
        time.sleep(_POLL_S)
    if not photos_dir.is_dir():
        raise FaceOpsError(
            f"{photos_dir} was absent for {patience_s:g} s; connect the disk or share. The results "
            "of the latest run are unchanged."
        )
    return found


def load_model(
    model: str, settings: IdentifySettings, gallery: GalleryPlace, say: Callable[[str], object]
) -> Bundle:
    """Load the release that the flow's parameter `model` names; of "" `say` gets what was chosen.

    Raises: as `load_release`.
    """
    if not model:
        choice = choose_model(Gallery.open(gallery).contract_id, settings.precision, Path.cwd())
        model = choice.model
        say(str(choice))
    folder = None if model == PUBLISHED or model.startswith("models:") else Path(model)
    if folder is not None:
        require_utf8(folder, BUNDLE.name)
    precision, device = settings.precision, settings.device
    return load_release(folder, model, 1, precision, gallery, device)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=60)
def copy_to_store(results: Path) -> None:
    """Copy the results to the store that `out` names, if it does."""
    if changed := copy_results(results):
        get_run_logger().info("%d objects of the copy put or deleted", changed)


@task(cache_policy=NO_CACHE)
def check_and_record(out: Path, summary: dict[str, Any]) -> None:
    """Check the new table with Great Expectations, and record the run in MLflow."""
    logger = get_run_logger()
    checked = mlflow_run.require_valid_records(out / FACES_FILE)
    logger.info("Great Expectations: the records meet all %d expectations", checked)
    try:
        run_id = mlflow_run.log_run(summary, Path.cwd())
    except UnreachableError as error:
        logger.warning("%s The results are kept; the next run records them", error)
        return
    if run_id is None:
        logger.info("no MLflow store found: the run is not recorded")
    else:
        logger.info("recorded in MLflow as run %s", run_id)
    mlflow_run.mark_recorded(out, summary["run_id"])


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
        logger.warning("%d photos of the run before are gone", summary["vanished"])
    if summary["unlisted"]:
        logger.warning(
            "%d folders could not be listed: the records of their photos are kept",
            len(summary["unlisted"]),
        )
    if not summary["drift"]:
        return
    columns = ("what", "level", "psi", "faces", "advice")
    create_table_artifact(
        key="drift",
        table=[{name: drift[name] for name in columns} for drift in summary["drift"]],
        description="population stability index of the faces against the release's calibration "
        "set: from 0.1 moderate, from 0.25 major",
    )
    for drift in summary["drift"]:
        if drift["advice"]:
            logger.warning("drift in %s (%s): %s", drift["what"], drift["level"], drift["advice"])


def emit_alerts(summary: dict[str, Any], out: Path) -> None:
    """Emit an event for drift and one for many unreadable photos; flows.automations sends them."""
    unreadable = sum(summary["reasons"].get(reason, 0) for reason in _UNREADABLE)
    where = f"Photos: {summary['photos_folder']}\nResults: {out.resolve()}\n"
    texts = {
        DRIFT: "\n".join(
            f"Drift in {drift['what']} ({drift['level']}): {drift['advice']}"
            for drift in summary["drift"]
            if drift["advice"]
        )
    }
    if unreadable > MAX_UNREADABLE * summary["photos"]:
        texts[UNREADABLE] = (
            f"What happened: {unreadable} of {summary['photos']} photos are empty or damaged, or "
            "may not be read.\nWhat to do: open some of them, check the permissions and the disk, "
            f"and restore a backup. They are listed in {out.resolve() / REPORT_FILE}."
        )
    for event, text in texts.items():
        if text:
            resource = {"prefect.resource.id": f"faceops.output.{out.resolve()}"}
            emit_event(event, resource, payload={"text": where + text})


def extract_in_threads(
    photos: PhotoList, release: ReleaseFolder, out: Path, settings: IdentifySettings, size: int
) -> None:
    """Store the faces of `photos` in the state of `out`, in shards of `size` photos."""
    futures = [
        find_faces.submit(number, part, release, out, settings)
        for number, part in enumerate(shards(photos, size), start=1)
    ]
    wait(futures)
    failed = [number for number, future in enumerate(futures, start=1) if future.state.is_failed()]
    if failed:
        get_run_logger().warning(
            "shards %s failed; their photos are tried once more, one by one", failed
        )


@flow(
    name="identify",
    task_runner=ThreadPoolTaskRunner(max_workers=usable_cpus()),  # type: ignore[arg-type]
    persist_result=False,  # a stored result would keep the names of people who are forgotten later
)
def identify_folder(
    photos_dir: str,
    gallery: str = "gallery",
    out: str = "found",
    model: str = "",
    settings: IdentifySettings = IdentifySettings(),  # noqa: B008  frozen
    sharding: Sharding = Sharding(),  # noqa: B008  frozen
    patience_s: float = PATIENCE_S,
) -> dict[str, Any]:
    """Name the people in the photos below `photos_dir`; return the run's summary.

    Args:
        photos_dir: a folder of photos, or a URL such as s3://bucket/2019.
        gallery: the enrolled people.
        out: where faces.csv, report.html and the state go; or a URL to copy the results to.
        model: published, a registered release (models:/NAME@ALIAS or models:/NAME/VERSION), or the
            folder of a release bundle; "" chooses as `faceops identify` does.
        settings: of the run; see `IdentifySettings`. `settings.threads` serves the naming task.
        sharding: photos of a task, and the machines that work on them; see `Sharding`.
        patience_s: how long to wait, in seconds, for a folder that is absent or empty.
    """
    folder = place(photos_dir)
    # Opened once: a database that has answered is waited for longer.
    enrolled = gallery_place(gallery)
    results = sharding.results(out, folder)
    photos = wait_for_folder(folder, patience_s, settings.exclude)
    check_arguments(folder, results, enrolled, sharding)
    bundle = load_model(model, settings, enrolled, get_run_logger().info)
    if bundle.note:
        get_run_logger().warning(bundle.note)
    Gallery.open(enrolled, bundle.release.contract_id)
    precision, device = bundle.release.precision, settings.device  # each worker chooses of auto
    release = ReleaseFolder(bundle.folder, bundle.name, bundle.note, precision, device)
    if sharding.dask:
        extract_on_dask(photos, bundle, results, settings, sharding)
    else:
        extract_in_threads(photos, release, results, settings, sharding.photos)
    summary = name_people(folder, enrolled, release, results, settings)
    copy_to_store(results)
    if summary["unchanged"]:
        get_run_logger().info(
            "nothing has changed: the results of run %s are current", summary["run_id"]
        )
    # A run that was cut off before its check, or made by the command, is checked now.
    if not mlflow_run.is_recorded(results, summary["run_id"]):
        emit_alerts(summary, results)  # first: a run that is recorded is not reported again
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
    text = "where --out is a URL: the folder of state and results (default: one in the cache)"
    parser.add_argument("--state", default="", metavar="DIR", help=text)
    parser.add_argument("--budget", type=float, metavar="SHARE")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--bundle", metavar="DIR")
    which.add_argument("--model", default="", metavar="RELEASE", help="see faceops identify --help")
    parser.add_argument("--precision", choices=PRECISION_CHOICES, default="auto")
    add_device_argument(parser)
    parser.add_argument("--annotate", action="store_true")
    parser.add_argument("--xmp", action="store_true")
    parser.add_argument("--detail", type=int, default=DETAIL, metavar="PIXELS")
    add_exclude(parser)
    add_photo_limits(parser)
    parser.add_argument("--keep-crops", action="store_true", help="see faceops identify --help")
    parser.add_argument("--keep-runs", type=int, default=KEEP_RUNS, metavar="N")
    parser.add_argument("--patience-s", type=float, default=PATIENCE_S, metavar="SECONDS")
    parser.add_argument("--shard-photos", type=int, default=SHARD_PHOTOS, metavar="N")
    parser.add_argument("--dask", default="", metavar="ADDRESS", help="of a scheduler")
    parser.add_argument("--shared", default="", metavar="PLACE", help="of all workers' results")
    parser.add_argument("--serve", action="store_true", help="stay and run on the --cron schedule")
    parser.add_argument("--cron", help='e.g. "0 3 * * *", with --serve')
    parser.add_argument("--timezone", metavar="ZONE", help="IANA name; this machine's by default")
    args = parser.parse_args()
    if args.serve != bool(args.cron):
        parser.error('--serve and --cron go together: --serve --cron "0 3 * * *"')
    if args.timezone and not args.serve:
        parser.error("--timezone is for --serve --cron")
    try:
        if args.serve:
            timezone = args.timezone or local_timezone()
            times = next_times(args.cron, timezone)
        fields = IdentifySettings.__dataclass_fields__
        given = {key: vars(args)[key] for key in fields if key in args}
        settings = IdentifySettings(**given, limits=photo_limits(args))
        photos = place(args.photos_dir)
        sharding = Sharding(args.shard_photos, args.dask, args.shared, args.state)
        results = sharding.results(args.out, photos)
        check_arguments(photos, results, gallery_place(args.gallery), sharding)
        model = args.bundle or args.model
        load_model(model, settings, gallery_place(args.gallery), partial(print, file=sys.stderr))
        named = ("photos_dir", "gallery", "out", "patience_s")
        values = {name: vars(args)[name] for name in named}
        values |= {"model": model, "settings": settings, "sharding": sharding}
        if args.serve:
            origin = "" if args.timezone else " (this machine's time zone)"
            print(f'schedule "{args.cron}" in {timezone}{origin}; the next runs:')
            for run_at in times:
                print(f"  {run_at:%a %Y-%m-%d %H:%M UTC%z}", flush=True)
            schedule = Cron(args.cron, timezone=timezone)
            identify_folder.serve(name="identify", schedule=schedule, parameters=values, limit=1)
            return 0
        summary = identify_folder(**values)
    except Exception as error:
        if (reported := user_error(error)) is None:
            raise
        print(f"identify: {reported}", file=sys.stderr)
        return reported.exit_code
    print(
        f"{summary['faces']} faces in {summary['photos']} photos, {summary['identified']} named;"
        f" look at {results / REPORT_FILE}"
    )
    return 0


if __name__ == "__main__":
    # By its name: a served flow is pickled for each run, and by value if it is of __main__.
    from flows import identify as this

    sys.exit(this.main())
