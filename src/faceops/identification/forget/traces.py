"""Search folders for traces of a person: the name, embeddings and pictures.

Names are compared with every cell of a file, see `cells`; all byte strings are searched in one
pass, see `Probes`.
"""

import base64
import contextlib
import csv
import filecmp
import io
import os
import re
import sqlite3
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.lib.stride_tricks import sliding_window_view

from faceops.base.errors import first_line
from faceops.base.files import valid_unicode
from faceops.base.work import default_threads, ordered_map, track
from faceops.dataset.names import person_key
from faceops.gallery.storage import DECISIONS_FILE
from faceops.identification.forget.cells import CHUNK, TEXT, Cell, cells_of
from faceops.identification.records.output_folder import is_report_page

PROBE = 48  # bytes of a secret that are searched for, whole groups of base64
WINDOW = 16  # bytes of a probe that are looked up
STEP = PROBE - WINDOW  # bytes from one window of a file to the next
_READ_ERRORS = (OSError, ValueError, RecursionError, csv.Error, sqlite3.Error, pa.ArrowException)
_UNSPACED = {"CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"}  # in Unicode names
_FACTORS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # odd


@dataclass
class TraceSearch:
    """How much was searched, for how many secrets, and the places where something was found."""

    files: int = 0
    megabytes: float = 0.0
    secrets: int = 0
    # What should be gone; a file that could not be searched counts, since its content is not known
    found: list[str] = field(default_factory=list)
    # The name in texts that FaceOps does not change: paths, entries of others
    elsewhere: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)  # folders that may not be listed

    def add(self, other: "TraceSearch") -> None:
        """Add the files that were searched, and what was found."""
        self.files += other.files
        self.found += other.found
        self.elsewhere += other.elsewhere


def mentions(keys: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a text contains a name with one of `keys`, as words."""

    def bounded(key: str) -> str:
        before, after = (
            "" if unicodedata.name(edge, "?").split()[0].split("-")[0] in _UNSPACED else bound
            for edge, bound in ((key[0], r"(?<!\w)"), (key[-1], r"(?!\w)"))
        )
        return before + re.escape(key) + after

    keys = list(filter(None, keys))
    pattern = re.compile("|".join(map(bounded, keys)) or "(?!)")
    words = {max(key.split() or [key], key=len) for key in keys}

    def is_mentioned(text: str) -> bool:
        # In ASCII the words of a key are as they are: no need to look for where words end.
        if text.isascii() and not any(map(text.lower().__contains__, words)):
            return False
        return pattern.search(person_key(text)) is not None

    return is_mentioned


def files_below(
    folders: Iterable[Path], unlisted: list[str], is_wanted: Callable[[str], bool] = bool
) -> Iterator[Path]:
    """Yield the files below `folders` whose name is wanted, and those that cannot be looked at.

    Each real folder is searched once; links to folders are followed.
    """
    entered: set[tuple[int, int]] = set()

    def not_listed(error: OSError) -> None:
        unlisted.append(f"{valid_unicode(str(error.filename))} ({error.strerror})")

    for folder in folders:
        for parent, below, names in os.walk(folder, onerror=not_listed, followlinks=True):
            try:
                status = Path(parent).stat()
            except OSError as error:
                not_listed(error)
                continue
            if (status.st_dev, status.st_ino) in entered:
                below.clear()
                continue
            entered.add((status.st_dev, status.st_ino))
            below.sort()
            wanted = (Path(parent, name) for name in sorted(names) if is_wanted(name))
            yield from filter(_may_be_file, wanted)


def _may_be_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return True  # reading it gives the reason


def search_traces(
    folders: Iterable[Path],
    is_person: Callable[[str], bool],
    is_mentioned: Callable[[str], bool],
    secrets: Sequence[bytes],
    marks: Sequence[bytes] = (),
    tables: Sequence[tuple[str, Iterable[Cell]]] = (),
) -> TraceSearch:
    """Search every file below `folders` for the person's name and for any of `secrets`.

    Cells are compared by the same rule by which they were removed. Secrets (embeddings, crops,
    thumbnails) are searched in the bytes of every file, plain and in base64, and in the cells of
    Parquet, which are compressed, and of SQLite, which cuts large ones into pages. One pass, in
    bounded memory.

    Args:
        is_person: whether a text is the person's name.
        is_mentioned: whether a text contains it; see `mentions`.
        marks: names and ids as the journal of decisions holds them, for the bytes of this file,
            its copies and what a killed writer left beside it.
        tables: what holds further cells, and these, see `GalleryStorage.cells`.
    """
    probes = [*dict.fromkeys(_probe(secret) for secret in secrets if len(secret) >= PROBE)]
    plain, spelled = Probes(probes), Probes([*probes, *map(base64.b64encode, probes)])
    done = TraceSearch(secrets=len(probes))

    def search_cells(cells: Iterable[Cell], found: _Found, is_page: bool = False) -> None:
        for place, value in cells:
            if isinstance(value, memoryview):
                if plain.found_in(io.BytesIO(value)):
                    found.places.add(f"an embedding or picture, in {place}")
            elif not is_mentioned(value):
                continue
            elif (
                is_person(value)
                or is_person(value.removeprefix("'"))
                or (place == TEXT and not is_page)
            ):
                found.places.add(f"the name, in {place}")
            else:
                found.elsewhere.add(f"the name, as part of {place}")

    def search_file(path: Path) -> _Found:
        found = _Found()
        try:
            with path.open("rb") as file:
                if spelled.found_in(file):
                    found.places.add("an embedding or picture")
            if path.name.startswith(DECISIONS_FILE):
                content = path.read_bytes()
                if any(mark in content for mark in marks):
                    found.places.add("a name or id, in its bytes")
            search_cells(cells_of(path, is_mentioned), found, is_report_page(path))
        except _READ_ERRORS as error:
            found.places.add(_not_searched(error))
        return found

    def search_group(paths: Sequence[Path]) -> list[_Found]:
        first, *others = paths
        found = search_file(first)
        return [found, *(found if _is_copy(first, one) else search_file(one) for one in others)]

    outcomes: dict[Path | str, _Found] = {}
    for shown, cells in tables:
        search_cells(cells, outcomes.setdefault(shown, _Found()))
    groups: dict[tuple[str, int], list[Path]] = {}
    for path in files_below(folders, done.unlisted):
        outcomes[path] = _Found()
        try:
            size = path.stat().st_size
        except OSError as error:
            outcomes[path].places.add(_not_searched(error))
            continue
        done.megabytes += size / 1e6
        groups.setdefault((path.name, size), []).append(path)
    searched = ordered_map(search_group, groups.values(), default_threads())
    all_found = chain.from_iterable(track(searched, "search files", len(groups)))
    outcomes.update(zip(chain(*groups.values()), all_found, strict=True))
    for where, found in outcomes.items():
        shown = valid_unicode(str(where))
        done.found += [f"{shown}: {place}" for place in sorted(found.places)]
        done.elsewhere += [f"{shown}: {place}" for place in sorted(found.elsewhere)]
    done.files, done.megabytes = len(outcomes) - len(tables), round(done.megabytes, 1)
    return done


@dataclass
class _Found:
    """The places in a file, or the like; `elsewhere` are those where others mention the person."""

    places: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)


def _not_searched(error: Exception) -> str:
    return f"cannot be searched ({first_line(error)}); inspect it yourself, or remove it"


def _is_copy(path: Path, other: Path) -> bool:
    with contextlib.suppress(OSError):
        return filecmp.cmp(path, other, shallow=False)
    return False


def _probe(secret: bytes) -> bytes:
    """Return the most varied part of a secret's second half.

    The middle of a picture may be of one colour, and JPEG files share their first bytes. The part
    starts at a group of base64, so that encoded copies are found too.
    """
    last = len(secret) - PROBE
    starts = [start - start % 3 for start in (last // 2, last * 5 // 8, last * 3 // 4)]
    return max((secret[s : s + PROBE] for s in starts), key=lambda part: len(set(part)))


class Probes:
    """Byte strings to search for, each of at least `PROBE` bytes.

    Every string has each of its first windows in a table, by a hash. So one window in `STEP` bytes
    of a file is enough: a string that is anywhere in it has one of these, and where the table has
    the window, the string is compared. Two numbers of eight bytes make a hash, bits of which are
    the place in the table.
    """

    def __init__(self, probes: Sequence[bytes]) -> None:
        self._probes = [*dict.fromkeys(probes)]
        self._longest = max(map(len, probes), default=0)
        starts = np.frombuffer(b"".join(probe[:PROBE] for probe in self._probes), np.uint8)
        windows = sliding_window_view(starts.reshape(-1, PROBE), WINDOW, axis=1)[:, :STEP]
        hashes = _hashes(np.ascontiguousarray(windows).view("<u8").reshape(-1, 2))
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]
        bits = min(max(16, len(hashes).bit_length() + 4), 26)
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, bool)
        self._table[hashes >> self._shift] = True

    def found_in(self, file: io.BufferedIOBase) -> bool:
        """Return whether any of them is in the rest of `file`; it is read in chunks."""
        if not self._probes:
            return False
        content, kept = bytearray(self._longest + CHUNK + STEP), 0
        view = memoryview(content)
        while size := file.readinto(view[kept:-STEP]):
            size += kept
            if self._found_in(content, size):
                return True
            kept = min(size, self._longest)
            view[:kept] = view[size - kept : size]
        return False

    def _found_in(self, content: bytearray, size: int) -> bool:
        steps = -(-size // STEP)  # the last one may be in part of what was read before
        hashes = _hashes(np.frombuffer(content, "<u8", steps * STEP // 8).reshape(steps, -1))
        places = np.flatnonzero(self._table[hashes >> self._shift])
        first = np.searchsorted(self._hashes, hashes[places])
        last = np.searchsorted(self._hashes, hashes[places], side="right")
        for place, start, end in zip(places.tolist(), first.tolist(), last.tolist(), strict=True):
            for order in self._order[start:end].tolist():
                probe, offset = self._probes[order // STEP], place * STEP - order % STEP
                if offset >= 0 and content.startswith(probe, offset, size):
                    return True
        return False


def _hashes(windows: np.ndarray) -> np.ndarray:
    """Return the hash, uint64 (N,), of windows, uint64 (N, 2 or more); the first two count."""
    return windows[:, 0] * _FACTORS[0] + windows[:, 1] * _FACTORS[1]
