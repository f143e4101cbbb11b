"""Nearest faces by the database: exact, or by an index above a number of faces.

The index is a cache of pgvector's over half-precision copies of the embeddings. It chooses the
candidates; their similarities are those of the float32 embeddings.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from faceops.base.errors import NotPermittedError
from faceops.gallery.postgres.connection import Database

if TYPE_CHECKING:
    from psycopg import Connection

INDEX_FROM = 20_000  # faces; see `python -m benchmarks.postgres_gallery`
CANDIDATES = 4  # compared exactly for each that is asked for
EFFORT = 200  # hnsw.ef_search: nodes of the graph that are looked at
_MEMORY = "2GB"  # for making the index; less makes it slower


def make_index(database: Database, number: int, size: int) -> None:
    """Make the index of the set vectors_`number`, if it has none and enough faces.

    Raises:
        NotPermittedError: the user does not own the tables; then every face is compared.
    """

    def work(db: "Connection[Any]") -> None:
        if _has_index(db, number):
            return
        (rows,) = db.execute(f"SELECT count(*) FROM vectors_{number}").fetchone() or (0,)
        if rows >= INDEX_FROM:
            db.execute(f"SET LOCAL maintenance_work_mem = '{_MEMORY}'")
            db.execute(
                f"CREATE INDEX IF NOT EXISTS vectors_{number}_nearest ON vectors_{number} USING "
                f"hnsw ((embedding::halfvec({size})) halfvec_ip_ops)"
            )

    if not database.read(lambda db: _has_index(db, number)):
        database.write(work)


def _has_index(db: "Connection[Any]", number: int) -> bool:
    row = db.execute("SELECT to_regclass(%s)", (f"vectors_{number}_nearest",)).fetchone()
    return bool(row and row[0])


def nearest(
    database: Database, number: int, queries: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids, int64 (Q, k), and similarities, float32 (Q, k); -1 and -inf beyond the faces."""
    size = queries.shape[1]
    with suppress(NotPermittedError):
        make_index(database, number, size)

    def work(db: "Connection[Any]") -> list[tuple[int, int, float]]:
        order, limit = "embedding <#> query", k
        db.execute("SET LOCAL jit = off")  # compiling takes longer than a query
        if _has_index(db, number):
            limit = CANDIDATES * k
            order = f"embedding::halfvec({size}) <#> query::halfvec({size})"
            db.execute(f"SET LOCAL hnsw.ef_search = {min(max(EFFORT, limit), 1000)}")
            db.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
        return db.execute(
            "SELECT place, id, similarity FROM unnest(%s::text[]::vector[]) WITH ORDINALITY AS "
            "queries(query, place) CROSS JOIN LATERAL (SELECT id, -(embedding <#> query) AS "
            f"similarity FROM (SELECT id, embedding FROM vectors_{number} ORDER BY {order} "
            "LIMIT %s) AS candidates ORDER BY similarity DESC, id LIMIT %s) AS found",
            ([_as_text(query) for query in queries], limit, k),
        ).fetchall()

    ids = np.full((len(queries), k), -1, np.int64)
    similarities = np.full((len(queries), k), -np.inf, np.float32)
    taken = [0] * len(queries)
    for place, found, similarity in database.read(work):
        rank = taken[place - 1]
        ids[place - 1, rank], similarities[place - 1, rank] = found, similarity
        taken[place - 1] += 1
    return ids, similarities


def _as_text(vector: np.ndarray) -> str:
    return f"[{','.join(map(str, vector.astype(np.float32).tolist()))}]"
