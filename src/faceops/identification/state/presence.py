"""Which of the known files still exist; data of missing files are dropped after a grace period.

A share or folder that comes back within `GRACE` costs nothing. What stays away longer is dropped,
because it is biometric.
"""

import os
import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

GRACE = timedelta(days=30)
BELOW = "path>? AND path<?"  # SQL: the path lies below the folder whose bounds are `below(folder)`


@dataclass(frozen=True)
class Presence:
    """What happened to the files of the latest run.

    Attributes:
        vanished: number of missing files.
        moved: number of missing files whose photo exists under another path.
        unlisted: folders that could not be listed; files below them count as neither.
        drop_at: when data of the next missing file are dropped; None if no file is missing.
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
    """Note which files below `root` are missing and drop expired ones, inside a transaction.

    Args:
        root: the folder that was walked; None for a single photo: then no file is missing.
        present: the files found there.
        unread: those of `present` that were no readable file: folders among them could not be
            listed.
        now: with its time zone.
    """
    db.execute("CREATE TEMP TABLE present (path BLOB PRIMARY KEY)")
    db.execute("CREATE TEMP TABLE missing (path BLOB PRIMARY KEY, photo_id TEXT)")
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
        (vanished,) = db.execute("SELECT count(*) FROM missing").fetchone()
        # A moved photo keeps its data by its present path.
        moved = db.execute(
            "DELETE FROM files WHERE path IN (SELECT path FROM missing) "
            "AND photo_id IN (SELECT photo_id FROM files WHERE gone_since IS NULL) "
            "AND photo_id<>''"
        ).rowcount
    db.execute("DELETE FROM files WHERE gone_since<=?", (int((now - GRACE).timestamp()),))
    _drop_orphans(db)
    for table in ("present", "missing"):
        db.execute(f"DROP TABLE {table}")
    (first,) = db.execute("SELECT min(gone_since) FROM files").fetchone()
    drop_at = None if first is None else datetime.fromtimestamp(first, UTC) + GRACE
    return Presence(vanished - moved, moved, unlisted, drop_at)


def drop_missing(db: sqlite3.Connection) -> None:
    """Drop the data of all missing files at once, inside a transaction."""
    db.execute("DELETE FROM files WHERE gone_since IS NOT NULL")
    _drop_orphans(db)


def _drop_orphans(db: sqlite3.Connection) -> None:
    """Drop the photos that no file has."""
    for table in ("photos", "faces", "embeddings"):
        db.execute(f"DELETE FROM {table} WHERE photo_id NOT IN (SELECT photo_id FROM files)")


def below(folder: Path) -> tuple[bytes, bytes]:
    """Return the bounds between which exactly the paths below `folder` lie."""
    inside = os.fsencode(folder).rstrip(b"/") + b"/"
    return inside, inside[:-1] + b"0"  # the byte after the slash
