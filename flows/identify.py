"""Name the people in a folder of photos: shards as tasks, once or on a schedule.

python -m flows.identify PHOTOS_DIR --gallery gallery --out found
python -m flows.identify PHOTOS_DIR --gallery gallery --out found --serve --cron "0 3 * * *"

It runs the engine of `faceops identify` and leaves the same files. Shards find the faces and are
retried alone; the last task names them all. Without PREFECT_API_URL the flow starts a server of
its own for its duration; with it, runs and their tables are recorded there.
"""

import argparse
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import wait
from prefect.task_runners import ThreadPoolTaskRunner

from faceops.commands.bundle_argument import CHAMPION
from faceops.errors import FaceOpsError, UsageError
from faceops.gallery.store import Gallery
from faceops.identification.run import check_folders, identify
from faceops.identification.shard import find_shard, shards
from faceops.photos.walk import walk_photos
from faceops.release.bundle import Bundle
from faceops.release.registry import fetch_bundle

SHARD_PHOTOS = 512


@lru_cache(maxsize=2)
def _loaded(folder: Path, name: str) -> Bundle:
    return Bundle.load(folder, name=name)


def load_release(bundle: str | None, model: str) -> Bundle:
    """Return the release in the folder `bundle`, else the registered one at `model`."""
    if bundle:
        return _loaded(Path(bundle).resolve(), bundle)
    return _loaded(fetch_bundle(model), model)


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
def find_faces(number: int, paths: list[Path], root: Path, release: Bundle, out: Path) -> int:
    """Find and embed the faces of one shard; a network share may be back at the next try."""
    new = find_shard(paths, root, release, out)
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
) -> dict[str, Any]:
    """Name every face from what the shards have found, and write the run's files."""
    enrolled = Gallery.open(gallery, release.release.contract_id)
    return identify(photos_dir, enrolled, release, out, budget, annotate).as_dict()


@flow(name="identify", task_runner=ThreadPoolTaskRunner(max_workers=os.cpu_count() or 1))  # type: ignore[arg-type]
def identify_folder(
    photos_dir: str,
    gallery: str = "gallery",
    out: str = "found",
    budget: float | None = None,
    bundle: str | None = None,
    model: str = CHAMPION,
    annotate: bool = False,
    shard_photos: int = SHARD_PHOTOS,
) -> dict[str, Any]:
    """Name the people in the photos below `photos_dir`; return the run's summary.

    Args:
        photos_dir: a folder of photos.
        gallery: the enrolled people.
        out: where faces.csv, report.html and the state go.
        budget: share of strangers that may be given a name; the release's default when None.
        bundle: a release bundle's folder; otherwise `model` is taken from the registry.
        model: a registered release.
        annotate: also draw boxes and names on copies of the photos.
        shard_photos: photos a task.
    """
    folder, results = Path(photos_dir), Path(out)
    check_arguments(folder, results, Path(gallery), budget, shard_photos)
    release = load_release(bundle, model)
    Gallery.open(Path(gallery), release.release.contract_id)
    root = folder.resolve()
    parts = shards(walk_photos(root), shard_photos)
    futures = [
        find_faces.submit(number, part, root, release, results)
        for number, part in enumerate(parts, start=1)
    ]
    wait(futures)
    failed = [number for number, future in enumerate(futures, start=1) if future.state.is_failed()]
    if failed:
        get_run_logger().warning(
            "shards %s failed; their photos are tried once more, one by one", failed
        )
    summary = name_people(folder, Path(gallery), release, results, budget, annotate)
    create_table_artifact(
        key="people",
        table=[{"person": name, "faces": count} for name, count in summary["people"].items()],
        description=f"{summary['faces']} faces in {summary['photos']} photos, "
        f"{summary['identified']} named by {summary['release']}",
    )
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
    parser.add_argument("--annotate", action="store_true")
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
        load_release(args.bundle, args.model)
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
