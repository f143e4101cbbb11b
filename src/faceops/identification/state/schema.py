"""The tables of the state of an output folder, and the way to them from earlier versions.

A photo's faces are found once by a finder, and embedded once by each contract (see `Method`):
going back to the release of before needs no embedding.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from faceops.base.errors import FaceOpsError
from faceops.photos.open_photo import PhotoLimits
from faceops.release.contract import Release


class Method(NamedTuple):
    """How a photo is looked at.

    Attributes:
        finder: stands for all that finds and cuts faces, hex: crops id, threshold, detail, limits.
        contract: the contract id of the release that embeds them.
        schema_2: what stood for both in states of before they were told apart.
    """

    finder: str
    contract: str
    schema_2: str


def method_of(release: Release, limits: PhotoLimits, detail: int) -> Method:
    """Return the method of a release; one of another embedder alone has the same `finder`."""
    finds = {
        "detector_threshold": release.alignment.detector_threshold,
        "detail": detail,
        "limits": str(limits),
    }
    contract = {
        "contract_id": release.contract_id,
        "detector_size": release.alignment.detector_size,
    }
    return Method(
        _digest({**finds, "crops_id": release.crops_id}),
        release.contract_id,
        _digest({**finds, **contract}),
    )


def _digest(content: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


SCHEMA_VERSION = 4
# gone_since: seconds since 1970, NULL while the file is there.
_FILES = """
CREATE TABLE files (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, photo_id TEXT NOT NULL,
                    gone_since INTEGER);
"""
_FILES_KEPT = """
INSERT INTO files SELECT path, size, mtime_ns, photo_id, NULL FROM old_files;
DROP TABLE old_files;
"""
# The crop comes last in its row: reading the rest does not touch its pages.
_TABLES = """
CREATE TABLE photos (photo_id TEXT, finder TEXT, reason TEXT, decoder TEXT, width INTEGER,
                     height INTEGER, orientation INTEGER,
                     PRIMARY KEY (photo_id, finder));
CREATE TABLE faces (photo_id TEXT, finder TEXT, face_index INTEGER, x REAL, y REAL, width REAL,
                    height REAL, detector_score REAL, quality REAL, forgotten INTEGER,
                    thumbnail BLOB, crop BLOB,
                    PRIMARY KEY (photo_id, finder, face_index));
CREATE TABLE embeddings (photo_id TEXT, finder TEXT, face_index INTEGER, contract TEXT,
                         embedding BLOB,
                         PRIMARY KEY (photo_id, finder, face_index, contract)) WITHOUT ROWID;
CREATE TABLE methods (finder TEXT, contract TEXT, used INTEGER, PRIMARY KEY (finder, contract));
"""
_NAMES = ("files", "photos", "faces", "embeddings", "methods")
# One text stood for finder and contract then: it stands for both until `adopt` tells them apart.
_FROM_2 = """
INSERT INTO photos SELECT photo_id, method, reason, decoder, width, height, orientation
    FROM old_photos;
INSERT INTO faces SELECT photo_id, method, face_index, x, y, width, height, detector_score,
    quality, length(embedding)=0, thumbnail, NULL FROM old_faces;
INSERT INTO embeddings SELECT photo_id, method, face_index, method, embedding
    FROM old_faces WHERE length(embedding)>0;
INSERT INTO methods SELECT DISTINCT method, method, 0 FROM old_photos;
DROP TABLE old_photos;
DROP TABLE old_faces;
"""
_ADOPT = """
UPDATE OR IGNORE photos SET finder=:finder WHERE finder=:schema_2;
UPDATE OR IGNORE faces SET finder=:finder WHERE finder=:schema_2;
UPDATE OR IGNORE embeddings SET finder=:finder, contract=:contract WHERE finder=:schema_2;
DELETE FROM photos WHERE finder=:schema_2;
DELETE FROM faces WHERE finder=:schema_2;
DELETE FROM embeddings WHERE finder=:schema_2;
DELETE FROM methods WHERE finder=:schema_2;
"""


def prepare(db: sqlite3.Connection) -> None:
    """Make the tables, or bring those of versions 2 and 3 along; inside a transaction.

    Tables of any other version are emptied.
    """
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return
    before = {2: ("files", "photos", "faces"), 3: ("files",)}.get(version)
    if before is None:
        for name in _NAMES:
            db.execute(f"DROP TABLE IF EXISTS {name}")
    for name in before or ():
        db.execute(f"ALTER TABLE {name} RENAME TO old_{name}")
    statements = {
        2: _FILES + _FILES_KEPT + _TABLES + _FROM_2,
        3: _FILES + _FILES_KEPT,
    }.get(version, _FILES + _TABLES)
    for statement in _split(statements):
        db.execute(statement)
    db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def adopt(db: sqlite3.Connection, method: Method) -> None:
    """Make what `method` found and embedded before schema 3 its own; inside a transaction."""
    if db.execute("SELECT 1 FROM methods WHERE finder=?", (method.schema_2,)).fetchone():
        for statement in _split(_ADOPT):
            db.execute(statement, method._asdict())


def _split(statements: str) -> list[str]:
    return [statement for statement in statements.split(";") if statement.strip()]


_DELETE = (
    "delete it, and the photos are opened anew; numbers of unknown people begin again, and faces "
    "that people forget removed have to be forgotten anew"
)
_SPACE = "free some space or check the disk; the next run continues where this one stopped"
_WAIT = "another process is writing to it: run this again when that one has ended"
_PERMIT = "give this user permission to write it and its folder"
_ADVICE = {
    sqlite3.SQLITE_CORRUPT: _DELETE,
    sqlite3.SQLITE_NOTADB: _DELETE,
    sqlite3.SQLITE_FULL: _SPACE,
    sqlite3.SQLITE_IOERR: _SPACE,
    sqlite3.SQLITE_BUSY: _WAIT,
    sqlite3.SQLITE_LOCKED: _WAIT,
    sqlite3.SQLITE_READONLY: _PERMIT,
    sqlite3.SQLITE_CANTOPEN: _PERMIT,
    sqlite3.SQLITE_PERM: _PERMIT,
}
_OTHER = "run this again; if it stays so, move the file away, and the photos are opened anew"
_PRIMARY = 0xFF  # the rest of a result code tells variants apart


@contextmanager
def state_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises about the state `path` into a sentence that tells what to do.

    Raises:
        FaceOpsError: it is damaged, locked, or cannot be read or written.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY
        advice = _ADVICE.get(code, _OTHER)
        raise FaceOpsError(f"{path} cannot be used ({error}); {advice}.") from None
