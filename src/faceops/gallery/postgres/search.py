"""The nearest people by the database: exact, or by an index above a number of people.

The table people_N has the mean embedding of each person, of length 1, from those in vectors_N. It
is a cache that the first search after a change brings up to date, and that forgetting drops. The
index, of pgvector over half-precision copies, chooses candidates; their similarities are those of
the float32 means. An index of people is smaller than one of faces, and misses less.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from faceops.base.errors import NotPermittedError
from faceops.gallery.postgres.connection import LOCK_CLASS, Database

if TYPE_CHECKING:
    from psycopg import Connection

INDEX_FROM = 20_000  # people; see `python -m benchmarks.postgres_gallery`
CANDIDATES = 64  # at least, compared exactly for a query
EFFORT = 400  # hnsw.ef_search: nodes of the graph that are looked at
_MEMORY = "2GB"  # for making the index; less makes it slower


def update_people(database: Database) -> None:
    """Bring the cache of people, and its index, up to date.

    Raises:
        NotPermittedError: the user does not own the tables.
    """

    def work(db: "Connection[Any]") -> None:
        db.execute(
            "SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (LOCK_CLASS + 2, database.schema)
        )
        if _is_current(db):
            return
        number, size, change = _stated(db)
        name = f"people_{number}"
        if not _exists(db, name):
            db.execute(
                f'CREATE TABLE {name} (person text COLLATE "C" PRIMARY KEY, '
                f"embedding vector({size}) NOT NULL)"
            )
            for column in ("person", "embedding"):  # statistics would keep removed values
                db.execute(f"ALTER TABLE {name} ALTER {column} SET STATISTICS 0")
        db.execute(f"CREATE TEMP TABLE now ON COMMIT DROP AS {_means(number)}")
        db.execute(
            f"DELETE FROM {name} AS old WHERE NOT EXISTS (SELECT FROM now WHERE "
            "now.person = old.person AND now.embedding = old.embedding)"
        )
        db.execute(f"INSERT INTO {name} SELECT * FROM now ON CONFLICT DO NOTHING")
        (people,) = db.execute(f"SELECT count(*) FROM {name}").fetchone() or (0,)
        if people >= INDEX_FROM:
            db.execute(f"SET LOCAL maintenance_work_mem = '{_MEMORY}'")
            db.execute(
                f"CREATE INDEX IF NOT EXISTS {name}_nearest ON {name} USING hnsw "
                f"((embedding::halfvec({size})) halfvec_ip_ops)"
            )
            db.execute(f"ALTER INDEX {name}_nearest ALTER 1 SET STATISTICS 0")
        db.execute(f"COMMENT ON TABLE {name} IS '{change}'")

    if not database.read(_is_current):
        database.write(work)


def people_tables(db: "Connection[Any]") -> list[str]:
    """Return the names of the caches that there are."""
    rows = db.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND "
        "relkind = 'r' AND relname ~ '^people_[0-9]+$'"
    )
    return [name for (name,) in rows]


def _means(number: int) -> str:
    return (
        "SELECT person, l2_normalize(avg(embedding)) AS embedding FROM faces JOIN "
        f"vectors_{number} USING (id) GROUP BY person"
    )


def _stated(db: "Connection[Any]") -> tuple[int, int, str]:
    """Return the number of the set of embeddings, their size, and the change they are of."""
    row = db.execute(
        "SELECT vectors, (statement::json ->> 'embedding_size')::int, change FROM gallery"
    ).fetchone()
    return row or (0, 0, "")


def _exists(db: "Connection[Any]", name: str) -> bool:
    row = db.execute("SELECT to_regclass(%s)", (name,)).fetchone()
    return bool(row and row[0])


def _is_current(db: "Connection[Any]") -> bool:
    """Return whether there is a cache that this user may read, of the gallery as it is."""
    number, _, change = _stated(db)
    row = db.execute(
        "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass(%s) AND "
        "has_table_privilege(oid, 'SELECT')",
        (f"people_{number}",),
    ).fetchone()
    return bool(row) and row[0] == change


def nearest_people(
    database: Database, queries: np.ndarray, k: int
) -> list[list[tuple[str, float]]]:
    """Return people and similarities for each query; see `PostgresStorage.nearest_people`."""
    with suppress(NotPermittedError):
        update_people(database)

    def work(db: "Connection[Any]") -> list[tuple[int, str, float]]:
        is_cached, (number, size, _) = _is_current(db), _stated(db)
        people, order, limit = f"people_{number}", "embedding <#> query", k
        db.execute("SET LOCAL jit = off")  # compiling takes longer than a query
        if is_cached and _exists(db, f"{people}_nearest"):
            limit = max(CANDIDATES, k)
            order = f"embedding::halfvec({size}) <#> query::halfvec({size})"
            db.execute(f"SET LOCAL hnsw.ef_search = {min(max(EFFORT, limit), 1000)}")
            db.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
        means = "" if is_cached else f"WITH means AS MATERIALIZED ({_means(number)}) "
        return db.execute(
            f"{means}SELECT place, person, similarity FROM unnest(%s::text[]::vector[]) WITH "
            "ORDINALITY AS queries(query, place) CROSS JOIN LATERAL (SELECT person, "
            "-(embedding <#> query) AS similarity FROM (SELECT person, embedding FROM "
            f"{people if is_cached else 'means'} ORDER BY {order} LIMIT %s) AS candidates "
            "ORDER BY similarity DESC, person LIMIT %s) AS found ORDER BY place, similarity DESC",
            ([_as_text(query) for query in queries], limit, k),
        ).fetchall()

    found: list[list[tuple[str, float]]] = [[] for _ in queries]
    for place, person, similarity in database.read(work):
        found[place - 1].append((person, similarity))
    return found


def _as_text(vector: np.ndarray) -> str:
    return f"[{','.join(map(str, vector.astype(np.float32).tolist()))}]"
