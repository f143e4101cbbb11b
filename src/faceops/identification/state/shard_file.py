"""The faces of a shard of photos as one Parquet file, from a worker's store to the driver's.

One row a file. A damaged file is no file: its photos are worked on again. Biometric data.
"""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.reasons import Reason
from faceops.identification.state.face_store import FaceStore, Pictures
from faceops.identification.state.found_photo import FACE, NOT_EMBEDDED, FoundPhoto
from faceops.identification.state.photo_block import Extraction
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
