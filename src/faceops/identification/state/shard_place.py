"""Where workers leave the files of their shards until the driver has taken them in.

A folder of one output folder in the place that all machines share, a folder or the URL of a store.
It is noted in the output folder while it may hold anything, so that the next run and `faceops
people forget` find and remove it. While a run is under way it holds a mark: without it, a worker
that is left over from a run that was killed leaves nothing.
"""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import read_json_object, write_file
from faceops.base.stores import ObjectStore, is_url, shown

PLACE_FILE = "shards.json"  # in the output folder
_MARK = "run.json"
_SUFFIX = ".parquet"


class ShardPlace:
    """The folder of one output folder in the shared place.

    Raises:
        FaceOpsError: the place does not answer, or refuses; from every method.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._store = ObjectStore.at(url)

    def is_open(self) -> bool:
        """Return whether the run is under way, seen from here."""
        return self._store.exists(_MARK)

    def open(self) -> None:
        """Leave the mark of a run."""
        self._store.write(_MARK, b"{}\n")

    def has(self, key: str) -> bool:
        """Return whether the shard `key` is done and not taken in."""
        return self._store.exists(key + _SUFFIX)

    def put(self, key: str, content: bytes) -> None:
        """Leave the file of a shard, atomically, while the run is under way."""
        if not self.is_open():
            raise FaceOpsError(f"{shown(self.url)}: its run was ended meanwhile.")
        self._store.write(key + _SUFFIX, content)

    def get(self, key: str) -> bytes | None:
        """Return the file of a shard; None if there is none."""
        try:
            return self._store.read(key + _SUFFIX)
        except FileNotFoundError:
            return None

    def remove(self, key: str) -> None:
        """Remove the file of a shard, if there is one."""
        self._store.delete(key + _SUFFIX)

    def clear(self) -> None:
        """Remove the mark, then everything else."""
        if not is_url(self.url) and not Path(self.url).is_dir():
            raise FaceOpsError(
                f"{self.url}, where an unfinished run may have left faces, is not here: connect "
                "the disk or share."
            )
        self._store.delete(_MARK)
        for entry in list(self._store.objects()):
            self._store.delete(entry.name)
        if not is_url(self.url):
            Path(self.url).rmdir()


@contextmanager
def open_place(shared: str, out: Path) -> Iterator[ShardPlace]:
    """Yield the place of `out` in `shared`, with the mark of a run; the caller holds `out`'s lock.

    It is that of an unfinished run, if there was one, else a new one. What that run left elsewhere
    is removed, and all of it at the end.

    Raises:
        FaceOpsError: a place is not reachable, or cannot be written.
    """
    name = f"{shared.rstrip('/')}/faceops-shards-"
    url = noted_place(out)
    if url is not None and not url.startswith(name):
        remove_shards(out)
        url = None
    if url is None:
        url = name + secrets.token_hex(8)
        write_file(out / PLACE_FILE, json.dumps({"place": url}) + "\n")
    place = ShardPlace(url)
    place.open()
    yield place
    remove_shards(out)


def noted_place(out: Path) -> str | None:
    """Return the place in which an unfinished run into `out` may have left shards.

    Raises:
        FaceOpsError: the note is damaged.
    """
    try:
        return str(read_json_object(out / PLACE_FILE)["place"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise FaceOpsError(
            f"{out / PLACE_FILE} cannot be read ({error}); remove the folders faceops-shards-* of "
            "unfinished runs in the shared place, then this file."
        ) from None


def remove_shards(out: Path) -> None:
    """Remove what an unfinished run into `out` left in the shared place; needs `out`'s lock.

    Raises:
        FaceOpsError: the place is not reachable, or something stays.
    """
    if (url := noted_place(out)) is None:
        return
    try:
        ShardPlace(url).clear()
    except (FaceOpsError, OSError) as error:
        raise FaceOpsError(
            f"{url} cannot be removed: {error} If it is gone for good, remove {out / PLACE_FILE}."
        ) from None
    (out / PLACE_FILE).unlink()
