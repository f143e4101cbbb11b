"""A photo's file, and which of the known files still exist.

Data of missing files are dropped after `GRACE`, because they are biometric. A share or folder that
comes back before costs nothing.
"""

import hashlib
import os
import sqlite3
import stat
import sys
from array import array
from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from faceops.base.stores import Entry

GRACE = timedelta(days=30)
_INT64 = 2**63 - 1  # SQLite's largest integer; inodes and odd times may have one bit more
BELOW = "path>? AND path<?"  # SQL: the path lies below the folder whose bounds are `below(folder)`


class SourceFile(NamedTuple):
    """A photo's file as it was when its faces were found.

    Programs can change a file and set its size and modification time back, but not its change time
    (ctime); another file under the same path has another inode. Moving a file and changing its
    permissions change the ctime too, and FAT and some network shares give new inodes at each mount:
    such a file is read again to compare its sha256, but its faces are not searched again.
    """

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def source_file(path: str) -> SourceFile | None:
    """Return the file at `path` as it is now; None if it is not a regular file."""
    try:
        status = os.stat(path)  # noqa: PTH116  there are a million of them
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    modified, changed = status.st_mtime_ns & _INT64, status.st_ctime_ns & _INT64
    return SourceFile(path, status.st_size, modified, changed, status.st_ino & _INT64)


class PhotoList(NamedTuple):
    """The files of a run, sorted, or the objects in a store.

    Attributes:
        root: the absolute folder.
        skipped: the rule of each path that is skipped.
        is_folder: whether all photos of `root` are listed, and not one alone.
        stamps: of objects, four numbers each: those of their `SourceFile`.
        sidecars: the `mark` of all sidecars in a store, combined by xor.
    """

    root: Path
    paths: list[str]
    skipped: dict[Path, str]
    is_folder: bool = True
    stamps: "array[int] | None" = None
    sidecars: int = 0

    def part(self, paths: list[str]) -> "PhotoList":
        """Return some photos that follow one another."""
        start = bisect_left(self.paths, paths[0])
        stamps = self.stamps and self.stamps[4 * start : 4 * (start + len(paths))]
        return self._replace(paths=paths, skipped={}, stamps=stamps)

    def file(self, path: str) -> SourceFile | None:
        """Return the file at `path` as it is now, the object as it was listed; None without one."""
        if self.stamps is None:
            return source_file(path)
        at = bisect_left(self.paths, path)
        if at == len(self.paths) or self.paths[at] != path:
            return None
        size, modified, changed, inode = self.stamps[4 * at : 4 * at + 4]
        return SourceFile(path, size, modified, changed, inode)


def stamp_of(entry: Entry) -> tuple[int, int, int, int]:
    """Return the numbers of the `SourceFile` of an object: its size, and a hash of its version.

    So an object that is stored again with the same content is unchanged.
    """
    digest = hashlib.sha256(entry.version.encode()).digest()
    first, second = (int.from_bytes(digest[at : at + 8], "big") & _INT64 for at in (0, 8))
    return entry.size, 0, first, second


@dataclass(frozen=True)
class Presence:
    """What happened to the files of the latest run.

    Attributes:
        vanished: number of missing files.
        moved: number of missing files whose photo exists under another path.
        excluded: number of files that are skipped now by a rule.
        unlisted: folders that could not be listed; files below them count as present.
        drop_at: when data of the next missing file are dropped; None if no file is missing.
    """

    vanished: int = 0
    moved: int = 0
    excluded: int = 0
    unlisted: list[str] = field(default_factory=list)
    drop_at: datetime | None = None


def note_presence(
    db: sqlite3.Connection,
    root: Path | None,
    listed: PhotoList,
    unread: Collection[str],
    now: datetime,
) -> Presence:
    """Note which files below `root` are missing and drop expired ones, inside a transaction.

    `root` was walked; it is None for a single photo: then no file is missing. `listed` was found
    there; folders among `unread` (not readable files) could not be listed.
    """
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
