"""What was found in an album, held against its truth."""

import csv
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# A found face is the true one when their boxes overlap by at least this share (IoU).
OVERLAP = 0.3


@dataclass(frozen=True)
class AlbumScore:
    """Counts of faces; `known` faces are of enrolled people, `strangers` of nobody enrolled."""

    known: int
    strangers: int
    known_found: int
    strangers_found: int
    correct: int
    wrong: int
    strangers_named: int
    faces_without_truth: int
    named_without_truth: int

    def as_dict(self) -> dict[str, Any]:
        """Return the counts by name."""
        return asdict(self)


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Return the intersection over union of two boxes (x, y, width, height)."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def _boxes(path: Path, photo_column: str) -> dict[str, list[tuple[tuple[float, ...], str]]]:
    boxes: dict[str, list[tuple[tuple[float, ...], str]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["x"]:
                box = tuple(float(row[key]) for key in ("x", "y", "width", "height"))
                boxes.setdefault(row[photo_column], []).append((box, row["person"]))
    return boxes


def same_person(named: str, true: str) -> bool:
    """Whether two spellings (`Ada_Lind`, `Ada Lind`) mean one person."""
    return named.replace("_", " ").casefold() == true.replace("_", " ").casefold()


def score_album(faces_csv: Path, data: Path) -> AlbumScore:
    """Compare the records of an album with `data`/album_truth.csv.

    Each true face is matched to the found face that overlaps it most; a found face serves once.
    """
    truth = _boxes(data / "album_truth.csv", "photo")
    found = _boxes(faces_csv, "photo_path")
    counts = dict.fromkeys(AlbumScore.__dataclass_fields__, 0)
    for photo, faces in truth.items():
        open_ = list(found.pop(photo, []))
        for box, person in faces:
            counts["known" if person else "strangers"] += 1
            best = max(open_, key=lambda face: overlap(box, face[0]), default=None)
            if best is None or overlap(box, best[0]) < OVERLAP:
                continue
            open_.remove(best)
            counts["known_found" if person else "strangers_found"] += 1
            if not best[1]:
                continue
            if not person:
                counts["strangers_named"] += 1
            elif same_person(best[1], person):
                counts["correct"] += 1
            else:
                counts["wrong"] += 1
        found[photo] = open_
    for open_ in found.values():
        counts["faces_without_truth"] += len(open_)
        counts["named_without_truth"] += sum(1 for _, person in open_ if person)
    return AlbumScore(**counts)
