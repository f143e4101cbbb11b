"""The copy of an output folder in a store, for readers: `--out s3://results`.

The local folder, with the state and the lock, stays the truth. After a run its results are put
into the store, summary.json last, and what the folder has no more is deleted there. The state,
which holds embeddings, is not copied. A copy that was cut off is completed by the next run, also by
one in which nothing has changed, and by `forget`.
"""

import hashlib
import json
import os
import socket
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import (
    cache_folder,
    folder_lock,
    read_json_object,
    valid_unicode,
    write_json,
)
from faceops.base.stores import ObjectStore, is_url, shown
from faceops.base.work import track
from faceops.identification.metrics import METRICS_FILE
from faceops.identification.records import output_folder

MIRROR_FILE = "mirror.json"  # in both: which folder is copied to which URL
_FOLDERS = (output_folder.REPORT_PAGES, output_folder.ANNOTATED)
_BELOW = tuple(f"{folder}/" for folder in (output_folder.RUNS, *_FOLDERS))
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
    if is_url(photos) and (_lies_in(out, photos) or _lies_in(photos, out)):
        raise UsageError(
            f"{shown(out)} and {shown(photos)} lie in one another; name another --out."
        )
    folder = local_folder(out) if state is None else state
    note = _note(folder) if (folder / MIRROR_FILE).is_file() else {"id": str(uuid.uuid4())}
    if note.setdefault("url", shown(out)) != shown(out):
        raise UsageError(f"{folder} is copied to {note['url']}; name another --state.")
    _claim(note, folder)
    write_json(folder / MIRROR_FILE, note)
    return folder


def local_folder(url: Path) -> Path:
    """Return the folder in the cache whose results are copied to `url`."""
    return cache_folder() / "outputs" / hashlib.sha256(shown(url).encode()).hexdigest()[:16]


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
    with folder_lock(out):
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
                write_json(out / MIRROR_FILE, note)
    for name in sorted(there.keys() - here.keys()):
        if name in known or name in output_folder.PUBLISHED or name.startswith(_BELOW):
            store.delete(name)
            changed += 1
    note["objects"] = {name: known[name] for name in here}
    write_json(out / MIRROR_FILE, note)
    return changed


def _results(out: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name of each object and its file; what leads readers to the others comes last."""
    for folder in (*output_folder.finished_runs(out), *(out / name for name in _FOLDERS)):
        for parent, below, files in os.walk(folder):  # report/ and annotated/ may be links
            below.sort()
            for name in sorted(files):
                if not name.startswith("."):
                    path = Path(parent) / name
                    yield path.relative_to(out).as_posix(), path
    for name in (METRICS_FILE, *output_folder.PUBLISHED):
        if (out / name).is_file():
            yield name, out / name


def _claim(note: dict[str, Any], out: Path) -> None:
    """Note in the store whose results it has; refuse it where they are another folder's."""
    store = ObjectStore.at(note["url"])
    try:
        owner = json.loads(store.read(MIRROR_FILE))
    except FileNotFoundError:
        folder = valid_unicode(f"{socket.gethostname()}:{out.resolve()}")
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
        note = read_json_object(out / MIRROR_FILE)
        if isinstance(note["url"], str) and isinstance(note["id"], str):
            return note
        raise ValueError("it has no url and id")
    except (OSError, ValueError, KeyError) as error:
        raise FaceOpsError(
            f"{out / MIRROR_FILE} is damaged ({error}); delete it and run faceops identify again."
        ) from None


def _lies_in(path: Path, folder: Path) -> bool:
    return f"{path}/".startswith(f"{folder}/")
