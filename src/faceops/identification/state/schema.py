"""The SQLite tables of an output folder's state: transactions on them, and what is kept how long.

A photo's faces are found once for each finder and embedded once for each contract (see `Method`),
so that going back to an earlier release needs no embedding. Data of missing files are dropped after
`GRACE`, because they are biometric. A share or folder that comes back before costs nothing.
"""

import contextlib
import hashlib
import itertools
import json
import os
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.faces.detector import Box
from faceops.faces.find_faces import DETAIL_VERSION
from faceops.faces.quality import QUALITY_VERSION
from faceops.identification.inputs import PhotoList
from faceops.identification.state.photo_block import FACE
from faceops.release.contract import EMBEDDER, Release

GRACE = timedelta(days=30)
BUSY_S = 60.0  # how long to wait for another process that writes
BELOW = "path>? AND path<?"  # SQL: the path lies below the folder whose bounds are `below(folder)`
IN_LIST = "IN (SELECT value FROM json_each(?))"  # SQL: of a JSON list of any length


class Method(NamedTuple):
    """How faces are found and embedded."""

    finder: str  # digest of all that finds and cuts faces: crops id, threshold, detail, its version
    contract: str  # contract id of the release that embeds them, and whether it tells their lengths


# Limits were a part of the digest, and always these: states keep what they hold.
_LIMITS = "PhotoLimits(max_pixels=100000000, max_bytes=50000000, min_side=16)"


def method_of(release: Release, detail: int) -> Method:
    """Return the method of a release; releases that differ in the embedder alone share `finder`."""
    finder = {
        "detector_threshold": release.alignment.detector_threshold,
        "detail": f"{detail}, version {DETAIL_VERSION}" if detail else 0,
        "limits": _LIMITS,
        "quality": QUALITY_VERSION,
        "crops_id": release.crops_id,
    }
    digest = hashlib.sha256(json.dumps(finder, sort_keys=True).encode()).hexdigest()
    lengths = " with lengths" if release.weights[EMBEDDER].raw_embedding else ""
    return Method(digest, release.contract_id + lengths)


SCHEMA_VERSION = 6
# files.gone_since: seconds since 1970, NULL while the file exists.
# photos.faces: an array of type `FACE`. embeddings.embeddings: float32 (F, D) of all these faces.
# lengths: float32 (F,), see `Embedded`; earlier versions store none.
# replaced: what files held that were written anew since the latest complete run.
# pictures: of each face that was not forgotten; `crop` is NULL unless it was kept.
_OF_PHOTO = "REFERENCES photos(id) ON DELETE CASCADE"
_TABLES = {
    "files": "(path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, photo_id TEXT NOT NULL, "
    "gone_since INTEGER, ctime_ns INTEGER, inode INTEGER)",
    "photos": "(id INTEGER PRIMARY KEY, photo_id TEXT NOT NULL, finder TEXT NOT NULL, reason TEXT, "
    "decoder TEXT, width INTEGER, height INTEGER, orientation INTEGER, turned INTEGER, faces BLOB, "
    "UNIQUE (photo_id, finder))",
    "embeddings": f"(photo INTEGER {_OF_PHOTO}, contract TEXT, embeddings BLOB, "
    "PRIMARY KEY (photo, contract))",
    "lengths": f"(photo INTEGER {_OF_PHOTO}, contract TEXT, lengths BLOB, "
    "PRIMARY KEY (photo, contract))",
    "pictures": f"(photo INTEGER {_OF_PHOTO}, face_index INTEGER, thumbnail BLOB, crop BLOB, "
    "PRIMARY KEY (photo, face_index))",
    "replaced": "(path BLOB PRIMARY KEY, photo_id TEXT)",
    "methods": "(finder TEXT, contract TEXT, used INTEGER, PRIMARY KEY (finder, contract))",
}
_PLACES = "(photo_id TEXT, x REAL, y REAL, width REAL, height REAL, mark TEXT)"
# How versions before table `forgotten_places` marked a forgotten face, by schema version.
FORGOTTEN_FACES = {2: "length(embedding)=0", 3: "forgotten", 4: "forgotten", 5: "forgotten"}


def _to_5(db: sqlite3.Connection) -> None:
    """Bring the tables of version 4 to version 5.

    The new columns of `files` are empty: the next run reads each photo once to compare its sha256.
    """
    for statement in (
        *(f"ALTER TABLE files ADD COLUMN {name} INTEGER" for name in ("ctime_ns", "inode")),
        # Where memory was short, photos were stored as broken.
        "DELETE FROM photos WHERE reason='unreadable'",
        # Every TIFF, HEIC and raw photo was stored as 1: NULL lets the next run look at the file.
        "UPDATE photos SET orientation=NULL WHERE orientation=1",
        # No photo was turned: those without a clear face are opened again.
        "ALTER TABLE photos ADD COLUMN turned INTEGER",
        "DELETE FROM photos WHERE (reason IS NULL OR reason='no_face') AND NOT EXISTS (SELECT 1 "
        "FROM faces WHERE faces.photo_id=photos.photo_id AND faces.finder=photos.finder "
        "AND detector_score>=.9)",
    ):
        db.execute(statement)


def _to_6(db: sqlite3.Connection) -> None:
    for name in ("photos", "faces", "embeddings"):
        db.execute(f"ALTER TABLE {name} RENAME TO earlier_{name}")
    for name in ("photos", "embeddings", "pictures"):
        db.execute(f"CREATE TABLE {name} {_TABLES[name]}")
    columns = "photo_id, finder, reason, decoder, width, height, orientation, turned"
    db.execute(f"INSERT INTO photos ({columns}, faces) SELECT {columns}, x'' FROM earlier_photos")
    db.execute(
        "INSERT INTO pictures SELECT id, face_index, thumbnail, crop FROM earlier_faces "
        "JOIN photos USING (photo_id, finder) WHERE NOT forgotten"
    )
    faces = "FROM earlier_faces f JOIN photos p ON p.photo_id=f.photo_id AND p.finder=f.finder"
    rows = db.execute(
        f"SELECT p.id, x, y, f.width, f.height, detector_score, quality, forgotten {faces} "
        "ORDER BY p.id, face_index"
    )
    for photo, group in itertools.groupby(rows, lambda row: row[0]):
        found = np.array([(row[1:5], *row[5:8]) for row in group], FACE)
        db.execute("UPDATE photos SET faces=? WHERE id=?", (found.tobytes(), photo))
    rows = db.execute(
        f"SELECT p.id, contract, e.embedding {faces} JOIN earlier_embeddings e "
        "ON e.photo_id=f.photo_id AND e.finder=f.finder AND e.face_index=f.face_index "
        "ORDER BY p.id, contract, f.face_index"
    )
    for (photo, contract), group in itertools.groupby(rows, lambda row: row[:2]):
        embedded = [row[2] for row in group]
        (content,) = db.execute("SELECT faces FROM photos WHERE id=?", (photo,)).fetchone()
        forgotten = np.frombuffer(content, FACE)["forgotten"]
        if len(embedded) == len(forgotten) - forgotten.sum():  # else its photo is opened again
            known, nothing = iter(embedded), bytes(len(embedded[0]))
            content = b"".join(nothing if gone else next(known) for gone in forgotten)
            db.execute("INSERT INTO embeddings VALUES (?, ?, ?)", (photo, contract, content))
    for name in ("photos", "faces", "embeddings"):
        db.execute(f"DROP TABLE earlier_{name}")


_MIGRATIONS = {4: _to_5, 5: _to_6}  # by the version that they start from


def prepare_tables(db: sqlite3.Connection) -> bool:
    """Create the tables that are missing, inside a transaction; return whether pages were freed.

    Tables of an earlier schema version are migrated. Those of a version without migration are
    replaced by empty ones, so that photos are opened again; the places of forgotten faces are kept.
    Either is said in one sentence on stderr.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    if "forgotten_places" not in tables:
        db.execute(f"CREATE TABLE forgotten_places {_PLACES}")
        db.execute("CREATE INDEX forgotten_photos ON forgotten_places (photo_id)")
        if version in FORGOTTEN_FACES and "faces" in tables:
            db.execute(
                "INSERT INTO forgotten_places SELECT photo_id, x, y, width, height, 'earlier' "
                f"FROM faces WHERE {FORGOTTEN_FACES[version]}"
            )
    path = db.execute("PRAGMA database_list").fetchone()[2]
    if is_migrated := version in _MIGRATIONS:
        print(
            f"{path}: written by an earlier version of faceops (schema {version}); it is brought "
            f"to schema {SCHEMA_VERSION}, its faces are kept; photos that are searched in another "
            "way now are opened again.",
            file=sys.stderr,
        )
    while version in _MIGRATIONS:
        _MIGRATIONS[version](db)
        version += 1
        db.execute(f"PRAGMA user_version={version}")
    if version == SCHEMA_VERSION:
        for name in ("replaced", "lengths"):
            db.execute(f"CREATE TABLE IF NOT EXISTS {name} {_TABLES[name]}")
        return is_migrated
    if version:
        print(
            f"{path}: written by another version of faceops (schema {version}, not "
            f"{SCHEMA_VERSION}); its faces are dropped, and the photos are opened again.",
            file=sys.stderr,
        )
    for name in ("faces", *reversed(_TABLES)):  # those of photos before photos
        db.execute(f"DROP TABLE IF EXISTS {name}")
    for name, columns in _TABLES.items():
        db.execute(f"CREATE TABLE {name} {columns}")
    db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    return bool(version)


def connect(path: Path) -> sqlite3.Connection:
    """Open the state `path`; transactions are the caller's. Usable from several threads."""
    db = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False, isolation_level=None)
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute("PRAGMA foreign_keys=ON")
    # The state is biometric data: SQLite overwrites deleted content.
    db.execute("PRAGMA secure_delete=ON")
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Write all or nothing; of two processes, the second waits for the first."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # on a full disk, SQLite has rolled back by itself
            db.execute("ROLLBACK")
        raise


@contextmanager
def open_state(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the state `path` for one transaction on its tables.

    Raises FaceOpsError: see `state_errors`.
    """
    with state_errors(path), contextlib.closing(connect(path)) as db, transaction(db):
        prepare_tables(db)
        yield db


# The place of a forgotten face, a box in a photo's bytes, is kept when the photo is gone and when
# another method finds the faces again. It does not say whose face it was: each forgetting has a
# random mark, by which its places can be given back.


def add_place(db: sqlite3.Connection, photo_id: str, box: Box, mark: str) -> None:
    """Note that the face at `box` was forgotten."""
    db.execute("INSERT INTO forgotten_places VALUES (?, ?, ?, ?, ?, ?)", (photo_id, *box, mark))


def places_in(db: sqlite3.Connection, photo_ids: Sequence[str]) -> dict[str, list[Box]]:
    """Return the boxes of forgotten faces by photo."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    for photo_id, x, y, width, height in db.execute(
        f"SELECT photo_id, x, y, width, height FROM forgotten_places WHERE photo_id {IN_LIST}",
        (json.dumps(photo_ids),),
    ):
        boxes[photo_id].append((x, y, width, height))
    return boxes


def remove_mark(db: sqlite3.Connection, mark: str) -> int:
    """Give back the faces forgotten under `mark`; return the number of places.

    Their photos are dropped, so that the next run opens them and finds the faces again.
    """
    photos = "SELECT photo_id FROM forgotten_places WHERE mark=?"
    db.execute(f"DELETE FROM photos WHERE photo_id IN ({photos})", (mark,))
    return db.execute("DELETE FROM forgotten_places WHERE mark=?", (mark,)).rowcount


@dataclass(frozen=True)
class Presence:
    """What happened to the files of the latest run."""

    vanished: int  # number of missing files
    moved: int  # number of missing files whose photo exists under another path
    excluded: int  # number of files that are skipped now by a rule
    unlisted: list[str]  # folders that could not be listed; files below them count as present
    drop_at: datetime | None  # when data of the next missing file are dropped; None if none is


def note_presence(
    db: sqlite3.Connection, root: Path | None, listed: PhotoList, unread: Collection[str]
) -> Presence:
    """Note which files below `root` are missing and drop expired ones, inside a transaction.

    `root` was walked; it is None for a single photo: then no file is missing. `listed` was found
    there; folders among `unread` (not readable files) could not be listed.
    """
    now = datetime.now(UTC)
    db.execute("CREATE TEMP TABLE missing (path BLOB PRIMARY KEY)")
    present = set(map(os.fsencode, listed.paths))
    gone = db.execute("SELECT path FROM files WHERE gone_since IS NOT NULL").fetchall()
    back = [row for row in gone if row[0] in present]
    db.executemany("UPDATE files SET gone_since=NULL WHERE path=?", back)
    vanished, moved, excluded = 0, 0, 0
    unlisted: list[str] = []
    if root is None:
        paths = [(os.fsencode(path),) for path in listed.paths]
        db.executemany("DELETE FROM replaced WHERE path=?", paths)
    else:
        db.execute(f"DELETE FROM replaced WHERE {BELOW}", below(root))
        seen = f"SELECT path FROM files WHERE {BELOW} AND gone_since IS NULL"
        known = db.execute(seen, below(root)).fetchall()
        db.executemany("INSERT INTO missing VALUES (?)", (r for r in known if r[0] not in present))
        unlisted = [
            folder
            for folder in unread
            if os.path.isdir(folder)  # noqa: PTH112  Path.is_dir raises the errors of a bad disk
            or db.execute(f"SELECT 1 FROM files WHERE {BELOW} LIMIT 1", below(folder)).fetchone()
        ]
        for folder in unlisted:
            db.execute(f"DELETE FROM missing WHERE {BELOW}", below(folder))
        db.execute(
            "UPDATE files SET gone_since=? WHERE path IN (SELECT path FROM missing)",
            (int(now.timestamp()),),
        )
        for path in listed.skipped:
            skip = f"DELETE FROM missing WHERE path=? OR ({BELOW})"
            excluded += db.execute(skip, (os.fsencode(path), *below(path))).rowcount
        (vanished,) = db.execute("SELECT count(*) FROM missing").fetchone()
        # A moved photo keeps its data by its present path.
        moved = db.execute(
            "DELETE FROM files WHERE path IN (SELECT path FROM missing) "
            "AND photo_id IN (SELECT photo_id FROM files WHERE gone_since IS NULL) "
            "AND photo_id<>''"
        ).rowcount
    drop_missing(db, int((now - GRACE).timestamp()))
    db.execute("DROP TABLE missing")
    (first,) = db.execute("SELECT min(gone_since) FROM files").fetchone()
    drop_at = None if first is None else datetime.fromtimestamp(first, UTC) + GRACE
    return Presence(vanished - moved, moved, excluded, unlisted, drop_at)


def drop_missing(db: sqlite3.Connection, gone_before: int = sys.maxsize) -> None:
    """Drop the data of files missing since `gone_before` seconds after 1970 or longer."""
    db.execute("DELETE FROM files WHERE gone_since<=?", (gone_before,))
    db.execute("DELETE FROM photos WHERE photo_id NOT IN (SELECT photo_id FROM files)")


def below(folder: str | Path) -> tuple[bytes, bytes]:
    """Return the bounds between which exactly the paths below `folder` lie."""
    inside = os.fsencode(folder).rstrip(b"/") + b"/"
    return inside, inside[:-1] + b"0"  # the byte after the slash


_REPAIR = (
    "run `faceops gallery repair --out {out}`: the photos are opened again, and the places of "
    "forgotten faces and the numbers of unknown people stay as far as they can be read"
)
_SPACE = "free some space or check the disk; the next run continues where this one stopped"
_WAIT = "another process is writing to it: run this again when that one has ended"
_PERMIT = "give this user permission to write it and its folder"
_ADVICE = {
    sqlite3.SQLITE_CORRUPT: _REPAIR,
    sqlite3.SQLITE_NOTADB: _REPAIR,
    sqlite3.SQLITE_FULL: _SPACE,
    sqlite3.SQLITE_IOERR: _SPACE,
    sqlite3.SQLITE_BUSY: _WAIT,
    sqlite3.SQLITE_LOCKED: _WAIT,
    sqlite3.SQLITE_READONLY: _PERMIT,
    sqlite3.SQLITE_CANTOPEN: _PERMIT,
    sqlite3.SQLITE_PERM: _PERMIT,
}
_OTHER = "run this again; if it fails again, move the file away, and the photos are opened again"
_PRIMARY_CODE = 0xFF  # the other bits of an extended result code give the variant


@contextmanager
def state_errors(path: Path) -> Iterator[None]:
    """Replace SQLite's errors about the state `path` by a sentence that says what to do.

    Raises FaceOpsError: it is damaged, locked, or cannot be read or written.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY_CODE
        advice = _ADVICE.get(code, _OTHER).format(out=path.parent)
        raise FaceOpsError(f"{path} cannot be used ({error}); {advice}.") from None
