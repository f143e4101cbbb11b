"""The output folder: a folder for each run with its manifest, and the latest run's files on top.

It may have a copy in a store, for readers: `--out s3://results`. The local folder, with the state
and the lock, stays the truth. After a run its results are put into the store, summary.json last,
and what the folder has no more is deleted there. The state, which holds embeddings, is not copied.
A copy that was cut off is completed by the next run, also by one in which nothing has changed, and
by `forget`.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faceops.base import files
from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.stores import ObjectStore, is_url, shown
from faceops.base.work import track

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
METRICS_FILE = "metrics.prom"
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
        with files.atomic_path(out / name) as temporary:
            shutil.copyfile(folder / name, temporary)


def _link_or_copy(link: Path, target: Path) -> None:
    try:
        with files.atomic_path(link) as temporary:
            temporary.symlink_to(target, target_is_directory=True)
    except OSError:  # also for a folder in its place, as of a backup that has followed links
        with files.atomic_folder(link) as temporary:
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

    `drawings`: annotated copies of a run with a manifest. For copies that are hard links to these,
    the sha256 is taken from there: all of them are gigabytes to read.
    """
    known = listed_drawings(drawings.parent) if drawings else {}
    entries = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == MANIFEST_FILE or path.name.startswith("."):
            continue
        name = path.relative_to(folder).as_posix()
        entry = known.get(name)
        if entry is None or not drawings or not _is_same(path, drawings.parent / name, entry):
            entry = {"bytes": path.stat().st_size, "sha256": files.sha256_file(path)}
        entries[name] = entry
    text = json.dumps({**about, "files": entries}, indent=1) + "\n"
    files.write_file(folder / MANIFEST_FILE, text)


def rewrite_manifest(folder: Path) -> None:
    """Write the manifest of `folder`, if it has one, again after its files were changed."""
    path = folder / MANIFEST_FILE
    if path.is_file():
        content = files.read_json_object(path)
        about = {key: value for key, value in content.items() if key != "files"}
        write_manifest(folder, about, drawings=folder / ANNOTATED)


def listed_drawings(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the annotated copies that the manifest of a run lists; none without a manifest."""
    try:
        listed = files.read_json_object(folder / MANIFEST_FILE)["files"]
        return {name: listed[name] for name in listed if name.startswith(f"{ANNOTATED}/")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _is_same(path: Path, earlier: Path, entry: dict[str, Any]) -> bool:
    try:
        return path.samefile(earlier) and path.stat().st_size == entry["bytes"]
    except OSError:
        return False


MIRROR_FILE = "mirror.json"  # in a folder and in its copy: which is copied to which URL
_COPIED_FOLDERS = (REPORT_PAGES, ANNOTATED)
_BELOW = tuple(f"{folder}/" for folder in (RUNS, *_COPIED_FOLDERS))
_NOTED_EVERY = 1000  # objects, so that a killed copy is continued


def results_folder(out: Path, photos: Path, state: Path | None = None) -> Path:
    """Return the local folder for results into `out`, and note there that they are copied to it.

    It is `out` itself if that is no path into a store, else `state`, or a folder of the cache.

    Raises:
        UsageError: `state` without a URL; the URL has the photos, or another folder's results.
        ObjectStoreError: the store cannot be written.
    """
    if not is_url(out):
        if state is not None:
            raise UsageError("--state is for an --out that is a URL; name the folder by --out.")
        return out
    if is_url(photos) and (out.is_relative_to(photos) or photos.is_relative_to(out)):
        raise UsageError(
            f"{shown(out)} and {shown(photos)} lie in one another; name another --out."
        )
    folder = local_folder(out) if state is None else state
    note = _note(folder) if (folder / MIRROR_FILE).is_file() else {"id": str(uuid.uuid4())}
    if note.setdefault("url", shown(out)) != shown(out):
        raise UsageError(f"{folder} is copied to {note['url']}; name another --state.")
    _claim(note, folder)
    files.write_json(folder / MIRROR_FILE, note)
    return folder


def local_folder(url: Path) -> Path:
    """Return the folder in the cache whose results are copied to `url`."""
    return files.cache_folder() / "outputs" / hashlib.sha256(shown(url).encode()).hexdigest()[:16]


def refuse_copies(folders: Iterable[Path]) -> None:
    """Raise a UsageError for a folder of results that is a copy in a store."""
    for folder in filter(is_url, folders):
        raise UsageError(
            f"{shown(folder)} is a copy for readers; name the folder that it is made from, "
            f"{local_folder(folder)} or that of --state."
        )


def copy_results(out: Path) -> int:
    """Bring the copy of `out` up to date, if there is to be one; return how many objects changed.

    Raises:
        FaceOpsError: `out` is in use, or the copy is another folder's.
        ObjectStoreError: the store cannot be written.
    """
    if not (out / MIRROR_FILE).is_file():
        return 0
    with files.folder_lock(out):
        return update_copy(out)


def update_copy(out: Path) -> int:
    """Do what `copy_results` does; the caller holds the lock of `out`."""
    if not (out / MIRROR_FILE).is_file():
        return 0
    note = _note(out)
    _claim(note, out)
    store, known = ObjectStore.at(note["url"]), note.setdefault("objects", {})
    there = {entry.name: entry.size for entry in store.objects()}
    here = dict(_results(out))
    changed = 0
    for name, path in track(here.items(), f"copy to {note['url']}", after_s=2):
        status = path.stat()
        stamp, noted = [status.st_size, status.st_mtime_ns], known.get(name, [])
        is_there = there.get(name) == status.st_size
        if is_there and noted[:2] == stamp:
            continue
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        known[name] = [*stamp, digest]
        if not is_there or noted[2:] != [digest]:  # else it was written again as it was
            store.write(name, content)
            changed += 1
            if changed % _NOTED_EVERY == 0:
                files.write_json(out / MIRROR_FILE, note)
    for name in sorted(there.keys() - here.keys()):
        if name in known or name in PUBLISHED or name.startswith(_BELOW):
            store.delete(name)
            changed += 1
    note["objects"] = {name: known[name] for name in here}
    files.write_json(out / MIRROR_FILE, note)
    return changed


def _results(out: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name of each object and its file; what leads readers to the others comes last."""
    for folder in (*finished_runs(out), *(out / name for name in _COPIED_FOLDERS)):
        for parent, below, names in os.walk(folder):  # report/ and annotated/ may be links
            below.sort()
            for name in sorted(names):
                if not name.startswith("."):
                    path = Path(parent) / name
                    yield path.relative_to(out).as_posix(), path
    for name in (METRICS_FILE, *PUBLISHED):
        if (out / name).is_file():
            yield name, out / name


def _claim(note: dict[str, Any], out: Path) -> None:
    """Note in the store whose results it has; refuse it where they are another folder's."""
    store = ObjectStore.at(note["url"])
    try:
        owner = json.loads(store.read(MIRROR_FILE))
    except FileNotFoundError:
        folder = files.valid_unicode(f"{socket.gethostname()}:{out.resolve()}")
        own = {"folder": folder, "id": note["id"]}
        store.write(MIRROR_FILE, json.dumps(own).encode(), replaces="")
        return
    except (OSError, ValueError) as error:
        raise FaceOpsError(
            f"{note['url']}/{MIRROR_FILE} cannot be read ({error}); give these credentials "
            "permission, or delete it."
        ) from None
    if not isinstance(owner, dict) or owner.get("id") != note["id"]:
        whose = owner.get("folder") if isinstance(owner, dict) else "another folder"
        raise UsageError(
            f"{note['url']} has the results of {whose}; name another --out, or that folder by "
            f"--state. If it is lost, delete {note['url']}/{MIRROR_FILE}: the next run replaces "
            "the results."
        )


def _note(out: Path) -> dict[str, Any]:
    try:
        note = files.read_json_object(out / MIRROR_FILE)
        if isinstance(note["url"], str) and isinstance(note["id"], str):
            return note
        raise ValueError("it has no url and id")
    except (OSError, ValueError, KeyError) as error:
        raise FaceOpsError(
            f"{out / MIRROR_FILE} is damaged ({error}); delete it and run faceops identify again."
        ) from None
