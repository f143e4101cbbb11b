"""Search folders for what must not be in them: a person's name, embeddings and pictures."""

import base64
import csv
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from faceops.base.progress import track
from faceops.gallery.person_name import valid_unicode
from faceops.identification.file_cells import cells
from faceops.identification.many_probes import Probes

PROBE = 48  # bytes of a secret that are looked for, whole groups of base64
# A foreign file may break in any of these ways.
_BROKEN = (OSError, ValueError, RecursionError, csv.Error, sqlite3.Error, pa.ArrowException)


@dataclass
class Searched:
    """How much was searched, for how many secrets, and the places where something was found.

    A file that could not be searched is a place too: nobody knows what it holds.
    """

    files: int = 0
    megabytes: float = 0.0
    secrets: int = 0
    found: list[str] = field(default_factory=list)


def search_traces(
    folders: Iterable[Path], is_person: Callable[[str], bool], secrets: Sequence[bytes]
) -> Searched:
    """Search every file below `folders` for the person's name and for any of `secrets`.

    Names are looked for in every cell of Parquet, SQLite, CSV, JSON and JSON lines, by the same
    rule by which they were removed. Secrets (embeddings, crops, thumbnails) are looked for in the
    bytes of every file, plain and in base64, and in the cells of Parquet, which are compressed, and
    of SQLite, which cuts a large one into pages. All of them in one pass, in bounded memory.
    """
    probes = [*dict.fromkeys(_probe(secret) for secret in secrets if len(secret) >= PROBE)]
    plain, spelled = Probes(probes), Probes([*probes, *map(base64.b64encode, probes)])
    done = Searched(secrets=len(probes))
    files = [
        path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    ]
    for path in track(files, "search files"):
        done.files += 1
        shown = valid_unicode(str(path))
        places = set()
        try:
            done.megabytes += path.stat().st_size / 1e6
            with path.open("rb") as file:
                if spelled.found_in_file(file):
                    places.add("an embedding or picture")
            for what, value in cells(path):
                if isinstance(value, memoryview):
                    if plain.found_in(value):
                        places.add(f"an embedding or picture, in {what}")
                elif is_person(value) or is_person(value.removeprefix("'")):
                    places.add(f"the name, in {what}")
        except _BROKEN as error:
            first = str(error).partition("\n")[0]
            places.add(f"cannot be searched ({first}); look into it yourself, or remove it")
        done.found += [f"{shown}: {place}" for place in sorted(places)]
    done.megabytes = round(done.megabytes, 1)
    return done


def _probe(secret: bytes) -> bytes:
    """Return the part of a secret's second half that says most.

    The middle of a picture may be of one colour, and what a JPEG begins with is in all of them.
    It starts where a group of base64 does, so that it is found in that too.
    """
    room = len(secret) - PROBE
    starts = [start - start % 3 for start in (room // 2, room * 5 // 8, room * 3 // 4)]
    return max((secret[s : s + PROBE] for s in starts), key=lambda part: len(set(part)))
