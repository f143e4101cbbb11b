"""The tables of the state of an output folder, and the way to them from earlier versions.

A photo's faces are found once by a finder, and embedded once by each contract (see `Method`):
going back to the release of before needs no embedding.
"""

import sqlite3

from faceops.identification.method import Method

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
