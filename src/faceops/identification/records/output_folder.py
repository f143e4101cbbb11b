"""The output folder: a folder for each run with its manifest, and the latest run's files on top."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faceops.base.files import atomic_folder, atomic_path, read_json_object, sha256_file, write_file

RUNS = "runs"
ANNOTATED = "annotated"
STATE_FILE = "state.sqlite"
FACES_FILE = "faces.parquet"
RECORD_FILES = ("faces.csv", FACES_FILE, "faces.jsonl")
SUMMARY_FILE = "summary.json"
REPORT_FILE = "report.html"
REPORT_PAGES = "report"  # the folder of further pages
UNKNOWN_FILE = "unknown.csv"
MANIFEST_FILE = "manifest.json"
# summary.json last: a reader of its new run_id finds the other files complete.
PUBLISHED = (*RECORD_FILES, UNKNOWN_FILE, REPORT_FILE, SUMMARY_FILE)
KEEP_RUNS = 30
_UNFINISHED = ".unfinished-"
_RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")  # sorts by time


@contextmanager
def run_folder(out: Path, run_id: str) -> Iterator[Path]:
    """Yield a folder to write a run into; it becomes `out`/runs/`run_id` on success.

    Removes what killed runs left behind; the caller holds the folder's lock.
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
    """Remove leftovers of killed runs in `out`; the caller holds its lock."""
    for left in (out / RUNS).glob(_UNFINISHED + "*"):
        shutil.rmtree(left)
    for folder in (out, *(out / RUNS).glob("*")):
        for left in folder.glob(".*.tmp"):  # see `temporary_name`
            _remove(left)


def publish(out: Path, run_id: str) -> None:
    """Put the files of a finished run at the top of `out`, each atomically.

    `out`/report and `out`/annotated become links to the run's, or are removed if it has none.
    They are copies where links are not possible, as on exFAT, and where a copy is already.
    """
    folder = out / RUNS / run_id
    for name in (REPORT_PAGES, ANNOTATED):
        if (folder / name).is_dir():
            _link_or_copy(out / name, Path(RUNS) / run_id / name)
        else:
            _remove(out / name)
    for name in PUBLISHED:
        with atomic_path(out / name) as temporary:
            shutil.copyfile(folder / name, temporary)


def _link_or_copy(link: Path, target: Path) -> None:
    try:
        with atomic_path(link) as temporary:
            temporary.symlink_to(target, target_is_directory=True)
    except OSError:  # also for a folder in its place, as of a backup that has followed links
        with atomic_folder(link) as temporary:
            shutil.copytree(link.parent / target, temporary, dirs_exist_ok=True)


def finished_runs(out: Path) -> list[Path]:
    """Return the folders of finished runs, the oldest first."""
    return sorted(path for path in (out / RUNS).glob("*") if _RUN_ID.fullmatch(path.name))


def remove_report(folder: Path) -> bool:
    """Remove the report in `folder`, the first page last; return whether there was one."""
    removed = [_remove(folder / name) for name in (REPORT_PAGES, REPORT_FILE)]
    return any(removed)


def _remove(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()
    else:
        return False
    return True


def is_report_page(path: Path) -> bool:
    """Whether `path` is a page of a report, by its place."""
    return path.name == REPORT_FILE or (path.parent.name == REPORT_PAGES and path.suffix == ".html")


def latest_drawings(out: Path) -> Path | None:
    """Return the folder of annotated copies of the latest finished run that has one."""
    folders = [run / ANNOTATED for run in finished_runs(out)]
    return next((folder for folder in reversed(folders) if folder.is_dir()), None)


def remove_old_runs(out: Path, keep: int, run_id: str) -> None:
    """Remove the folders of the oldest runs until `keep` are left, one of them `run_id`'s.

    Each is renamed first, so that a killed process leaves no incomplete run.
    """
    others = [folder for folder in finished_runs(out) if folder.name != run_id]
    for folder in others[: max(0, len(others) - (keep - 1))]:
        shutil.rmtree(folder.rename(folder.with_name(_UNFINISHED + folder.name)))


def write_manifest(folder: Path, about: dict[str, str], drawings: Path | None = None) -> None:
    """Write `folder`/manifest.json: `about`, then size and sha256 of every other file below it.

    Args:
        drawings: annotated copies of a run with a manifest. For copies that are hard links to
            these, the sha256 is taken from there: all of them are gigabytes to read.
    """
    known = listed_drawings(drawings.parent) if drawings else {}
    files = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == MANIFEST_FILE or path.name.startswith("."):
            continue
        name = path.relative_to(folder).as_posix()
        entry = known.get(name)
        if entry is None or not drawings or not _is_same(path, drawings.parent / name, entry):
            entry = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        files[name] = entry
    text = json.dumps({**about, "files": files}, indent=1) + "\n"
    write_file(folder / MANIFEST_FILE, text)


def rewrite_manifest(folder: Path) -> None:
    """Write the manifest of `folder`, if it has one, again after its files were changed."""
    path = folder / MANIFEST_FILE
    if path.is_file():
        content = read_json_object(path)
        about = {key: value for key, value in content.items() if key != "files"}
        write_manifest(folder, about, drawings=folder / ANNOTATED)


def listed_drawings(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the annotated copies that the manifest of a run lists; none without a manifest."""
    try:
        files = read_json_object(folder / MANIFEST_FILE)["files"]
        return {name: files[name] for name in files if name.startswith(f"{ANNOTATED}/")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _is_same(path: Path, earlier: Path, entry: dict[str, Any]) -> bool:
    try:
        return path.samefile(earlier) and path.stat().st_size == entry["bytes"]
    except OSError:
        return False
