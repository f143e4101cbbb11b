"""The files in which workers leave the faces of their shards until the driver has stored them.

A shard's file is Parquet with a row for each photo, from a worker's store to the driver's. If it is
damaged, its photos are processed again. It is biometric data.

The files lie in a folder or a store that all machines share. The output folder names that place
while it may hold anything, so that the next run and `faceops people forget` find and clear it. A
marker file is there while a run is active: without it, workers that outlive a killed run write
nothing.
"""

import io
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.files import read_json_object, write_file
from faceops.base.reasons import Reason
from faceops.base.stores import ObjectStore, is_url, shown
from faceops.identification.state.face_store import FaceStore, Pictures
from faceops.identification.state.photo_block import FACE, NOT_EMBEDDED, Extraction, FoundPhoto
from faceops.identification.state.presence import SourceFile

# `faces`: an array of type `FACE`; `embeddings`: float32 (F, D); `lengths`: float32 (F,);
# `thumbnails` and `crops`: of each face, encoded, `crops` null where they are not kept. No
# photo_id: the file is empty or too large.
_SCHEMA = pa.schema(
    [
        ("path", pa.binary()),
        *((name, pa.int64()) for name in SourceFile._fields[1:]),
        ("photo_id", pa.string()),
        ("reason", pa.string()),
        *((name, pa.int32()) for name in ("width", "height", "orientation", "turned")),
        ("faces", pa.binary()),
        ("embeddings", pa.binary()),
        ("lengths", pa.binary()),
        ("thumbnails", pa.list_(pa.binary())),
        ("crops", pa.list_(pa.binary())),
    ]
)


def write_shard(store: FaceStore) -> bytes:
    """Return all that is in `store`, which holds no face that was forgotten, as a Parquet file."""
    rows = [_row(*stored) for stored in store.stored()]
    file = io.BytesIO()
    # Embeddings and pictures do not get smaller.
    pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), file, compression="none")
    return file.getvalue()


def _row(file: SourceFile, photo: FoundPhoto, pictures: Pictures) -> dict[str, Any]:
    in_order = [pictures[face] for face in range(len(photo.faces))]
    return {
        **file._asdict(),
        "path": file.path.encode("utf-8", "surrogateescape"),
        "photo_id": photo.photo_id,
        "reason": str(photo.reason) if photo.reason else None,
        "width": photo.size[0],
        "height": photo.size[1],
        "orientation": photo.orientation,
        "turned": photo.turned,
        "faces": photo.faces.tobytes(),
        "embeddings": photo.embeddings.astype("<f4").tobytes(),
        "lengths": photo.lengths.astype("<f4").tobytes(),
        "thumbnails": [thumbnail for thumbnail, _ in in_order],
        "crops": [crop for _, crop in in_order],
    }


def read_shard(content: bytes, embedding_size: int) -> Iterator[tuple[Extraction, Pictures]]:
    """Yield the photos of a shard's file, for `FaceStore.save_encoded`.

    Raises:
        ValueError: it is damaged, or its embeddings have another size.
    """
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"it is no Parquet file ({error})") from None
    if not table.schema.equals(_SCHEMA):
        raise ValueError("it has other columns")
    for row in table.to_pylist():
        faces, embeddings = np.frombuffer(row["faces"], FACE), NOT_EMBEDDED
        if len(faces):
            embeddings = np.frombuffer(row["embeddings"], "<f4").reshape(len(faces), embedding_size)
        lengths = np.frombuffer(row["lengths"], "<f4")
        pictures = dict(enumerate(zip(row["thumbnails"], row["crops"], strict=True)))
        if not len(pictures) == len(lengths) == len(faces):
            raise ValueError("a face lacks its picture or its length")
        path = row["path"].decode("utf-8", "surrogateescape")
        stamp = (row[name] for name in SourceFile._fields[1:])
        photo = FoundPhoto(
            row["photo_id"],
            Reason(row["reason"]) if row["reason"] else None,
            (row["width"], row["height"]),
            row["orientation"],
            row["turned"],
            faces,
            embeddings,
            lengths,
        )
        is_read = photo.photo_id is not None
        yield Extraction(path, SourceFile(path, *stamp), photo, opened=is_read), pictures


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
