"""The output folder: a folder for each run, and the latest run's files at the top."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faceops.base.files import atomic_path

RUNS = "runs"
ANNOTATED = "annotated"
STATE_FILE = "state.sqlite"
FACES_FILE = "faces.parquet"
RECORD_FILES = ("faces.csv", FACES_FILE, "faces.jsonl")
SUMMARY_FILE = "summary.json"
REPORT_FILE = "report.html"
UNKNOWN_FILE = "unknown.csv"
# summary.json last: who sees a new run_id in it finds the other files in place.
PUBLISHED = (*RECORD_FILES, UNKNOWN_FILE, REPORT_FILE, SUMMARY_FILE)
_UNFINISHED = ".unfinished-"
_RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")  # in the order of time
KEEP_RUNS = 30


@contextmanager
def run_folder(out: Path, run_id: str) -> Iterator[Path]:
    """Give a folder to write a run into; it gets its name in `out`/runs when all went well.

    What runs that were killed have left behind is removed; the caller holds the folder's lock.
    """
    runs = out / RUNS
    runs.mkdir(parents=True, exist_ok=True)
    remove_unfinished(out)
    folder = runs / (_UNFINISHED + run_id)
    folder.mkdir()
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    folder.rename(runs / run_id)


def remove_unfinished(out: Path) -> None:
    """Remove what runs that were killed have left in `out`; the caller holds its lock."""
    for left in (out / RUNS).glob(_UNFINISHED + "*"):
        shutil.rmtree(left)
    for folder in (out, *(out / RUNS).glob("*")):
        for left in folder.glob(".*.tmp"):  # see `temporary_name`
            left.unlink()


def publish(out: Path, run_id: str) -> None:
    """Put the files of a finished run at the top of `out`; a reader sees old or new, never half.

    `out`/annotated becomes a link to the run's, or goes away when the run has none.
    """
    folder = out / RUNS / run_id
    for name in PUBLISHED:
        with atomic_path(out / name) as temporary:
            shutil.copyfile(folder / name, temporary)
    link = out / ANNOTATED
    if (folder / ANNOTATED).is_dir():
        with atomic_path(link) as temporary:
            temporary.symlink_to(Path(RUNS) / run_id / ANNOTATED, target_is_directory=True)
    elif link.is_symlink():
        link.unlink()


def finished_runs(out: Path) -> list[Path]:
    """Return the folders of finished runs, the oldest first."""
    return sorted(path for path in (out / RUNS).glob("*") if _RUN_ID.fullmatch(path.name))


def latest_drawings(out: Path) -> Path | None:
    """Return the folder of drawn copies of the latest finished run that has one."""
    folders = [run / ANNOTATED for run in finished_runs(out)]
    return next((folder for folder in reversed(folders) if folder.is_dir()), None)


def remove_old_runs(out: Path, keep: int, run_id: str) -> None:
    """Remove the folders of the oldest runs, so that `keep` are left, one of them `run_id`'s.

    Each loses its name first, so that whoever is killed here leaves no half of a run.
    """
    others = [folder for folder in finished_runs(out) if folder.name != run_id]
    for folder in others[: max(0, len(others) - (keep - 1))]:
        shutil.rmtree(folder.rename(folder.with_name(_UNFINISHED + folder.name)))
