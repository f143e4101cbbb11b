"""Search folders for traces of a person: the name, embeddings and pictures.

Names are compared with every cell of Parquet, SQLite, CSV, JSON and JSON lines, and searched in all
other text. All byte strings are searched in one pass, see `Probes`.
"""

import base64
import codecs
import contextlib
import csv
import filecmp
import html
import io
import json
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
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.lib.stride_tricks import sliding_window_view

from faceops.base.errors import first_line
from faceops.base.files import json_texts, valid_unicode
from faceops.base.work import default_threads, ordered_map, track
from faceops.dataset.names import person_key
from faceops.gallery.storage import DECISIONS_FILE
from faceops.identification.records.output_folder import is_report_page
from faceops.identification.report.report import people_on

ROWS = 1024  # of a table, read at once
MAX_JSON = 256_000_000  # bytes; FaceOps writes no larger ones
BLOBS = 1 << 22  # bytes of blobs, searched at once
PROBE = 48  # bytes of a secret that are searched for, whole groups of base64
WINDOW = 16  # bytes of a probe that are looked up
STEP = PROBE - WINDOW  # bytes from one window of a file to the next
_READ_ERRORS = (OSError, ValueError, RecursionError, csv.Error, sqlite3.Error, pa.ArrowException)
CHUNK = 1 << 22  # bytes, searched at once
TEXT = "its text"  # the place of a name in a file without cells
_LONGEST_NAME = 1000  # characters that two pieces of a text share
_UNSPACED = {"CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"}  # in Unicode names
_FACTORS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # odd


@dataclass
class TraceSearch:
    """How much was searched, for how many secrets, and the places where something was found.

    Attributes:
        found: what should be gone; a file that could not be searched counts, since its content is
            not known.
        elsewhere: the name in texts that FaceOps does not change: paths, entries of others.
        unlisted: folders that may not be listed.
    """

    files: int = 0
    megabytes: float = 0.0
    secrets: int = 0
    found: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)

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
    tables: Sequence[tuple[str, Iterable["Cell"]]] = (),
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
            search_cells(_cells(path, is_mentioned), found, is_report_page(path))
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


Cell = tuple[str, str | memoryview]  # where in the file, and a text, or the bytes of some cells


def _cells(path: Path, is_mentioned: Callable[[str], bool]) -> Iterator[Cell]:
    """Yield the cells of `path`, or the text of a file without cells.

    Equal texts of a column may come once, and texts of Parquet only from columns with a mention.
    Bytes come only from Parquet, where they are compressed, and SQLite, which splits them.
    """
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"PAR1") or path.suffix == ".parquet":
        yield from _parquet(path, is_mentioned)
    elif head.startswith(b"SQLite format 3") or path.suffix == ".sqlite":
        yield from _sqlite(path)
    elif path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                yield from (("a cell", value) for value in row)
    elif path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield from (("a text", value) for value in json_texts(json.loads(line)))
    elif path.suffix == ".json":
        if path.stat().st_size > MAX_JSON:
            raise ValueError(f"it has more than {MAX_JSON / 1e6:g} megabytes")
        content = json.loads(path.read_text("utf-8"))
        yield from (("a text", value) for value in json_texts(content))
    else:
        if is_report_page(path):
            yield from (("a face", person) for person in people_on(path))
        yield from _pieces(path, json.detect_encoding(head))


def _pieces(path: Path, encoding: str) -> Iterator[Cell]:
    """Yield a text, HTML without references, in pieces that overlap; nothing of other files."""
    decoder, kept = codecs.getincrementaldecoder(encoding)(), ""
    with contextlib.suppress(UnicodeDecodeError), path.open("rb") as file:
        while chunk := file.read(CHUNK):
            kept += decoder.decode(chunk)
            yield TEXT, html.unescape(kept)
            kept = kept[-_LONGEST_NAME:]


def _parquet(path: Path, is_mentioned: Callable[[str], bool]) -> Iterator[Cell]:
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for value in (file.schema_arrow.metadata or {}).values():
            with contextlib.suppress(ValueError):  # not JSON, or not text
                yield from (("its metadata", text) for text in json_texts(json.loads(value)))
        for batch in file.iter_batches(ROWS, columns=_decoded(file)):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if pa.types.is_dictionary(column.type):
                    column = column.dictionary_decode()
                if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                    if is_mentioned(_joined(column.drop_null())):
                        yield from ((name, text) for text in {*column.to_pylist()} - {None})
                    continue
                if pa.types.is_list(column.type):
                    column = column.flatten()
                values = column.buffers()[-1]  # of all rows, one after the other
                if values is not None and not pa.types.is_nested(column.type):
                    yield name, memoryview(values)


def _decoded(file: pq.ParquetFile) -> list[str]:
    """Return the columns whose bytes are not in the file as they are, and those of texts."""
    schema, metadata = file.schema_arrow, file.metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    encoded = {
        chunk.path_in_schema.partition(".")[0]
        for chunk in chunks
        if chunk.compression != "UNCOMPRESSED" or {*chunk.encodings} - {"PLAIN", "RLE"}
    }
    return [
        field.name
        for field in schema
        if field.name in encoded
        or "." in field.name
        or not (pa.types.is_list(field.type) and pa.types.is_floating(field.type.value_type))
    ]


def _joined(texts: pa.Array) -> str:
    ends = pa.py_buffer(np.array([0, len(texts)], np.int32))
    rows = pa.Array.from_buffers(pa.list_(texts.type), 1, [None, ends], children=[texts])
    return str(pc.binary_join(rows, "\n")[0].as_py())


def _sqlite(path: Path) -> Iterator[Cell]:
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
        db.text_factory = lambda text: text.decode("utf-8", "replace")
        tables = db.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
        for (table,) in tables:
            quoted = '"' + table.replace('"', '""') + '"'
            for (column,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,)):
                of_column = '"' + column.replace('"', '""') + '"'
                select = f"{of_column} FROM {quoted} WHERE typeof({of_column})"
                for (text,) in db.execute(f"SELECT DISTINCT {select}='text'"):
                    yield table, text
                    if text.startswith("{"):  # an entry of the journal of decisions
                        with contextlib.suppress(ValueError):
                            yield from ((table, inner) for inner in json_texts(json.loads(text)))
                gathered = bytearray()
                for (blob,) in db.execute(f"SELECT {select}='blob'"):
                    if column == "path":
                        yield column, os.fsdecode(blob)
                        continue
                    gathered += blob
                    if len(gathered) >= BLOBS:
                        yield table, memoryview(bytes(gathered))
                        gathered.clear()
                yield table, memoryview(bytes(gathered))
