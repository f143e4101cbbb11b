"""The journal: what people decided about faces, kept with the gallery.

decisions.sqlite is append-only: a decision is undone by another entry. An entry is about a place,
a box in a photo given by its sha256, and not about a run, a row, a path or a release, so it stays
valid for reruns, moved photos, another detector and another model. It refers to people by ids that
renaming does not change, see `Decisions.person_id` in `faceops.gallery.decisions`.

Entries are applied in the order of their time. Journals of two machines are merged by adding the
entries of one to the other; both then result in the same state.
"""

import contextlib
import json
import secrets
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from faceops.base.errors import DamageError, FaceOpsError, shortage
from faceops.faces.detector import Box

VERSION = 1
_BUSY_S = 60.0  # how long to wait for another process that writes


class Action(StrEnum):
    """What a person decided."""

    CONFIRM = "confirm"  # the face is the person's
    REFUSE = "refuse"  # the face is not the person's
    IGNORE = "ignore"  # nobody is to be asked about the face; `detail` is an `Ignored`
    DRAW = "draw"  # the box, drawn by hand, shows the person
    NAME = "name"  # the person's name is `detail`
    SHOW = "show"  # until the next name, the person is shown as `detail`, as others may be too
    PICTURE = "picture"  # the face is the person's picture
    MERGE = "merge"  # the person and the person `detail` are one, the latter
    SAME = "same"  # the photo was the photo `detail` before its file was written anew
    UNDO = "undo"  # the entry `detail` no longer counts


class Ignored(StrEnum):
    """Why a face is ignored."""

    STRANGER = "stranger"
    NOT_A_FACE = "not_a_face"
    NEVER_ASK = "never_ask"


TRUSTED = "trusted"  # `detail` of a confirmed face that may be unlike the person's others


def new_id() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Entry:
    action: str  # a value of `Action`
    # photo_id, box: the place: sha256 of the photo, and x, y, width, height in pixels of the
    # upright photo; "" and None if it is about people only. `SAME` has no box
    photo_id: str = ""
    box: Box | None = None
    # Width and height of the upright photo, pixels; (0, 0) without a photo
    size: tuple[int, int] = (0, 0)
    # Id of the person, "" for none; without a name in any entry, of a group of faces that are one
    # unknown person
    person: str = ""
    detail: str = ""
    # Of `MERGE`, the places of the enrolled faces that changed their person
    moved: tuple[tuple[str, Box], ...] = ()
    by: str = ""  # who decided, "" if not stated
    # Shared by the entries that were made, and are undone, together; "" for a name that is only
    # noted so that the person's id is known
    batch: str = ""
    time: str = ""  # UTC, ISO 8601 with microseconds; strictly increasing within a journal
    id: str = field(default_factory=new_id)  # random, 32 hexadecimal digits

    def as_json(self) -> str:
        """Return the entry as one line of JSON, without what is empty."""
        content = {key: value for key, value in asdict(self).items() if value}
        if not any(self.size):
            content.pop("size", None)
        return json.dumps(content, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "Entry":
        """Return the entry of a line.

        Raises ValueError: it is not one; the message says what is wrong with it.
        """
        try:
            content = json.loads(line)
            place = content.get("box"), content.get("size", (0, 0))
            content["box"] = None if place[0] is None else _box(place[0])
            width, height = place[1]
            content["size"] = int(width), int(height)
            content["moved"] = tuple((str(one), _box(box)) for one, box in content.get("moved", ()))
            entry = cls(**content)
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ValueError(f"it is not a decision ({error})") from None
        entry._check()
        return entry

    def _check(self) -> None:
        texts = (self.photo_id, self.person, self.detail, self.by, self.batch, self.time, self.id)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("one of its texts is not a text")
        "".join((*texts, *(photo for photo, _ in self.moved))).encode()  # or ValueError
        if self.action not in list(Action):
            raise ValueError(f"its action {self.action!r} is none of {', '.join(Action)}")
        if len(self.id) != 32 or set(self.id) - _HEX:
            raise ValueError(f"its id {self.id!r} is not 32 hexadecimal digits")
        _parse_time(self.time)
        of_place, of_photo = self.action in _OF_PLACE, self.action in (*_OF_PLACE, Action.SAME)
        is_valid = _is_digest(self.photo_id) if of_photo else not self.photo_id
        if of_place != (self.box is not None) or not is_valid:
            raise ValueError(f"a decision {self.action} with a wrong place")
        if self.action == Action.SAME and not (_is_digest(self.detail) and min(self.size) > 0):
            raise ValueError("a photo that is the same as none")
        if (self.action in _OF_PERSON) != bool(self.person):
            raise ValueError(f"a decision {self.action} with a wrong person")
        if self.action == Action.MERGE and self.detail == self.person:
            raise ValueError("a person is merged into the same person")
        if self.action == Action.IGNORE and self.detail not in list(Ignored):
            raise ValueError(f"a face is ignored as {self.detail!r}, not {', '.join(Ignored)}")
        if self.action in (Action.NAME, Action.MERGE, Action.UNDO) and not self.detail:
            raise ValueError(f"a decision {self.action} without a detail")


_HEX = set("0123456789abcdef")
_OF_PLACE = (Action.CONFIRM, Action.REFUSE, Action.IGNORE, Action.DRAW, Action.PICTURE)
_OF_PERSON = (*(a for a in Action if a not in (Action.IGNORE, Action.SAME, Action.UNDO)),)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and not set(text) - _HEX


def _box(values: Sequence[float]) -> Box:
    x, y, width, height = map(float, values)
    if not (width > 0 and height > 0 and all(abs(v) < 1e6 for v in (x, y, width, height))):
        raise ValueError(f"its box {[x, y, width, height]} is wrong")
    return x, y, width, height


def new_batch() -> str:
    """Return an id for entries that are made together."""
    return secrets.token_hex(8)


def new_person() -> str:
    """Return an id for a person whom no entry knows."""
    return secrets.token_hex(8)


_TABLES = (
    # `content`: an entry as JSON. A time is that of one entry in the journal where it was made.
    "CREATE TABLE IF NOT EXISTS entries (id TEXT PRIMARY KEY, time TEXT, content TEXT) "
    "WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS entries_by_time ON entries (time, id)",
    # No decisions: why a face that the entry confirms did not enter the gallery of a contract.
    "CREATE TABLE IF NOT EXISTS tried (entry TEXT, contract TEXT, reason TEXT, "
    "PRIMARY KEY (entry, contract)) WITHOUT ROWID",
)


class Journal:
    """The file decisions.sqlite at `path`, which need not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """Return all entries by time; none without a file.

        Raises:
            DamageError: the file is damaged.
            FaceOpsError: it cannot be read.
        """
        with self._open(writes=False) as db:
            rows = db.execute("SELECT content FROM entries ORDER BY time, id").fetchall()
        try:
            return [Entry.from_json(content) for (content,) in rows]
        except ValueError as error:
            raise self._damaged(error) from None

    def count(self) -> int:
        """Return the number of entries. Raises: as `entries`."""
        with self._open(writes=False) as db:
            (number,) = db.execute("SELECT count(*) FROM entries").fetchone()
        return int(number)

    def append(self, entries: Iterable[Entry]) -> list[Entry]:
        """Add entries of now, all or none; return them with their time.

        Raises DamageError, FaceOpsError: as `entries`; the file cannot be written.
        """
        with self._open(writes=True) as db:
            (latest,) = db.execute("SELECT max(time) FROM entries").fetchone()
            added = of_now(entries, latest)
            _insert(db, added)
        return added

    def merge(self, entries: Iterable[Entry]) -> list[Entry]:
        """Add entries of another journal, with their times, all or none; return the new ones.

        Raises: as `append`.
        """
        with self._open(writes=True) as db:
            known = {one for (one,) in db.execute("SELECT id FROM entries")}
            new = [entry for entry in entries if entry.id not in known]
            _insert(db, new)
        return new

    def remove(self, entries: Collection[str], instead: Iterable[Entry] = ()) -> int:
        """Remove the entries with these ids and their bytes from the file; return their number.

        Only forgetting does this. `instead` are added at once. Called again after it was killed,
        it also removes bytes of what is removed already. Raises: as `append`.
        """
        if not self.path.is_file():
            return 0
        with self._open(writes=True) as db:
            rows = [(entry,) for entry in entries]
            removed = db.executemany("DELETE FROM entries WHERE id=?", rows).rowcount
            _insert(db, instead)
            db.executemany("DELETE FROM tried WHERE entry=?", rows)
        self._vacuum()
        return max(removed, 0)

    def _vacuum(self) -> None:
        with self._open(writes=False) as db:
            db.execute("VACUUM")

    def content(self) -> bytes:
        """Return the file's bytes, as they are between two changes. Raises: as `entries`."""
        with self._open(writes=False) as db:
            return db.serialize()

    def check(self) -> None:
        """Read the whole file.

        Raises: as `entries`; DamageError also for a file with other tables than a journal's.
        """
        self.entries()
        with self._open(writes=False) as db:
            (problem,) = db.execute("PRAGMA integrity_check(1)").fetchone()
            made = {sql for (sql,) in db.execute("SELECT sql FROM sqlite_master")}
        if problem != "ok":
            raise self._damaged(problem)
        if made - {statement.replace("IF NOT EXISTS ", "") for statement in _TABLES}:
            raise self._damaged("its tables are not those of a journal")

    def tried(self, contract: str) -> dict[str, str]:
        """Return by entry why its face did not enter the gallery, see `note_tried`.

        Raises: as `entries`.
        """
        with self._open(writes=False) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name='tried'").fetchone():
                return {}
            rows = db.execute("SELECT entry, reason FROM tried WHERE contract=?", (contract,))
            return dict(rows.fetchall())

    def note_tried(self, contract: str, reasons: Mapping[str, str]) -> None:
        """Note by entry why its face does not enter a gallery of `contract`.

        Raises: as `append`.
        """
        if reasons:
            with self._open(writes=True) as db:
                rows = [(entry, contract, reason) for entry, reason in reasons.items()]
                db.executemany("INSERT OR REPLACE INTO tried VALUES (?, ?, ?)", rows)

    @contextlib.contextmanager
    def _open(self, writes: bool) -> Iterator[sqlite3.Connection]:
        """Yield the file, with `writes` created if absent and in a transaction."""
        uri = f"{self.path.absolute().as_uri()}?mode={'rwc' if writes else 'rw'}"
        if not (writes or self.path.is_file()):
            uri = "file::memory:"
        try:
            with contextlib.closing(self._connect(uri)) as db:
                (version,) = db.execute("PRAGMA user_version").fetchone()
                if version > VERSION:
                    raise FaceOpsError(
                        f"{self.path} has version {version}, this faceops reads {VERSION}; use the "
                        "faceops that wrote it."
                    )
                if not writes:
                    if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                        # There is no file, or its first change was interrupted.
                        db.execute("CREATE TEMP TABLE entries (id, time, content)")
                    yield db
                    return
                db.execute("BEGIN IMMEDIATE")
                for statement in _TABLES:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version={VERSION}")
                yield db
                db.execute("COMMIT")
        except sqlite3.OperationalError as error:  # such as a full disk or a read-only folder
            lack = shortage(error)
            raise lack or FaceOpsError(
                f"{self.path} cannot be used ({error}); wait until another process has ended, "
                "or give this user permission to write it."
            ) from None
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from None

    def _connect(self, uri: str) -> sqlite3.Connection:
        try:
            db = sqlite3.connect(uri, _BUSY_S, isolation_level=None, uri=True)
            db.execute("PRAGMA secure_delete=ON")
            db.execute("PRAGMA trusted_schema=OFF")  # it may come from an archive of others
            return db
        except sqlite3.OperationalError:
            if "mode=rwc" in uri:
                raise
            return sqlite3.connect(uri.replace("mode=rw", "mode=ro"), _BUSY_S, uri=True)

    def _damaged(self, error: object) -> DamageError:
        return DamageError(
            f"{self.path} is damaged ({error}); the gallery is whole without it: `faceops gallery "
            f"repair --gallery {self.path.parent}` keeps the decisions that can be read, and "
            "`faceops decisions import` adds those that were exported."
        )


def of_now(entries: Iterable[Entry], latest: str | None) -> list[Entry]:
    """Return entries with increasing times from now on, later than `latest` in any case."""
    time = datetime.now(UTC)
    if latest is not None:
        time = max(time, _parse_time(latest) + timedelta(microseconds=1))
    stamped = []
    for entry in entries:
        stamp = time.isoformat(timespec="microseconds").replace("+00:00", "Z")
        stamped.append(replace(entry, time=stamp))
        time += timedelta(microseconds=1)
    return stamped


def as_sqlite(entries: Iterable[Entry], tried: Iterable[tuple[str, str, str]] = ()) -> bytes:
    """Return a file decisions.sqlite with these entries and rows of the table `tried`."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        for statement in (*_TABLES, f"PRAGMA user_version={VERSION}"):
            db.execute(statement)
        _insert(db, entries)
        db.executemany("INSERT INTO tried VALUES (?, ?, ?)", tried)
        db.commit()
        return db.serialize()


def _insert(db: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    rows = ((entry.id, entry.time, entry.as_json()) for entry in entries)
    db.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?, ?)", rows)


def _parse_time(text: Any) -> datetime:
    if not (isinstance(text, str) and len(text) == 27 and text.endswith("Z")):
        raise ValueError(f"its time {text!r} is not such as 2026-01-31T12:00:00.000000Z")
    return datetime.fromisoformat(text)
