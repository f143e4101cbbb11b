"""The journal of decisions in the tables of a gallery."""

import secrets
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from faceops.base.errors import DamageError
from faceops.gallery.journal import Entry, Journal, as_sqlite, of_now
from faceops.gallery.postgres.connection import Database, value
from faceops.gallery.postgres.purge import note_unpurged, purge

if TYPE_CHECKING:
    from psycopg import Connection


class PostgresJournal(Journal):
    """The tables `entries` and `tried`; see `Journal` for what the methods do and raise."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def entries(self) -> list[Entry]:
        rows = self._database.rows("SELECT content FROM entries ORDER BY time, id")
        try:
            return [Entry.from_json(content) for (content,) in rows]
        except ValueError as error:
            raise DamageError(
                f"the journal of {self._database.address.shown} is damaged ({error}); restore a "
                "backup of the database."
            ) from None

    def count(self) -> int:
        return sum(number for (number,) in self._database.rows("SELECT count(*) FROM entries"))

    def append(self, entries: Iterable[Entry]) -> list[Entry]:
        new = list(entries)

        def work(db: "Connection[Any]") -> list[Entry]:
            self._changed(db)  # other writers wait here, so that times rise
            added = of_now(new, value(db, "SELECT max(time) FROM entries"))
            self._put(db, added)
            return added

        return self._database.write(work)

    def merge(self, entries: Iterable[Entry]) -> list[Entry]:
        given = list(entries)

        def work(db: "Connection[Any]") -> list[Entry]:
            self._changed(db)
            known = {one for (one,) in db.execute("SELECT id FROM entries")}
            new = [entry for entry in given if entry.id not in known]
            self._put(db, new)
            return new

        return self._database.write(work)

    def remove(self, entries: Collection[str], instead: Iterable[Entry] = ()) -> int:
        gone, more = list(entries), list(instead)
        if not self._database.read(lambda db: self._database.version):
            return 0

        def work(db: "Connection[Any]") -> int:
            self._changed(db)
            number = db.execute("DELETE FROM entries WHERE id = ANY(%s)", (gone,)).rowcount
            db.execute("DELETE FROM tried WHERE entry = ANY(%s)", (gone,))
            note_unpurged(db, ["entries", "tried"])
            self._put(db, more)
            return number

        removed = self._database.write(work)
        self._vacuum()
        return removed

    def _vacuum(self) -> None:
        purge(self._database)

    def content(self) -> bytes:
        tried = self._database.rows(
            "SELECT entry, contract, reason FROM tried ORDER BY entry, contract"
        )
        return as_sqlite(self.entries(), tried)

    def check(self) -> None:
        self.entries()

    def replace(self, entries: Iterable[Entry]) -> None:
        new = list(entries)

        def work(db: "Connection[Any]") -> None:
            self._changed(db)
            db.execute("DELETE FROM entries")
            note_unpurged(db, ["entries"])
            self._put(db, new)

        self._database.write(work)

    def readable_entries(self) -> list[Entry]:
        return self.entries()

    def tried(self, contract: str) -> dict[str, str]:
        return dict(
            self._database.rows("SELECT entry, reason FROM tried WHERE contract=%s", contract)
        )

    def note_tried(self, contract: str, reasons: Mapping[str, str]) -> None:
        rows = [(entry, contract, reason) for entry, reason in reasons.items()]

        def work(db: "Connection[Any]") -> None:
            db.cursor().executemany(
                "INSERT INTO tried VALUES (%s, %s, %s) ON CONFLICT (entry, contract) "
                "DO UPDATE SET reason=excluded.reason",
                rows,
            )

        if rows:
            self._database.write(work)

    def _changed(self, db: "Connection[Any]") -> None:
        db.execute("UPDATE journal SET change=%s", (secrets.token_hex(16),))

    def _put(self, db: "Connection[Any]", entries: list[Entry]) -> None:
        rows = [(entry.id, entry.time, entry.as_json()) for entry in entries]
        text = "INSERT INTO entries VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
        db.cursor().executemany(text, rows)
