"""Which of the kept files are there. Those that are gone are kept for a while, then dropped.

A share or a folder that comes back within `GRACE` costs nothing; what stays away longer is dropped,
since it is biometric.
"""

import os
import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

GRACE = timedelta(days=30)
_TABLES = """
CREATE TEMP TABLE present (path BLOB PRIMARY KEY);
CREATE TEMP TABLE missing (path BLOB PRIMARY KEY, photo_id TEXT);
"""


@dataclass(frozen=True)
class Presence:
    """What has become of the files that were there at the latest run.

    Attributes:
        vanished: how many are not there now.
        moved: how many are not there, but their photo is, under another path.
        unlisted: folders of which nobody knows what is in them; files below count as neither.
        drop_at: when the next of the files that are gone is to be dropped; None if none is gone.
    """

    vanished: int = 0
    moved: int = 0
    unlisted: list[Path] = field(default_factory=list)
    drop_at: datetime | None = None


def note_presence(
    db: sqlite3.Connection,
    root: Path | None,
    present: Iterable[Path],
    unread: Collection[Path],
    now: datetime,
) -> Presence:
    """Note which files below `root` are gone, and drop what is gone for long; in a transaction.

    Args:
        root: the folder that was walked; None where it was not, then no file is found gone.
        present: what was found there.
        unread: those of `present` that were no readable file: folders among them could not be
            listed.
        now: with its time zone.
    """
    for statement in _TABLES.strip().splitlines():
        db.execute(statement)
    db.executemany(
        "INSERT OR IGNORE INTO present VALUES (?)", ((os.fsencode(path),) for path in present)
    )
    db.execute(
        "UPDATE files SET gone_since=NULL "
        "WHERE gone_since IS NOT NULL AND path IN (SELECT path FROM present)"
    )
    vanished, moved = 0, 0
    unlisted: list[Path] = []
    if root is not None:
        db.execute(
            f"INSERT INTO missing SELECT path, photo_id FROM files WHERE {BELOW} "
            "AND gone_since IS NULL AND path NOT IN (SELECT path FROM present)",
            below(root),
        )
        unlisted = [
            folder
            for folder in unread
            if folder.is_dir()
            or db.execute(f"SELECT 1 FROM files WHERE {BELOW} LIMIT 1", below(folder)).fetchone()
        ]
        db.execute(
            "UPDATE files SET gone_since=? WHERE path IN (SELECT path FROM missing)",
            (int(now.timestamp()),),
        )
        for folder in unlisted:
            db.execute(f"DELETE FROM missing WHERE {BELOW}", below(folder))
        vanished = db.execute("SELECT count(*) FROM missing").fetchone()[0]
        # Nothing is lost with these: their photo is kept by the path that it has now.
        moved = db.execute(
            "DELETE FROM files WHERE path IN (SELECT path FROM missing) "
            "AND photo_id IN (SELECT photo_id FROM files WHERE gone_since IS NULL) "
            "AND photo_id<>''"
        ).rowcount
    db.execute("DELETE FROM files WHERE gone_since<=?", (int((now - GRACE).timestamp()),))
    drop_orphans(db)
    for table in ("present", "missing"):
        db.execute(f"DROP TABLE {table}")
    first = db.execute("SELECT min(gone_since) FROM files").fetchone()[0]
    drop_at = None if first is None else datetime.fromtimestamp(first, UTC) + GRACE
    return Presence(vanished - moved, moved, unlisted, drop_at)


def drop_gone(db: sqlite3.Connection) -> None:
    """Drop all that is gone now, in a transaction."""
    db.execute("DELETE FROM files WHERE gone_since IS NOT NULL")
    drop_orphans(db)


def drop_orphans(db: sqlite3.Connection) -> None:
    """Drop the photos that no file has."""
    for table in ("photos", "faces", "embeddings"):
        db.execute(f"DELETE FROM {table} WHERE photo_id NOT IN (SELECT photo_id FROM files)")


# Of a path in SQL: whether it lies below the folder of `below`.
BELOW = "path>? AND path<?"


def below(folder: Path) -> tuple[bytes, bytes]:
    """Return the bounds between which all paths below `folder` lie, and no others."""
    inside = os.fsencode(folder).rstrip(b"/") + b"/"
    return inside, inside[:-1] + b"0"  # the byte after the slash
