"""The nearest people by the database, exactly: for programs that keep no copy of the gallery.

The table people_N has the mean embedding of each person, of length 1, from those in vectors_N. It
is a cache that the first search after a change brings up to date, and that forgetting drops. One
scan compares all people with all queries of a batch: at 200,000 people that takes no longer than
pgvector's indexes, which are searched once for each query, and it misses nobody (`python -m
benchmarks.postgres_gallery`).
"""

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from faceops.base.errors import NotPermittedError
from faceops.gallery.postgres.connection import LOCK_CLASS, Database

if TYPE_CHECKING:
    from psycopg import Connection

_SAMPLE = 4096  # people; the k-th nearest of some is no nearer than the k-th nearest of all
# One scan of the people, each compared with all queries, on all cores; compiling it takes longer.
_PLAN = ("enable_material=off", "parallel_setup_cost=0", "parallel_tuple_cost=0", "jit=off")


def update_people(database: Database) -> None:
    """Bring the cache of people up to date.

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
        if name not in people_tables(db):
            db.execute(
                f'CREATE TABLE {name} (person text COLLATE "C" PRIMARY KEY, '
                f"embedding vector({size}) NOT NULL)"
            )
            for column in ("person", "embedding"):  # statistics would keep removed values
                db.execute(f"ALTER TABLE {name} ALTER {column} SET STATISTICS 0")
            if size <= 1900:  # fits in a page
                db.execute(f"ALTER TABLE {name} ALTER embedding SET STORAGE PLAIN")
        db.execute(f"CREATE TEMP TABLE now ON COMMIT DROP AS {_means(number)}")
        db.execute(
            f"DELETE FROM {name} AS old WHERE NOT EXISTS (SELECT FROM now WHERE "
            "now.person = old.person AND now.embedding = old.embedding)"
        )
        db.execute(f"INSERT INTO {name} SELECT * FROM now ON CONFLICT DO NOTHING")
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


def _is_current(db: "Connection[Any]") -> bool:
    """Return whether there is a cache that this user may read, of the gallery as it is."""
    number, _, change = _stated(db)
    row = db.execute(
        "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass(%s) AND "
        "has_table_privilege(oid, 'SELECT')",
        (f"people_{number}",),
    ).fetchone()
    return row is not None and row[0] == change


def nearest_people(
    database: Database, queries: np.ndarray, k: int
) -> list[list[tuple[str, float]]]:
    """Return people and similarities for each query; see `PostgresStorage.nearest_people`."""
    with suppress(NotPermittedError):
        update_people(database)

    def work(db: "Connection[Any]") -> list[tuple[int, str, float]]:
        number = _stated(db)[0]
        cached = f"SELECT person, embedding FROM people_{number}"
        means = f"WITH means AS ({cached if _is_current(db) else _means(number)}) "
        texts = [_as_text(query) for query in queries]
        for setting in _PLAN:
            db.execute(f"SET LOCAL {setting}")
        least = dict(
            db.execute(
                f"{means}SELECT place, min(similarity) FROM unnest(%s::text[]::vector[]) WITH "
                "ORDINALITY AS queries(query, place) CROSS JOIN LATERAL (SELECT -(embedding <#> "
                f"query) AS similarity FROM (SELECT embedding FROM means LIMIT {_SAMPLE}) AS few "
                "ORDER BY similarity DESC LIMIT %s) AS best GROUP BY place HAVING count(*) = %s",
                (texts, k, k),
            ).fetchall()
        )
        limits = [least.get(place + 1, -math.inf) for place in range(len(texts))]
        return db.execute(
            f"{means}SELECT place, person, similarity FROM (SELECT place, person, similarity, "
            "row_number() OVER (PARTITION BY place ORDER BY similarity DESC, person) AS rank FROM "
            "(SELECT place, person, -(embedding <#> query) AS similarity FROM means, "
            "unnest(%s::text[]::vector[], %s::float8[]) WITH ORDINALITY AS queries(query, least, "
            "place) WHERE -(embedding <#> query) >= least) AS near) AS ranked WHERE rank <= %s "
            "ORDER BY place, rank",
            (texts, limits, k),
        ).fetchall()

    found: list[list[tuple[str, float]]] = [[] for _ in queries]
    for place, person, similarity in database.read(work):
        found[place - 1].append((person, similarity))
    return found


def _as_text(vector: np.ndarray) -> str:
    return f"[{','.join(map(str, vector.astype(np.float32).tolist()))}]"
